"""Find trials that hang: they are silent for much longer than their epochs take."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

SILENT_EPOCHS = 10
"""Number of epochs whose duration a trial may be silent for."""

FIRST_EPOCH_FACTOR = 10
"""Factor of the silence limit while the duration of an epoch is unknown."""

MAX_POLL_S = 10.0
"""Longest time that counts between two polls, so that no trial counts as hung after the driver was suspended."""

WINDOW = 99
"""Number of the newest epoch durations of which the median is taken."""


@dataclass
class WatchedTrial:
    """A trial that is watched. Times are seconds of the watchdog's clock."""

    cost: float
    silence_limit: float
    reported_at: float
    """Time of the last report."""
    epoch_begun_at: float
    """Time of the last report with an epoch, or of the trial's begin."""


class Watchdog:
    """Estimates the duration of epochs, and finds trials without reports.

    The expected duration of an epoch is the median of cost-normalised durations times the trial's cost. A trial
    hangs if it is silent for longer than ``max(silence_limit, SILENT_EPOCHS * expected duration)``.

    Args:
        clock: A monotonic clock (s).
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._polled_at = clock()
        self._now = 0.0
        self._trials: dict[str, WatchedTrial] = {}
        self._durations: deque[float] = deque(maxlen=WINDOW)
        """Durations of epochs, divided by the cost of their trials."""

    def watch(self, trial: str, *, cost: float, silence_limit: float) -> None:
        """Watch a trial that begins now.

        Args:
            trial: Its identifier.
            cost: Cost of an epoch, in a unit that is the same for all trials.
            silence_limit: Time (s) that it may be silent in any case; 0: without limit.
        """
        self._advance()
        if silence_limit > 0:
            self._trials[trial] = WatchedTrial(cost, silence_limit, reported_at=self._now, epoch_begun_at=self._now)

    def record_report(self, trial: str, *, epochs: int) -> None:
        """Record that a trial has reported a number of epochs; a report without epochs counts as a sign of life."""
        self._advance()
        watched = self._trials.get(trial)
        if watched is None:
            return
        if epochs:
            self._durations.append((self._now - watched.epoch_begun_at) / epochs / watched.cost)
            watched.epoch_begun_at = self._now
        watched.reported_at = self._now

    def unwatch(self, trial: str) -> None:
        """Watch a trial no longer."""
        self._trials.pop(trial, None)

    def find_hung(self) -> dict[str, float]:
        """Return the trials that hang and their times of silence (s), and watch them no longer."""
        self._advance()
        duration = statistics.median(self._durations) if self._durations else None
        silences = {trial: self._now - watched.reported_at for trial, watched in self._trials.items()}
        hung = {
            trial: silence
            for trial, silence in silences.items()
            if silence > _limit(self._trials[trial], duration=duration)
        }
        for trial in hung:
            self.unwatch(trial)
        return hung

    def _advance(self) -> None:
        polled_at = self._clock()
        self._now += min(polled_at - self._polled_at, MAX_POLL_S)
        self._polled_at = polled_at


def _limit(watched: WatchedTrial, *, duration: float | None) -> float:
    """Return the time (s) that a trial may be silent, given the median duration of an epoch of cost 1."""
    if duration is None:
        return FIRST_EPOCH_FACTOR * watched.silence_limit
    return max(watched.silence_limit, SILENT_EPOCHS * duration * watched.cost)
