"""Concurrency that follows the cluster: nodes that join get work at once, those that leave are waited for a while."""

import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
"""So often the cluster is looked at."""

SHRINK_SECONDS = 30.0
"""A cluster that is smaller for so long counts as smaller; a node that restarts is back by then."""


class Following:
    """Tells for how many evaluations there is room.

    Args:
        places: Looks at the cluster.
        there: For how many there was room at first.
    """

    def __init__(self, places: Callable[[], int], *, there: int) -> None:
        self._places = places
        self._there = there
        self._looked = time.monotonic()
        self._enough = self._looked

    def look(self) -> int:
        """Return for how many there is room: more at once, fewer when that has lasted."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return self._there
        self._looked = now
        found = self._places()
        if found >= self._there:
            self._enough = now
        if found > self._there or now - self._enough > SHRINK_SECONDS:
            self._there, self._enough = found, now
        return self._there
