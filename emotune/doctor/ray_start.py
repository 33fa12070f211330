"""Checks of what Ray needs to start on this host: its temporary folder, and open files."""

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from emotune.doctor.findings import Finding, failure, ok, warning

MEBIBYTE = 2**20
SOCKET = f"session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"
"""Name of a socket in Ray's folder, of a driver with this process number."""
MAX_SOCKET_PATH_BYTES = 107
"""Longest path of a socket on Linux; Ray refuses longer ones."""
MIN_START_BYTES = 32 * MEBIBYTE
"""Free space of Ray's folder below which Ray is not started: it would wait for files that cannot be written."""
MIN_FREE_BYTES = 1024 * MEBIBYTE
"""Free space of Ray's folder below which a warning is given; the logs of a long search have this size."""
MIN_OPEN_FILES = 4096
"""Limit of open files below which a warning is given; Ray's head opens thousands of files and connections."""


def ray_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of Ray's sockets and logs.

    Args:
        environment: The environment variables.
    """
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp") / "ray"


def check_ray_folder(environment: Mapping[str, str]) -> Finding:
    """Check that Ray's folder has a path that is short enough for sockets, can be written, and has room.

    Args:
        environment: The environment variables.
    """
    folder = ray_folder(environment)
    longest = len(os.fsencode(folder / SOCKET))
    cure = "set RAY_TMPDIR to another folder, on a disk of this machine"
    if longest > MAX_SOCKET_PATH_BYTES:
        limit = MAX_SOCKET_PATH_BYTES - len(SOCKET) - len("/ray/")
        return failure(
            "ray folder", f"{folder.parent} is too long for Ray's sockets", f"set RAY_TMPDIR to at most {limit} bytes"
        )
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    if not os.access(existing, os.W_OK | os.X_OK):
        return failure("ray folder", f"{folder} cannot be written", cure)
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    observed = f"{folder}: {free / MEBIBYTE:,.0f} MiB free"
    if free < MIN_START_BYTES or (disk.f_files and not disk.f_favail):
        files = ", no free files" if disk.f_files and not disk.f_favail else ""
        return failure("ray folder", f"{observed}{files}", f"free disk space, or {cure}")
    if free < MIN_FREE_BYTES:
        return warning("ray folder", observed, f"free disk space, or {cure}")
    return ok("ray folder", observed)


def check_open_files(*, hard: bool = False) -> Finding:
    """Check the limit of open files of a process.

    Args:
        hard: Check the hard limit, to which ``ray.init`` raises the other one; ``ray start`` does not.
    """
    allowed = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[1 if hard else 0]
    if 0 <= allowed < MIN_OPEN_FILES:
        return warning("open files", f"at most {allowed}", f"run ulimit -n {MIN_OPEN_FILES} where Ray is started")
    return ok("open files", f"at most {allowed}" if allowed >= 0 else "no limit")
