"""Which trials hang: they have been silent for much longer than an epoch of theirs takes."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

EPOCHS = 10
"""A trial may be silent for as long as so many of its epochs take."""

BEFORE_ANY = 10
"""While no epoch of any trial is known, patience lasts so many times as long."""

LONGEST_LOOK = 10.0
"""Of the seconds between two looks no more than these count: a driver that was suspended itself accuses nobody."""

REMEMBERED = 99
"""So many of the newest reports tell how long an epoch takes."""


@dataclass
class Watched:
    """A trial that is being watched."""

    cost: float
    patience: float
    since: float
    """When it was last heard of."""
    epoch_since: float
    """When its present epoch began, as far as is known."""


class Watchdog:
    """Learns how long epochs take in a search, and notices trials that are not heard of any more.

    A trial's epochs are expected to take the median of all reports, in proportion to its cost. It hangs
    when nothing was heard of it for ten such epochs, and for its patience at least.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked = clock()
        self._now = 0.0
        self._watched: dict[str, Watched] = {}
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    def begin(self, trial: str, *, cost: float, patience: float) -> None:
        """Watch a trial that begins now.

        Args:
            trial: Which one.
            cost: What an epoch of it costs, in any unit that is the same for all.
            patience: Seconds that it may be silent in any case; 0: for ever.
        """
        self._look()
        if patience > 0:
            self._watched[trial] = Watched(cost, patience, since=self._now, epoch_since=self._now)

    def heard(self, trial: str, *, epochs: int) -> None:
        """Take note that a trial has reported so many epochs; none is a sign of life too."""
        self._look()
        watched = self._watched.get(trial)
        if watched is None:
            return
        if epochs:
            self._seconds.append((self._now - watched.epoch_since) / epochs / watched.cost)
            watched.epoch_since = self._now
        watched.since = self._now

    def end(self, trial: str) -> None:
        """Watch a trial no longer."""
        self._watched.pop(trial, None)

    def hanging(self) -> dict[str, float]:
        """Return the trials that hang, and how many seconds they were silent; each is named once."""
        self._look()
        usual = statistics.median(self._seconds) if self._seconds else None
        found = {
            trial: self._now - one.since
            for trial, one in self._watched.items()
            if self._now - one.since > _limit(one, usual=usual)
        }
        for trial in found:
            self.end(trial)
        return found

    def _look(self) -> None:
        looked = self._clock()
        self._now += min(looked - self._looked, LONGEST_LOOK)
        self._looked = looked


def _limit(watched: Watched, *, usual: float | None) -> float:
    """Return how many seconds a trial may be silent."""
    if usual is None:
        return BEFORE_ANY * watched.patience
    return max(watched.patience, EPOCHS * usual * watched.cost)
