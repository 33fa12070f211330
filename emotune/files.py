"""Atomic writes: after a crash or a power cut a file or folder is the old one or the whole new one."""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from emotune.errors import SettingsError


def safe_name(name: str) -> str:
    """Return a name unchanged, if it can be a folder's name.

    Raises:
        SettingsError: The name is empty, longer than 100 characters, starts with a dot or has
            characters other than letters, digits, ``.``, ``_`` and ``-``.
    """
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        return name
    raise SettingsError(
        f"the name {name!r} cannot be used: up to 100 letters, digits, '.', '_' and '-' are allowed, "
        "and the first may not be a dot"
    )


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk (fsync)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a hidden name, flush it to the disk, and rename it."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a draft folder, which is renamed to ``path`` when its files are on the disk.

    If the block raises an error, the draft is removed.

    Args:
        path: The folder. Without ``replace`` it must not exist, or be empty.
        replace: Rename the present folder to a hidden name, and remove it when the new one has its name. After a
            power cut in between, `restore_replaced` brings the old one back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    draft.mkdir()
    aside = path.with_name(f".{path.name}.replaced")
    try:
        yield draft
        for file in draft.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(draft)
        if replace:
            path.rename(aside)
        draft.rename(path)
    except BaseException:
        restore_replaced(path)
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def restore_replaced(path: Path) -> None:
    """Rename a folder back that `new_folder` has put aside, if its replacement does not exist."""
    aside = path.with_name(f".{path.name}.replaced")
    if aside.is_dir() and not path.exists():
        aside.rename(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
