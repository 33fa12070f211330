"""Who may write: an object in the bucket that its holder renews, and that others take over when it does not.

No clock of one machine is compared with that of another: who wants a lease that somebody holds watches whether the
object changes. Since a holder may be suspended and wake up, a lease alone keeps nobody from writing: what is written
names its holder (`ObjectLog`), and who has lost the lease is refused there.
"""

import json
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from emotune.errors import BusyError, SettingsError, StorageAwayError, StorageConflictError, StorageRefusedError
from emotune.storage.local_log import about_owner
from emotune.storage.remote import Remote

if TYPE_CHECKING:
    from emotune.storage.bucket import Blob

logger = logging.getLogger(__name__)

RENEWAL_SECONDS = 5.0
"""So often a holder renews its lease."""

STALE_SECONDS = 20.0
"""A lease that has not changed for so long is nobody's."""

LOOK_SECONDS = 1.0
"""So often who waits for a lease looks whether it has changed."""


class Lease:
    """The right to write, held until it is released or taken over. Use `Lease.take`."""

    def __init__(self, remote: Remote, *, about: dict[str, Any], etag: str) -> None:
        self.driver: str = about["driver"]
        self.lost = False
        """Whether another driver has taken it over."""
        self._remote = remote
        self._about = about
        self._etag = etag
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, remote: Remote, *, owner: str, cache: str) -> "Lease":
        """Take a lease, after waiting whether its present holder is alive.

        Args:
            remote: The object.
            owner: Who takes it, for people.
            cache: This machine's word (`cache_id`). Who takes the lease keeps other processes of this machine away
                by a lock, so that a holder with the same word is dead.

        Raises:
            BusyError: Somebody else holds it.
            SettingsError: The server knows no conditional writes.
            StorageAwayError: The bucket cannot be reached.
        """
        about = {"driver": uuid.uuid4().hex, "owner": about_owner(owner), "cache": cache, "beat": 0, "released": False}
        found = _wait_until_free(remote, cache=cache)
        try:
            etag = remote.bucket.put(remote.key, _encode(about), replaces=None if found is None else found.etag)
        except StorageConflictError as error:
            raise _busy(remote) from error
        _check_conditions(remote)
        return cls(remote, about=about, etag=etag)

    def release(self) -> None:
        """Give it back, for others to take at once; a bucket that is away keeps it until it is stale."""
        self._over.set()
        self._thread.join()
        if self.lost:
            return
        try:
            self._write(released=True)
        except (StorageAwayError, StorageRefusedError) as error:
            logger.warning("%s was not given back; others wait %.0f s for it: %s", self._remote, STALE_SECONDS, error)
        except StorageConflictError:
            self.lost = True

    def _renew(self) -> None:
        while not self._over.wait(RENEWAL_SECONDS):
            try:
                self._write()
            except StorageConflictError:
                self.lost = True
                return
            except (StorageAwayError, StorageRefusedError) as error:
                logger.debug("%s was not renewed: %s", self._remote, error)

    def _write(self, *, released: bool = False) -> None:
        self._about |= {"beat": self._about["beat"] + 1, "released": released}
        self._etag = self._remote.bucket.put(self._remote.key, _encode(self._about), replaces=self._etag)


def is_held(remote: Remote) -> bool:
    """Tell whether a lease is held, going by the server's clock alone."""
    found = remote.bucket.get(remote.key)
    if found is None or _decode(found.body)["released"]:
        return False
    age = remote.bucket.age(remote.key)
    return age is not None and age < STALE_SECONDS


def _wait_until_free(remote: Remote, *, cache: str) -> "Blob | None":
    """Return the lease when it is released, or its holder was a process of this machine, or it does not change."""
    found = remote.bucket.get(remote.key)
    until = time.monotonic() + STALE_SECONDS
    told = False
    while found is not None and time.monotonic() < until:
        about = _decode(found.body)
        if about["released"] or about["cache"] == cache:
            return found
        if not told:
            logger.warning("waiting %.0f s whether %s is alive on this search", STALE_SECONDS, about["owner"])
            told = True
        time.sleep(LOOK_SECONDS)
        again = remote.bucket.get(remote.key)
        if again is not None and again.etag != found.etag and not _decode(again.body)["released"]:
            raise _busy(remote)
        found = again
    return found


def _busy(remote: Remote) -> BusyError:
    found = remote.bucket.get(remote.key)
    holder = "it has just started" if found is None else _decode(found.body)["owner"]
    return BusyError(f"{remote}: another driver is alive on this search ({holder}); wait for it or stop it")


def _check_conditions(remote: Remote) -> None:
    """Refuse a server that takes no notice of conditions, on which everything stands.

    Raises:
        SettingsError: It does not.
    """
    for replaces in (None, '"00000000000000000000000000000000"'):
        try:
            remote.bucket.put(remote.key, b"{}", replaces=replaces)
        except StorageConflictError:
            continue
        except StorageRefusedError as error:
            raise SettingsError(f"{remote}: {REFUSAL} ({error})") from error
        raise SettingsError(f"{remote}: {REFUSAL}")


REFUSAL = (
    "this server does not know conditional writes (If-Match, If-None-Match), without which two drivers could write at "
    "once; use one that does, or a shared folder"
)


def _encode(about: dict[str, Any]) -> bytes:
    return json.dumps(about).encode()


def _decode(body: bytes) -> dict[str, Any]:
    return {"driver": "", "owner": "unknown", "cache": "", "beat": 0, "released": True} | json.loads(body)
