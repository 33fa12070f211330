"""What can be seen on one host alone: versions, GPU, memory, the storage folder, Ray's token."""

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
from emotune.doctor.finding import Finding, doubtful, fine, wrong
from emotune.errors import DataError

GIBIBYTE = 2**30
SPARE_BYTES = 5 * GIBIBYTE
"""A storage folder with less room than this is soon full."""
OPEN_FILES = 4096
"""Ray opens thousands of files and connections on a head node."""
PORTS = (6379, 8265)
"""Where Ray's head and its dashboard listen unless told otherwise."""
SERVERS = {
    "ray": re.compile(r"ray::|ray-dashboard|ray\.|.*/ray/(core|dashboard|_private|autoscaler|util)/"),
    "mlflow": re.compile(r"(.*/)?mlflow$|mlflow\."),
}
"""How one of a server's words begins, on the command line of a process of its own."""
COMPARED = ("emotune", "python", "ray", "torch")
"""What has to be the same on all hosts."""


@dataclass(frozen=True)
class Report:
    """What a host says of itself."""

    findings: tuple[Finding, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Places:
    """What a host should see."""

    storage: Path | None
    """Folder of the results; None if they lie in a bucket."""
    store: Path | None
    """Segment store; None if none was named."""
    marker: str | None = None
    """A file that the driver has written into the storage folder."""


def examine_host(places: Places) -> Report:
    """Look at this host."""
    findings = (
        *check_packages(),
        check_gpu(),
        check_memory(),
        check_open_files(),
        check_ports(os.environ),
        *([] if places.storage is None else check_storage(places.storage, marker=places.marker)),
        *([] if places.store is None else [check_store(places.store)]),
    )
    return Report(findings, versions())


def read_clock() -> float:
    """Return this host's time, in seconds since 1970."""
    return time.time()


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on all hosts; emotune's with a hash of its code."""
    found = {name: importlib.metadata.version(name) for name in COMPARED if name != "python"}
    return found | {"emotune": f"{found['emotune']} ({_hash_of_code()})", "python": platform.python_version()}


@functools.cache
def _hash_of_code() -> str:
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def check_packages() -> Iterator[Finding]:
    """Check that what emotune requires is there, in versions that it works with."""
    said = f"emotune {versions()['emotune']}, Python {platform.python_version()}"
    unfit = [problem for text in importlib.metadata.requires("emotune") or [] if (problem := _unfit(text))]
    if unfit:
        yield wrong("packages", f"{said}; {', '.join(unfit)}", "install the locked ones: make setup")
    else:
        ours = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "torch", "mlflow"))
        yield fine("packages", f"{said}, {ours}")
    try:
        importlib.import_module("hpbandster.optimizers.config_generators.bohb")
    except ImportError as error:
        yield wrong(
            "hpbandster", f"cannot be imported: {error}", "make setup (it installs ./packaging/netifaces first)"
        )


def _unfit(text: str) -> str | None:
    """Return what is wrong with a requirement; nothing if it is fulfilled, or an extra's."""
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    fits = requirement.specifier.contains(version, prereleases=True)
    return None if fits else f"{requirement.name} {version} does not fit {requirement.specifier}"


def check_gpu() -> Finding:
    """Check that a GPU can be used if there is one."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        kinds = ", ".join(f"{one.name} {one.total_memory / GIBIBYTE:.0f} GiB" for one in names)
        return fine("gpu", f"{kinds}; bfloat16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}")
    if shutil.which("nvidia-smi") is None:
        return fine("gpu", f"none; trains on {os.cpu_count()} CPUs")
    if torch.version.cuda is None:
        return wrong("gpu", "the host has one, but torch is a CPU build", "install torch's CUDA build of that version")
    return wrong("gpu", "torch cannot use it", "see what nvidia-smi and CUDA_VISIBLE_DEVICES say")


def check_memory() -> Finding:
    """Check for room in memory, and in the memory that Ray's processes share."""
    free = psutil.virtual_memory().available / GIBIBYTE
    shared = shutil.disk_usage("/dev/shm").total / GIBIBYTE if Path("/dev/shm").exists() else free
    said = f"{free:.1f} GiB free, shared memory {shared:.1f} GiB"
    if shared < 1:
        return doubtful("memory", said, "give containers more: docker run --shm-size=4g (compose: shm_size)")
    if free < 2:
        return doubtful("memory", said, "fewer evaluations at a time (--concurrency), or end other programs")
    return fine("memory", said)


def check_open_files() -> Finding:
    """Check how many files a process may open."""
    allowed = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)[0]
    if 0 <= allowed < OPEN_FILES:
        return doubtful("open files", f"at most {allowed}", f"ulimit -n {OPEN_FILES} where Ray is started")
    return fine("open files", f"at most {allowed}" if allowed >= 0 else "no limit")


def check_ports(environment: Mapping[str, str]) -> Finding:
    """Check who listens: that Ray's usual ports are Ray's, and that what is open to other machines asks for a token.

    Args:
        environment: The environment variables.
    """
    listening: list[Any] = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    programs = {one.laddr.port: _program(one.pid) for one in listening}
    taken = [f"{port} by {programs[port]}" for port in PORTS if programs.get(port, "ray") not in SERVERS]
    if taken:
        ports = ", ".join(taken)
        return doubtful("ports", f"taken: {ports}", "end it, or give Ray other ports (--port, --dashboard-port)")
    beyond = {one.laddr.port for one in listening if not ipaddress.ip_address(one.laddr.ip).is_loopback}
    opened = {name: sorted(port for port in beyond if programs[port] == name) for name in SERVERS}
    said = "; ".join(f"{name} for other machines on {_in_brief(ports)}" for name, ports in opened.items() if ports)
    if opened["ray"] and environment.get("RAY_AUTH_MODE") == "disabled":
        return wrong("ports", said, "RAY_AUTH_MODE=token, or --node-ip-address=127.0.0.1 where Ray is started")
    if opened["mlflow"]:
        return doubtful("ports", said, "let MLflow ask for passwords (docs/containers.md), or listen on 127.0.0.1")
    return fine("ports", said or "nothing of Ray or MLflow is open to other machines")


def _in_brief(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports[:3])) + (f" and {len(ports) - 3} more" if len(ports) > 3 else "")


def _program(process: int | None) -> str:
    """Return who a process is: ``ray``, ``mlflow`` or its name; what is not told is somebody else's."""
    try:
        words = [] if process is None else psutil.Process(process).cmdline()
        name = "another user" if process is None else psutil.Process(process).name()
    except psutil.Error:
        return "somebody who has just ended"
    return server_of(words) or name


def server_of(words: Sequence[str]) -> str | None:
    """Tell by its command line which server a process belongs to: ``ray``, ``mlflow`` or neither.

    Args:
        words: The command line; a file that merely has the server's name in it does not count.
    """
    return next((server for server, own in SERVERS.items() if any(map(own.match, words))), None)


def check_storage(storage: Path, *, marker: str | None = None) -> Iterator[Finding]:
    """Check that results can be kept in a folder, and that it is the one the driver sees.

    Args:
        storage: The folder.
        marker: Name of a file that the driver has written there; None on the driver itself.
    """
    if marker is not None and not (storage / marker).exists():
        yield wrong(
            "storage", f"{storage} is not what the driver sees", "mount the same folder on all hosts, or use s3://"
        )
        return
    there = next(folder for folder in (storage, *storage.parents) if folder.exists())
    draft = there / f".doctor-{uuid.uuid4().hex}"
    try:
        with draft.open("wb") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield wrong("storage", f"{storage} cannot be written: {error.strerror}", "choose another with --storage")
        return
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    free = shutil.disk_usage(there).free
    new = "" if there == storage else "made by the first search, "
    said = f"{storage} ({filesystem_of(there)}): {new}writable, {free / GIBIBYTE:.0f} GiB free"
    if free < SPARE_BYTES:
        yield doubtful("storage", said, "make room, or choose another with --storage")
    else:
        yield fine("storage", said)


def filesystem_of(path: Path) -> str:
    """Return the kind of file system that a path lies on, as the kernel calls it."""
    resolved = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if resolved.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def check_store(store: Path) -> Finding:
    """Check that a segment store can be opened."""
    try:
        about = SegmentStore.open(store)
    except DataError as error:
        return wrong("store", str(error), "prepare it with `emotune data prepare`, or name another with --store")
    return fine("store", f"{store}: {about.fingerprint[:12]}")


def check_token(environment: Mapping[str, str]) -> Finding:
    """Check how Ray's token is set and kept.

    Args:
        environment: The environment variables.
    """
    mode = environment.get("RAY_AUTH_MODE", "")
    path = Path(environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if mode == "disabled":
        return doubtful(
            "token", "RAY_AUTH_MODE=disabled: whoever reaches Ray's ports runs code here", "RAY_AUTH_MODE=token"
        )
    if environment.get("RAY_AUTH_TOKEN"):
        return fine("token", "in RAY_AUTH_TOKEN")
    if not path.exists():
        if mode == "token":
            return wrong("token", f"RAY_AUTH_MODE=token, but there is no {path}", "ray get-auth-token --generate")
        return fine("token", "none yet; Ray makes one when a search starts Ray on this machine")
    rights = stat.S_IMODE(path.stat().st_mode)
    if rights & 0o077:
        return doubtful("token", f"{path} can be read by others ({rights:o})", f"chmod 600 {path}")
    return fine("token", f"{path}, for this user only")
