"""The display of a run: live on a terminal, one line per event elsewhere.

`SearchDisplay` is for searches and cross-validations, `RunDisplay` for a single run; `follow` passes them the records.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from emotune.cli.actions.tables import message_console
from emotune.report.durations import duration
from emotune.runtime.coordinator import Observer
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
    Retried,
    Started,
)
from emotune.search.stopping import in_words
from emotune.study.preview import preview
from emotune.study.study import Study

LINE_INTERVAL_S = 10.0
"""Least time between two lines about epochs of a single run if stderr is not a terminal."""

PACE_EPOCHS = 20
"""The remaining time of a single run is estimated from the pace of this many epochs."""

MIN_PACE_SPAN_S = 1.0
"""Shortest time between the first and the last of them: a group reports several short epochs at once."""


class Display(ABC):
    """The state of a run, computed from its records alone.

    Args:
        study: The study.
        name: Name of the run.
    """

    kind: ClassVar[str]

    def __init__(self, study: Study, *, name: str) -> None:
        self.study = study
        self.name = name

    def update(self, record: Record) -> str | None:
        """Process a record, and return a line to print, or None."""
        if isinstance(record, Closed):
            return f"{self.kind} {self.name}: {record.state}{f' ({record.reason})' if record.reason else ''}"
        return self._update(record)

    @abstractmethod
    def _update(self, record: Record) -> str | None:
        """Process any other record than `Closed`, and return a line to print, or None."""

    @abstractmethod
    def start_clock(self) -> None:
        """Estimate the remaining time from the records that follow: those before are of earlier drivers."""

    @abstractmethod
    def remaining_seconds(self) -> float | None:
        """Return the estimated time to the end; None if it is not known yet."""

    @abstractmethod
    def render(self) -> RenderableType:
        """Return what a terminal shows."""


class SearchDisplay(Display):
    """The running evaluations and the best result of a search."""

    kind = "search"

    def __init__(self, study: Study, *, name: str) -> None:
        super().__init__(study, name=name)
        self.objective = study.objective
        self.total_epochs = _total_epochs(study)
        self.running: dict[int, Started] = {}
        self.epochs: dict[int, EpochDone] = {}
        self.started: dict[int, Started] = {}
        self.ended = 0
        self.trained_epochs = 0
        self.best: Result | None = None
        self._clock_start = time.monotonic()
        self._epochs_at_start = 0

    def _update(self, record: Record) -> str | None:
        match record:
            case Opened():
                line = f"study {record.digest}, seed {record.seed}, concurrency {record.concurrency}"
            case Extended():
                line = self._extend(record)
            case Resized():
                line = f"concurrency {record.concurrency} after a change of the cluster"
            case Retried():
                line = self._retry(record)
            case _:
                return self._update_evaluation(record)
        return f"search {self.name}: {line}"

    def _update_evaluation(self, record: Record) -> str | None:
        """Process a record of one evaluation."""
        match record:
            case Started():
                return self._start(record)
            case EpochDone():
                self.epochs[record.evaluation_id] = record
            case Ended():
                return self._end(record)
        return None

    def start_clock(self) -> None:
        """Estimate the remaining time from the records that follow: those before are of earlier drivers."""
        self._clock_start = time.monotonic()
        self._epochs_at_start = self.trained_epochs

    def _extend(self, record: Extended) -> str:
        limits = {"brackets": record.brackets, "evaluations": record.evaluations}
        budget = self.study.budget.model_copy(update=limits)
        self.total_epochs = _total_epochs(self.study.model_copy(update={"budget": budget}))
        return f"extended to {in_words(**limits)}"

    def _retry(self, record: Retried) -> str:
        for number in record.evaluations:
            self.running[number] = self.started[number]
            evaluation = self.started[number].evaluation
            self.ended -= 1
            self.trained_epochs -= evaluation.to_epoch - evaluation.from_epoch
        return f"{len(record.evaluations)} failed evaluations are run again"

    def _start(self, record: Started) -> str:
        evaluation = record.evaluation
        self.running[evaluation.id] = self.started[evaluation.id] = record
        title = f"evaluation {evaluation.id} (configuration {evaluation.config_id}, {evaluation.origin})"
        return f"{title}: epochs {evaluation.from_epoch}-{evaluation.to_epoch} {_values(evaluation)}".rstrip()

    def _end(self, record: Ended) -> str:
        evaluation = self.started[record.evaluation_id].evaluation
        self.running.pop(record.evaluation_id, None)
        self.ended += 1
        self.trained_epochs += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is None:
            return f"evaluation {evaluation.id} failed after {record.seconds:.1f} s: {record.error}"
        known = [] if self.best is None else [self.best]
        self.best = best([*known, (evaluation, record.objective)], mode=self.objective.mode)
        result = (
            f"{self.objective.metric} {record.objective:.6g} at epoch {evaluation.to_epoch}, {record.seconds:.1f} s"
        )
        return f"evaluation {evaluation.id} done: {result}; best: {self.describe_best()}"

    def describe_best(self) -> str:
        """Return the best result with its configuration and epoch."""
        if self.best is None:
            return "none yet"
        evaluation, objective = self.best
        return f"{objective:.6g} (configuration {evaluation.config_id}, epoch {evaluation.to_epoch})"

    def remaining_seconds(self) -> float | None:
        """Return the remaining epochs at the pace since `start_clock`; None before the first evaluation has ended."""
        trained = self.trained_epochs - self._epochs_at_start
        if not trained:
            return None
        pace = (time.monotonic() - self._clock_start) / trained
        return pace * max(0, self.total_epochs - self.trained_epochs)

    def render(self) -> Group:
        """Return a summary line and the table of running evaluations."""
        table = Table("evaluation", "configuration", "epoch", self.objective.metric, "origin", "values")
        for number, record in sorted(self.running.items()):
            evaluation = record.evaluation
            last = self.epochs.get(number)
            value = None if last is None else last.metrics.get(self.objective.metric)
            table.add_row(
                str(evaluation.id),
                str(evaluation.config_id),
                f"{last.epoch if last else evaluation.from_epoch}/{evaluation.to_epoch}",
                "" if value is None else f"{value:.5g}",
                evaluation.origin,
                _values(evaluation),
            )
        seconds = self.remaining_seconds()
        left = "" if seconds is None else f", about {duration(seconds)} left"
        epochs = f"{self.trained_epochs}/{self.total_epochs} epochs{left}"
        return Group(Text(f"{self.name}: {self.ended} evaluations, {epochs}; best: {self.describe_best()}"), table)


class RunDisplay(Display):
    """The newest epoch of a single run: losses, speed, share of the peak, remaining time."""

    kind = "run"

    def __init__(self, study: Study, *, name: str) -> None:
        super().__init__(study, name=name)
        self.epochs = study.base.epochs
        self.last: EpochDone | None = None
        self._metric = study.objective.metric
        self._times: deque[float] = deque(maxlen=PACE_EPOCHS)
        self._last_line = float("-inf")

    def start_clock(self) -> None:
        """Estimate the remaining time from the records that follow: those before are of earlier drivers."""
        self._times.clear()

    def _update(self, record: Record) -> str | None:
        match record:
            case Opened():
                return f"run {record.name}: {record.purpose}, {self.epochs} epochs, seed {record.seed}"
            case EpochDone():
                return self._end_epoch(record)
            case Ended(error=str(error)):
                return f"run {self.name}: failed: {error}"
        return None

    def _end_epoch(self, record: EpochDone) -> str | None:
        self.last = record
        self._times.append(record.time)
        if record.time - self._last_line < LINE_INTERVAL_S and record.epoch < self.epochs:
            return None
        self._last_line = record.time
        return self.describe()

    def describe(self) -> str:
        """Return a line about the newest epoch."""
        if self.last is None:
            return f"{self.name}: waiting for the first epoch"
        metrics = self.last.metrics
        parts = [
            f"{name} {metrics[name]:.5g}" for name in ("train/loss", self._metric) if metrics.get(name) is not None
        ]
        speed, share = metrics.get("train/segments_per_second"), metrics.get("train/peak_share")
        parts += [] if speed is None else [f"{speed:.0f} segments/s"]
        parts += [] if share is None else [f"{share:.0%} of the peak"]
        left = self.remaining_seconds()
        parts += [] if left is None else [f"about {duration(left)} left"]
        return f"epoch {self.last.epoch}/{self.epochs}: {', '.join(parts)}"

    def remaining_seconds(self) -> float | None:
        """Return the remaining epochs at the pace of the last `PACE_EPOCHS` of this driver."""
        if self.last is None or self.last.epoch == self.epochs:
            return None
        seconds = self._times[-1] - self._times[0]
        if seconds < MIN_PACE_SPAN_S:
            return None
        pace = seconds / (len(self._times) - 1)
        return pace * (self.epochs - self.last.epoch)

    def render(self) -> Text:
        """Return the line that a terminal shows."""
        return Text(f"{self.name}: {self.describe()}")


@contextmanager
def follow(display: Display, *, known: int, link: Callable[[], str | None] = lambda: None) -> Iterator[Observer]:
    """Show a run in a ``with`` statement, which returns the observer to pass to the driver.

    Args:
        display: The display of the run.
        known: Number of records of earlier drivers, which are processed but not printed.
        link: Returns a line with a link to the run, which is printed once; None if there is no link yet.
    """
    console = message_console()
    has_link = False

    def observe(record: Record, number: int) -> None:
        nonlocal has_link
        line = display.update(record)
        if number < known:
            display.start_clock()
        elif line is not None and not (console.is_terminal and isinstance(record, EpochDone)):
            console.print(line, markup=False, soft_wrap=True)
        if number >= known and not has_link and not isinstance(record, Closed) and (text := link()) is not None:
            has_link = True
            console.print(text, markup=False, soft_wrap=True)

    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, get_renderable=display.render, transient=True):
            yield observe
    else:
        yield observe


def _total_epochs(study: Study) -> int:
    """Return the number of epochs of all evaluations of a study."""
    return sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in preview(study))


def _values(evaluation: Evaluation) -> str:
    return " ".join(f"{name}={_format(value)}" for name, value in evaluation.values.items())


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
