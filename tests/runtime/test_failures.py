"""Promises of how a group's end is judged: whose fault it was, and what people read about it."""

import pytest
from ray import train
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.train.v2._internal import exceptions as internal

from emotune.errors import DamageError
from emotune.runtime.failures import breakdown

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:61607: Connection reset by peer")
NCCL = RuntimeError("NCCL communicator was aborted on rank 1")
BUG = ValueError("the first line\nthe last line")


def of_workers(**failures: Exception) -> train.WorkerGroupError:
    return train.WorkerGroupError("", {int(name.removeprefix("rank")): error for name, error in failures.items()})


INFRASTRUCTURE = [
    (of_workers(rank1=ActorDiedError()), "worker 1 of the group died"),
    (of_workers(rank0=GLOO, rank1=ActorDiedError()), "worker 1 of the group died"),
    (of_workers(rank2=ActorDiedError(), rank0=ActorDiedError(), rank1=NCCL), "worker 0, 2 of the group died"),
    (of_workers(rank0=BUG, rank1=ActorDiedError()), "worker 1 of the group died"),
    (of_workers(rank0=internal.WorkerHealthCheckTimeoutError("hangs")), "worker 0 of the group died"),
    (of_workers(rank0=internal.WorkerHealthCheckFailedError("gone", GLOO)), "worker 0 of the group died"),
    (of_workers(rank0=GLOO), f"the workers lost each other: RuntimeError: {GLOO}"),
    (of_workers(rank0=GLOO, rank1=NCCL), "the workers lost each other: RuntimeError: "),
    (train.ControllerError(internal.WorkerGroupStartupFailedError("a node")), "WorkerGroupStartupFailedError: a node"),
    (ActorUnavailableError("socket closed", b"\0" * 16), "ActorUnavailableError: "),
]

OWN = [
    (of_workers(rank1=BUG), "worker 1 of the group: ValueError: the last line"),
    (of_workers(rank0=GLOO, rank1=BUG), "worker 1 of the group: ValueError: the last line"),
    (of_workers(rank0=DamageError("weights are damaged")), "worker 0 of the group: DamageError: weights are damaged"),
    (of_workers(rank0=RuntimeError("shapes differ")), "worker 0 of the group: RuntimeError: shapes differ"),
    (train.ControllerError(ValueError("a setting")), "ValueError: a setting"),
    (ValueError(), "ValueError"),
]


@pytest.mark.parametrize(("error", "told"), INFRASTRUCTURE, ids=lambda one: str(one)[:40])
def test_what_is_lost_is_not_the_programs_fault(error: Exception, told: str) -> None:
    found = breakdown(error)
    assert found.infrastructure
    assert not found.no_room
    assert found.error.startswith(told)
    assert "\n" not in found.error


@pytest.mark.parametrize(("error", "told"), OWN, ids=lambda one: str(one)[:40])
def test_an_error_of_a_workers_own_is_told_as_it_is(error: Exception, told: str) -> None:
    found = breakdown(error)
    assert (found.error, found.infrastructure, found.no_room) == (told, False, False)


def test_a_group_that_found_no_room_is_neither_lost_nor_at_fault() -> None:
    found = breakdown(train.ControllerError(internal.WorkerGroupStartupTimeoutError(3)))
    assert found.no_room
    assert found.infrastructure


def test_workers_that_cannot_connect_are_told_what_to_set() -> None:
    raised = RuntimeError("Gloo connectFullMesh failed with timeout")
    found = breakdown(train.ControllerError(raised))
    assert "GLOO_SOCKET_IFNAME" in found.error
    assert not found.infrastructure
