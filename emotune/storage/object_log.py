"""Lines in a bucket that one driver appends to at a time: objects of so many lines each, the last one written anew.

The first line of an object names the driver that wrote it. Every write says which version it replaces, and who takes
over begins by writing the last object anew, under its name: from then on whoever wrote before is refused.
"""

import contextlib
import json
import time

from emotune.errors import BusyError, StorageAwayError, StorageConflictError
from emotune.storage.lease import Lease
from emotune.storage.patience import patiently
from emotune.storage.remote import Remote

LINES = 256
"""Lines of an object."""

DELAY_SECONDS = 1.0
"""A line that need not be durable may wait so long for the next one."""

ATTEMPTS = 5
"""So often a driver tries to take over from one that writes at the same moment."""


class ObjectLog:
    """Lines that are appended to a place in a bucket, while a lease is held.

    Args:
        remote: The place.
        lease: The right to write.
        hold: What to give back with the log, the lease among it.

    Raises:
        BusyError: Another driver has taken over meanwhile.
    """

    def __init__(self, remote: Remote, *, lease: Lease, hold: contextlib.ExitStack) -> None:
        self._remote = remote
        self._lease = lease
        self._header = json.dumps({"driver": lease.driver}).encode() + b"\n"
        self._written = time.monotonic()
        self._waiting = b""
        self._failed = False
        with hold:
            self._take_over(ATTEMPTS)
            self._hold = hold.pop_all()

    def _take_over(self, attempts: int) -> None:
        parts = _read(self._remote)
        self.content = b"".join(lines for lines, _ in parts)
        self._number = max(len(parts) - 1, 0)
        self._lines, etag = parts[-1] if parts else (b"", None)
        self._etag: str | None = etag
        if self._lines.count(b"\n") >= LINES:
            self._turn_over()
        try:
            self._put(self._lines)
        except BusyError:
            if attempts <= 1:
                raise
            self._take_over(attempts - 1)  # the one before wrote a last time, and sees soon that it has lost the lease

    def cut(self, length: int) -> None:
        """Forget nothing: an object is written whole or not at all.

        Raises:
            AssertionError: There are more bytes than those.
        """
        assert length == len(self.content)

    def append(self, line: bytes, *, durable: bool) -> None:
        """Write a line at the end.

        Raises:
            BusyError: Another driver has taken over. Nothing was written.
            StorageAwayError: The bucket was away for minutes. Whether it was written shows when it is back.
        """
        if self._failed:
            raise StorageAwayError(f"{self._remote}: an earlier record could not be written")
        self._waiting += line
        if durable or time.monotonic() - self._written > DELAY_SECONDS:
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
                self._turn_over()
        self._waiting = b""

    def _turn_over(self) -> None:
        self._number, self._lines, self._etag = self._number + 1, b"", None

    def _put(self, lines: bytes) -> None:
        if self._lease.lost:
            raise BusyError(self._taken_over)
        key = (self._remote / f"{self._number:06d}.jsonl").key
        body = self._header + lines
        try:
            self._etag = patiently(
                lambda: self._remote.bucket.put(key, body, replaces=self._etag), what=str(self._remote)
            )
        except StorageConflictError as error:
            raise BusyError(self._taken_over) from error
        self._lines = lines
        self._written = time.monotonic()

    @property
    def _taken_over(self) -> str:
        return f"{self._remote}: another driver has taken this search over, as this one was away; nothing is lost"

    def close(self) -> None:
        """Write what waits, and let others open it."""
        try:
            if not self._failed:
                self._write()
        finally:
            self._hold.close()


def read_lines(remote: Remote) -> bytes:
    """Return all lines at a place; also while a driver writes there."""
    return b"".join(lines for lines, _ in _read(remote))


def _read(remote: Remote) -> list[tuple[bytes, str]]:
    """Return the lines of each object without the first one, and its version."""
    found = [remote.bucket.get(entry.key) for entry in remote.bucket.entries(remote.below)]
    return [(blob.body.split(b"\n", 1)[1], blob.etag) for blob in found if blob is not None]
