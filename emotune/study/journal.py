"""The journal of a search: the records of every decision and result, appended by one driver at a time.

Each record is a line ``{"n": SEQUENCE, "crc": "xxxxxxxx", "record": {...}}``. The checksum is the CRC-32 of the
sequence number and the record. A line without its line break is a torn tail: a driver died while it was written. It
does not count, and the next driver cuts it off. Anything else that differs from what was written is damage and is
refused.
"""

import errno
import logging
import re
import zlib
from types import TracebackType
from typing import NamedTuple

from pydantic import ValidationError

from emotune.errors import BusyError, DamageError, SearchFailedError, StorageAwayError, StorageRefusedError
from emotune.search.records import RECORD, Record
from emotune.storage import Log, LogWriter

logger = logging.getLogger(__name__)

LINE = re.compile(rb'\{"n": (0|[1-9][0-9]*), "crc": "([0-9a-f]{8})", "record": (\{[^\n]*\})\}')
"""A line without its line break: sequence number, checksum, record."""

ADVICE = "keep a copy of the file, and restore it from a backup, or start the search again with --fresh"
"""What to do about a damaged journal, at the end of a message."""


class Content(NamedTuple):
    """The records of a journal, and the number of bytes of their lines."""

    records: list[Record]
    length: int


class Journal:
    """The records of a search, held by one driver. Use `Journal.open` in a ``with`` statement.

    A record that `append` has returned from survives the death of the process, and of the machine if it was durable.

    Args:
        name: Path or URL, for messages.
        writer: The log, opened.
        records: The records that it holds.
    """

    def __init__(self, name: str, *, writer: LogWriter, records: list[Record]) -> None:
        self.name = name
        self.records = records
        self._writer = writer

    @classmethod
    def open(cls, log: Log, *, owner: str) -> "Journal":
        """Open a journal for writing, or begin one. A torn tail is cut off.

        Args:
            log: The journal's log.
            owner: Name of the search, for the message that another driver gets.

        Raises:
            BusyError: Another driver holds the journal.
            DamageError: The journal is not what was written.
            StorageAwayError: The storage cannot be reached.
        """
        writer = log.open(owner=owner)
        try:
            content = _parse(writer.content, name=str(log))
        except BaseException:
            writer.close()
            raise
        torn = len(writer.content) - content.length
        if torn:
            logger.warning("%s: the last record is incomplete; its %d bytes are removed", log, torn)
            writer.cut(content.length)
        return cls(str(log), writer=writer, records=content.records)

    def append(self, record: Record, *, durable: bool = True) -> None:
        """Append a record.

        Args:
            record: The record.
            durable: Return only when it survives a power cut.

        Raises:
            SearchFailedError: The disk or the bucket could not be written, or the journal was renamed or deleted.
                The journal is as before.
        """
        line = encode(record, sequence=len(self.records))
        try:
            self._writer.append(line, durable=durable)
        except BusyError as error:
            raise SearchFailedError(str(error)) from error
        except StorageRefusedError as error:
            raise SearchFailedError(f"{error}; then start the same search again") from error
        except StorageAwayError as error:
            raise SearchFailedError(
                f"{error}; nothing is lost, start the same search again when the storage is back"
            ) from error
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            raise SearchFailedError(
                f"{self.name}: a record could not be written ({name}: {error.strerror}); "
                "nothing is lost, free disk space and start the same search again"
            ) from error
        self.records.append(record)

    def check(self) -> None:
        """Check that records can still be appended; cheap enough for every few seconds.

        Raises:
            SearchFailedError: The journal was renamed or deleted, or another driver has taken it over.
        """
        try:
            self._writer.check()
        except (BusyError, StorageRefusedError) as error:
            raise SearchFailedError(f"{error}; then start the same search again") from error

    def close(self) -> None:
        """Give the lock back. A journal without a record is removed."""
        self._writer.close()

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(log: Log) -> list[Record]:
    """Return the records of a journal, also while a driver appends; a torn tail does not count.

    Raises:
        DamageError: The journal is not what was written.
        StorageAwayError: The storage cannot be reached.
    """
    return _parse(log.read(), name=str(log)).records


def encode(record: Record, *, sequence: int) -> bytes:
    """Return the line of a record."""
    body = RECORD.dump_json(record)
    return b'{"n": %d, "crc": "%08x", "record": %s}\n' % (sequence, _checksum(body, sequence=sequence), body)


def _checksum(body: bytes, *, sequence: int) -> int:
    return zlib.crc32(b"%d:%s" % (sequence, body))


def _parse(data: bytes, *, name: str) -> Content:
    """Read all whole lines. What follows them is a torn tail, unless it begins with a whole record."""
    *lines, tail = data.split(b"\n")
    records: list[Record] = []
    start = 0
    for line in lines:
        position = f"{name}, line {len(records) + 1}, byte {start}"
        records.append(_decode(line, sequence=len(records), position=position))
        start += len(line) + 1
    whole = LINE.match(tail)
    if whole and whole.end() < len(tail) and _is_intact(whole):
        position = f"{name}, line {len(records) + 1}, byte {start + whole.end()}"
        raise DamageError(f"{position}: the line break at the end of the record is missing; {ADVICE}")
    return Content(records, start)


def _decode(line: bytes, *, sequence: int, position: str) -> Record:
    """Return the record of a line."""
    match = LINE.fullmatch(line)
    if match is None or not _is_intact(match):
        raise DamageError(f"{position}: the record differs from its checksum; {ADVICE}")
    if int(match[1]) != sequence:
        raise DamageError(f"{position}: record {int(match[1])} was read, expected record {sequence}; {ADVICE}")
    try:
        return RECORD.validate_json(match[3])
    except ValidationError as error:
        raise DamageError(f"{position}: this version cannot read the record; use the one that wrote it") from error


def _is_intact(match: re.Match[bytes]) -> bool:
    return int(match[2], 16) == _checksum(match[3], sequence=int(match[1]))
