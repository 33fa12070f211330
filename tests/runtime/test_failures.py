"""Failures: their rules, their classification in the worker, and their classification from Ray's exceptions."""

import pytest
import torch
from ray import cloudpickle, train
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayTaskError
from ray.train.v2._internal import exceptions as internal

from emotune.errors import DamageError, StorageAwayError, StorageError, StorageRefusedError, TrainingDivergedError
from emotune.runtime.failures import RULES, FailureRule, failure_of
from emotune.runtime.ray_errors import group_failure, is_startup_timeout, trial_failure
from emotune.search.records import Failure, FailureKind

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:61607: Connection reset by peer")
NCCL = RuntimeError("NCCL communicator was aborted on rank 1")
BUG = ValueError("the first line\nthe last line")
LOST_CONNECTION = "the connection between the workers was lost: RuntimeError: "


def test_machines_are_retried_more_often_and_storage_stops_the_search() -> None:
    assert dict(RULES) == {
        "diverged": FailureRule(retries=0, is_result=True),
        "program_error": FailureRule(retries=1),
        "out_of_memory": FailureRule(retries=1),
        "hung": FailureRule(retries=1),
        "worker_lost": FailureRule(retries=5, machine_fault=True),
        "node_lost": FailureRule(retries=5, machine_fault=True),
        "storage": FailureRule(retries=1, machine_fault=True, stops_search=True),
        "disk_full": FailureRule(retries=1, machine_fault=True, stops_search=True),
    }


IN_WORKER: list[tuple[Exception, FailureKind, str]] = [
    (TrainingDivergedError("the loss is infinite"), "diverged", "the loss is infinite"),
    (BUG, "program_error", "ValueError: the last line"),
    (ValueError(), "program_error", "ValueError"),
    (DamageError("weights are damaged"), "program_error", "DamageError: weights are damaged"),
    (GLOO, "program_error", f"RuntimeError: {GLOO}"),
    (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "OutOfMemoryError: CUDA out of memory"),
    (MemoryError(), "out_of_memory", "MemoryError"),
    (
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        "out_of_memory",
        "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ),
    (StorageError("epoch-000001 could not be written"), "disk_full", "epoch-000001 could not be written"),
    (StorageAwayError("the bucket is away"), "storage", "the bucket is away"),
    (StorageRefusedError("the bucket refuses"), "storage", "the bucket refuses"),
]


@pytest.mark.parametrize(("error", "kind", "message"), IN_WORKER, ids=lambda value: str(value)[:40])
def test_an_exception_is_classified_by_its_type(error: Exception, kind: FailureKind, message: str) -> None:
    assert failure_of(error) == Failure(kind=kind, message=message)


@pytest.mark.parametrize("error", [GLOO, NCCL])
def test_in_a_group_a_broken_collective_is_a_lost_worker(error: Exception) -> None:
    assert failure_of(error, in_group=True).kind == "worker_lost"
    assert failure_of(BUG, in_group=True).kind == "program_error"


def of_workers(**failures: Exception) -> train.WorkerGroupError:
    return train.WorkerGroupError("", {int(name.removeprefix("rank")): error for name, error in failures.items()})


GROUPS: list[tuple[Exception, FailureKind, str]] = [
    (of_workers(rank1=ActorDiedError()), "worker_lost", "worker 1 of the group died"),
    (of_workers(rank0=GLOO, rank1=ActorDiedError()), "worker_lost", "worker 1 of the group died"),
    (
        of_workers(rank2=ActorDiedError(), rank0=ActorDiedError(), rank1=NCCL),
        "worker_lost",
        "worker 0, 2 of the group died",
    ),
    (of_workers(rank0=BUG, rank1=ActorDiedError()), "worker_lost", "worker 1 of the group died"),
    (of_workers(rank0=internal.WorkerHealthCheckTimeoutError("hangs")), "worker_lost", "worker 0 of the group died"),
    (
        of_workers(rank0=internal.WorkerHealthCheckFailedError("gone", GLOO)),
        "worker_lost",
        "worker 0 of the group died",
    ),
    (of_workers(rank0=NodeDiedError("gone")), "node_lost", "worker 0 of the group died"),
    (of_workers(rank0=GLOO), "worker_lost", f"{LOST_CONNECTION}{GLOO}"),
    (of_workers(rank0=GLOO, rank1=NCCL), "worker_lost", f"{LOST_CONNECTION}{GLOO}"),
    (of_workers(rank1=BUG), "program_error", "worker 1 of the group: ValueError: the last line"),
    (of_workers(rank0=GLOO, rank1=BUG), "program_error", "worker 1 of the group: ValueError: the last line"),
    (of_workers(rank0=StorageError("disk full"), rank1=BUG), "program_error", "worker 1 of the group: ValueError: the"),
    (of_workers(rank0=StorageError("disk full"), rank1=GLOO), "disk_full", "disk full"),
    (
        of_workers(rank0=DamageError("weights are damaged")),
        "program_error",
        "worker 0 of the group: DamageError: weights are damaged",
    ),
    (
        train.ControllerError(internal.WorkerGroupStartupFailedError("a node")),
        "worker_lost",
        "WorkerGroupStartupFailedError: a node",
    ),
    (ActorUnavailableError("socket closed", b"\0" * 16), "worker_lost", "ActorUnavailableError: "),
    (train.ControllerError(ValueError("a setting")), "program_error", "ValueError: a setting"),
    (ValueError(), "program_error", "ValueError"),
]


@pytest.mark.parametrize(("error", "kind", "message"), GROUPS, ids=lambda value: str(value)[:40])
def test_the_end_of_a_group_is_classified_by_rays_exceptions(error: Exception, kind: FailureKind, message: str) -> None:
    failure = group_failure(error, reported={})
    assert failure.kind == kind
    assert failure.message.startswith(message)
    assert "\n" not in failure.message


def test_the_classification_of_a_worker_comes_before_rays_exception() -> None:
    reported = {0: Failure(kind="out_of_memory", message="OutOfMemoryError: CUDA out of memory")}
    failure = group_failure(of_workers(rank0=RuntimeError("wrapped"), rank1=GLOO), reported=reported)
    assert failure == Failure(
        kind="out_of_memory", message="worker 0 of the group: OutOfMemoryError: CUDA out of memory"
    )
    assert group_failure(of_workers(rank0=BUG, rank1=ActorDiedError()), reported=reported).kind == "worker_lost"


def test_a_group_without_resources_is_recognised() -> None:
    timeout = train.ControllerError(internal.WorkerGroupStartupTimeoutError(3))
    assert is_startup_timeout(timeout)
    assert not is_startup_timeout(train.ControllerError(internal.WorkerGroupStartupFailedError("a node")))
    assert group_failure(timeout, reported={}).kind == "worker_lost"


def test_workers_that_cannot_connect_get_advice() -> None:
    failure = group_failure(
        train.ControllerError(RuntimeError("Gloo connectFullMesh failed with timeout")), reported={}
    )
    assert "GLOO_SOCKET_IFNAME" in failure.message
    assert failure.kind == "program_error"


def task_error() -> RayTaskError:
    return RayTaskError("Trainable.reset", "Traceback (most recent call last):\nValueError: boom", ValueError("boom"))


TRIALS = [
    (ActorDiedError(), "worker_lost", "The actor died unexpectedly before finishing this task."),
    (ActorUnavailableError("socket closed", b"\0" * 16), "worker_lost", "The actor "),
    (NodeDiedError("its node has died"), "node_lost", "its node has died"),
    (ActorDiedError(task_error()), "program_error", "ValueError: boom"),
    (task_error(), "program_error", "ValueError: boom"),
    (None, "worker_lost", "None"),
]


@pytest.mark.parametrize(("error", "kind", "message"), TRIALS, ids=lambda value: str(value)[:40])
def test_a_lost_trial_is_classified_by_rays_exception(error: Exception | None, kind: FailureKind, message: str) -> None:
    through_a_file = cloudpickle.loads(cloudpickle.dumps(error))
    failure = trial_failure(through_a_file, text=str(error))
    assert failure.kind == kind
    assert failure.message.startswith(message)
