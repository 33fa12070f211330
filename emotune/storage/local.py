"""Results in a folder that every machine of a search mounts."""

import contextlib
import datetime
import errno
import fcntl
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from emotune.errors import BusyError
from emotune.files import sync_folder, write_atomically
from emotune.storage.base import Address, Log, LogWriter, Storage

OWNER_DELAY_S = 0.05
"""Seconds that a refused driver waits before it reads the owner's name: the owner may be writing it."""


@dataclass(frozen=True)
class LocalStorage(Storage):
    """A folder. All machines must see it under the same path, and its file system must support ``flock``."""

    folder: Path

    scheme = "file"
    mounted = True

    @classmethod
    def from_url(cls, url: str) -> "LocalStorage":
        """Return the folder of a ``file://`` URL."""
        return cls(Path(unquote(urlparse(url).path)).absolute())

    @classmethod
    def from_json(cls, address: Address) -> "LocalStorage":
        """Return the folder of an address: the same path."""
        return cls(Path(address["folder"]))

    def to_json(self) -> Address:
        """Return the path."""
        return {"scheme": self.scheme, "folder": str(self.folder)}

    def describe(self) -> str:
        """Return the path."""
        return str(self.folder)

    def __truediv__(self, name: str) -> "LocalStorage":
        return LocalStorage(self.folder / name)

    def local(self, key: str = "") -> Path:
        """Return the path itself."""
        return self.folder / key if key else self.folder

    def read(self, key: str) -> bytes | None:
        """Return a file's content."""
        try:
            return self.local(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, key: str, content: bytes, *, patience: float | None = None) -> None:
        """Write a file under a hidden name and rename it."""
        path = self.local(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)

    def remove(self, key: str) -> None:
        """Remove a file."""
        self.local(key).unlink(missing_ok=True)

    def folders(self) -> list[str]:
        """Return the names of the folders."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir()) if self.folder.is_dir() else []

    def upload(self, *, last: str) -> None:
        """Do nothing: the files are where all machines see them."""

    def download(self, *, last: str) -> bool:
        """Return whether the folder exists."""
        return self.folder.is_dir()

    def clear(self, *, last: str) -> None:
        """Remove the folder."""
        with contextlib.suppress(OSError):
            (self.folder / last).unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rename(self, name: str, *, log: str) -> None:
        """Rename the folder, at once."""
        self.folder.rename(self.folder.with_name(name))

    def check_writable(self) -> None:
        """Write a file and remove it.

        Raises:
            OSError: The folder does not exist or cannot be written.
        """
        probe = self.folder / f".probe-{uuid.uuid4().hex}"
        probe.write_bytes(b"")
        probe.unlink()

    def log(self, name: str) -> "LocalLog":
        """Return the log ``NAME.jsonl``, whose lock is the file ``NAME.lock``."""
        return LocalLog(self.folder / f"{name}.jsonl")


@dataclass(frozen=True)
class LocalLog(Log):
    """A log in a file. Its lock is a file beside it with the suffix ``.lock``.

    The kernel gives the lock back when the process ends.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def open(self, *, owner: str) -> "LocalLogWriter":
        """Take the lock and open the file."""
        with contextlib.ExitStack() as held:
            held.enter_context(self.lock(owner=owner))
            return LocalLogWriter(self.path, held=held.pop_all())

    @contextlib.contextmanager
    def lock(self, *, owner: str) -> Iterator[None]:
        """Hold the lock."""
        handle = _take_lock(self._lock_file, owner=owner)
        try:
            yield
        finally:
            os.close(handle)

    def is_locked(self) -> bool:
        """Return whether a process holds the lock."""
        try:
            handle = os.open(self._lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def exists(self) -> bool:
        """Return whether the file exists."""
        return self.path.is_file()

    def read(self) -> bytes:
        """Return the file's content."""
        return self.path.read_bytes() if self.path.exists() else b""

    @property
    def _lock_file(self) -> Path:
        return self.path.with_suffix(".lock")


class LocalLogWriter(LogWriter):
    """A file that lines are appended to while its lock is held.

    Args:
        path: The file.
        held: The lock, given back by `close`.
    """

    def __init__(self, path: Path, *, held: contextlib.ExitStack) -> None:
        with held:
            self.content = path.read_bytes() if path.exists() else b""
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self._held = held.pop_all()
        self._length = len(self.content)
        sync_folder(path.parent)

    def cut(self, length: int) -> None:
        """Truncate the file to ``length`` bytes."""
        os.ftruncate(self._file, length)
        os.fsync(self._file)
        self._length = length

    def append(self, line: bytes, *, durable: bool) -> None:
        """Write a line at the end. If that fails, the file is as before.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        try:
            if os.pwrite(self._file, line, self._length) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)
        except OSError:
            # if truncating fails too, the part of a line is cut off when the log is opened next
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)
            raise
        self._length += len(line)

    def close(self) -> None:
        """Close the file and give the lock back."""
        os.close(self._file)
        self._held.close()


def describe_owner(owner: str) -> str:
    """Return the name of a search with this process and machine, for messages."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return f"{owner}, pid {os.getpid()} on {socket.gethostname()} since {started}"


def _take_lock(path: Path, *, owner: str) -> int:
    """Take a lock file, write the owner into it, and return its descriptor.

    Raises:
        BusyError: Another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        time.sleep(OWNER_DELAY_S)
        holder = os.pread(handle, 4096, 0).decode(errors="replace").strip() or "it has just started"
        os.close(handle)
        raise BusyError(f"{path}: another driver is running this search ({holder}); wait for it or stop it") from error
    if not _is_at(path, handle):
        os.close(handle)
        raise BusyError(f"{path}: another driver has just renamed the folder of this search; start the command again")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{describe_owner(owner)}\n".encode(), 0)
    return handle


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file still has its name: its folder may have been renamed since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
