"""The right to write in a bucket: an object that its holder rewrites, and that others take when it does not.

Clocks of two machines are not compared. A driver that wants a lease watches whether the object changes for
`STALE_S` of its own clock. A holder may be suspended and wake up after that, so the lease alone does not keep it from
writing: what is written names its holder (`emotune.storage.object_log`), and the write of a former holder is refused.
"""

import json
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from emotune.errors import BusyError, SettingsError, StorageAwayError, StorageConflictError, StorageRefusedError
from emotune.storage.local import describe_owner

if TYPE_CHECKING:
    from emotune.storage.bucket import Blob, Bucket

logger = logging.getLogger(__name__)

RENEWAL_INTERVAL_S = 5.0
"""Seconds between two renewals of a held lease."""

STALE_S = 20.0
"""Seconds without a renewal after which another driver takes a lease."""

POLL_INTERVAL_S = 1.0
"""Seconds between two reads of a lease that another driver holds."""


class Lease:
    """The right to write, held until it is released or taken over. Made by `Lease.take`."""

    def __init__(self, bucket: "Bucket", key: str, *, content: dict[str, Any], etag: str) -> None:
        self.driver: str = content["driver"]
        self.lost = False
        """Whether another driver has taken it over."""
        self._bucket = bucket
        self._key = key
        self._content = content
        self._etag = etag
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, bucket: "Bucket", key: str, *, owner: str, cache_id: str) -> "Lease":
        """Take a lease, once it is free.

        It is free if it is released, if it was not renewed for `STALE_S`, or if its holder has the same ``cache_id``:
        the caller holds the lock of that cache, so such a holder is dead.

        Args:
            bucket: The bucket.
            key: The lease's object.
            owner: Name of the search, for the message that another driver gets.
            cache_id: Random id of this machine's cache.

        Raises:
            BusyError: Another driver renews it.
            SettingsError: The server does not support conditional writes.
            StorageAwayError: The bucket cannot be reached.
        """
        content = {
            "driver": uuid.uuid4().hex,
            "owner": describe_owner(owner),
            "cache": cache_id,
            "beat": 0,
            "released": False,
        }
        present = _wait_until_free(bucket, key, cache_id=cache_id)
        try:
            etag = bucket.put(key, _encode(content), replaces=None if present is None else present.etag)
        except StorageConflictError as error:
            raise _busy(bucket, key) from error
        _check_conditions(bucket, key)
        return cls(bucket, key, content=content, etag=etag)

    def release(self) -> None:
        """Give it back, so that others need not wait. If the bucket is away, they wait until it is stale."""
        self._over.set()
        self._thread.join()
        if self.lost:
            return
        try:
            self._write(released=True)
        except (StorageAwayError, StorageRefusedError) as error:
            url = self._bucket.url(self._key)
            logger.warning("%s was not released; other drivers wait %.0f s for it: %s", url, STALE_S, error)
        except StorageConflictError:
            self.lost = True

    def _renew(self) -> None:
        while not self._over.wait(RENEWAL_INTERVAL_S):
            try:
                self._write()
            except StorageConflictError:
                self.lost = True
                return
            except (StorageAwayError, StorageRefusedError) as error:
                logger.debug("%s was not renewed: %s", self._bucket.url(self._key), error)

    def _write(self, *, released: bool = False) -> None:
        """Replace the lease. A version that this driver wrote is its own, also if the response to it was lost."""
        self._content |= {"beat": self._content["beat"] + 1, "released": released}
        try:
            self._etag = self._bucket.put(self._key, _encode(self._content), replaces=self._etag)
        except StorageConflictError:
            present = self._bucket.get(self._key)
            if present is None or _decode(present.body)["driver"] != self.driver:
                raise
            self._etag = self._bucket.put(self._key, _encode(self._content), replaces=present.etag)


def is_held(bucket: "Bucket", key: str) -> bool:
    """Return whether a lease is held; its age is measured by the server's clock alone."""
    present = bucket.get(key)
    if present is None or _decode(present.body)["released"]:
        return False
    age = bucket.age(key)
    return age is not None and age < STALE_S


def _wait_until_free(bucket: "Bucket", key: str, *, cache_id: str) -> "Blob | None":
    """Return the lease's present version, once it is free; None: there is none."""
    present = bucket.get(key)
    deadline = time.monotonic() + STALE_S
    logged = False
    while present is not None and time.monotonic() < deadline:
        content = _decode(present.body)
        if content["released"] or content["cache"] == cache_id:
            return present
        if not logged:
            logger.warning("waiting %.0f s to check whether %s is still running this search", STALE_S, content["owner"])
            logged = True
        time.sleep(POLL_INTERVAL_S)
        newer = bucket.get(key)
        if newer is not None and newer.etag != present.etag and not _decode(newer.body)["released"]:
            raise _busy(bucket, key)
        present = newer
    return present


def _busy(bucket: "Bucket", key: str) -> BusyError:
    present = bucket.get(key)
    holder = "it has just started" if present is None else _decode(present.body)["owner"]
    return BusyError(f"{bucket.url(key)}: another driver is running this search ({holder}); wait for it or stop it")


def _check_conditions(bucket: "Bucket", key: str) -> None:
    """Refuse a server that ignores the conditions of writes, on which all promises rest.

    Raises:
        SettingsError: It ignores or does not support them.
    """
    for replaces in (None, '"00000000000000000000000000000000"'):
        try:
            bucket.put(key, b"{}", replaces=replaces)
        except StorageConflictError:
            continue
        except StorageRefusedError as error:
            raise SettingsError(f"{bucket.url(key)}: {REFUSAL} ({error})") from error
        raise SettingsError(f"{bucket.url(key)}: {REFUSAL}")


REFUSAL = (
    "this server does not support conditional writes (If-Match, If-None-Match), without which two drivers could write "
    "at once; use a server that does, or a shared folder"
)


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _decode(body: bytes) -> dict[str, Any]:
    return {"driver": "", "owner": "unknown", "cache": "", "beat": 0, "released": True} | json.loads(body)
