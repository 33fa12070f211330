"""Lines that one driver appends to objects of a bucket.

An object holds up to `LINES` lines, and the last one is replaced with every write. The first line of an object names
the driver that wrote it. Every write is conditional on the version that it replaces. A driver that takes over first
rewrites the last object under its own name: from then on the writes of the driver before it are refused.
"""

import contextlib
import json
import time
import uuid
from typing import TYPE_CHECKING

from emotune.errors import BusyError, StorageAwayError, StorageConflictError
from emotune.storage.base import LogWriter
from emotune.storage.lease import Lease
from emotune.storage.patience import patiently

if TYPE_CHECKING:
    from emotune.storage.bucket import Bucket

LINES = 256
"""Lines of an object."""

WRITE_DELAY_S = 1.0
"""Seconds that a line which need not be durable may wait for the next one, so that one write takes both."""

TAKE_OVER_ATTEMPTS = 5
"""Attempts to take over from a driver that writes at the same moment."""


def _header(driver: str) -> bytes:
    """Return the first line of an object."""
    return json.dumps({"driver": driver}).encode() + b"\n"


HEADER_BYTES = len(_header(uuid.uuid4().hex))
"""Length of the first line of an object."""


class ObjectLogWriter(LogWriter):
    """Lines in a bucket that are appended to while a lease is held.

    Args:
        bucket: The bucket.
        key: Its objects are ``KEY/000000.jsonl`` and so on.
        lease: The right to write.
        held: Given back by `close`, the lease among it.

    Raises:
        BusyError: Another driver has taken over meanwhile.
    """

    def __init__(self, bucket: "Bucket", key: str, *, lease: Lease, held: contextlib.ExitStack) -> None:
        self._bucket = bucket
        self._key = key
        self._lease = lease
        self._header = _header(lease.driver)
        self._written_at = time.monotonic()
        self._waiting = b""
        self._failed = False
        with held:
            self._take_over(TAKE_OVER_ATTEMPTS)
            self._held = held.pop_all()

    def _take_over(self, attempts: int) -> None:
        objects = _read(self._bucket, self._key)
        self.content = b"".join(lines for lines, _ in objects)
        self._number = max(len(objects) - 1, 0)
        self._lines, etag = objects[-1] if objects else (b"", None)
        self._etag: str | None = etag
        if self._lines.count(b"\n") >= LINES:
            self._begin_object()
        try:
            self._put(self._lines)
        except BusyError:
            if attempts <= 1:
                raise
            # the driver before wrote once more; it soon finds that it has lost the lease
            self._take_over(attempts - 1)

    def cut(self, length: int) -> None:
        """Check that nothing is to be cut: an object is written whole or not at all.

        Raises:
            AssertionError: The content is longer than ``length`` bytes.
        """
        assert length == len(self.content)

    def check(self) -> None:
        """Check that the lease was not lost.

        Raises:
            BusyError: Another driver has taken over.
        """
        if self._lease.lost:
            raise BusyError(self._taken_over)

    def append(self, line: bytes, *, durable: bool) -> None:
        """Append a line.

        Raises:
            BusyError: Another driver has taken over. Nothing was written.
            StorageAwayError: The bucket was away for minutes. The line may have been written.
        """
        if self._failed:
            raise StorageAwayError(f"{self._url}: an earlier record could not be written")
        self._waiting += line
        if durable or time.monotonic() - self._written_at > WRITE_DELAY_S:
            self._failed = True
            self._write()
            self._failed = False

    def _write(self) -> None:
        lines = self._waiting.splitlines(keepends=True)
        while lines:
            room = LINES - self._lines.count(b"\n")
            if room:
                self._put(self._lines + b"".join(lines[:room]))
                lines = lines[room:]
            else:
                self._begin_object()
        self._waiting = b""

    def _begin_object(self) -> None:
        self._number, self._lines, self._etag = self._number + 1, b"", None

    def _put(self, lines: bytes) -> None:
        self.check()
        body = self._header + lines
        try:
            self._etag = patiently(lambda: self._bucket.put(self._object, body, replaces=self._etag), what=self._url)
        except StorageConflictError as error:
            raise BusyError(self._taken_over) from error
        self._lines = lines
        self._written_at = time.monotonic()

    @property
    def _object(self) -> str:
        """Key of the object that the next lines go to."""
        return f"{self._key}/{self._number:06d}.jsonl"

    @property
    def _url(self) -> str:
        return self._bucket.url(self._key)

    @property
    def _taken_over(self) -> str:
        return (
            f"{self._url}: another driver has taken this search over while this one did not renew its lease; "
            "nothing is lost"
        )

    def close(self) -> None:
        """Write the lines that wait, and give the lease back.

        An object without a line stays, because it could only be removed whatever its version: see `is_begun`.
        """
        try:
            if not self._failed:
                self._write()
        finally:
            self._held.close()


def is_begun(bucket: "Bucket", key: str) -> bool:
    """Return whether a log has a line. An object with a driver's name alone is of a start that failed."""
    return any(entry.size > HEADER_BYTES for entry in bucket.entries(f"{key}/"))


def read_lines(bucket: "Bucket", key: str) -> bytes:
    """Return all lines of a log, also while a driver appends."""
    return b"".join(lines for lines, _ in _read(bucket, key))


def _read(bucket: "Bucket", key: str) -> list[tuple[bytes, str]]:
    """Return the lines of each object without the driver's name, and the object's version."""
    blobs = [bucket.get(entry.key) for entry in bucket.entries(f"{key}/")]
    return [(blob.body.split(b"\n", 1)[1], blob.etag) for blob in blobs if blob is not None]
