"""The search of this project, in all its variants."""

from collections.abc import Sequence
from typing import Any

from benchmarks.problems import LADDER
from benchmarks.simulation import Task, Work
from emotune.search import Evaluation, Optimizer
from emotune.search.settings import default_order, virtual_workers


class Emotune:
    """`emotune.search.Optimizer` with the costs of the problem, and with order and virtual workers as in a search."""

    def __init__(self, task: Task, **options: Any) -> None:
        order = options.pop("order", default_order(task.workers))
        self._optimizer = Optimizer(
            task.space,
            min_budget=LADDER[0],
            max_budget=LADDER[-1],
            eta=3,
            seed=task.seed,
            concurrency=virtual_workers(task.workers, order=order),
            order=order,
            cost=task.cost,
            **options,
        )

    def ask(self) -> Work | None:
        """Return the optimiser's next evaluation."""
        evaluation: Evaluation | None = self._optimizer.ask()
        if evaluation is None:
            return None
        return Work(evaluation.id, evaluation.values, evaluation.from_epoch, evaluation.to_epoch)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss."""
        assert isinstance(work.key, int)
        self._optimizer.tell(work.key, losses[-1])
