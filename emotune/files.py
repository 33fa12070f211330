"""Writing files so that a reader, or a power cut, never meets half of one."""

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
    """Return a name unchanged if it can be a folder's name, and refuse it otherwise.

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
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one, whatever happens."""
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
    """Give a draft folder that gets its name only when everything in it is on the disk.

    If the block fails, the draft is removed.

    Args:
        path: The folder. Unless it is to be replaced, it must not exist yet, or be empty.
        replace: Put the folder that has the name away, and remove it when the new one has it. A
            power cut between the two leaves the old one under a hidden name (`restore_replaced`).
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
    """Give a folder its name back if its replacement never came."""
    aside = path.with_name(f".{path.name}.replaced")
    if aside.is_dir() and not path.exists():
        aside.rename(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
