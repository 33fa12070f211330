"""Virtual time: what was known when, whatever really happened first."""

import heapq
from collections.abc import Callable, Collection

from emotune.search.schedule import Plan


class VirtualClock:
    """A clock with virtual workers.

    Decisions made at a virtual time see exactly the results that end by then. So the decisions do not
    depend on which evaluation really finished first, on restarts or on the load of the machines.

    Args:
        workers: How many there are; may be changed on the way.
        see: Called with each evaluation as it ends.
    """

    def __init__(self, workers: int, *, see: Callable[[int], None]) -> None:
        self.workers = workers
        self.ended = 0
        """How many evaluations have ended."""
        self._see = see
        self._now = 0.0
        self._ends: list[tuple[float, int]] = []

    @property
    def can_start(self) -> bool:
        """Whether a virtual worker is free and all that ends by now has been taken note of."""
        return len(self._ends) < self.workers and not (self._ends and self._ends[0][0] <= self._now)

    def start(self, evaluation_id: int, *, seconds: float) -> None:
        """Begin an evaluation now that lasts so many virtual seconds, more than 0."""
        heapq.heappush(self._ends, (self._now + seconds, evaluation_id))

    def decide(self, offer: Callable[[], Plan | None], *, known: Collection[int]) -> Plan | None:
        """Decide at the earliest virtual time at which there is something to do.

        A decision waits for all results that end by then; it does not see any that ends later.

        Args:
            offer: What there would be to do now.
            known: Evaluations whose results are known.

        Returns:
            What to do, or None if a result has to be awaited, or nothing is running.
        """
        while True:
            plan = offer() if self.can_start else None
            if plan is not None or not self.advance(known=known):
                return plan

    def advance(self, *, known: Collection[int]) -> bool:
        """Go on to the end of the next evaluation (of several the lower number), and free its worker.

        Returns:
            Whether that was possible: something is running, and the result of what ends next is known.
        """
        if not self._ends or self._ends[0][1] not in known:
            return False
        self._now, ending = heapq.heappop(self._ends)
        self.ended += 1
        self._see(ending)
        return True
