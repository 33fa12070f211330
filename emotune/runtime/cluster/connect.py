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

import ray
from ray._common.utils import get_ray_address_file
from ray._private import ray_constants

from emotune.errors import SettingsError
from emotune.runtime.cluster.resources import available_workers, worker_resources


def connect(cpus: int, *, dashboard: bool = False) -> None:
    """Connect to the running cluster, or start one on this machine.

    Args:
        cpus: Fewest CPUs of a cluster that is started here.
        dashboard: Start Ray's dashboard too. Without it Ray Train keeps the resources of a killed group reserved.
    """
    if ray.is_initialized():
        return
    _set_ray_defaults()
    local = {"address": "local", "num_cpus": max(cpus, os.cpu_count() or 1), "include_dashboard": dashboard}
    running = running_cluster() is not None
    protect_token(create=not running)
    if not running:
        listen_on_loopback()
    ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if running else local))


def connect_for_groups(workers: tuple[int, int] | None, *, threads: int, trials: int | None) -> None:
    """Connect to a cluster with enough CPUs for the trials of a search.

    Args:
        workers: Fewest and most workers of a group; None: one worker per trial, without a group.
        threads: CPUs of a group's worker on a cluster without GPUs.
        trials: Trials at a time; a cluster that is started here gets the CPUs for them.

    Raises:
        SettingsError: The number of workers is fixed, and the cluster is too small for it.
    """
    if workers is None:
        connect(trials or 1)
        return
    fewest, most = workers
    connect((trials or 1) * most * threads, dashboard=True)
    available = available_workers(threads)
    if fewest == most > available:
        needs = " and ".join(f"{amount:g} {name}" for name, amount in worker_resources(threads).items())
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
