"""The display of a run: live on a terminal, one line per event elsewhere.

`SearchDisplay` is for searches and cross-validations, `RunDisplay` for a single run; `follow` passes them the records.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from emotune.cli.actions.consoles import message_console
from emotune.cli.actions.notebook import NotebookOutput, in_notebook
from emotune.cli.actions.pace import MIN_ESTIMATE_S, Amounts, Pace, describe_estimate
from emotune.cli.output import size
from emotune.durations import HOUR_S, duration
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
    Removed,
    Resized,
    Retried,
    Started,
    TimeLimit,
)
from emotune.search.stopping import in_words
from emotune.study.definition import SearchDefinition
from emotune.study.first_estimate import FirstEstimate
from emotune.study.recorded import recorded_order
from emotune.waiting import logger as waiting_logger

LINE_INTERVAL_S = 10.0
"""Least time between two lines about epochs of a single run if stderr is not a terminal."""
SUMMARY_INTERVAL_S = 60.0
"""Least time between two lines with the progress of a search if stderr is not a terminal."""

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

    def __init__(self, study: SearchDefinition, *, name: str) -> None:
        self.study = study
        self.name = name
        self.waiting_for = ""
        """What the run waits for, until the next record."""
        self.estimate: FirstEstimate | None = None
        """Estimate of a search; None until it is known."""

    def update(self, record: Record) -> str | None:
        """Process a record, and return a line to print, or None."""
        self.waiting_for = ""
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

    def take_notice(self) -> str | None:
        """Return lines that are printed once, on a terminal too, after a record; None: there are none."""
        return None

    def take_summary(self, now: float) -> str | None:
        """Return a line about the progress if it is due; for outputs that are no terminal.

        Args:
            now: Time of the record that was processed (s since 1970).
        """
        return None


class SearchDisplay(Display):
    """The running evaluations and the best result of a search.

    Args:
        study: The study.
        name: Name of the search.
        checkpoint_bytes: Size of the checkpoints of a configuration, for the estimate; None: unknown.
    """

    kind = "search"

    def __init__(self, study: SearchDefinition, *, name: str, checkpoint_bytes: int | None = None) -> None:
        super().__init__(study, name=name)
        self.objective, self._criteria = study.objective, study.criteria
        self.amounts = Amounts.of(study)
        self.checkpoint_bytes = checkpoint_bytes
        self.running: dict[int, Started] = {}
        self.epochs: dict[int, EpochDone] = {}
        self.started: dict[int, Started] = {}
        self.ended = self.ended_epochs = 0
        self.best: Result | None = None
        self._pace = Pace(study)
        self._summary_at: float | None = None

    def _update(self, record: Record) -> str | None:
        match record:
            case Opened():
                workers = f"concurrency {record.concurrency}, {recorded_order(record.study)} order"
                line = f"study {record.digest}, seed {record.seed}, {workers}"
            case Extended():
                line = self._extend(record)
            case Resized():
                line = f"concurrency {record.concurrency} after a change of the cluster"
            case Retried():
                line = self._retry(record)
            case TimeLimit():
                line = f"at most {duration(record.hours * HOUR_S)}, of which {duration(record.used_seconds)} are used"
            case Removed():
                line = f"removed {describe_removed(record)}"
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
                self._pace.add(self.started[record.evaluation_id], at=record.time)
            case Ended():
                return self._end(record)
        return None

    def start_clock(self) -> None:
        """Estimate the remaining time from the records that follow: those before are of earlier drivers."""
        self._pace.restart()

    def _extend(self, record: Extended) -> str:
        limits = {"brackets": record.brackets, "evaluations": record.evaluations}
        budget = self.study.budget.model_copy(update=limits)
        self.amounts = Amounts.of(self.study.model_copy(update={"budget": budget}))
        return f"extended to {in_words(**limits)}"

    def _retry(self, record: Retried) -> str:
        for number in record.evaluations:
            self.running[number] = self.started[number]
            evaluation = self.started[number].evaluation
            self.ended -= 1
            self.ended_epochs -= evaluation.to_epoch - evaluation.from_epoch
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
        self.ended_epochs += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is None:
            return f"evaluation {evaluation.id} failed after {duration(record.seconds)}: {record.error}"
        known = [] if self.best is None else [self.best]
        self.best = best([*known, self._criteria.ranked(evaluation, record)], mode=self.objective.mode)
        epoch, spent = evaluation.to_epoch, duration(record.seconds)
        values = ", ".join(f"{name} {value:.6g}" for name, value in self._criteria.values_of(record).items())
        return f"evaluation {evaluation.id} done: {values} at epoch {epoch}, {spent}; best: {self.describe_best()}"

    def describe_best(self) -> str:
        """Return the best result with its configuration and epoch."""
        if self.best is None:
            return "none yet"
        evaluation, objective, _ = self.best
        return f"{objective:.6g} (configuration {evaluation.config_id}, epoch {evaluation.to_epoch})"

    @property
    def trained_epochs(self) -> int:
        """Epochs of the evaluations that have ended, and those of the running ones so far."""
        running = 0
        for number, started in self.running.items():
            last, first = self.epochs.get(number), started.evaluation.from_epoch
            running += 0 if last is None else max(0, last.epoch - first)
        return self.ended_epochs + running

    def remaining_seconds(self) -> float | None:
        """Return the remaining epochs at the pace since `start_clock`; None after too few epochs."""
        return self._pace.seconds(epochs=max(0, self.amounts.epochs - self.trained_epochs))

    def take_notice(self) -> str | None:
        """Return the estimate of the search, once it is known."""
        seconds = None if self.estimate is not None else self.remaining_seconds()
        if seconds is None:
            return None
        self.estimate = self.amounts.estimate(self._pace.last_at - self.started[min(self.started)].time + seconds)
        notice = describe_estimate(self.amounts, seconds=seconds, checkpoint_bytes=self.checkpoint_bytes)
        return notice if seconds >= MIN_ESTIMATE_S else None

    def take_summary(self, now: float) -> str | None:
        """Return how much is done and how long the rest takes, every `SUMMARY_INTERVAL_S`."""
        if self._summary_at is None:
            self._summary_at = now
        if now - self._summary_at < SUMMARY_INTERVAL_S:
            return None
        self._summary_at = now
        return self.describe_progress()

    def describe_progress(self) -> str:
        """Return how much of the search is done, and how long the rest takes."""
        seconds, total = self.remaining_seconds(), max(self.amounts.evaluations, len(self.started))
        left = "" if seconds is None else f", about {duration(seconds)} left"
        epochs = f"{self.trained_epochs} of {self.amounts.epochs} epochs{left}"
        return f"{self.name}: {self.ended} of about {total} evaluations, {epochs}"

    def render(self) -> Group:
        """Return a summary line and the table of running evaluations, or what the search waits for."""
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
        parts: list[RenderableType] = [Text(f"{self.describe_progress()}; best: {self.describe_best()}")]
        parts += [table] if self.running else []
        parts += [Text(self.waiting_for)] if self.waiting_for else []
        return Group(*parts)


class RunDisplay(Display):
    """The newest epoch of a single run: losses, speed, share of the peak, remaining time."""

    kind = "run"

    def __init__(self, study: SearchDefinition, *, name: str) -> None:
        super().__init__(study, name=name)
        self.epochs = study.budget.max
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
        # a CPU's peak depends on what else the machine does, and on how many threads are given
        is_comparable = metrics.get("system/gpu_memory_gib") is not None
        speed, share = metrics.get("train/segments_per_second"), metrics.get("train/peak_share")
        share = share if is_comparable else None
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
        return Text(f"{self.name}: {self.waiting_for or self.describe()}")


class _WaitingHandler(logging.Handler):
    """Passes what a run waits for to its display on a terminal."""

    def __init__(self, display: Display, show: Callable[[], None]) -> None:
        super().__init__()
        self._display = display
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line until the next record of the run."""
        self._display.waiting_for = record.getMessage()
        self._show()


@contextmanager
def _shown_waiting(display: Display, *, show: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Show what is waited for in a display, and nowhere else, in a ``with`` statement.

    Args:
        display: The display.
        show: Called after each change, if the display does not refresh itself.
    """
    handler, printing, level = _WaitingHandler(display, show), waiting_logger.handlers, waiting_logger.level
    waiting_logger.handlers = [handler]
    waiting_logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        waiting_logger.handlers = printing
        waiting_logger.setLevel(level)


@contextmanager
def follow(display: Display, *, known: int, link: Callable[[], str | None] = lambda: None) -> Iterator[Observer]:
    """Show a run in a ``with`` statement, which returns the observer to pass to the driver.

    Args:
        display: The display of the run.
        known: Number of records of earlier drivers, which are processed but not printed.
        link: Returns a line with a link to the run, which is printed once; None if there is no link yet.
    """
    show = _follow_in_notebook if in_notebook() else _follow_on_stderr
    with show(display, known=known, link=link) as observer:
        yield observer


def _given_once(link: Callable[[], str | None]) -> Callable[[Record], str | None]:
    """Return a function that returns the line with the link after the first record for which there is one."""
    pending = [link]

    def once(record: Record) -> str | None:
        text = pending[0]() if pending and not isinstance(record, Closed) else None
        if text is not None:
            pending.clear()
        return text

    return once


@contextmanager
def _follow_on_stderr(display: Display, *, known: int, link: Callable[[], str | None]) -> Iterator[Observer]:
    """Show a run live on a terminal, and in lines elsewhere; the arguments are those of `follow`."""
    console, link_once = message_console(), _given_once(link)

    def observe(record: Record, number: int) -> None:
        line = display.update(record)
        if number < known:
            display.start_clock()
            return
        if line is not None and not (console.is_terminal and isinstance(record, EpochDone)):
            console.print(line, markup=False, soft_wrap=True)
        notice = display.take_notice()
        summary = None if console.is_terminal else display.take_summary(record.time)
        for text in filter(None, (notice, summary, link_once(record))):
            console.print(text, markup=False, soft_wrap=True)

    if console.is_terminal:
        live = Live(console=console, refresh_per_second=4, get_renderable=display.render, transient=True)
        with live, _shown_waiting(display):
            yield observe
    else:
        yield observe


@contextmanager
def _follow_in_notebook(display: Display, *, known: int, link: Callable[[], str | None]) -> Iterator[Observer]:
    """Show a run in one output of a notebook, which is updated in place; the arguments are those of `follow`."""
    output, link_once = NotebookOutput(display.render), _given_once(link)

    def observe(record: Record, number: int) -> None:
        line = display.update(record)
        if number < known:
            display.start_clock()
            return
        closing = line if isinstance(record, Closed) else None
        for text in filter(None, (display.take_notice(), closing, link_once(record))):
            output.add(text)
        output.update(now=isinstance(record, Closed))

    with _shown_waiting(display, show=lambda: output.update(now=True)):
        yield observe
    output.update(now=True)


def describe_removed(record: Removed) -> str:
    """Return how many checkpoints were removed, and their size."""
    return f"the checkpoints of {len(record.configurations)} configurations out of the race, {size(record.bytes)}"


def _values(evaluation: Evaluation) -> str:
    return " ".join(f"{name}={_format(value)}" for name, value in evaluation.values.items())


def _format(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
