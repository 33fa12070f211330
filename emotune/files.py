"""Atomic writes: after a crash or a power cut a file or folder is the old one or the whole new one.

A file or folder is written under a hidden name beside its path, its draft, and renamed. A killed process leaves its
draft; the next write to the same path removes it.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import stat
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from emotune.errors import SettingsError

SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
"""Names that can be those of folders."""


def safe_name(name: str) -> str:
    """Return a name unchanged, if it can be a folder's name.

    Raises:
        SettingsError: The name is empty, longer than 100 characters, starts with a dot or has
            characters other than letters, digits, ``.``, ``_`` and ``-``.
    """
    if SAFE_NAME.fullmatch(name):
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
    """Write a regular file under a hidden name, flush it to the disk, and rename it.

    A file that a user names is written by `write_output`.
    """
    draft = _new_draft(path)
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


def _new_draft(path: Path) -> Path:
    """Return an unused hidden name beside a path, and remove the drafts that killed processes left there.

    The name contains the process, so that the next write recognises the draft of a process that has ended. It is at
    most 255 bytes long, whatever the name of the path is.
    """
    _remove_dead_drafts(path)
    return path.with_name(f".{path.name[:50]}.{_process_space()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.draft")


def _remove_dead_drafts(path: Path) -> None:
    """Remove the drafts of a path whose processes ran on this machine and have ended.

    Drafts of other machines are kept, and so are those from before a restart of this one: whether their processes
    still write is unknown.
    """
    name = re.compile(rf"\.{re.escape(path.name[:50])}\.{_process_space()}-(?P<pid>\d+)-[0-9a-f]{{8}}\.draft")
    with contextlib.suppress(OSError):  # the folder may be unreadable, or another process removes the same draft
        for draft in list(os.scandir(path.parent)):
            match = name.fullmatch(draft.name)
            if match is None or _is_alive(int(match["pid"])):
                continue
            if draft.is_dir(follow_symlinks=False):
                shutil.rmtree(draft.path, ignore_errors=True)
            else:
                Path(draft.path).unlink(missing_ok=True)


@cache
def _process_space() -> str:
    """Return a short hash of what process numbers are unique in: the machine, its last start, and the container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # systems other than Linux lack these files
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def check_output(path: Path, *, option: str = "--out") -> None:
    """Refuse a path that `write_output` could not write, before its content is computed.

    Args:
        path: The path that a user gave.
        option: The option that named it, for the message.

    Raises:
        SettingsError: It is a folder or a disk, its folder does not exist, or its name is too long.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        _check_parent(path, option=option)
        return
    except OSError as error:
        raise _unwritable(path, error, option=option) from error
    if stat.S_ISDIR(mode):
        raise SettingsError(f"{option} {path}: this is a folder; give the path of a file in it")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "a disk" if stat.S_ISBLK(mode) else "a socket"
        raise SettingsError(f"{option} {path}: this is {kind}, which is not written to; give the path of a file")


def _check_parent(path: Path, *, option: str) -> None:
    """Refuse a new file whose folder does not exist; symbolic links are followed."""
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise SettingsError(f"{option} {path}: the folder {parent} does not exist; create it first")


def write_output(path: Path, content: bytes, *, option: str = "--out") -> bool:
    """Write a file that a user named.

    A regular file is replaced atomically and keeps its permissions. Symbolic links are followed. A device, a pipe and
    the file that is this process's standard output are written to, and never replaced.

    Args:
        path: The path that the user gave.
        content: Its new content.
        option: The option that named it, for messages.

    Returns:
        Whether a regular file was written.

    Raises:
        SettingsError: The path cannot be written; nothing was replaced.
    """
    check_output(path, option=option)
    try:
        stream = _standard_stream(path)
        if stream is not None:
            _write_all(stream, content)
            return False
        if path.exists() and not path.is_file():
            with path.open("wb", buffering=0) as file:
                _write_all(file.fileno(), content)
            return False
        _replace_file(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise _unwritable(path, error, option=option) from error
    return True


def _replace_file(path: Path, content: bytes) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    write_atomically(path, content)
    if mode is not None:
        path.chmod(mode)


def _standard_stream(path: Path) -> int | None:
    """Return the descriptor of standard output or error if the path is the same file; None: it is neither."""
    with contextlib.suppress(FileNotFoundError):
        there = path.stat()
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                if os.path.samestat(there, os.fstat(descriptor)):
                    sys.stdout.flush()
                    return descriptor
    return None


def _write_all(descriptor: int, content: bytes) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def _unwritable(path: Path, error: OSError, *, option: str) -> SettingsError:
    return SettingsError(f"{option} {path}: cannot be written: {error.strerror}; give another file")


@contextlib.contextmanager
def new_folder(path: Path, *, replace: bool = False, parents: bool = True) -> Iterator[Path]:
    """Yield a draft folder, which is renamed to ``path`` when its files are on the disk.

    If the block raises an error, the draft is removed.

    Args:
        path: The folder. Without ``replace`` it must not exist, or be empty.
        replace: Rename the present folder to a hidden name, and remove it when the new one has its name. After a
            power cut in between, `restore_replaced` brings the old one back.
        parents: Create the folders above it.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    draft = _new_draft(path)
    draft.mkdir()
    aside = path.with_name(f".{path.name}.replaced")
    try:
        yield draft
        for file in draft.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(draft)
        if replace:
            restore_replaced(path)  # an earlier replacement may have been killed
            path.rename(aside)
        draft.rename(path)
    except BaseException:
        restore_replaced(path)
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def restore_replaced(path: Path) -> None:
    """Rename a folder back that `new_folder` has put aside; remove it if its replacement exists."""
    aside = path.with_name(f".{path.name}.replaced")
    if not aside.is_dir():
        return
    if path.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.rename(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
