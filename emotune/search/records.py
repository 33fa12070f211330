"""What the journal of a search holds: every decision and every result, in the order they were made."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_serializer

from emotune.base import Settings

Value = int | float | str | bool
Origin = Literal["default", "random", "prior", "model", "promotion"]
Order = Literal["strict", "free"]
FailureKind = Literal[
    "diverged",
    "program_error",
    "out_of_memory",
    "hung",
    "worker_lost",
    "node_lost",
    "memory_pressure",
    "os_error",
    "gpu_lost",
    "storage",
    "disk_full",
]
"""Why an evaluation gave no result. How each kind is handled is in `emotune.runtime.failures.RULES`."""


class Failure(Settings):
    """Why an evaluation gave no result, classified once: in the worker, or where Ray reports a lost worker."""

    kind: FailureKind
    message: str
    """One line for the user."""


class Evaluation(Settings):
    """One piece of work: train configuration ``config_id`` from one epoch to another."""

    id: int
    """Number of the evaluation, counted from 0 in the order of the decisions."""

    config_id: int
    """Number of the configuration; its later rungs have the same one."""

    bracket: int
    """Bracket it belongs to, counted from 0 over the whole search."""

    rung: int
    """Rung it trains to, counted from 0 (the smallest budget)."""

    from_epoch: int
    """Epochs the configuration has been trained already."""

    to_epoch: int
    """Epochs it shall have been trained at the end."""

    values: dict[str, Value]
    """The configuration: values by dotted name, without the inactive ones."""

    origin: Origin
    """Where the values came from, or ``promotion`` for the later rungs."""


class Opened(Settings):
    """The first record: what is searched."""

    kind: Literal["opened"] = "opened"
    time: float
    """When, in seconds since 1970 (for people; nothing is decided by it)."""
    format: int = 1
    name: str
    purpose: Literal["configuration", "pretrain", "finetune", "fold"] = "configuration"
    """What a configuration of it is: one of a search, or a single run of some kind."""
    study: dict[str, Any]
    """The study as it was resolved: base experiment, space, budget, objective, searcher."""
    digest: str
    """Hash of everything that decides the results."""
    seed: int
    concurrency: int
    """Evaluations at a time."""
    workers: int | None = None
    """Number of virtual workers for which the search core decides at the start; None in records of older versions."""
    elastic: bool = False
    """Whether ``concurrency`` follows the size of the cluster; see `Resized`."""
    software: dict[str, str]
    """Versions that were used, by package."""
    warm_start: tuple[str, ...] = ()
    """Earlier searches whose best configurations are in the study."""


class Extended(Settings):
    """A finished search was extended; these are its new limits."""

    kind: Literal["extended"] = "extended"
    time: float
    brackets: int | None
    """Brackets in all; None: no such limit."""
    evaluations: int | None
    """Evaluations in all; None: no such limit."""


class Resized(Settings):
    """The size of the cluster has changed, and with it the number of evaluations that run at a time."""

    kind: Literal["resized"] = "resized"
    time: float
    concurrency: int
    """Evaluations at a time."""
    workers: int
    """Number of virtual workers for which the search core decides."""
    seen: int
    """Number of evaluations that had ended in virtual time."""


class Retried(Settings):
    """Failed evaluations are run again: from here on they have no result until their next `Ended`."""

    kind: Literal["retried"] = "retried"
    time: float
    evaluations: tuple[int, ...]
    """Numbers of the failed evaluations."""
    seen: int
    """Number of evaluations that had ended in virtual time."""


class TimeLimit(Settings):
    """A driver began under a limit of the running time. No decision depends on it: it ends a search earlier."""

    kind: Literal["time_limit"] = "time_limit"
    time: float
    hours: float
    """Running time of all drivers after which no evaluation is started (h)."""
    used_seconds: float
    """Running time of all drivers before this one (s)."""


class Started(Settings):
    """An evaluation was asked for and handed to a worker."""

    kind: Literal["started"] = "started"
    time: float
    evaluation: Evaluation


class EpochDone(Settings):
    """One epoch of a configuration was trained. Each epoch of a configuration is recorded once."""

    kind: Literal["epoch"] = "epoch"
    time: float
    evaluation_id: int
    config_id: int
    epoch: int
    """Counted from 1 over all evaluations of the configuration."""
    metrics: dict[str, float | None]
    """Metrics by name, for instance ``val/loss``; None stands for a number that is not finite."""


OPTIONAL_IN_ENDED = ("measured", "failure_kind")
"""Fields of `Ended` that are not recorded without a value."""


class Ended(Settings):
    """The result of an evaluation."""

    kind: Literal["ended"] = "ended"
    time: float
    evaluation_id: int
    config_id: int
    status: Literal["done", "failed"]
    objective: float | None
    """The (first) objective as the study names it (not negated); None if it failed."""
    measured: dict[str, float] | None = None
    """Values of all objectives and constraints by metric, if there is more than one objective or a constraint; None if
    it failed. Records of other searches omit it."""
    seconds: float
    """Seconds of work, over all attempts of the driver that saw the end."""
    error: str | None = None
    """Why it failed, in a line."""
    failure_kind: FailureKind | None = None
    """Kind of the failure. Records of earlier versions have none, and records without a failure omit it."""

    @model_serializer(mode="wrap")
    def _omit_absent(self, handler: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        content = handler(self)
        return {name: value for name, value in content.items() if value is not None or name not in OPTIONAL_IN_ENDED}


class Removed(Settings):
    """Checkpoints of configurations that are out of the race were removed. No decision depends on it."""

    kind: Literal["removed"] = "removed"
    time: float
    configurations: tuple[int, ...]
    """Numbers of the configurations."""
    bytes: int
    """Room that their checkpoints took."""


class Closed(Settings):
    """The driver ended in order."""

    kind: Literal["closed"] = "closed"
    time: float
    state: Literal["finished", "interrupted", "failed"]
    reason: str = ""


Record = Annotated[
    Opened | Extended | Resized | Retried | TimeLimit | Started | EpochDone | Removed | Ended | Closed,
    Field(discriminator="kind"),
]
RECORD: TypeAdapter[Record] = TypeAdapter(Record)
