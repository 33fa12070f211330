"""A file that one process of one machine appends to at a time."""

import contextlib
import datetime
import errno
import fcntl
import os
import socket
import time
from pathlib import Path

from emotune.errors import BusyError
from emotune.files import sync_folder

NAMING_SECONDS = 0.05
"""Who is refused waits so long before reading who has the lock: that one may have taken it this very moment."""


class LocalLog:
    """A file that lines are appended to, while its lock is held.

    Args:
        path: The file.
        hold: The lock, given back with the log.
    """

    def __init__(self, path: Path, *, hold: contextlib.ExitStack) -> None:
        with hold:
            self.content = path.read_bytes() if path.exists() else b""
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self._hold = hold.pop_all()
        self._length = len(self.content)
        sync_folder(path.parent)

    def cut(self, length: int) -> None:
        """Forget everything after so many bytes."""
        os.ftruncate(self._file, length)
        os.fsync(self._file)
        self._length = length

    def append(self, line: bytes, *, durable: bool) -> None:
        """Write a line at the end; if that fails nothing was written.

        Raises:
            OSError: The disk did not take it.
        """
        try:
            if os.pwrite(self._file, line, self._length) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)
        except OSError:
            # if cutting fails too, the next driver cuts
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)
            raise
        self._length += len(line)

    def close(self) -> None:
        """Let others open it."""
        os.close(self._file)
        self._hold.close()


def about_owner(owner: str) -> str:
    """Return who this process is, for people."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return f"{owner}, pid {os.getpid()} on {socket.gethostname()} since {started}"


def take_lock(path: Path, *, owner: str) -> int:
    """Take a lock, which the kernel gives back when the process ends, and write down who has it.

    Raises:
        BusyError: Another process has it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        time.sleep(NAMING_SECONDS)
        holder = os.pread(handle, 4096, 0).decode(errors="replace").strip() or "it has just started"
        os.close(handle)
        raise BusyError(f"{path}: another driver is alive on this search ({holder}); wait for it or stop it") from error
    if not _is_at(path, handle):
        os.close(handle)
        raise BusyError(f"{path}: the search was put aside by another driver at this moment; start the command again")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{about_owner(owner)}\n".encode(), 0)
    return handle


def is_locked(path: Path) -> bool:
    """Tell whether a process holds a lock."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _is_at(path: Path, handle: int) -> bool:
    """Tell whether an open file is still the one of that name: its folder may have been renamed since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
