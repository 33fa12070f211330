"""Failures of evaluations: how each kind is handled, and which kind an exception is.

A failure is classified once. An exception of the program is classified in the worker process that raised it
(`failure_of`), and travels to the driver as data. The death of a worker or node is classified where Ray reports it
(`ray_errors`). A worker that hangs is classified by the Tune adapter, from the watchdog.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from emotune.errors import StorageAwayError, StorageError, StorageRefusedError, TrainingDivergedError
from emotune.search.records import Failure, FailureKind


@dataclass(frozen=True)
class FailureRule:
    """How a kind of failure is handled."""

    retries: int
    """How often the evaluation is tried again without progress in between."""
    machine_fault: bool = False
    """Whether a machine caused it, rather than the program or the configuration."""
    stops_search: bool = False
    """Whether the search stops after the retries; the evaluation then has no result, and the next driver runs it."""
    is_result: bool = False
    """Whether it says something about the configuration, so that it does not count as a repeated error."""


RULES: Mapping[FailureKind, FailureRule] = MappingProxyType(
    {
        "diverged": FailureRule(retries=0, is_result=True),
        "program_error": FailureRule(retries=1),
        "out_of_memory": FailureRule(retries=1),
        "hung": FailureRule(retries=1),
        "worker_lost": FailureRule(retries=5, machine_fault=True),
        "node_lost": FailureRule(retries=5, machine_fault=True),
        "storage": FailureRule(retries=1, machine_fault=True, stops_search=True),
        "disk_full": FailureRule(retries=1, machine_fault=True, stops_search=True),
    }
)
"""How each kind of failure is handled."""

KINDS_BY_TYPE: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (TrainingDivergedError, "diverged"),
    (StorageError, "disk_full"),
    (StorageAwayError, "storage"),
    (StorageRefusedError, "storage"),
    (torch.OutOfMemoryError, "out_of_memory"),
    (MemoryError, "out_of_memory"),
)
"""Kinds of the exceptions that have a type of their own."""

ALLOCATION_ERROR = "can't allocate memory"
"""Part of the RuntimeError that PyTorch raises if an allocation on the CPU fails; it has no type for it."""

COLLECTIVE_ERRORS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "ProcessGroup")
"""Parts of the RuntimeErrors that collectives raise if another worker is gone; PyTorch has no type for them."""


def failure_of(error: BaseException, *, in_group: bool = False) -> Failure:
    """Classify an exception of the program, in the process that caught it.

    Args:
        error: The exception.
        in_group: Whether it was raised by one of several workers, whose collectives fail if another worker is lost.
    """
    kind = _kind_of(error, in_group=in_group)
    has_own_message = RULES[kind].stops_search or RULES[kind].is_result
    return Failure(kind=kind, message=str(error) if has_own_message else summary(error))


def _kind_of(error: BaseException, *, in_group: bool) -> FailureKind:
    for error_type, kind in KINDS_BY_TYPE:
        if isinstance(error, error_type):
            return kind
    if isinstance(error, RuntimeError):
        text = str(error)
        if ALLOCATION_ERROR in text:
            return "out_of_memory"
        if in_group and any(part in text for part in COLLECTIVE_ERRORS):
            return "worker_lost"
    return "program_error"


def summary(error: BaseException) -> str:
    """Return an exception in one line: its type and the last line of its message."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
