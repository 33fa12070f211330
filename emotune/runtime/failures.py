"""Failures of evaluations: how each kind is handled, and which kind an exception is.

A failure is classified once. An exception of the program is classified in the worker process that raised it
(`failure_of`), and travels to the driver as data. The death of a worker or node is classified where Ray reports it
(`ray_errors`). A worker that hangs is classified by the Tune adapter, from the watchdog.

**Machine or configuration.** A failure is a result of the configuration if the training itself caused it: a loss that
is not finite, an exception, memory that the training requested and did not get. It is a fault of the machine if the
training could not have caused it: a full disk, a file operation that the operating system refused, a GPU that is
gone, a lost node, or Ray's memory monitor, which kills workers when the node runs low on memory. Such a failure is
never recorded as the result of an evaluation: after the last retry the search stops, and the next driver repeats the
evaluation.

**Memory.** Ray's memory monitor may kill any worker of the node. Only a worker that itself used more than half of
the node's memory counts as ``out_of_memory``; no other evaluation could then have caused it. All others are killed
because of ``memory_pressure``, by other evaluations or other programs.

**Lost workers.** A worker process that crashes by a signal of its own, such as a segmentation fault in a library,
writes it down (`crashes`): an exception of the program. A process that was killed did not end by itself: the kernel's
memory killer or an operator ended it, which says nothing about the configuration.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ray.exceptions import RayError

from emotune.errors import (
    GpuLostError,
    StorageAwayError,
    StorageError,
    StorageRefusedError,
    TrainingDivergedError,
    summary,
)
from emotune.search.records import Failure, FailureKind


@dataclass(frozen=True)
class FailureRule:
    """How a kind of failure is handled."""

    retries: int
    """How often the evaluation is tried again without progress in between."""
    machine_fault: bool = False
    """Whether a machine caused it, rather than the program or the configuration."""
    remedy: str = ""
    """What the user does before the same command is given again, if the search stops after the retries.

    Empty: the failure is recorded as the end of the evaluation. Otherwise the evaluation has no result, and the next
    driver runs it.
    """
    is_result: bool = False
    """Whether it says something about the configuration, so that it does not count as a repeated error."""
    first_pause_s: float = 0.0
    """Time (s) before the first retry, in which no evaluation is started; it doubles with each further retry."""

    @property
    def stops_search(self) -> bool:
        """Whether the search stops after the retries."""
        return bool(self.remedy)


RULES: Mapping[FailureKind, FailureRule] = MappingProxyType(
    {
        "diverged": FailureRule(retries=0, is_result=True),
        "program_error": FailureRule(retries=1),
        "out_of_memory": FailureRule(retries=1),
        "hung": FailureRule(retries=1),
        "worker_lost": FailureRule(
            retries=5,
            machine_fault=True,
            remedy="find what ends the worker processes, for example the kernel's memory killer (dmesg),",
        ),
        "node_lost": FailureRule(retries=5, machine_fault=True, remedy="repair the node or leave it out"),
        "memory_pressure": FailureRule(
            retries=5,
            machine_fault=True,
            remedy="end other programs on the node, or give a lower --concurrency",
            first_pause_s=2.0,
        ),
        "os_error": FailureRule(retries=2, machine_fault=True, remedy="restore what is named", first_pause_s=1.0),
        "gpu_lost": FailureRule(
            retries=2,
            machine_fault=True,
            remedy="check the GPU with nvidia-smi, or restart the node",
            first_pause_s=1.0,
        ),
        "storage": FailureRule(retries=1, machine_fault=True, remedy="make the storage accessible"),
        "disk_full": FailureRule(retries=1, machine_fault=True, remedy="free disk space"),
    }
)
"""How each kind of failure is handled."""

KINDS_BY_TYPE: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (TrainingDivergedError, "diverged"),
    (StorageError, "disk_full"),
    (StorageAwayError, "storage"),
    (StorageRefusedError, "storage"),
    (GpuLostError, "gpu_lost"),
    (MemoryError, "out_of_memory"),
    (RayError, "worker_lost"),
    (OSError, "os_error"),
)
"""Kinds of the exceptions that have a type of their own; the first type that fits counts."""

ALLOCATION_ERROR = "can't allocate memory"
"""Part of the RuntimeError that PyTorch raises if an allocation on the CPU fails; it has no type for it."""

COLLECTIVE_ERRORS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "ProcessGroup")
"""Parts of the RuntimeErrors that collectives raise if another worker is gone; PyTorch has no type for them."""

GPU_ERRORS = (
    "CUDA driver initialization failed",
    "CUDA driver version is insufficient",
    "CUDA unknown error",
    "CUDA error: unknown error",
    "CUDA error: initialization error",
    "CUDA error: driver shutting down",
    "CUDA error: OS call failed",
    "CUDA error: system not yet initialized",
    "CUDA error: system has unsupported display driver",
    "Found no NVIDIA driver",
    "MPS client",
    "No CUDA GPUs are available",
    "Unexpected error from cudaGetDeviceCount",
    "device(s) is/are busy or unavailable",
    "invalid device ordinal",
    "no CUDA-capable device",
    "uncorrectable ECC error",
    "uncorrectable NVLink error",
)
"""Parts of the RuntimeErrors that PyTorch raises if a GPU or its driver fails: `cudaGetErrorString` of the errors that
no kernel can cause. Others, such as an illegal memory access, are errors of the program.
"""


def failure_of(error: BaseException, *, in_group: bool = False) -> Failure:
    """Classify an exception of the program, in the process that caught it.

    Args:
        error: The exception.
        in_group: Whether it was raised by one of several workers, whose collectives fail if another worker is lost.
    """
    kind = _kind_of(error, in_group=in_group)
    has_own_message = isinstance(error, StorageError | StorageAwayError | StorageRefusedError | TrainingDivergedError)
    if has_own_message:
        return Failure(kind=kind, message=str(error))
    return Failure(kind=kind, message=summary(error, line="first" if kind == "gpu_lost" else "last"))


def _kind_of(error: BaseException, *, in_group: bool) -> FailureKind:
    for error_type, kind in KINDS_BY_TYPE:
        if isinstance(error, error_type):
            return kind
    if _is_out_of_gpu_memory(error):
        return "out_of_memory"
    if isinstance(error, RuntimeError):
        text = str(error)
        if ALLOCATION_ERROR in text:
            return "out_of_memory"
        if any(part in text for part in GPU_ERRORS):
            return "gpu_lost"
        if in_group and any(part in text for part in COLLECTIVE_ERRORS):
            return "worker_lost"
    return "program_error"


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    """Return whether PyTorch could not allocate memory of a GPU; it is not imported for that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
