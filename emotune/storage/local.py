"""Results in a folder that every machine of a search mounts."""

import contextlib
import datetime
import errno
import fcntl
import os
import random
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlparse

from emotune.errors import BusyError, StorageRefusedError
from emotune.files import sync_folder, write_atomically
from emotune.storage.base import Address, Log, LogWriter, Storage

OWNER_DELAY_S = 0.05
"""Seconds that a refused driver waits before it reads the owner's name: the owner may be writing it."""

PROBE_PATIENCE_S = 30.0
"""Seconds that a driver tries to take a lock which no driver holds, but which others test again and again."""

LONGEST_PROBE_WAIT_S = 0.01
"""Most seconds between two attempts to take such a lock."""

FILE_MODE = 0o666
"""Permissions of new files, of which the umask removes some, so that a group can share a folder of results."""

DENIALS = (errno.EACCES, errno.EPERM)
"""Errors that a change of permissions or attributes removes."""


@dataclass(frozen=True)
class LocalStorage(Storage):
    """A folder. All machines must see it under the same path, and its file system must support ``flock``."""

    folder: Path

    scheme = "file"
    mounted = True

    @classmethod
    def from_url(cls, url: str) -> "LocalStorage":
        """Return the folder of a ``file://`` URL."""
        parsed = urlparse(url)
        home = parsed.netloc if parsed.netloc.startswith("~") else ""
        return cls(Path(home + unquote(parsed.path)).expanduser().absolute())

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

    def size(self) -> int:
        """Return the bytes of the files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

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

    A writer locks the log itself as well, so that nobody gets a second one by deleting the lock file. The kernel gives
    both locks back when the process ends. Drivers lock exclusively; `is_locked` tests with a shared lock, so that a
    driver can distinguish a test from another driver.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def open(self, *, owner: str) -> "LocalLogWriter":
        """Take the locks and open the file.

        Raises:
            BusyError: Another driver holds a lock.
            StorageRefusedError: The file or its lock cannot be opened for writing.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(self.lock(owner=owner))
            return LocalLogWriter(self.path, held=held.pop_all())

    @contextlib.contextmanager
    def lock(self, *, owner: str) -> Iterator[None]:
        """Hold the lock file.

        Raises:
            BusyError: Another driver holds it, or writes the log although its lock file was deleted.
            StorageRefusedError: It cannot be opened for writing.
        """
        handle = _take_lock(self._lock_file, owner=owner)
        try:
            if _is_held(self.path):
                raise BusyError(_busy(self.path, holder="its lock file was deleted"))
            yield
        finally:
            os.close(handle)

    def is_locked(self) -> bool:
        """Return whether a process holds the lock file or writes the log.

        Raises:
            StorageRefusedError: The lock file cannot be read.
        """
        return _is_held(self._lock_file) or _is_held(self.path)

    def exists(self) -> bool:
        """Return whether the file exists.

        Raises:
            StorageRefusedError: Its folder cannot be read.
        """
        with _refusals(self.path, "read"):
            return self.path.is_file()

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            StorageRefusedError: It cannot be read.
        """
        with _refusals(self.path, "read"):
            return self.path.read_bytes() if self.path.exists() else b""

    @property
    def _lock_file(self) -> Path:
        return self.path.with_suffix(".lock")


class LocalLogWriter(LogWriter):
    """A file that lines are appended to while its lock is held.

    Args:
        path: The file.
        held: The lock file, given back by `close`.

    Raises:
        BusyError: Another driver writes the file.
        StorageRefusedError: The file cannot be opened for writing.
    """

    def __init__(self, path: Path, *, held: contextlib.ExitStack) -> None:
        with held, _refusals(path, "opened for writing"):
            self._path = path
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
            held.callback(os.close, self._file)
            if not (_lock_exclusively(self._file) and _is_at(path, self._file)):
                raise BusyError(_busy(path, holder="it has just started"))
            self.content = path.read_bytes()
            sync_folder(path.parent)
            self._held = held.pop_all()
        self._length = len(self.content)

    def check(self) -> None:
        """Check that the file still has its name.

        Raises:
            StorageRefusedError: The file or a folder above it was renamed, deleted or replaced.
        """
        if not _is_at(self._path, self._file):
            raise StorageRefusedError(
                f"{self._path}: the file or its folder was renamed or deleted while it was written; "
                "bring it back under this name"
            )

    def cut(self, length: int) -> None:
        """Truncate the file to ``length`` bytes."""
        os.ftruncate(self._file, length)
        os.fsync(self._file)
        self._length = length

    def append(self, line: bytes, *, durable: bool) -> None:
        """Write a line at the end. If that fails, the file is as before.

        Raises:
            StorageRefusedError: The file no longer has its name.
            OSError: The disk is full or cannot be written.
        """
        self.check()
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
        """Close the file and give the locks back. A file without a line is removed, and its lock file."""
        if self._length == 0 and _is_at(self._path, self._file):
            # other drivers that have opened these files meanwhile find that they no longer have their names
            for path in (self._path, self._path.with_suffix(".lock")):
                with contextlib.suppress(OSError):
                    path.unlink()
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
    with contextlib.ExitStack() as opened, _refusals(path, "opened for writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        opened.callback(os.close, handle)
        if not _lock_exclusively(handle):
            time.sleep(OWNER_DELAY_S)
            holder = os.pread(handle, 4096, 0).decode(errors="replace").strip() or "it has just started"
            raise BusyError(_busy(path, holder=holder))
        if not _is_at(path, handle):
            raise BusyError(
                f"{path}: another driver has just renamed the folder of this search; start the command again"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{describe_owner(owner)}\n".encode(), 0)
        opened.pop_all()
        return handle


def _busy(path: Path, *, holder: str) -> str:
    return f"{path}: another driver is running this search ({holder}); wait for it or stop it"


def _lock_exclusively(handle: int) -> bool:
    """Lock an open file; returns False if another process holds it exclusively.

    Shared locks are those of `LocalLog.is_locked`, which end within microseconds: they are waited for.
    """
    deadline = time.monotonic() + PROBE_PATIENCE_S
    while time.monotonic() < deadline:
        if _try_lock(handle, fcntl.LOCK_EX):
            return True
        if not _try_lock(handle, fcntl.LOCK_SH):
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(random.uniform(0, LONGEST_PROBE_WAIT_S))
    return False


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    """Return whether a process holds a file exclusively; False if there is no such file."""
    with _refusals(path, "read"):
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _refusals(path: Path, done: str) -> Iterator[None]:
    """Turn an error of the operating system into a line that says what could not be done with a path."""
    try:
        yield
    except OSError as error:
        advice = "; its permissions and attributes are shown by ls -l and lsattr" if error.errno in DENIALS else ""
        raise StorageRefusedError(f"{path}: cannot be {done}: {error.strerror}{advice}") from error


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file still has its name: its folder may have been renamed since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except (FileNotFoundError, NotADirectoryError):
        return False
