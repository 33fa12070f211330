"""How a single long run looks: epoch, losses, speed, share of the peak, time left; and how runs are followed."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from emotune.cli.display import Progress, duration
from emotune.runtime.coordinator import Observer
from emotune.search.records import Closed, Ended, EpochDone, Extended, Opened, Record, Resized, Started
from emotune.study.study import Study

LINE_SECONDS = 10.0
"""Where there is no terminal, epochs are told no more often than so."""

REMEMBERED = 20
"""The time left is estimated from the pace of so many epochs."""

SHORTEST_SPAN = 1.0
"""They must be so many seconds apart in all: short epochs of a group are told several at once."""


class RunProgress:
    """What is known of a single run, from its records alone.

    Args:
        study: The study, which searches nothing.
        name: Name of the run.
    """

    def __init__(self, study: Study, *, name: str) -> None:
        self.name = name
        self.epochs = study.base.epochs
        self.last: EpochDone | None = None
        self._metric = study.objective.metric
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self._told = float("-inf")

    def begin(self) -> None:
        """Take note that from now on records are new."""
        self._times.clear()

    def take(self, record: Record) -> str | None:
        """Take in a record and return a line about it, if it is an event or the last line is a while ago."""
        match record:
            case Opened():
                return f"run {record.name}: {record.purpose}, {self.epochs} epochs, seed {record.seed}"
            case EpochDone():
                return self._take_epoch(record)
            case Ended():
                return None if record.error is None else f"run {self.name}: failed: {record.error}"
            case Closed():
                return f"run {self.name}: {record.state}{f' ({record.reason})' if record.reason else ''}"
            case Started() | Extended() | Resized():
                return None

    def _take_epoch(self, record: EpochDone) -> str | None:
        self.last = record
        self._times.append(record.time)
        if record.time - self._told < LINE_SECONDS and record.epoch < self.epochs:
            return None
        self._told = record.time
        return self.describe()

    def describe(self) -> str:
        """Return the newest epoch in a line."""
        if self.last is None:
            return f"{self.name}: waiting for the first epoch"
        metrics = self.last.metrics
        told = [f"{name} {metrics[name]:.5g}" for name in ("train/loss", self._metric) if metrics.get(name) is not None]
        speed, share = metrics.get("train/segments_per_second"), metrics.get("train/peak_share")
        told += [] if speed is None else [f"{speed:.0f} segments/s"]
        told += [] if share is None else [f"{share:.0%} of the peak"]
        left = self.remaining_seconds()
        told += [] if left is None else [f"about {duration(left)} left"]
        return f"epoch {self.last.epoch}/{self.epochs}: {', '.join(told)}"

    def remaining_seconds(self) -> float | None:
        """Estimate the time left from the pace of the last epochs of this driver."""
        if self.last is None or self.last.epoch == self.epochs:
            return None
        seconds = self._times[-1] - self._times[0]
        if seconds < SHORTEST_SPAN:
            return None
        pace = seconds / (len(self._times) - 1)
        return pace * (self.epochs - self.last.epoch)

    def render(self) -> Text:
        """Return the line that a terminal shows."""
        return Text(f"{self.name}: {self.describe()}")


@contextmanager
def follow(progress: Progress | RunProgress, *, known: int) -> Iterator[Observer]:
    """Show a search or a run while it goes on; gives the observer that has to be told.

    Args:
        progress: What is known of it.
        known: Number of records of earlier drivers, which are not shown again.
    """
    console = Console(stderr=True, highlight=False)

    def observe(record: Record, number: int) -> None:
        line = progress.take(record)
        if number < known:
            progress.begin()
        elif line is not None and not (console.is_terminal and isinstance(record, EpochDone)):
            console.print(line, markup=False, soft_wrap=True)

    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, get_renderable=progress.render, transient=True):
            yield observe
    else:
        yield observe
