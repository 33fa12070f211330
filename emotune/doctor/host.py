"""Checks of one host: packages, GPU, memory, ports, storage folder, segment store and Ray's token."""

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import ipaddress
import os
import platform
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from packaging.requirements import Requirement

from emotune.data.store import SegmentStore
from emotune.doctor.findings import Finding, failure, ok, warning
from emotune.doctor.ray_start import check_open_files, check_ray_folder
from emotune.errors import DataError

GIBIBYTE = 2**30
MIN_FREE_BYTES = 5 * GIBIBYTE
"""Free space of the storage folder below which a warning is given."""
PORTS = (6379, 8265)
"""Default ports of Ray's head and of its dashboard."""
SERVERS = {
    "ray": re.compile(r"ray::|ray-dashboard|ray\.|.*/ray/(core|dashboard|_private|autoscaler|util)/"),
    "mlflow": re.compile(r"(.*/)?mlflow$|mlflow\."),
}
"""Pattern by server that a word of its processes' command lines begins with."""
COMPARED = ("emotune", "python", "ray", "torch")
"""Packages whose versions must be the same on all hosts."""


@dataclass(frozen=True)
class HostReport:
    """The findings and versions of a host."""

    findings: tuple[Finding, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class HostPaths:
    """Paths that are checked on a host."""

    storage: Path | None
    """Storage folder; None if the storage is a bucket."""
    store: Path | None
    """Segment store; None if none was given."""
    marker: str | None = None
    """Name of a file that the driver has written into the storage folder."""


def check_host(paths: HostPaths) -> HostReport:
    """Run all checks of this host."""
    findings = (
        *check_packages(),
        check_gpu(),
        check_memory(),
        check_open_files(),
        check_ray_folder(os.environ),
        check_ports(os.environ),
        *([] if paths.storage is None else check_storage(paths.storage, marker=paths.marker)),
        *([] if paths.store is None else [check_store(paths.store)]),
    )
    return HostReport(findings, versions())


def read_clock() -> float:
    """Return this host's clock (s since 1970)."""
    return time.time()


def versions() -> dict[str, str]:
    """Return the versions of `COMPARED`; that of emotune with a hash of its code."""
    installed = {name: importlib.metadata.version(name) for name in COMPARED if name != "python"}
    return installed | {"emotune": f"{installed['emotune']} ({_hash_of_code()})", "python": platform.python_version()}


@functools.cache
def _hash_of_code() -> str:
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def check_packages() -> Iterator[Finding]:
    """Check that the packages emotune requires are installed in supported versions."""
    observed = f"emotune {versions()['emotune']}, Python {platform.python_version()}"
    problems = [problem for text in importlib.metadata.requires("emotune") or [] if (problem := _problem_of(text))]
    if problems:
        yield failure("packages", f"{observed}; {', '.join(problems)}", "install the locked versions: make setup")
    else:
        versions_text = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "torch", "mlflow"))
        yield ok("packages", f"{observed}, {versions_text}")
    try:
        importlib.import_module("hpbandster.optimizers.config_generators.bohb")
    except ImportError as error:
        yield failure(
            "hpbandster", f"cannot be imported: {error}", "run make setup, which installs ./packaging/netifaces first"
        )


def _problem_of(text: str) -> str | None:
    """Return the problem with a requirement; None if it is met, or belongs to an extra."""
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    fits = requirement.specifier.contains(version, prereleases=True)
    return None if fits else f"{requirement.name} {version} does not meet {requirement.specifier}"


def check_gpu() -> Finding:
    """Check that torch can use the host's GPUs, if it has any."""
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        descriptions = ", ".join(f"{device.name} {device.total_memory / GIBIBYTE:.0f} GiB" for device in devices)
        return ok("gpu", f"{descriptions}; bfloat16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}")
    if shutil.which("nvidia-smi") is None:
        return ok("gpu", f"none; training uses {os.cpu_count()} CPUs")
    if torch.version.cuda is None:
        return failure(
            "gpu", "the host has a GPU, but torch is a CPU build", "install the CUDA build of the same torch version"
        )
    return failure("gpu", "torch cannot use the GPU", "check the driver with nvidia-smi, and CUDA_VISIBLE_DEVICES")


def check_memory() -> Finding:
    """Check free memory, and the size of the shared memory that Ray's processes use."""
    free = psutil.virtual_memory().available / GIBIBYTE
    shared = shutil.disk_usage("/dev/shm").total / GIBIBYTE if Path("/dev/shm").exists() else free
    observed = f"{free:.1f} GiB free, shared memory {shared:.1f} GiB"
    if shared < 1:
        return warning(
            "memory", observed, "increase shared memory of containers: docker run --shm-size=4g (compose: shm_size)"
        )
    if free < 2:
        return warning("memory", observed, "reduce --concurrency, or end other programs")
    return ok("memory", observed)


def check_ports(environment: Mapping[str, str]) -> Finding:
    """Check that Ray's default ports are free or Ray's, and that servers open to other machines require a token.

    Args:
        environment: The environment variables.
    """
    listening: list[Any] = [
        connection for connection in psutil.net_connections("tcp") if connection.status == psutil.CONN_LISTEN
    ]
    programs = {connection.laddr.port: _program(connection.pid) for connection in listening}
    taken = [f"{port} by {programs[port]}" for port in PORTS if programs.get(port, "ray") not in SERVERS]
    if taken:
        return warning(
            "ports",
            f"in use: {', '.join(taken)}",
            "end that program, or give Ray other ports (--port, --dashboard-port)",
        )
    public = {
        connection.laddr.port for connection in listening if not ipaddress.ip_address(connection.laddr.ip).is_loopback
    }
    opened = {name: sorted(port for port in public if programs[port] == name) for name in SERVERS}
    observed = "; ".join(
        f"{name} open to other machines on {_first_ports(ports)}" for name, ports in opened.items() if ports
    )
    if opened["ray"] and environment.get("RAY_AUTH_MODE") == "disabled":
        return failure(
            "ports", observed, "set RAY_AUTH_MODE=token, or use --node-ip-address=127.0.0.1 where Ray is started"
        )
    if opened["mlflow"]:
        return warning(
            "ports", observed, "enable passwords in MLflow (docs/containers.md), or let it listen on 127.0.0.1"
        )
    return ok("ports", observed or "no server of Ray or MLflow is open to other machines")


def _first_ports(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports[:3])) + (f" and {len(ports) - 3} more" if len(ports) > 3 else "")


def _program(process: int | None) -> str:
    """Return ``ray``, ``mlflow`` or the name of a process; None as process is one of another user."""
    try:
        words = [] if process is None else psutil.Process(process).cmdline()
        name = "another user" if process is None else psutil.Process(process).name()
    except psutil.Error:
        return "a program that has just ended"
    return server_of(words) or name


def server_of(words: Sequence[str]) -> str | None:
    """Return the server that a process belongs to, by its command line: ``ray``, ``mlflow`` or None.

    Args:
        words: The command line; an argument that only contains the server's name is ignored.
    """
    return next((server for server, pattern in SERVERS.items() if any(map(pattern.match, words))), None)


def check_storage(storage: Path, *, marker: str | None = None) -> Iterator[Finding]:
    """Check that the storage folder can be written, and that it is the driver's.

    Args:
        storage: The folder.
        marker: Name of a file that the driver has written there; None on the driver.
    """
    if marker is not None and not (storage / marker).exists():
        yield failure(
            "storage", f"{storage} is not the driver's folder", "mount the same folder on all hosts, or use s3://"
        )
        return
    existing = next(folder for folder in (storage, *storage.parents) if folder.exists())
    draft = existing / f".doctor-{uuid.uuid4().hex}"
    try:
        with draft.open("wb") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield failure("storage", f"{storage} cannot be written: {error.strerror}", "give another folder with --storage")
        return
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    free = shutil.disk_usage(existing).free
    creation = "" if existing == storage else "created by the first search, "
    observed = f"{storage} ({filesystem_of(existing)}): {creation}writable, {free / GIBIBYTE:.0f} GiB free"
    if free < MIN_FREE_BYTES:
        yield warning("storage", observed, "free some space, or give another folder with --storage")
    else:
        yield ok("storage", observed)


def filesystem_of(path: Path) -> str:
    """Return the type of a path's file system, for instance ``ext4`` or ``nfs4``."""
    resolved = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def check_store(store: Path) -> Finding:
    """Check that a segment store can be opened."""
    try:
        about = SegmentStore.open(store)
    except DataError as error:
        return failure("store", str(error), "prepare it with `emotune data prepare`, or give another with --store")
    return ok("store", f"{store}: {about.fingerprint[:12]}")


def check_token(environment: Mapping[str, str]) -> Finding:
    """Check that Ray requires a token, and that only this user can read it.

    Args:
        environment: The environment variables.
    """
    mode = environment.get("RAY_AUTH_MODE", "")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if mode == "disabled":
        return warning(
            "token",
            "RAY_AUTH_MODE=disabled: Ray runs code from every machine that can connect to its ports",
            "set RAY_AUTH_MODE=token",
        )
    if environment.get("RAY_AUTH_TOKEN"):
        return ok("token", "in RAY_AUTH_TOKEN")
    if not path.exists():
        if mode == "token":
            return failure("token", f"RAY_AUTH_MODE=token, but there is no {path}", "run ray get-auth-token --generate")
        return ok("token", "none yet; Ray creates one when a search starts Ray on this machine")
    rights = stat.S_IMODE(path.stat().st_mode)
    if rights & 0o077:
        return warning("token", f"{path} can be read by other users ({rights:o})", f"run chmod 600 {path}")
    return ok("token", f"{path}, readable by this user only")
