"""Logs that one driver writes: opened, read and locked, wherever they lie."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from emotune.storage.lease import Lease, is_held
from emotune.storage.local_log import LocalLog, is_locked, take_lock
from emotune.storage.object_log import ObjectLog, read_lines
from emotune.storage.remote import Remote, cache_id, remote_of


def open_log(path: Path, *, owner: str) -> LocalLog | ObjectLog:
    """Open a log for writing, or begin one.

    Args:
        path: The file. If its folder stands for a place in a bucket, the log lies there, in objects below the
            file's name without its suffix.
        owner: Who opens it, for people.

    Raises:
        BusyError: Another driver has it open.
        StorageAwayError: The bucket cannot be reached.
    """
    with contextlib.ExitStack() as hold:
        lease = _take(path, owner=owner, hold=hold)
        remote = remote_of(path)
        if lease is None or remote is None:
            return LocalLog(path, hold=hold.pop_all())
        return ObjectLog(_parts(remote), lease=lease, hold=hold.pop_all())


def read_log(path: Path) -> bytes:
    """Return what a log holds, also while a driver writes it; nothing if there is none."""
    remote = remote_of(path)
    if remote is not None:
        return read_lines(_parts(remote))
    return path.read_bytes() if path.exists() else b""


def log_exists(path: Path) -> bool:
    """Tell whether there is a log."""
    remote = remote_of(path)
    return path.is_file() if remote is None else bool(remote.bucket.entries(_parts(remote).below))


def log_is_open(path: Path) -> bool:
    """Tell whether a driver has a log open."""
    remote = remote_of(path)
    return is_locked(path.with_suffix(".lock")) if remote is None else is_held(_lease(remote))


@contextlib.contextmanager
def locked(path: Path, *, owner: str) -> Iterator[None]:
    """Keep drivers away from a log, whatever is in it.

    Args:
        path: The log's file.
        owner: Who does so, for people.

    Raises:
        BusyError: A driver has it open.
    """
    with contextlib.ExitStack() as hold:
        _take(path, owner=owner, hold=hold)
        yield


def _take(path: Path, *, owner: str, hold: contextlib.ExitStack) -> Lease | None:
    """Take the lock of this machine, and the lease if the log lies in a bucket; both end with ``hold``."""
    lock = take_lock(path.with_suffix(".lock"), owner=owner)
    hold.callback(os.close, lock)
    remote = remote_of(path)
    if remote is None:
        return None
    lease = Lease.take(_lease(remote), owner=owner, cache=cache_id(path))
    hold.callback(lease.release)
    return lease


def log_prefix(path: Path) -> str:
    """Return what the names of a log's parts in a bucket begin with, from the folder of its file on."""
    return f"{path.stem}/"


def _parts(remote: Remote) -> Remote:
    return Remote(remote.name, remote.key.rsplit(".", 1)[0])


def _lease(remote: Remote) -> Remote:
    return Remote(remote.name, remote.key.rsplit(".", 1)[0] + ".lease")
