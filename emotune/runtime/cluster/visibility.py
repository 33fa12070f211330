"""Whether a machine sees what a search needs: the folder of its results, for writing too, and the segment store."""

import socket
import uuid
from pathlib import Path

import ray

from emotune.base import Settings
from emotune.data.store import read_about
from emotune.errors import DataError, StorageAwayError, StorageRefusedError
from emotune.storage import Storage, StorageField

MARKER = "driver"
"""The file in a search's folder by which its workers know that it is the driver's."""


class InaccessibleError(Exception):
    """This machine does not see what the search needs."""


class Requirements(Settings):
    """What every machine that works for a search must see."""

    folder: StorageField
    """The search's folder."""
    token: str
    """What the driver has written into its marker."""
    stores: dict[str, str]
    """Fingerprints of segment stores by their paths."""


def announce(folder: Storage, *, stores: dict[str, str]) -> Requirements:
    """Write a new marker into a search's folder, and return what machines must see.

    Args:
        folder: The search's folder.
        stores: Fingerprints of segment stores by their paths.
    """
    token = uuid.uuid4().hex
    folder.write(MARKER, token.encode())
    return Requirements(folder=folder, token=token, stores=stores)


def missing(requirements: Requirements) -> list[str]:
    """Return what this machine does not see of what a search needs, in words; nothing if it sees everything."""
    return [*_missing_folder(requirements.folder, token=requirements.token), *_missing_stores(requirements.stores)]


def check_sight(requirements: Requirements | None) -> None:
    """Refuse to work on a machine that does not see what the search needs; soon done where that was well before.

    Raises:
        InaccessibleError: Naming the machine and what it does not see.
    """
    if requirements is None or (
        requirements.token in _seen and _sees_marker(requirements.folder, token=requirements.token)
    ):
        return
    what = missing(requirements)
    if what:
        raise InaccessibleError(f"node {node_name()} does not see {' and '.join(what)}")
    _seen.add(requirements.token)


def node_name() -> str:
    """Return what people call this machine, and its address in the cluster."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


_seen: set[str] = set()


def _sees_marker(folder: Storage, *, token: str) -> bool:
    """Tell whether the marker is still there; a bucket does not go away, and is waited for where it is used."""
    try:
        return not folder.mounted or folder.read(MARKER) == token.encode()
    except OSError:
        return False


def _missing_folder(folder: Storage, *, token: str) -> list[str]:
    where = f"the results in {folder}"
    try:
        if folder.read(MARKER) != token.encode():
            return [where]
        folder.check_writable()
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
