"""Connect to a Ray cluster, or start one on this machine that no other machine or user can reach.

A cluster that is started here listens on the loopback interface only and requires a token. The token lets its
holder run code on the cluster, so its file is readable by its user alone.
"""

import contextlib
import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray._common.utils import get_ray_address_file
from ray._private import ray_constants
from ray._private.worker import global_worker

from emotune.doctor.ray_start import check_open_files, check_ray_folder, ray_folder
from emotune.errors import ClusterError, SettingsError, summary
from emotune.runtime.cluster.nodes import alive_nodes
from emotune.runtime.cluster.resources import available_workers, worker_resources
from emotune.waiting import announce

if TYPE_CHECKING:  # it imports torch, which a search of a trainable does not need
    from emotune.training.execution import Compute

logger = logging.getLogger(__name__)

SESSION_FOLDERS = ("logs", "sockets")
"""Folders that Ray creates at its start and needs to the end."""

START_ATTEMPTS = 2
"""Number of attempts to start Ray."""


def connect(cpus: int, *, dashboard: bool = False) -> None:
    """Connect to the running cluster, or start one on this machine.

    Args:
        cpus: Fewest CPUs of a cluster that is started here.
        dashboard: Start Ray's dashboard too. Without it Ray Train keeps the resources of a killed group reserved.

    Raises:
        ClusterError: Ray does not start, or the running cluster cannot be used.
    """
    if ray.is_initialized():
        return
    _set_ray_defaults()
    address = running_cluster()
    protect_token(create=address is None)
    if address is None:
        listen_on_loopback()
        announce("starting Ray on this machine")
        _start(cpus=max(cpus, os.cpu_count() or 1), dashboard=dashboard)
    else:
        announce(f"connecting to the Ray cluster {'of this machine' if address == 'auto' else f'at {address}'}")
        _join(address)


def disconnect() -> None:
    """Leave the cluster; one that was started here ends."""
    ray.shutdown()


def find_ray_fault(*, without_workers: bool) -> str | None:
    """Return why no worker can start any more: a folder of Ray was deleted, or this machine's node has died.

    Ray's node ends with its agent processes, which the system may kill; the driver stays connected and would wait.

    Args:
        without_workers: Whether no trial has a worker. Only then the node is checked, because the check waits for
            Ray's head process.
    """
    started = global_worker.node
    assert started is not None, "Ray is not connected"
    session = Path(started.get_session_dir_path())
    lost = next((folder for name in SESSION_FOLDERS if not (folder := session / name).is_dir()), None)
    if lost is not None:
        return f"Ray's folder {lost} was deleted"
    if without_workers:
        own = ray.get_runtime_context().get_node_id()
        if all(node["NodeID"] != own for node in alive_nodes()):
            return "Ray's node on this machine has died"
    return None


def _start(*, cpus: int, dashboard: bool) -> None:
    """Start Ray on this machine, with one retry: on a busy machine its processes may start too slowly."""
    _check_start()
    for attempt in range(START_ATTEMPTS):
        try:
            _init(address="local", num_cpus=cpus, include_dashboard=dashboard)
        except Exception as error:
            ray.shutdown()
            reason = summary(error, line="first")
            if attempt + 1 == START_ATTEMPTS:
                raise ClusterError(
                    f"Ray did not start in {START_ATTEMPTS} attempts: {reason}; its logs are in "
                    f"{ray_folder(os.environ) / 'session_latest' / 'logs'}",
                    remedy="run emotune doctor, and start the same search again when the machine is less busy",
                ) from error
            logger.warning("Ray did not start and is started again: %s", reason)
        else:
            return


def _join(address: str) -> None:
    """Connect to a running cluster."""
    try:
        _init()
    except Exception as error:
        raise ClusterError(
            f"the Ray cluster at {address} cannot be used: {summary(error, line='first')}",
            remedy="check RAY_ADDRESS, and that RAY_AUTH_MODE and the token are those of the cluster",
        ) from error


def _init(**options: Any) -> None:
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)


def _check_start() -> None:
    """Log what may keep Ray from running on this machine, and refuse to start it if it cannot run."""
    for finding in (check_ray_folder(os.environ), check_open_files(hard=True)):
        if finding.state == "fail":
            raise ClusterError(f"Ray cannot start: {finding.name}: {finding.found}", remedy=finding.cure)
        if finding.state == "warn":
            logger.warning("%s: %s; %s", finding.name, finding.found, finding.cure)


def connect_for_groups(workers: tuple[int, int] | None, *, compute: "Compute", trials: int | None) -> None:
    """Connect to a cluster with enough CPUs for the trials of a search.

    Args:
        workers: Fewest and most workers of a group; None: one worker per trial, without a group.
        compute: CPU threads and further resources of a worker.
        trials: Trials at a time; a cluster that is started here gets the CPUs for them.

    Raises:
        SettingsError: The number of workers is fixed, and the cluster is too small for it.
    """
    if workers is None:
        connect((trials or 1) * compute.threads)
        return
    fewest, most = workers
    connect((trials or 1) * most * compute.threads, dashboard=True)
    available = available_workers(compute)
    if fewest == most > available:
        needs = " and ".join(f"{amount:g} {name}" for name, amount in worker_resources(compute).items())
        raise SettingsError(
            f"--workers {most} was given, each worker needs {needs}, and the cluster has resources for {available}; "
            f"give fewer, or a range such as 1..{most}, which uses the workers that are available and adds others later"
        )


def running_cluster() -> str | None:
    """Return the address of the cluster that `connect` would use; None if it would start one."""
    default = "auto" if is_announced() else "local"
    address = os.environ.get("RAY_ADDRESS", default)
    return None if address == "local" else address


def is_announced() -> bool:
    """Return whether this user or root has started a cluster on this machine.

    Every user can write into Ray's temporary folder. A driver that connects to the cluster of another user would
    send it the token and unpickle its replies, so an address file of another user is ignored.
    """
    try:
        return Path(get_ray_address_file(None)).stat().st_uid in {0, os.getuid()}
    except FileNotFoundError:
        return False


def listen_on_loopback() -> None:
    """Make a Ray cluster that is started from here listen on the loopback interface only.

    ``ray.init`` replaces a loopback address by one that others can reach, and then listens on all interfaces. It
    does not where Ray supports no clusters, as on macOS and Windows. That is decided by this constant, which Ray's
    child processes read from the environment variable.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"


def protect_token(*, create: bool) -> None:
    """Make Ray's token readable by its user alone.

    Ray itself writes ``~/.ray/auth_token`` with the permissions of the umask, mostly readable by everybody.

    Args:
        create: Create the token if it does not exist and Ray would create it.
    """
    from_environment = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if from_environment or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(PermissionError):  # the home of another user: Ray reports what it cannot do
        if create and not path.exists():
            _create_token(path)
        if path.exists():
            path.chmod(0o600)


def _create_token(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600, whatever the umask
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    with contextlib.suppress(FileExistsError):  # another process was faster
        os.link(draft, path)
    Path(draft).unlink()


def _set_ray_defaults() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    # the search itself reports the failure of a trial, in one line
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
