"""Check that every machine can access what a search needs: its results, for writing too, and the segment stores.

The driver writes a random token into a file of the search's folder. A machine that reads the same token has the
same folder. All nodes are checked before the search starts, and each worker is checked when it gets a job.
"""

import logging
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError

from emotune.base import Settings
from emotune.errors import DataError, SettingsError, StorageAwayError, StorageError, StorageRefusedError
from emotune.runtime.cluster.nodes import alive_nodes, node_name, run_on_node
from emotune.storage import Storage, StorageField
from emotune.study.folder import SearchFolder
from emotune.waiting import announce

logger = logging.getLogger(__name__)

MARKER = "driver"
"""File in a search's folder that holds the driver's token."""

REPLY_TIMEOUT_S = 60.0
"""Time for the nodes to reply before the search starts; a node without a reply is checked with its first job."""


class InaccessibleError(Exception):
    """This machine cannot access what the search needs."""


class Requirements(Settings):
    """What every machine that works for a search must be able to access."""

    folder: StorageField
    """The search's folder."""
    token: str
    """The driver's token, which is also in the folder's marker file."""
    stores: dict[str, str]
    """Fingerprints of segment stores by their paths."""


def check_nodes(folder: SearchFolder, *, stores: Mapping[str, str]) -> Requirements:
    """Write the search's marker, and refuse to start if a node cannot access the folder or a store.

    Args:
        folder: The search's folder.
        stores: Fingerprints of segment stores by their paths.

    Returns:
        What nodes must be able to access; nodes that join later are checked when they get a job.

    Raises:
        SettingsError: Naming the nodes and what they cannot access.
        StorageError: The marker cannot be written.
    """
    try:
        requirements = write_marker(folder.storage, stores=dict(stores))
    except OSError as error:
        raise StorageError(
            f"{folder.storage}: the driver's file could not be written ({error.strerror or error}); free disk space or "
            "correct the rights, and start the same search again"
        ) from error
    nodes = alive_nodes() if ray.is_initialized() else []
    if len(nodes) > 1:
        announce(
            f"checking that {len(nodes)} nodes can access {'the results and the store' if stores else 'the results'}"
        )
        _check([node for node in nodes if node["Resources"].get("CPU", 0) > 0], requirements)
    return requirements


def write_marker(folder: Storage, *, stores: dict[str, str]) -> Requirements:
    """Write a new token into a search's folder, and return what machines must be able to access.

    Args:
        folder: The search's folder.
        stores: Fingerprints of segment stores by their paths.
    """
    token = uuid.uuid4().hex
    folder.write(MARKER, token.encode())
    return Requirements(folder=folder, token=token, stores=stores)


def check_access(requirements: Requirements | None) -> None:
    """Refuse to work on a machine that cannot access what the search needs.

    After the first success only the marker is read again.

    Raises:
        InaccessibleError: Naming the machine and what it cannot access.
    """
    if requirements is None or (
        requirements.token in _checked_tokens and _has_marker(requirements.folder, token=requirements.token)
    ):
        return
    missing = find_missing(requirements)
    if missing:
        raise InaccessibleError(f"node {this_node_name()} cannot access {' and '.join(missing)}")
    _checked_tokens.add(requirements.token)


def find_missing(requirements: Requirements) -> list[str]:
    """Return descriptions of what this machine cannot access of a search's requirements."""
    return [*_missing_folder(requirements.folder, token=requirements.token), *_missing_stores(requirements.stores)]


def this_node_name() -> str:
    """Return this machine's host name and its address in the cluster."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


_checked_tokens: set[str] = set()


def _has_marker(folder: Storage, *, token: str) -> bool:
    """Return whether the marker is still there; a bucket is not read again, as its users wait for it themselves."""
    try:
        return not folder.mounted or folder.read(MARKER) == token.encode()
    except OSError:
        return False


def _missing_folder(folder: Storage, *, token: str) -> list[str]:
    name = f"the results in {folder}"
    try:
        if folder.read(MARKER) != token.encode():
            return [name]
        folder.check_writable()
    except (OSError, StorageAwayError, StorageRefusedError) as error:
        return [f"{name} for writing ({error})"]
    return []


def _missing_stores(stores: dict[str, str]) -> list[str]:
    return [f"the segment store {path}" for path, fingerprint in stores.items() if _fingerprint(path) != fingerprint]


def _fingerprint(path: str) -> str | None:
    from emotune.data.store import read_about  # noqa: PLC0415 (searches without stores do not import it)

    try:
        return read_about(Path(path)).fingerprint
    except (DataError, OSError):
        return None


def _check(nodes: list[dict[str, Any]], requirements: Requirements) -> None:
    names = {run_on_node(node, _find_missing, requirements.model_dump_json()): node_name(node) for node in nodes}
    replied, silent = ray.wait(list(names), num_returns=len(names), timeout=REPLY_TIMEOUT_S)
    for reference in silent:
        logger.warning("node %s did not reply within %.0f s", names[reference], REPLY_TIMEOUT_S)
    missing = {names[reference]: parts for reference in replied if (parts := _result(reference))}
    if missing:
        nodes_text = "; ".join(f"node {name} cannot access {' and '.join(parts)}" for name, parts in missing.items())
        if requirements.folder.mounted:
            advice = (
                "give a --storage and a --store that are shared by all nodes, such as an NFS folder, or s3:// results"
            )
        else:
            advice = "give every node the keys and the address of the bucket (AWS_*), and a --store on all nodes"
        raise SettingsError(f"{nodes_text}; {advice}, or start without those nodes")


def _find_missing(requirements: str) -> list[str]:
    return find_missing(Requirements.model_validate_json(requirements))


def _result(reference: Any) -> list[str]:
    try:
        return ray.get(reference)
    except (NodeDiedError, TaskUnschedulableError):
        return []  # the node has left the cluster
    except RayError as error:
        return [f"the same emotune as this machine ({str(error).strip().splitlines()[-1]})"]
