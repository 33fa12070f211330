"""Why a group broke off: by an error of the program, or because a worker, a node or a connection was lost."""

from dataclasses import dataclass

from ray import train
from ray.exceptions import RayError

from emotune.runtime.cluster.access_check import InaccessibleError

LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "ProcessGroup")
"""Words of the errors that collectives raise when another worker is gone."""

HINT = (
    "; the workers cannot connect to each other: set GLOO_SOCKET_IFNAME on every node to its network interface (for "
    "instance eth0) before Ray is started there"
)


@dataclass(frozen=True)
class Breakdown:
    """Why a group broke off.

    Attributes:
        error: What went wrong, in a line.
        infrastructure: Whether a worker, a node or a connection was lost, rather than the program raising an error.
        no_room: Whether it has not begun, as the cluster had no room for it.
        blind: Whether it has not begun, as a worker's machine does not see what it needs.
    """

    error: str
    infrastructure: bool
    no_room: bool = False
    blind: bool = False


def breakdown(error: BaseException) -> Breakdown:
    """Tell why a group broke off from the error that Ray Train raised.

    When a worker dies, the others raise errors too, as their collectives break: the death counts then.
    """
    if not isinstance(error, train.WorkerGroupError):
        return _of_controller(error)
    failures = error.worker_failures
    died = sorted(rank for rank, one in failures.items() if is_death(one))
    own = {rank: one for rank, one in failures.items() if not is_death(one) and not is_loss(one)}
    blind = next(
        (_in_a_line(one) for one in failures.values() if InaccessibleError.__name__ in f"{type(one)} {one}"), None
    )
    if blind is not None:
        return Breakdown(
            blind.rsplit(f"{InaccessibleError.__name__}: ", maxsplit=1)[-1], infrastructure=True, blind=True
        )
    if died:
        return Breakdown(f"worker {', '.join(map(str, died))} of the group died", infrastructure=True)
    if own:
        rank, one = next(iter(own.items()))
        return Breakdown(f"worker {rank} of the group: {_in_a_line(one)}", infrastructure=False)
    return Breakdown(f"the workers lost each other: {_in_a_line(next(iter(failures.values())))}", infrastructure=True)


def _of_controller(error: BaseException) -> Breakdown:
    if isinstance(error, train.PreemptionError):
        return Breakdown("a node of the group is taken away", infrastructure=True)
    if isinstance(error, train.ControllerError):
        error = error.controller_failure
    if "connectFullMesh" in str(error):
        return Breakdown(_in_a_line(error) + HINT, infrastructure=False)
    kind = type(error).__name__
    infrastructure = isinstance(error, RayError) or kind.startswith("WorkerGroupStartup")
    return Breakdown(_in_a_line(error), infrastructure, no_room=kind == "WorkerGroupStartupTimeoutError")


def is_death(error: BaseException) -> bool:
    """Tell whether a worker's error is that its process, or its node, is gone or does not answer."""
    return isinstance(error, RayError) or type(error).__name__.startswith("WorkerHealthCheck")


def is_loss(error: BaseException) -> bool:
    """Tell whether a worker's error is that a collective broke because of another worker."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in LOST)


def _in_a_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
