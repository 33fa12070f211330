"""The journal of a search: one file that nothing is ever lost from, and that one driver writes at a time."""

import contextlib
import datetime
import errno
import fcntl
import logging
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pydantic import ValidationError

from emotune.errors import BusyError, DamageError, SearchFailedError
from emotune.files import sync_folder
from emotune.search.records import RECORD, Record

log = logging.getLogger(__name__)

LINE = re.compile(rb'\{"n": (0|[1-9][0-9]*), "crc": "([0-9a-f]{8})", "record": (\{[^\n]*\})\}')

NAMING_SECONDS = 0.05
"""Who is refused waits so long before reading who has the lock: that one may have taken it this very moment."""

ADVICE = "keep a copy of the file, and restore it from a backup or start the search afresh (--fresh)"


class Content(NamedTuple):
    """What a journal holds, and how many bytes of the file that is."""

    records: list[Record]
    length: int


class Journal:
    """The records of a search on disk, held by one driver.

    Each record is a line ``{"n": sequence, "crc": "xxxxxxxx", "record": {...}}``. A record that `append`
    has returned from survives the death of the process, and of the machine if it was durable.

    Use `Journal.open` in a ``with`` statement.
    """

    def __init__(self, path: Path, *, lock: int, file: int, content: Content) -> None:
        self.path = path
        self.records: list[Record] = content.records
        self._lock = lock
        self._file = file
        self._length = content.length

    @classmethod
    def open(cls, path: Path, *, owner: str) -> "Journal":
        """Open a journal for writing, or begin one.

        A torn last line, left by a driver that died while writing it, is cut off.

        Args:
            path: The file. The lock is beside it, with the suffix ``.lock``.
            owner: Who opens it, for people.

        Raises:
            BusyError: Another driver has it open. The kernel ends that when the driver dies.
            DamageError: The file is not what was written.
        """
        lock = _lock(path.with_suffix(".lock"), owner=owner)
        try:
            content = _read(path)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except BaseException:
            os.close(lock)
            raise
        torn = os.fstat(file).st_size - content.length
        if torn:
            log.warning("%s: the last record was not written to its end; %d bytes are cut off", path, torn)
            os.ftruncate(file, content.length)
            os.fsync(file)
        sync_folder(path.parent)
        return cls(path, lock=lock, file=file, content=content)

    def append(self, record: Record, *, durable: bool = True) -> None:
        """Write a record at the end.

        Args:
            record: What to write.
            durable: Whether to wait until it would survive a power cut.

        Raises:
            SearchFailedError: The disk did not take it. The journal is as it was before.
        """
        line = encode(record, sequence=len(self.records))
        try:
            written = os.pwrite(self._file, line, self._length)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)
        except OSError as error:
            # if cutting fails too, the next driver cuts
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            raise SearchFailedError(
                f"{self.path}: a record could not be written ({name}: {error.strerror}); "
                "nothing is lost, make room and start the same search again"
            ) from error
        self._length += len(line)
        self.records.append(record)

    def close(self) -> None:
        """Let others open it."""
        os.close(self._file)
        os.close(self._lock)

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def locked(path: Path, *, owner: str) -> Iterator[None]:
    """Keep drivers away from a journal, whatever is in it.

    Args:
        path: The journal's file.
        owner: Who does so, for people.

    Raises:
        BusyError: A driver has it open.
    """
    lock = _lock(path.with_suffix(".lock"), owner=owner)
    try:
        yield
    finally:
        os.close(lock)


def read_journal(path: Path) -> list[Record]:
    """Return the records of a journal, also while a driver writes it; a torn last line does not count.

    Raises:
        DamageError: The file is not what was written.
    """
    return _read(path).records


def encode(record: Record, *, sequence: int) -> bytes:
    """Return the line of a record."""
    body = RECORD.dump_json(record)
    return b'{"n": %d, "crc": "%08x", "record": %s}\n' % (sequence, _checksum(body, sequence=sequence), body)


def _checksum(body: bytes, *, sequence: int) -> int:
    return zlib.crc32(b"%d:%s" % (sequence, body))


def _read(path: Path) -> Content:
    """Read all whole lines. What follows is a torn record, unless it begins with a whole one."""
    data = path.read_bytes() if path.exists() else b""
    *lines, tail = data.split(b"\n")
    records: list[Record] = []
    start = 0
    for line in lines:
        place = f"{path}, line {len(records) + 1}, byte {start}"
        records.append(_decode(line, sequence=len(records), place=place))
        start += len(line) + 1
    whole = LINE.match(tail)
    if whole and whole.end() < len(tail) and _is_sound(whole):
        raise DamageError(
            f"{path}, line {len(records) + 1}, byte {start + whole.end()}: the line break is gone; {ADVICE}"
        )
    return Content(records, start)


def _decode(line: bytes, *, sequence: int, place: str) -> Record:
    """Return the record of a line."""
    match = LINE.fullmatch(line)
    if match is None or not _is_sound(match):
        raise DamageError(f"{place}: this is not what was written; {ADVICE}")
    if int(match[1]) != sequence:
        raise DamageError(f"{place}: record {int(match[1])} stands where {sequence} should; {ADVICE}")
    try:
        return RECORD.validate_json(match[3])
    except ValidationError as error:
        raise DamageError(f"{place}: a record this version does not know; use the one that wrote it") from error


def _is_sound(match: re.Match[bytes]) -> bool:
    return int(match[2], 16) == _checksum(match[3], sequence=int(match[1]))


def _lock(path: Path, *, owner: str) -> int:
    """Take the lock, which the kernel gives back when the process ends, and write down who has it."""
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
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    about = f"{owner}, pid {os.getpid()} on {socket.gethostname()} since {started}\n".encode()
    os.ftruncate(handle, 0)
    os.pwrite(handle, about, 0)
    return handle


def _is_at(path: Path, handle: int) -> bool:
    """Tell whether an open file is still the one of that name: its folder may have been renamed since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
