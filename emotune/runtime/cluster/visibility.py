"""Whether a machine sees what a search needs: the folder of its results, for writing too, and the segment store."""

import socket
import uuid
from pathlib import Path

import ray

from emotune.base import Settings
from emotune.data.store import read_about
from emotune.errors import DataError, StorageAwayError, StorageRefusedError
from emotune.files import write_atomically
from emotune.runtime.place import Place
from emotune.storage.remote import place_of, pull, push, remote_of

MARKER = "driver"
"""The file in a search's folder by which its workers know that it is the driver's."""


class BlindError(Exception):
    """This machine does not see what the search needs."""


class Needs(Settings):
    """What every machine that works for a search must see."""

    folder: Place
    """The search's folder."""
    token: str
    """What the driver has written into its marker."""
    stores: dict[str, str]
    """Fingerprints of segment stores by their paths."""


def announce(folder: Path, *, stores: dict[str, str]) -> Needs:
    """Write a new marker into a search's folder, and return what machines must see.

    Args:
        folder: The search's folder.
        stores: Fingerprints of segment stores by their paths.
    """
    token = uuid.uuid4().hex
    write_atomically(folder / MARKER, token.encode())
    push(folder / MARKER)
    return Needs(folder=folder, token=token, stores=stores)


def missing(needs: Needs) -> list[str]:
    """Return what this machine does not see of what a search needs, in words; nothing if it sees everything."""
    return [*_missing_folder(needs.folder, token=needs.token), *_missing_stores(needs.stores)]


def check_sight(needs: Needs | None) -> None:
    """Refuse to work on a machine that does not see what the search needs; soon done where that was well before.

    Raises:
        BlindError: Naming the machine and what it does not see.
    """
    if needs is None or (needs.token in _seen and _sees_marker(needs.folder, token=needs.token)):
        return
    what = missing(needs)
    if what:
        raise BlindError(f"node {node_name()} does not see {' and '.join(what)}")
    _seen.add(needs.token)


def node_name() -> str:
    """Return what people call this machine, and its address in the cluster."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


_seen: set[str] = set()


def _sees_marker(folder: Path, *, token: str) -> bool:
    """Tell whether the marker is still there; a bucket does not go away, and is waited for where it is used."""
    try:
        return remote_of(folder) is not None or (folder / MARKER).read_text() == token
    except OSError:
        return False


def _missing_folder(folder: Path, *, token: str) -> list[str]:
    where = f"the results in {place_of(folder)}"
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        if not pull(folder / MARKER) or (folder / MARKER).read_text() != token:
            return [where]
        if remote_of(folder) is None:
            probe.write_bytes(b"")
            probe.unlink()
    except (OSError, StorageAwayError, StorageRefusedError) as error:
        return [f"{where} so that it can write there ({error})"]
    return []


def _missing_stores(stores: dict[str, str]) -> list[str]:
    return [f"the segment store {path}" for path, fingerprint in stores.items() if _fingerprint(path) != fingerprint]


def _fingerprint(path: str) -> str | None:
    try:
        return read_about(Path(path)).fingerprint
    except (DataError, OSError):
        return None
