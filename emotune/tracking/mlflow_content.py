"""The content of a search's MLflow runs, as a pure function of its journal."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from emotune.search.criteria import Criteria
from emotune.search.ranking import Result, best, front
from emotune.search.records import (
    Closed,
    Ended,
    EpochDone,
    Evaluation,
    Extended,
    Opened,
    Record,
    Resized,
    Retried,
    Started,
    Value,
)
from emotune.search.stopping import in_words
from emotune.study.reliability import rung_reliability
from emotune.tracking.description import (
    NO_SENDER,
    NOTE_TAG,
    DatasetUse,
    Sender,
    dataset_uses,
    describe_configuration,
    describe_experiment,
    describe_summary,
    search_id,
    source_tags,
)
from emotune.tracking.space_shape import SpaceShape
from emotune.tracking.view import EPOCHS, OBJECTIVE, log_metric, rung_epochs, rung_metric, view_tags

Kind = Literal["configuration", "pretrain", "finetune", "fold"]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

SUMMARY = "search"
"""Key and name of the run that summarises a search."""

BEST_TAG = "emotune.best"
PARETO_TAG = "emotune.pareto"
"""Tag of the run with the best configuration so far; its value is ``yes``, or empty when another one is better."""

_CLOSED: dict[str, Status] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
"""Run status by the state in which a search was closed."""

MetricPoint = tuple[str, float, int, int]
"""Key, value, time (ms since 1970), step."""


@dataclasses.dataclass
class RunUpdate:
    """An update of one MLflow run, computed from some records. Sending it is idempotent."""

    name: str
    created: int
    """Start time of the run (ms since 1970); used only if the run is created."""
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    metrics: list[MetricPoint] = dataclasses.field(default_factory=list)
    documents: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """YAML artifacts by name."""
    datasets: tuple[DatasetUse, ...] = ()
    status: Status | None = None
    ended: int | None = None
    """End time of the run (ms since 1970)."""


RunUpdates = dict[str, RunUpdate]
"""Updates by run key: a configuration's number, or `SUMMARY`."""


class MlflowContent:
    """The state from which updates of MLflow runs are computed, record by record.

    Each configuration has a run, with its number as key; a search and a cross-validation also have a
    summary run. A single pre-training or fine-tuning has one run, which holds the summary too.

    Args:
        kind: Purpose of the journal; the kind of its configurations' runs.
        provenance: Commit, versions and machine, for the tags of the summary.
        sender: The account that sends the journal, and the folder of the search.
    """

    def __init__(self, *, kind: Kind, provenance: Mapping[str, str], sender: Sender = NO_SENDER) -> None:
        self.kind = kind
        self.provenance = dict(provenance)
        self.sender = sender
        self.opened: Opened | None = None
        self.common: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.running: dict[str, bool] = {}
        self.diverged: set[str] = set()
        self.started: dict[int, Started] = {}
        self.outcomes: list[tuple[Evaluation, float | None]] = []
        self.epochs = 0
        self.best: Result | None = None
        self.scored: list[Result] = []
        """Results of a search with several objectives or with constraints."""
        self.last: dict[int, dict[str, float]] = {}
        self.shuffled: dict[int, bool] = {}
        self.logarithmic: frozenset[str] = frozenset()
        self.rungs: frozenset[int] = frozenset()
        self.metric_names: set[str] = set()
        """Names of the metrics of the configurations' runs."""

    def experiment_tags(self) -> dict[str, str]:
        """Return the tags of the experiment: its description and the view of its pages."""
        assert self.opened is not None
        return {
            NOTE_TAG: describe_experiment(self.opened, sender=self.sender),
            **view_tags(self.opened, metrics=self.metric_names),
        }

    @property
    def summary(self) -> str:
        """Key of the run that holds the summary."""
        return SUMMARY if self.kind in ("configuration", "fold") else "0"

    def add(self, record: Record, updates: RunUpdates) -> None:
        """Process the next record of the journal, and add its effects to the updates."""
        match record:
            case Opened():
                self._open(record, updates)
            case Extended() | Resized() | Retried():
                self._change(record, updates)
            case Started():
                self._start(record, updates)
            case EpochDone():
                self._epoch(record, updates)
            case Ended():
                self._end(record, updates)
            case Closed():
                self._close(record, updates)

    def _update(self, key: str, updates: RunUpdates, *, time: float) -> RunUpdate:
        if key not in updates:
            kind, number = ("search", "none") if key == SUMMARY else (self.kind, key)
            tags = self.common | {"emotune.kind": kind, "emotune.config_id": number}
            updates[key] = RunUpdate(name=self.names[key], created=_milliseconds(time), tags=tags)
        return updates[key]

    def _run(self, key: str, updates: RunUpdates, *, time: float) -> RunUpdate:
        """Return the update of a run, and set its status to running."""
        update = self._update(key, updates, time=time)
        if not self.running.get(key):
            self.running[key] = True
            update.status, update.ended = "RUNNING", None
        return update

    def _open(self, record: Opened, updates: RunUpdates) -> None:
        self.opened = record
        self.common = {
            "emotune.search": record.name,
            "emotune.search_id": search_id(record),
            "emotune.study_digest": record.digest,
        }
        self.names[self.summary] = SUMMARY if self.summary == SUMMARY else record.name
        update = self._run(self.summary, updates, time=record.time)
        if self.summary == SUMMARY:
            update.params |= {key: value for key, value in _flat(record.study).items() if key.split(".")[0] != "space"}
        update.params |= {"seed": str(record.seed), "concurrency": str(record.concurrency)}
        update.tags |= {f"emotune.{key}": value for key, value in self.provenance.items()}
        update.tags |= {f"emotune.version.{name}": version for name, version in record.software.items()}
        if record.warm_start:
            update.tags["emotune.warm_start"] = ", ".join(record.warm_start)
        update.documents["study.yaml"] = record.study
        update.datasets = dataset_uses(record)
        update.tags |= source_tags(record, sender=self.sender, commit=self.provenance.get("git_commit"))
        update.tags[NOTE_TAG] = describe_summary(record, sender=self.sender)
        if self.kind == "configuration":
            self.logarithmic = SpaceShape.of(record.study["space"]).logarithmic
            self.rungs = frozenset(rung_epochs(record.study))

    def _change(self, record: Extended | Resized | Retried, updates: RunUpdates) -> None:
        """Add the effects of a change of the search."""
        update = self._run(self.summary, updates, time=record.time)
        match record:
            case Extended():
                update.tags["emotune.extended"] = in_words(brackets=record.brackets, evaluations=record.evaluations)
            case Resized():
                update.tags["emotune.concurrency"] = str(record.concurrency)
            case Retried():
                self._retry(record, updates)

    def _retry(self, record: Retried, updates: RunUpdates) -> None:
        """Mark the runs of failed evaluations as running again; their failures are no results of the search."""
        numbers = set(record.evaluations)
        self.outcomes = [outcome for outcome in self.outcomes if outcome[0].id not in numbers]
        for number in record.evaluations:
            update = self._run(str(self.started[number].evaluation.config_id), updates, time=record.time)
            update.tags |= {"emotune.status": "running", "emotune.error": "tried again"}

    def _start(self, record: Started, updates: RunUpdates) -> None:
        evaluation = record.evaluation
        key = str(evaluation.config_id)
        self.started[evaluation.id] = record
        self.shuffled[evaluation.config_id] = bool(evaluation.values.get("task.shuffled", False))
        if self.summary == SUMMARY:
            self.names.setdefault(key, run_name(evaluation.config_id, evaluation.values))
            self._run(self.summary, updates, time=record.time)
        update = self._run(key, updates, time=record.time)
        update.tags |= {"emotune.bracket": str(evaluation.bracket), "emotune.rung": str(evaluation.rung)}
        update.tags["emotune.status"] = "running"
        if evaluation.origin != "promotion":
            update.params |= {name: str(value) for name, value in evaluation.values.items()}
            update.tags["emotune.origin"] = evaluation.origin
            if self.summary == SUMMARY:
                self._describe(record, update)

    def _describe(self, record: Started, update: RunUpdate) -> None:
        """Add description, source, data and logarithms of settings to the run of a configuration."""
        assert self.opened is not None
        evaluation = record.evaluation
        update.datasets = dataset_uses(self.opened, values=evaluation.values)
        update.tags |= source_tags(self.opened, sender=self.sender, commit=self.provenance.get("git_commit"))
        update.tags[NOTE_TAG] = describe_configuration(self.opened, evaluation, sender=self.sender)
        for name in sorted(self.logarithmic & evaluation.values.keys()):
            value = math.log10(float(evaluation.values[name]))
            self._add_metric(update, log_metric(name), value=value, time=record.time, step=evaluation.from_epoch)

    def _add_metric(self, update: RunUpdate, name: str, *, value: float, time: float, step: int) -> None:
        """Add a point of a metric to the run of a configuration."""
        self.metric_names.add(name)
        update.metrics.append((name, value, _milliseconds(time), step))

    def _epoch(self, record: EpochDone, updates: RunUpdates) -> None:
        key = str(record.config_id)
        self._run(self.summary, updates, time=record.time)
        update = self._run(key, updates, time=record.time)
        update.tags["emotune.epochs"] = str(record.epoch)
        for name, value in record.metrics.items():
            if value is None or not math.isfinite(value):
                self.diverged.add(key)
                update.tags["emotune.status"] = "diverged"
            else:
                self._add_metric(update, name, value=value, time=record.time, step=record.epoch)
        value = record.metrics.get(self._objective_metric) if record.epoch in self.rungs else None
        if value is not None and math.isfinite(value):
            self._add_metric(update, rung_metric(record.epoch), value=value, time=record.time, step=record.epoch)
        if self.kind == "fold":
            self.last[record.config_id] = {name: value for name, value in record.metrics.items() if value is not None}

    @property
    def _objective_metric(self) -> str:
        assert self.opened is not None
        return self.opened.study["objective"]["metric"]

    def _end(self, record: Ended, updates: RunUpdates) -> None:
        key = str(record.config_id)
        evaluation = self.started[record.evaluation_id].evaluation
        update = self._run(key, updates, time=record.time)
        self.running[key] = False
        update.status = "FINISHED" if record.status == "done" else "FAILED"
        update.ended = _milliseconds(record.time)
        if key in self.diverged or re.search(r"diverge|\bnan\b|\binf", record.error or ""):
            update.tags["emotune.status"] = "diverged"
        else:
            update.tags["emotune.status"] = record.status
        if record.error:
            update.tags["emotune.error"] = record.error
        self.outcomes.append((evaluation, record.objective))
        self.epochs += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is not None and math.isfinite(record.objective):
            values = {OBJECTIVE: record.objective, EPOCHS: float(evaluation.to_epoch)}
            for name, value in values.items():
                self._add_metric(update, name, value=value, time=record.time, step=evaluation.to_epoch)
            self._improve(record, updates, evaluation=evaluation)

    def _improve(self, record: Ended, updates: RunUpdates, *, evaluation: Evaluation) -> None:
        """Add the incumbent: the best of the configurations trained longest, with all trained epochs as step."""
        assert self.opened is not None
        assert record.objective is not None
        objective = self.opened.study.get("objective")
        if self.summary != SUMMARY or not isinstance(objective, dict):
            return
        before = self.best
        known = [] if before is None else [before]
        result = Criteria.recorded(self.opened.study).ranked(evaluation, record)
        self.scored += [] if result.score is None else [result]
        self.best = best([*known, result], mode=objective.get("mode", "min"))
        assert self.best is not None
        self._mark_best(before, updates, time=record.time)
        time = _milliseconds(record.time)
        update = self._update(self.summary, updates, time=record.time)
        update.metrics.append((f"incumbent/{objective['metric']}", self.best.objective, time, self.epochs))
        update.metrics.append(("incumbent/epochs", float(self.best.evaluation.to_epoch), time, self.epochs))

    def _mark_best(self, before: Result | None, updates: RunUpdates, *, time: float) -> None:
        """Mark the run of the best configuration, and remove the mark from the former one."""
        assert self.best is not None
        numbers = [self.best.evaluation.config_id, *([] if before is None else [before.evaluation.config_id])]
        if self.kind != "configuration" or len(set(numbers)) < len(numbers):
            return
        for number, value in zip(numbers, ("yes", ""), strict=False):
            self._update(str(number), updates, time=time).tags[BEST_TAG] = value

    def _close(self, record: Closed, updates: RunUpdates) -> None:
        status = _CLOSED[record.state]
        for key in [self.summary, *(key for key, running in self.running.items() if running)]:
            update = self._update(key, updates, time=record.time)
            self.running[key] = False
            update.status, update.ended = status, _milliseconds(record.time)
        update = self._update(self.summary, updates, time=record.time)
        update.tags["emotune.state"] = record.state
        if record.reason:
            update.tags["emotune.reason"] = record.reason
        if record.state == "finished" and self.kind == "fold":
            update.metrics += self._folds(time=record.time)
        elif record.state == "finished" and self.summary == SUMMARY:
            update.metrics += self._rung_weights(time=record.time)
            self._mark_front(updates, time=record.time)

    def _mark_front(self, updates: RunUpdates, *, time: float) -> None:
        """Mark the runs of the configurations with a result: whether they are on the Pareto front."""
        if any(result.score is not None and len(result.score.losses) > 1 for result in self.scored):
            members = {result.evaluation.config_id for result in front(self.scored)}
            for number in sorted({result.evaluation.config_id for result in self.scored}):
                self._update(str(number), updates, time=time).tags[PARETO_TAG] = str(number in members).lower()

    def _folds(self, *, time: float) -> Iterator[MetricPoint]:
        """Yield mean and half width of the interval over the folds of a cross-validation, for each metric."""
        from emotune.evaluation.crossval import METRICS  # noqa: PLC0415 (a search does not import it)
        from emotune.evaluation.statistics import mean_interval  # noqa: PLC0415

        for shuffled, prefix in ((False, "cv"), (True, "cv_shuffled")):
            for name in METRICS:
                values = [
                    metrics[f"test/{name}"]
                    for number, metrics in self.last.items()
                    if self.shuffled.get(number, False) is shuffled and f"test/{name}" in metrics
                ]
                if values:
                    interval = mean_interval(values)
                    yield f"{prefix}/{name}", interval.mean, _milliseconds(time), self.epochs
                    yield f"{prefix}/{name}_half_width", interval.half_width or 0.0, _milliseconds(time), self.epochs

    def _rung_weights(self, *, time: float) -> Iterator[MetricPoint]:
        """Yield the reliability of each rung, with the total of trained epochs as step."""
        assert self.opened is not None
        for rung in rung_reliability(self.opened.study, outcomes=self.outcomes):
            if rung.weight is not None:
                yield f"rung_weight/{rung.epochs}", rung.weight, _milliseconds(time), self.epochs


def run_name(config_id: int, values: Mapping[str, Value]) -> str:
    """Return a run name of at most 60 characters that sorts by number, for instance ``c0007-lr3e-4-layers2``."""
    parts = [f"{name.rsplit('.', 1)[-1]}{_compact(value)}" for name, value in values.items()]
    return "-".join([f"c{config_id:04d}", *parts])[:60]


def _compact(value: Value) -> str:
    if not isinstance(value, float):
        return str(value).lower()
    if value != 0 and not 1e-2 <= abs(value) < 1e4:
        return re.sub(r"(\.0+)?e([+-])0*", lambda match: f"e{match[2].strip('+')}", f"{value:.1e}")
    return f"{value:.3g}"


def _flat(content: Mapping[str, Any], *, above: str = "") -> dict[str, str]:
    """Return nested settings as text by dotted name."""
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, above=f"{above}{key}.")
        elif value is not None:
            flat[f"{above}{key}"] = str(value)
    return flat


def _milliseconds(time: float) -> int:
    return round(time * 1000)
