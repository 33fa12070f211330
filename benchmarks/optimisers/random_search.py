"""Random search: every configuration is trained for all epochs."""

from collections.abc import Sequence

from benchmarks.problems import EPOCHS
from benchmarks.simulation import Task, Work


class RandomSearch:
    """Draws configurations from the space."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._space.seed(task.seed)
        self._count = 0

    def ask(self) -> Work:
        """Return a random configuration."""
        self._count += 1
        return Work(self._count, dict(self._space.sample_configuration()), 0, EPOCHS)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Ignore the losses."""
