"""Failures that only Ray reports: a worker, a node or a connection is lost, or a group could not start.

They are classified by the types of Ray's exceptions.
"""

from collections.abc import Mapping

from ray import train
from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from emotune.runtime.failures import RULES, failure_of, summary
from emotune.search.records import Failure

CONNECTION_ADVICE = (
    "; the workers cannot connect to each other: set GLOO_SOCKET_IFNAME on every node to its network interface (for "
    "example eth0) before Ray is started there"
)


def trial_failure(error: BaseException | None, *, text: str) -> Failure:
    """Classify why Tune lost a trial.

    Args:
        error: Ray's exception; None if Tune did not keep one.
        text: The exception as text.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if isinstance(error, RayTaskError) or (isinstance(error, RayActorError) and error.actor_init_failed):
        # an exception outside a step, such as in the start of the process
        return Failure(kind="program_error", message=lines[-1])
    return Failure(kind="node_lost" if _is_node_death(error) else "worker_lost", message=lines[0])


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
