"""How a running search looks: a live table on a terminal, one plain line per event elsewhere."""

import time

from rich.console import Group
from rich.table import Table
from rich.text import Text

from emotune.search.ranking import Result, best
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Extended, Opened, Record, Resized, Started
from emotune.search.stopping import in_words
from emotune.study.preview import preview
from emotune.study.study import Study


class Progress:
    """What is known of a running search, from its records alone.

    Args:
        study: The study.
        name: Name of the search.
    """

    def __init__(self, study: Study, *, name: str) -> None:
        self.name = name
        self.study = study
        self.aim = study.objective
        self.total_epochs = _epochs(study)
        self.running: dict[int, Started] = {}
        self.epochs: dict[int, EpochDone] = {}
        self.started: dict[int, Started] = {}
        self.done = 0
        self.trained_epochs = 0
        self.best: Result | None = None
        self._begun = time.monotonic()
        self._trained_before = 0

    def take(self, record: Record) -> str | None:  # noqa: PLR0911 (one for each kind of record)
        """Take in a record and return a line about it, if it is an event."""
        match record:
            case Opened():
                return (
                    f"search {record.name}: study {record.digest}, seed {record.seed}, {record.concurrency} at a time"
                )
            case Extended():
                return self._take_extension(record)
            case Resized():
                return f"search {self.name}: {record.concurrency} at a time from now on, as the cluster has changed"
            case Started():
                return self._take_start(record)
            case EpochDone():
                self.epochs[record.evaluation_id] = record
                return None
            case Ended():
                return self._take_end(record)
            case Closed():
                return f"search {self.name}: {record.state}{f' ({record.reason})' if record.reason else ''}"

    def begin(self) -> None:
        """Take note that from now on records are new."""
        self._begun = time.monotonic()
        self._trained_before = self.trained_epochs

    def _take_extension(self, record: Extended) -> str:
        limits = {"brackets": record.brackets, "evaluations": record.evaluations}
        budget = self.study.budget.model_copy(update=limits)
        self.total_epochs = _epochs(self.study.model_copy(update={"budget": budget}))
        return f"search {self.name}: goes on, up to {in_words(**limits)}"

    def _take_start(self, record: Started) -> str:
        one = record.evaluation
        self.running[one.id] = self.started[one.id] = record
        what = f"evaluation {one.id} (configuration {one.config_id}, {one.origin})"
        return f"{what}: epochs {one.from_epoch}-{one.to_epoch} {_values(one)}".rstrip()

    def _take_end(self, record: Ended) -> str:
        one = self.started[record.evaluation_id].evaluation
        self.running.pop(record.evaluation_id, None)
        self.done += 1
        self.trained_epochs += one.to_epoch - one.from_epoch
        if record.objective is None:
            return f"evaluation {one.id} failed after {record.seconds:.1f} s: {record.error}"
        known = [] if self.best is None else [self.best]
        self.best = best([*known, (one, record.objective)], mode=self.aim.mode)
        result = f"{self.aim.metric} {record.objective:.6g} at epoch {one.to_epoch}, {record.seconds:.1f} s"
        return f"evaluation {one.id} done: {result}; best {self.describe_best()}"

    def describe_best(self) -> str:
        """Return the best so far in words."""
        if self.best is None:
            return "none yet"
        evaluation, objective = self.best
        return f"{objective:.6g} (configuration {evaluation.config_id}, epoch {evaluation.to_epoch})"

    def remaining_seconds(self) -> float | None:
        """Estimate the time left from the pace of this driver."""
        trained = self.trained_epochs - self._trained_before
        if not trained:
            return None
        return (time.monotonic() - self._begun) / trained * max(0, self.total_epochs - self.trained_epochs)

    def render(self) -> Group:
        """Return the table of running evaluations and a line about the whole."""
        table = Table("evaluation", "configuration", "epoch", self.aim.metric, "origin", "values")
        for number, record in sorted(self.running.items()):
            one = record.evaluation
            last = self.epochs.get(number)
            value = None if last is None else last.metrics.get(self.aim.metric)
            table.add_row(
                str(one.id),
                str(one.config_id),
                f"{last.epoch if last else one.from_epoch}/{one.to_epoch}",
                "" if value is None else f"{value:.5g}",
                one.origin,
                _values(one),
            )
        left = self.remaining_seconds()
        eta = "" if left is None else f", about {duration(left)} left"
        share = f"{self.trained_epochs}/{self.total_epochs} epochs{eta}"
        return Group(Text(f"{self.name}: {self.done} evaluations, {share}; best {self.describe_best()}"), table)


def _epochs(study: Study) -> int:
    """Return the epochs that a study takes in all."""
    return sum(one.to_epoch - one.from_epoch for one in preview(study))


def _values(evaluation: Evaluation) -> str:
    return " ".join(f"{name}={_short(value)}" for name, value in evaluation.values.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time in words, such as ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
