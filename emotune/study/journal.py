"""The journal of a search: one file that nothing is ever lost from, and that one driver writes at a time."""

import errno
import logging
import re
import zlib
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pydantic import ValidationError

from emotune.errors import BusyError, DamageError, SearchFailedError, StorageAwayError
from emotune.search.records import RECORD, Record
from emotune.storage.local_log import LocalLog
from emotune.storage.logs import open_log, read_log
from emotune.storage.object_log import ObjectLog
from emotune.storage.remote import place_of

logger = logging.getLogger(__name__)

LINE = re.compile(rb'\{"n": (0|[1-9][0-9]*), "crc": "([0-9a-f]{8})", "record": (\{[^\n]*\})\}')

ADVICE = "keep a copy of the file, and restore it from a backup or start the search afresh (--fresh)"


class Content(NamedTuple):
    """What a journal holds, and how many bytes of the file that is."""

    records: list[Record]
    length: int


class Journal:
    """The records of a search, held by one driver: in a file, or in a bucket if the file's folder stands for one.

    Each record is a line ``{"n": sequence, "crc": "xxxxxxxx", "record": {...}}``. A record that `append`
    has returned from survives the death of the process, and of the machine if it was durable.

    Use `Journal.open` in a ``with`` statement.
    """

    def __init__(self, path: Path, *, log: LocalLog | ObjectLog, records: list[Record]) -> None:
        self.path = path
        self.records = records
        self._log = log

    @classmethod
    def open(cls, path: Path, *, owner: str) -> "Journal":
        """Open a journal for writing, or begin one.

        A torn last line, left by a driver that died while writing it, is cut off.

        Args:
            path: The file. The lock is beside it, with the suffix ``.lock``.
            owner: Who opens it, for people.

        Raises:
            BusyError: Another driver has it open. The kernel ends that when the driver dies; in a bucket it ends
                when the driver has not been heard of for a while.
            DamageError: The file is not what was written.
        """
        log = open_log(path, owner=owner)
        try:
            content = _parse(log.content, where=place_of(path))
        except BaseException:
            log.close()
            raise
        torn = len(log.content) - content.length
        if torn:
            logger.warning("%s: the last record was not written to its end; %d bytes are cut off", path, torn)
            log.cut(content.length)
        return cls(path, log=log, records=content.records)

    def append(self, record: Record, *, durable: bool = True) -> None:
        """Write a record at the end.

        Args:
            record: What to write.
            durable: Whether to wait until it would survive a power cut.

        Raises:
            SearchFailedError: The disk or the bucket did not take it. The journal is as it was before.
        """
        line = encode(record, sequence=len(self.records))
        try:
            self._log.append(line, durable=durable)
        except BusyError as error:
            raise SearchFailedError(str(error)) from error
        except StorageAwayError as error:
            raise SearchFailedError(
                f"{error}; nothing is lost, start the same search again when the storage is back"
            ) from error
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            raise SearchFailedError(
                f"{self.path}: a record could not be written ({name}: {error.strerror}); "
                "nothing is lost, make room and start the same search again"
            ) from error
        self.records.append(record)

    def close(self) -> None:
        """Let others open it."""
        self._log.close()

    def __len__(self) -> int:
        return len(self.records)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path) -> list[Record]:
    """Return the records of a journal, also while a driver writes it; a torn last line does not count.

    Raises:
        DamageError: The file is not what was written.
    """
    return _parse(read_log(path), where=place_of(path)).records


def encode(record: Record, *, sequence: int) -> bytes:
    """Return the line of a record."""
    body = RECORD.dump_json(record)
    return b'{"n": %d, "crc": "%08x", "record": %s}\n' % (sequence, _checksum(body, sequence=sequence), body)


def _checksum(body: bytes, *, sequence: int) -> int:
    return zlib.crc32(b"%d:%s" % (sequence, body))


def _parse(data: bytes, *, where: str) -> Content:
    """Read all whole lines. What follows is a torn record, unless it begins with a whole one."""
    *lines, tail = data.split(b"\n")
    records: list[Record] = []
    start = 0
    for line in lines:
        place = f"{where}, line {len(records) + 1}, byte {start}"
        records.append(_decode(line, sequence=len(records), place=place))
        start += len(line) + 1
    whole = LINE.match(tail)
    if whole and whole.end() < len(tail) and _is_sound(whole):
        raise DamageError(
            f"{where}, line {len(records) + 1}, byte {start + whole.end()}: the line break is gone; {ADVICE}"
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
