"""Number of evaluations that run at a time: a fixed number, or the capacity of the cluster.

Elastic concurrency follows the cluster: nodes that join are used at once, and a node that leaves counts as gone
after `SHRINK_DELAY_S`, because a node that restarts is back by then.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from emotune.search.records import Record
from emotune.study.results import opened, present_concurrency

POLL_INTERVAL_S = 1.0
"""Interval at which the driver reads the capacity of the cluster."""

SHRINK_DELAY_S = 30.0
"""Time for which the capacity must be smaller before the concurrency is reduced."""


@dataclass(frozen=True)
class Capacity:
    """What the cluster offers a search."""

    slots: int
    """Evaluations that can run at a time."""
    resources: dict[str, float]
    """Ray resources of one evaluation; empty for a group's trial, whose workers use resources themselves."""


@dataclass(frozen=True)
class Concurrency:
    """How many evaluations run at a time."""

    slots: int
    resources: Mapping[str, float]
    """Ray resources of one evaluation; empty for a group's trial."""
    elastic: bool
    """Whether the search decides for the present number of slots, rather than for that of its start."""
    current_slots: Callable[[], int] | None
    """Returns the present number of slots, if the concurrency follows the cluster."""


def choose_concurrency(
    records: Sequence[Record], concurrency: int | None, *, capacity: Callable[[], Capacity]
) -> Concurrency:
    """Choose how many evaluations run at a time.

    Args:
        records: The journal.
        concurrency: The number given to this driver, if any.
        capacity: Returns the present capacity of the cluster.
    """
    present, elastic = capacity(), opened(records).elastic
    if concurrency is None and elastic:
        return Concurrency(present.slots, present.resources, elastic=True, current_slots=lambda: capacity().slots)
    slots = concurrency or present_concurrency(records)
    return Concurrency(slots, present.resources, elastic=elastic, current_slots=None)


def shared(capacity: Callable[[], Capacity], share: float) -> Callable[[], Capacity]:
    """Return a function that returns a fraction of a capacity: at least one slot."""

    def part() -> Capacity:
        whole = capacity()
        return Capacity(max(1, int(whole.slots * share + 1e-9)), whole.resources)

    return part


class ElasticConcurrency:
    """The number of slots, smoothed over time: increases count at once, decreases after `SHRINK_DELAY_S`.

    Args:
        current_slots: Returns the present number of slots.
        slots: The number of slots at first.
    """

    def __init__(self, current_slots: Callable[[], int], *, slots: int) -> None:
        self._current_slots = current_slots
        self._slots = slots
        self._polled_at = time.monotonic()
        self._sufficient_at = self._polled_at

    def poll(self) -> int:
        """Return the number of slots; the cluster is read at most once per `POLL_INTERVAL_S`."""
        now = time.monotonic()
        if now - self._polled_at < POLL_INTERVAL_S:
            return self._slots
        self._polled_at = now
        slots = self._current_slots()
        if slots >= self._slots:
            self._sufficient_at = now
        if slots > self._slots or now - self._sufficient_at > SHRINK_DELAY_S:
            self._slots, self._sufficient_at = slots, now
        return self._slots
