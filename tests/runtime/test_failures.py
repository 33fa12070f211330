"""Failures: their rules, their classification in the worker, and their classification from Ray's exceptions."""

import pytest
import torch
from ray import cloudpickle, train
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    RuntimeEnvSetupError,
)
from ray.train.v2._internal import exceptions as internal
from ray.tune import TuneError

from emotune.errors import (
    ClusterError,
    DamageError,
    EmotuneError,
    GpuLostError,
    SearchFailedError,
    StorageAwayError,
    StorageError,
    StorageRefusedError,
    TrainingDivergedError,
)
from emotune.runtime.failures import GPU_ERRORS, RULES, failure_of
from emotune.runtime.ray_errors import group_failure, is_startup_timeout, raise_cause, trial_failure
from emotune.search.records import Failure, FailureKind

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:61607: Connection reset by peer")
NCCL = RuntimeError("NCCL communicator was aborted on rank 1")
BUG = ValueError("the first line\nthe last line")
LOST_CONNECTION = "the connection between the workers was lost: RuntimeError: "


def test_the_rule_of_each_kind() -> None:
    """Retries, whether a machine is the cause, whether the search stops, and the pause before the first retry (s)."""
    rules = {
        kind: (rule.retries, rule.machine_fault, rule.stops_search, rule.first_pause_s) for kind, rule in RULES.items()
    }
    assert rules == {
        "diverged": (0, False, False, 0.0),
        "program_error": (1, False, False, 0.0),
        "out_of_memory": (1, False, False, 0.0),
        "hung": (1, False, False, 0.0),
        "worker_lost": (5, True, True, 0.0),
        "node_lost": (5, True, True, 0.0),
        "memory_pressure": (5, True, True, 2.0),
        "os_error": (2, True, True, 1.0),
        "gpu_lost": (2, True, True, 1.0),
        "storage": (1, True, True, 0.0),
        "disk_full": (1, True, True, 0.0),
    }
    assert [kind for kind, rule in RULES.items() if rule.is_result] == ["diverged"]


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
    (FileNotFoundError(2, "No such file"), "os_error", "FileNotFoundError: [Errno 2] No such file"),
    (OSError(24, "Too many open files"), "os_error", "OSError: [Errno 24] Too many open files"),
    (GpuLostError("torch cannot use GPU [0]"), "gpu_lost", "GpuLostError: torch cannot use GPU [0]"),
    (ActorDiedError(), "worker_lost", "ActorDiedError: The actor died unexpectedly before finishing this task."),
    (
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCompile with TORCH_USE_CUDA_DSA"),
        "gpu_lost",
        "AcceleratorError: CUDA error: uncorrectable ECC error encountered",
    ),
    (
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        "program_error",
        "AcceleratorError: CUDA error: an illegal memory access was encountered",
    ),
]


@pytest.mark.parametrize(("error", "kind", "message"), IN_WORKER, ids=lambda value: str(value)[:40])
def test_an_exception_is_classified_by_its_type(error: Exception, kind: FailureKind, message: str) -> None:
    assert failure_of(error) == Failure(kind=kind, message=message)


@pytest.mark.parametrize("error", [GLOO, NCCL])
def test_in_a_group_a_broken_collective_is_a_lost_worker(error: Exception) -> None:
    assert failure_of(error, in_group=True).kind == "worker_lost"
    assert failure_of(BUG, in_group=True).kind == "program_error"


@pytest.mark.parametrize("text", GPU_ERRORS)
def test_an_error_of_a_gpu_or_its_driver_is_the_machines(text: str) -> None:
    assert failure_of(RuntimeError(f"{text}\nFor debugging consider CUDA_LAUNCH_BLOCKING=1")).kind == "gpu_lost"
    assert failure_of(ValueError(text)).kind == "program_error"


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


BOOM = ValueError("boom")


def task_error(cause: Exception = BOOM) -> RayTaskError:
    text = f"Traceback (most recent call last):\n{type(cause).__name__}: {cause}"
    return RayTaskError("Trainable.reset", text, cause)


MISSING = FileNotFoundError(2, "No such file or directory")


TRIALS = [
    (ActorDiedError(), "worker_lost", "The actor died unexpectedly before finishing this task."),
    (ActorUnavailableError("socket closed", b"\0" * 16), "worker_lost", "The actor "),
    (NodeDiedError("its node has died"), "node_lost", "its node has died"),
    (ActorDiedError(task_error()), "program_error", "ValueError: boom"),
    (task_error(), "program_error", "ValueError: boom"),
    (None, "worker_lost", "None"),
    (task_error(MISSING), "os_error", "FileNotFoundError: [Errno 2] No such file or directory"),
    (ActorDiedError(task_error(MISSING)), "os_error", "FileNotFoundError: [Errno 2] No such file or directory"),
    (
        RuntimeEnvSetupError("Could not create the actor\nFileNotFoundError: [Errno 2] logs/runtime_env.log"),
        "os_error",
        "Ray could not start a worker: FileNotFoundError: [Errno 2] logs/runtime_env.log",
    ),
]


@pytest.mark.parametrize(("error", "kind", "message"), TRIALS, ids=lambda value: str(value)[:40])
def test_a_lost_trial_is_classified_by_rays_exception(error: Exception | None, kind: FailureKind, message: str) -> None:
    through_a_file = cloudpickle.loads(cloudpickle.dumps(error))
    failure = trial_failure(through_a_file, text=str(error))
    assert failure.kind == kind
    assert failure.message.startswith(message)


def test_a_node_that_died_is_recognised_by_the_message_of_its_worker() -> None:
    text = "The actor died unexpectedly before finishing this task.\nThe actor died because its node has died."
    assert trial_failure(ActorDiedError(), text=text).kind == "node_lost"


def killed(*workers: tuple[int, float], limit: float = 23.54) -> str:
    """Return the message of Ray's memory monitor, shortened: process number and memory (GB) of each killed worker."""
    selected = "\n".join(
        f"Selected to kill: (Task: job ID=01000000, task name=ResourceTrainable.__init__, pid={pid}, actual memory "
        f"used={used:.2f}GB, worker ID=594c0e)"
        for pid, used in workers
    )
    return (
        f"{len(workers)} worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
        f"127.0.0.1, ID: c7ac) was 22.86GB used / {limit}GB limit (0.971)\n"
        f"Considered workers: [\n{selected}\n]\nTop 10 memory users: PID\tMEM(GB)\tCOMMAND\n707\t20.92\tpytest"
    )


@pytest.mark.parametrize(
    ("workers", "pid", "kind"),
    [
        ([(7, 0.07)], 7, "memory_pressure"),
        ([(7, 0.07)], None, "memory_pressure"),
        ([(7, 11.0)], 7, "memory_pressure"),
        ([(7, 12.0)], 7, "out_of_memory"),
        ([(7, 12.0)], None, "out_of_memory"),
        ([(7, 12.0), (8, 0.5)], 7, "out_of_memory"),
        ([(7, 12.0), (8, 0.5)], 8, "memory_pressure"),
        ([(7, 12.0), (8, 0.5)], None, "memory_pressure"),
        ([], 7, "memory_pressure"),
    ],
)
def test_only_a_worker_with_most_of_the_memory_has_run_out_of_it_itself(
    workers: list[tuple[int, float]], pid: int | None, kind: FailureKind
) -> None:
    text = killed(*workers)
    failure = trial_failure(None, text=text, pid=pid)
    assert failure.kind == kind
    assert failure.message.startswith("Ray ended the worker because its node ran low on memory")
    assert "\n" not in failure.message
    in_group = group_failure(of_workers(rank0=GLOO, rank1=OutOfMemoryError(text)), reported={})
    assert in_group.kind == trial_failure(None, text=text).kind


def wrapped(cause: Exception) -> TuneError:
    """Return an exception as Tune wraps it: raised while it was handled."""
    error = TuneError(f"Traceback (most recent call last):\n{type(cause).__name__}: {cause}")
    error.__context__ = cause
    return error


def test_an_exception_that_ends_tune_is_replaced_by_its_cause() -> None:
    own = SearchFailedError("the journal could not be written")
    for error in (own, wrapped(own)):
        with pytest.raises(EmotuneError) as raised:
            raise_cause(error)
        assert raised.value is own
    for error in (MISSING, wrapped(MISSING), TuneError("Traceback:\nFileNotFoundError: [Errno 2] error.pkl")):
        with pytest.raises(ClusterError, match=r"Ray Tune has ended: FileNotFoundError: \[Errno 2\]"):
            raise_cause(error)
    with pytest.raises(
        ClusterError, match=r"^Ray Tune has ended: Ray ended the worker because its node ran low .* other programs"
    ):
        raise_cause(wrapped(OutOfMemoryError(killed((7, 0.5)))))
    raise_cause(wrapped(KeyError("a program error is raised as it is")))
