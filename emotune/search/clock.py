"""Virtual time: what was known when, whatever really happened first."""

import heapq


class VirtualClock:
    """A clock with a fixed number of virtual workers.

    Decisions made at a virtual time see exactly the results that end by then. So the decisions do not
    depend on which evaluation really finished first, on restarts or on the load of the machines.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._now = 0.0
        self._ends: list[tuple[float, int]] = []

    @property
    def can_start(self) -> bool:
        """Whether a virtual worker is free and all that ends by now has been taken note of."""
        return len(self._ends) < self._workers and not (self._ends and self._ends[0][0] <= self._now)

    @property
    def next_to_end(self) -> int | None:
        """The evaluation that ends next (ties: the lower number first); None if none is running."""
        return self._ends[0][1] if self._ends else None

    def start(self, evaluation_id: int, *, seconds: float) -> None:
        """Begin an evaluation now that lasts so many virtual seconds, more than 0."""
        heapq.heappush(self._ends, (self._now + seconds, evaluation_id))

    def advance(self) -> None:
        """Go on to the end of the next evaluation and free its worker."""
        self._now, _ = heapq.heappop(self._ends)
