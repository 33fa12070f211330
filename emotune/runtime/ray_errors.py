"""Failures that only Ray reports: a worker, a node or a connection is lost, or a group could not start.

They are classified by the types of Ray's exceptions, and by their messages where Ray has no type or Tune loses it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ray import cloudpickle, train
from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.tune import TuneError
from ray.tune.experiment import Trial

from emotune.errors import ClusterError, EmotuneError, summary
from emotune.runtime.failures import RULES, failure_of
from emotune.search.records import Failure

CONNECTION_ADVICE = (
    "; the workers cannot connect to each other: set GLOO_SOCKET_IFNAME on every node to its network interface (for "
    "example eth0) before Ray is started there"
)

MEMORY_KILL = "killed due to the node running low on memory"
"""Part of the message of Ray's OutOfMemoryError, which Tune does not keep."""

SETUP_FAILURE = "Failed to set up runtime environment"
"""First line of Ray's RuntimeEnvSetupError: the node could not start a worker process."""

NODE_DEATH = "its node has died"
"""Part of the message of Ray's ActorDiedError if the node is lost."""

OS_ERROR = re.compile(r"^\w+: \[Errno \d+\]")
"""Last line of the traceback of an OSError, as in ``FileNotFoundError: [Errno 2] No such file or directory``."""

NODE_MEMORY = re.compile(r"used / (?P<limit>[\d.]+)GB limit")
KILLED_WORKER = re.compile(r"Selected to kill: .*?pid=(?P<pid>\d+), actual memory used=(?P<used>[\d.]+)GB")
"""The node's memory, and process number and memory of a killed worker, in the message of Ray's OutOfMemoryError."""

MAX_INNOCENT_SHARE = 0.5
"""Share of the node's memory up to which a killed worker is not itself the cause of the shortage."""


def lost_trial_failure(trial: Trial) -> Failure:
    """Classify Ray's exception for a trial, which Tune has written to files."""
    assert trial.error_file is not None
    text = Path(trial.error_file).read_text()
    text = text.rsplit("Failure # ", 1)[-1].split("\n", 1)[-1]
    return trial_failure(_load_error(trial.pickled_error_file), text=text, pid=trial.last_result.get("pid"))


def _load_error(path: str | None) -> BaseException | None:
    """Return a pickled exception; None if there is none, or if its class cannot be rebuilt from its arguments."""
    if path is None:
        return None
    try:
        return cloudpickle.loads(Path(path).read_bytes())
    except Exception:  # noqa: BLE001 (unpickling runs the constructor of any class)
        return None


def trial_failure(error: BaseException | None, *, text: str, pid: int | None = None) -> Failure:
    """Classify why Tune lost a trial.

    Args:
        error: Ray's exception; None if Tune did not keep one.
        text: The exception as text.
        pid: Process number of the trial's worker, if it has reported anything.
    """
    lines = [line.strip() for line in text.strip().splitlines()] or ["Ray gave no reason"]
    if MEMORY_KILL in text:
        return _memory_failure(text, pid=pid)
    if SETUP_FAILURE in text:
        return Failure(kind="os_error", message=f"Ray could not start a worker: {lines[-1]}")
    if isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and error.actor_init_failed):
        # an exception outside a step, such as in the start of the process
        is_os_error = OS_ERROR.match(lines[-1]) or isinstance(getattr(error, "cause", None), OSError)
        return Failure(kind="os_error" if is_os_error else "program_error", message=lines[-1])
    is_node_death = _is_node_death(error) or NODE_DEATH in text
    return Failure(kind="node_lost" if is_node_death else "worker_lost", message=lines[0])


def _memory_failure(text: str, *, pid: int | None) -> Failure:
    """Classify the message of Ray's memory monitor, which has killed one or several workers.

    Args:
        text: Its message.
        pid: Process number of the worker, if it is known; otherwise the memory of a single killed worker counts.
    """
    limit = NODE_MEMORY.search(text)
    killed = [(int(worker["pid"]), float(worker["used"])) for worker in KILLED_WORKER.finditer(text)]
    known = [used for worker, used in killed if worker == pid] or [used for _, used in killed if len(killed) == 1]
    if limit is None or not known:
        return Failure(kind="memory_pressure", message="Ray ended the worker because its node ran low on memory")
    share = f"its node ran low on memory; the worker used {known[0]:.1f} of {float(limit['limit']):.1f} GB"
    kind = "out_of_memory" if known[0] > MAX_INNOCENT_SHARE * float(limit["limit"]) else "memory_pressure"
    return Failure(kind=kind, message=f"Ray ended the worker because {share}")


def group_failure(error: BaseException, *, reported: Mapping[int, Failure]) -> Failure:
    """Classify why a group of workers ended.

    If a worker dies, the collectives of the others fail too. So a death comes before all errors, and an error of
    the program before lost connections.

    Args:
        error: The exception that Ray Train raised.
        reported: Failures that workers reported before they ended, by rank.
    """
    if not isinstance(error, train.WorkerGroupError):
        return _controller_failure(error)
    errors = error.worker_failures
    memory = [text for worker_error in errors.values() if MEMORY_KILL in (text := str(worker_error))]
    if memory:
        return _memory_failure(memory[0], pid=None)
    dead = sorted(rank for rank, worker_error in errors.items() if is_death(worker_error))
    if dead:
        node_died = any(_is_node_death(errors[rank]) for rank in dead)
        ranks = ", ".join(map(str, dead))
        return Failure(kind="node_lost" if node_died else "worker_lost", message=f"worker {ranks} of the group died")
    failures = {
        rank: reported.get(rank) or failure_of(worker_error, in_group=True) for rank, worker_error in errors.items()
    }
    causes = {rank: failure for rank, failure in failures.items() if failure.kind != "worker_lost"}
    if not causes:
        first = next(iter(failures.values()))
        message = f"the connection between the workers was lost: {first.message}"
        return Failure(kind="worker_lost", message=message)
    rank, cause = min(causes.items(), key=lambda item: RULES[item[1].kind].machine_fault)
    if RULES[cause.kind].stops_search:
        return cause
    return Failure(kind=cause.kind, message=f"worker {rank} of the group: {cause.message}")


def is_startup_timeout(error: BaseException) -> bool:
    """Return whether a group did not start because the cluster had no resources for it."""
    return isinstance(_unwrapped(error), WorkerGroupStartupTimeoutError)


def raise_cause(error: Exception) -> None:
    """Raise what ended Tune's run, if it is not an error of the program.

    Tune wraps an exception of its own or of our callbacks in a TuneError, as text. The exception itself is its context.

    Args:
        error: The exception that Tune raised.

    Raises:
        EmotuneError: The error of ours that a callback raised.
        ClusterError: Ray or the operating system failed. The search has lost nothing.
    """
    causes = list(_with_causes(error))
    for cause in causes:
        if isinstance(cause, EmotuneError):
            raise cause
    for cause in causes:
        if MEMORY_KILL in str(cause):
            failure = _memory_failure(str(cause), pid=None)
            remedy = RULES["memory_pressure"].remedy
            raise ClusterError(f"Ray Tune has ended: {failure.message}", remedy=remedy) from error
    line = next(filter(None, map(_fault_of_machine, causes)), "")
    if line:
        raise ClusterError(f"Ray Tune has ended: {line}") from error


def _fault_of_machine(error: BaseException) -> str:
    """Return an exception of Ray or the operating system in one line, also if Tune has its text only; empty: others."""
    if isinstance(error, TuneError):
        line = summary(error).partition(": ")[2]
        return line if OS_ERROR.match(line) else ""
    is_fault = isinstance(error, OSError | RayError) and not isinstance(error, RayTaskError)
    return summary(error) if is_fault else ""


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from, the newest first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def is_death(error: BaseException) -> bool:
    """Return whether a worker's process or node is gone or does not respond."""
    return isinstance(error, RayError | WorkerHealthCheckFailedError | WorkerHealthCheckTimeoutError)


def _controller_failure(error: BaseException) -> Failure:
    if isinstance(error, train.PreemptionError):
        return Failure(kind="node_lost", message="a node of the group is preempted")
    error = _unwrapped(error)
    if "connectFullMesh" in str(error):  # of Gloo, which has no type for it
        return Failure(kind="program_error", message=summary(error) + CONNECTION_ADVICE)
    if isinstance(error, RayError | WorkerGroupStartupFailedError | WorkerGroupStartupTimeoutError):
        kind = "node_lost" if _is_node_death(error) else "worker_lost"
        return Failure(kind=kind, message=summary(error))
    return failure_of(error)


def _unwrapped(error: BaseException) -> BaseException:
    return error.controller_failure if isinstance(error, train.ControllerError) else error


def _is_node_death(error: BaseException | None) -> bool:
    if isinstance(error, WorkerHealthCheckFailedError):
        error = error.health_check_failure
    return isinstance(error, NodeDiedError) or (isinstance(error, RayActorError) and error.preempted)
