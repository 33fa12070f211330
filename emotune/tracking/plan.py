"""What MLflow shall say, as a pure function of a search's journal."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from emotune.evaluation.crossval import METRICS
from emotune.evaluation.statistics import mean_interval
from emotune.search.ranking import Result, best
from emotune.search.records import (
    Closed,
    Ended,
    EpochDone,
    Evaluation,
    Extended,
    Opened,
    Record,
    Resized,
    Started,
    Value,
)
from emotune.search.stopping import in_words
from emotune.study.reliability import rung_reliability

Kind = Literal["configuration", "pretrain", "finetune", "fold"]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

SUMMARY = "search"

_CLOSED: dict[str, Status] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


Point = tuple[str, float, int, int]
"""Key, value, milliseconds since 1970, step."""


@dataclasses.dataclass
class Change:
    """What some records change in one MLflow run. Sending it twice is the same as sending it once."""

    name: str
    created: int
    """When the run begins, in milliseconds since 1970; used only if it has to be created."""
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: list[Point] = dataclasses.field(default_factory=list)
    documents: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """YAML artifacts by name."""
    status: Status | None = None
    ended: int | None = None


Changes = dict[str, Change]


class Plan:
    """Folds the records of a journal, one after the other, into changes of MLflow runs.

    The keys of the runs are the numbers of the configurations and ``search``, the run that sums up. A single
    long run has no such summary: what would stand there stands in the run itself.
    """

    def __init__(self, *, kind: Kind, provenance: Mapping[str, str]) -> None:
        self.kind = kind
        self.provenance = dict(provenance)
        self.opened: Opened | None = None
        self.common: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.running: dict[str, bool] = {}
        self.diverged: set[str] = set()
        self.started: dict[int, Started] = {}
        self.outcomes: list[tuple[Evaluation, float | None]] = []
        self.epochs = 0
        self.best: Result | None = None
        self.last: dict[int, dict[str, float]] = {}
        self.dealt: dict[int, bool] = {}

    @property
    def summary(self) -> str:
        """Key of the run that sums up."""
        return SUMMARY if self.kind in ("configuration", "fold") else "0"

    def absorb(self, record: Record, changes: Changes) -> None:
        """Take in the next record of the journal, and add what follows from it to the changes."""
        match record:
            case Opened():
                self._open(record, changes)
            case Extended():
                change = self._run(self.summary, changes, time=record.time)
                change.tags["emotune.extended"] = in_words(brackets=record.brackets, evaluations=record.evaluations)
            case Resized():
                change = self._run(self.summary, changes, time=record.time)
                change.tags["emotune.concurrency"] = str(record.concurrency)
            case Started():
                self._start(record, changes)
            case EpochDone():
                self._epoch(record, changes)
            case Ended():
                self._end(record, changes)
            case Closed():
                self._close(record, changes)

    def _change(self, key: str, changes: Changes, *, time: float) -> Change:
        if key not in changes:
            kind, number = ("search", "none") if key == SUMMARY else (self.kind, key)
            tags = self.common | {"emotune.kind": kind, "emotune.config_id": number}
            changes[key] = Change(name=self.names[key], created=_milliseconds(time), tags=tags)
        return changes[key]

    def _run(self, key: str, changes: Changes, *, time: float) -> Change:
        """Return the change of a run in which something is going on."""
        change = self._change(key, changes, time=time)
        if not self.running.get(key):
            self.running[key] = True
            change.status, change.ended = "RUNNING", None
        return change

    def _open(self, record: Opened, changes: Changes) -> None:
        self.opened = record
        self.common = {
            "emotune.search": record.name,
            "emotune.search_id": search_id(record),
            "emotune.study_digest": record.digest,
        }
        self.names[self.summary] = SUMMARY if self.summary == SUMMARY else record.name
        change = self._run(self.summary, changes, time=record.time)
        if self.summary == SUMMARY:
            change.params |= {key: value for key, value in _flat(record.study).items() if key.split(".")[0] != "space"}
        change.params |= {"seed": str(record.seed), "concurrency": str(record.concurrency)}
        change.tags |= {f"emotune.{key}": value for key, value in self.provenance.items()}
        change.tags |= {f"emotune.version.{name}": version for name, version in record.software.items()}
        if record.warm_start:
            change.tags["emotune.warm_start"] = ", ".join(record.warm_start)
        change.documents["study.yaml"] = record.study

    def _start(self, record: Started, changes: Changes) -> None:
        evaluation = record.evaluation
        key = str(evaluation.config_id)
        self.started[evaluation.id] = record
        self.dealt[evaluation.config_id] = bool(evaluation.values.get("task.shuffled", False))
        if self.summary == SUMMARY:
            self.names.setdefault(key, run_name(evaluation.config_id, evaluation.values))
            self._run(self.summary, changes, time=record.time)
        change = self._run(key, changes, time=record.time)
        change.tags |= {"emotune.bracket": str(evaluation.bracket), "emotune.rung": str(evaluation.rung)}
        change.tags["emotune.status"] = "running"
        if evaluation.origin != "promotion":
            change.params |= {name: str(value) for name, value in evaluation.values.items()}
            change.tags["emotune.origin"] = evaluation.origin

    def _epoch(self, record: EpochDone, changes: Changes) -> None:
        key = str(record.config_id)
        self._run(self.summary, changes, time=record.time)
        change = self._run(key, changes, time=record.time)
        change.tags["emotune.epochs"] = str(record.epoch)
        for name, value in record.metrics.items():
            if value is None or not math.isfinite(value):
                self.diverged.add(key)
                change.tags["emotune.status"] = "diverged"
            else:
                change.metrics.append((name, value, _milliseconds(record.time), record.epoch))
        if self.kind == "fold":
            self.last[record.config_id] = {name: one for name, one in record.metrics.items() if one is not None}

    def _end(self, record: Ended, changes: Changes) -> None:
        key = str(record.config_id)
        evaluation = self.started[record.evaluation_id].evaluation
        change = self._run(key, changes, time=record.time)
        self.running[key] = False
        change.status = "FINISHED" if record.status == "done" else "FAILED"
        change.ended = _milliseconds(record.time)
        if key in self.diverged or re.search(r"diverge|\bnan\b|\binf", record.error or ""):
            change.tags["emotune.status"] = "diverged"
        else:
            change.tags["emotune.status"] = record.status
        if record.error:
            change.tags["emotune.error"] = record.error
        self.outcomes.append((evaluation, record.objective))
        self.epochs += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is not None and math.isfinite(record.objective):
            change.metrics.append(("objective", record.objective, _milliseconds(record.time), evaluation.to_epoch))
            self._improve(record, changes, evaluation=evaluation)

    def _improve(self, record: Ended, changes: Changes, *, evaluation: Evaluation) -> None:
        """Log the incumbent (the best of those trained longest) over the epochs that were trained in all."""
        assert self.opened is not None
        assert record.objective is not None
        objective = self.opened.study.get("objective")
        if self.summary != SUMMARY or not isinstance(objective, dict):
            return
        known = [] if self.best is None else [self.best]
        self.best = best([*known, (evaluation, record.objective)], mode=objective.get("mode", "min"))
        assert self.best is not None
        time = _milliseconds(record.time)
        change = self._change(self.summary, changes, time=record.time)
        change.metrics.append((f"incumbent/{objective['metric']}", self.best.objective, time, self.epochs))
        change.metrics.append(("incumbent/epochs", float(self.best.evaluation.to_epoch), time, self.epochs))

    def _close(self, record: Closed, changes: Changes) -> None:
        status = _CLOSED[record.state]
        for key in [self.summary, *(key for key, running in self.running.items() if running)]:
            change = self._change(key, changes, time=record.time)
            self.running[key] = False
            change.status, change.ended = status, _milliseconds(record.time)
        change = self._change(self.summary, changes, time=record.time)
        change.tags["emotune.state"] = record.state
        if record.reason:
            change.tags["emotune.reason"] = record.reason
        if record.state == "finished" and self.kind == "fold":
            change.metrics += self._folds(time=record.time)
        elif record.state == "finished" and self.summary == SUMMARY:
            change.metrics += self._trust(time=record.time)

    def _folds(self, *, time: float) -> Iterator[Point]:
        """Say what the folds of a cross-validation gave together: means, and half the widths of their intervals."""
        for dealt, prefix in ((False, "cv"), (True, "cv_shuffled")):
            for name in METRICS:
                values = [
                    found[f"test/{name}"]
                    for number, found in self.last.items()
                    if self.dealt.get(number, False) is dealt and f"test/{name}" in found
                ]
                if values:
                    interval = mean_interval(values)
                    yield f"{prefix}/{name}", interval.mean, _milliseconds(time), self.epochs
                    yield f"{prefix}/{name}_half_width", interval.half_width or 0.0, _milliseconds(time), self.epochs

    def _trust(self, *, time: float) -> Iterator[Point]:
        """Say how far each rung could be trusted, over the epochs that were trained in all."""
        assert self.opened is not None
        for rung in rung_reliability(self.opened.study, outcomes=self.outcomes):
            if rung.weight is not None:
                yield f"rung_weight/{rung.epochs}", rung.weight, _milliseconds(time), self.epochs


def search_id(opened: Opened) -> str:
    """Return what tells this search from an earlier or foreign one of the same name."""
    return hashlib.sha256(f"{opened.name} {opened.digest} {opened.time!r}".encode()).hexdigest()[:16]


def run_name(config_id: int, values: Mapping[str, Value]) -> str:
    """Return a short name that sorts by number, for instance ``c0007-lr3e-4-layers2``."""
    parts = [f"{name.rsplit('.', 1)[-1]}{_compact(value)}" for name, value in values.items()]
    return "-".join([f"c{config_id:04d}", *parts])[:60]


def _compact(value: Value) -> str:
    if not isinstance(value, float):
        return str(value).lower()
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        return re.sub(r"(\.0+)?e([+-])0*", lambda found: f"e{found[2].strip('+')}", f"{value:.1e}")
    return f"{value:.3g}"


def _flat(content: Mapping[str, Any], *, above: str = "") -> dict[str, str]:
    """Return nested settings by dotted name."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, above=f"{above}{key}.")
        elif value is not None:
            flat[f"{above}{key}"] = str(value)
    return flat


def _milliseconds(time: float) -> int:
    return round(time * 1000)
