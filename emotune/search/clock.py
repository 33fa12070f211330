"""Virtual time: the results that a decision sees do not depend on real time."""

import heapq
from collections.abc import Callable, Collection

from emotune.search.schedule import Plan


class VirtualClock:
    """A clock with virtual workers.

    A decision at a virtual time sees exactly the results that end before it. Decisions therefore do not depend on the
    real order of results, on restarts or on the load of the machines.

    Args:
        workers: Number of virtual workers; the attribute may be changed.
        see: Called with the number of each evaluation as it ends.
    """

    def __init__(self, workers: int, *, see: Callable[[int], None]) -> None:
        self.workers = workers
        self.ended = 0
        """Number of evaluations that have ended."""
        self._see = see
        self._now = 0.0
        self._ends: list[tuple[float, int]] = []

    @property
    def can_start(self) -> bool:
        """Whether a virtual worker is free, and all evaluations that end now have ended."""
        return len(self._ends) < self.workers and not (self._ends and self._ends[0][0] <= self._now)

    def start(self, evaluation_id: int, *, seconds: float) -> None:
        """Start an evaluation now.

        Args:
            evaluation_id: Number of the evaluation.
            seconds: Its duration in virtual seconds, above 0.
        """
        heapq.heappush(self._ends, (self._now + seconds, evaluation_id))

    def is_running(self, evaluation_id: int) -> bool:
        """Return whether an evaluation has not ended in virtual time."""
        return any(number == evaluation_id for _, number in self._ends)

    def decide(self, offer: Callable[[], Plan | None], *, known: Collection[int]) -> Plan | None:
        """Return the next plan, at the earliest virtual time that has one.

        A decision sees the results that end before it, and no later ones.

        Args:
            offer: Returns the plan of the present virtual time, or None.
            known: Evaluations whose results are known.

        Returns:
            The plan; None if a result is missing, or no evaluation is running.
        """
        while True:
            plan = offer() if self.can_start else None
            if plan is not None or not self.advance(known=known):
                return plan

    def advance(self, *, known: Collection[int]) -> bool:
        """Advance to the end of the next evaluation (among equal times the lowest number), and free its worker.

        Returns:
            Whether an evaluation is running and the result of the next one to end is known.
        """
        if not self._ends or self._ends[0][1] not in known:
            return False
        self._now, ending = heapq.heappop(self._ends)
        self.ended += 1
        self._see(ending)
        return True
