"""The storage of results: what the driver, the workers and later commands read and write.

A `Storage` is a folder of results that all machines of a search can access. There are two: a folder that every machine
mounts (`emotune.storage.local`), and a prefix in an S3-compatible bucket (`emotune.storage.s3`). It is made once from
``--storage`` (`emotune.storage.open_storage`) and passed on explicitly; ``storage / "name"`` is a folder in it.
No code derives the place of results from a path.

**Working copy.** Training writes ordinary files to `Storage.local`, a folder on this machine. For a mounted
folder that is the storage itself. For a bucket it is a cache, which may be deleted between two commands. What other
processes read is written through the storage: small files by `Storage.write`, folders of large files by
`Storage.upload`.

**Small files.** `Storage.read` returns a whole file or None; `Storage.write` replaces a whole file: a reader gets
the old content or the new one. There is one writer per file.

**Folders of large files** (checkpoints). `Storage.upload` writes one named file last, and the folder is complete when
that file exists: without it `Storage.download` returns False. `Storage.clear` removes that file first. So a reader
never gets a folder that is only partly written or partly removed.

**Logs** (the journal). `Storage.log` names a file of lines that one driver appends to. `Log.open` takes the log's
lock: the kernel's lock on a mounted folder, a lease in a bucket. A second driver gets `BusyError` while the first one
runs, and a driver that lost its lease can no longer append. After `LogWriter.append` with ``durable=True`` the line
is kept if the process or the machine crashes. A crash can leave a part of a line at the end (a torn tail)
in a file, never in a bucket; `emotune.study.journal` finds it by the checksum of each line and cuts it off by
`LogWriter.cut`. `Log.read` needs no lock. A log that is closed without a line is removed, so that a start that failed
leaves none.

**Errors.** `StorageAwayError`: the storage cannot be reached now; writes are repeated for minutes before it is raised,
reads raise it at once (`emotune.storage.patience.patiently` repeats them). `StorageRefusedError`: the storage refuses
the request; repeating it does not help. A mounted folder raises `OSError`.

A new backend is one module with a class of `Storage`, and its URL scheme in `emotune.storage.SCHEMES`.
``tests/contracts/test_storage.py`` runs over all backends.
"""

import abc
import contextlib
from pathlib import Path
from typing import ClassVar

Address = dict[str, str]
"""A storage as JSON: ``scheme``, which chooses the class, and what that class needs."""


class Storage(abc.ABC):
    """A folder of results that all machines of a search can access. The module describes the contract."""

    scheme: ClassVar[str]
    """Scheme of its URLs."""

    mounted: ClassVar[bool]
    """Whether it is a folder that every machine has to mount, so that `local` is the storage itself.

    False: it is reached over the network, and `local` is a working copy on this machine.
    """

    @classmethod
    @abc.abstractmethod
    def from_url(cls, url: str) -> "Storage":
        """Open the storage that a URL names.

        Raises:
            SettingsError: The URL is malformed, or a package is missing.
            StorageAwayError: The storage cannot be reached.
            StorageRefusedError: It refuses access.
        """

    @classmethod
    @abc.abstractmethod
    def from_json(cls, address: Address) -> "Storage":
        """Return the storage of an address on this machine, without a request to it."""

    @abc.abstractmethod
    def to_json(self) -> Address:
        """Return the address by which another machine finds this storage."""

    @classmethod
    def of_working_copy(cls, path: Path) -> "Storage | None":
        """Return the storage whose working copy an absolute path is; None if it is not one of this class."""
        return None

    @abc.abstractmethod
    def describe(self) -> str:
        """Return the URL or the path, for messages."""

    def __str__(self) -> str:
        return self.describe()

    @abc.abstractmethod
    def __truediv__(self, name: str) -> "Storage":
        """Return a folder in this one; it need not exist."""

    @abc.abstractmethod
    def local(self, key: str = "") -> Path:
        """Return the path on this machine of a file or folder, or of the whole; it need not exist."""

    @abc.abstractmethod
    def read(self, key: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""

    @abc.abstractmethod
    def write(self, key: str, content: bytes, *, patience: float | None = None) -> None:
        """Write a small file, completely or not at all; missing folders are created.

        Args:
            key: Path of the file in this storage, with ``/`` between folders.
            content: Its new content.
            patience: Seconds to wait for a storage that cannot be reached; None: `emotune.storage.patience.PATIENCE_S`.
        """

    @abc.abstractmethod
    def remove(self, key: str) -> None:
        """Remove a small file, if it exists."""

    @abc.abstractmethod
    def folders(self) -> list[str]:
        """Return the names of the folders in this one, sorted. A server may still list a folder that was cleared."""

    @abc.abstractmethod
    def upload(self, *, last: str) -> None:
        """Write the files of `local` to the storage, not those of folders in it.

        Args:
            last: Name of the file that is written last; the folder is complete when it exists. Nothing is written
                if the storage already has the same content under this name.
        """

    @abc.abstractmethod
    def download(self, *, last: str) -> bool:
        """Update `local` from the storage, and return whether the folder is complete.

        Args:
            last: Name of the file without which the folder is not complete. It must differ whenever another
                file of the folder does.
        """

    @abc.abstractmethod
    def clear(self, *, last: str) -> None:
        """Remove this folder and its content, here and in the storage: the file ``last`` first.

        If the storage cannot be reached, the folder stays there and a warning is logged.
        """

    @abc.abstractmethod
    def size(self) -> int:
        """Return the bytes of all files in this folder and the folders in it; 0 if it does not exist.

        Raises:
            StorageAwayError: The storage cannot be reached.
        """

    @abc.abstractmethod
    def rename(self, name: str, *, log: str) -> None:
        """Rename this folder, with its content; the parent folder stays the same.

        The caller holds the lock of the folder's log.

        Args:
            name: The new name; no folder has it yet.
            log: Name of the log. Its first line under the old name is removed last.
        """

    @abc.abstractmethod
    def check_writable(self) -> None:
        """Raise an error unless this machine can write here."""

    @abc.abstractmethod
    def log(self, name: str) -> "Log":
        """Return the log of a name; it need not exist."""


class LogWriter(abc.ABC):
    """A log that is open for appending, until `close`."""

    content: bytes
    """Content of the log when it was opened."""

    @abc.abstractmethod
    def cut(self, length: int) -> None:
        """Remove everything after the first ``length`` bytes of `content`."""

    @abc.abstractmethod
    def check(self) -> None:
        """Check that lines can still be appended, without a request to a server.

        Raises:
            BusyError: Another driver has taken the log over.
            StorageRefusedError: The log no longer has its name.
        """

    @abc.abstractmethod
    def append(self, line: bytes, *, durable: bool) -> None:
        """Append a line.

        Args:
            line: Ends with a line break.
            durable: Return only when the line survives a power cut. Other lines are written within a second.

        Raises:
            BusyError: Another driver now holds the lock. Nothing was written.
            StorageRefusedError: The log no longer has its name, or the storage refuses it. Nothing was written.
            StorageAwayError: The storage could not be reached for minutes.
            OSError: The disk is full or cannot be written. Nothing was written.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Write the remaining lines and release the lock. A log without a line no longer exists."""


class Log(abc.ABC):
    """A file of lines with one writer at a time. `str` returns its path or URL, for messages."""

    @abc.abstractmethod
    def open(self, *, owner: str) -> LogWriter:
        """Take the lock and open the log for appending; create it if it does not exist.

        Args:
            owner: Name of the search, for the error message of other drivers.

        Raises:
            BusyError: Another driver holds the lock.
            StorageAwayError: The storage cannot be reached.
            StorageRefusedError: It cannot be opened for writing.
        """

    @abc.abstractmethod
    def lock(self, *, owner: str) -> contextlib.AbstractContextManager[None]:
        """Hold the lock without opening the log.

        Raises:
            BusyError: A driver holds the lock.
        """

    @abc.abstractmethod
    def is_locked(self) -> bool:
        """Return whether a driver holds the lock."""

    @abc.abstractmethod
    def exists(self) -> bool:
        """Return whether the log exists."""

    @abc.abstractmethod
    def read(self) -> bytes:
        """Return the content, also while a driver appends; empty if the log does not exist."""
