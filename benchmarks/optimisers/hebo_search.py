"""HEBO, which trains every configuration for all epochs. It does not support conditions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO

from benchmarks.optimisers.conditions import active_only
from benchmarks.optimisers.global_torch import GlobalTorch
from benchmarks.problems import EPOCHS
from benchmarks.simulation import Task, Work


class Hebo:
    """HEBO with its defaults, which suggests as many configurations at a time as there are workers."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._workers = task.workers
        self._random = GlobalTorch(task.seed)
        self._hebo = HEBO(
            DesignSpace().parse([_parameter(task.space[name]) for name in task.space]), scramble_seed=task.seed
        )
        self._suggested: list[pd.DataFrame] = []
        self._running: dict[int, pd.DataFrame] = {}
        self._count = 0
        self._worst = 1.0

    def ask(self) -> Work:
        """Return the next configuration of the batch, or of a new one."""
        if not self._suggested:
            with self._random.lent():
                batch = self._hebo.suggest(n_suggestions=self._workers)
            self._suggested = [batch.iloc[[row]] for row in range(len(batch))]
        row = self._suggested.pop(0)
        self._running[self._count] = row
        values = {name: _within(self._space[name], row[name].iloc[0]) for name in self._space}
        work = Work(self._count, active_only(self._space, values=values), 0, EPOCHS)
        self._count += 1
        return work

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss; for a diverged trial the worst so far, because HEBO leaves out infinite ones."""
        assert isinstance(work.key, int)
        finite = bool(np.isfinite(losses[-1]))
        self._worst = max(self._worst, losses[-1]) if finite else self._worst
        self._hebo.observe(self._running.pop(work.key), np.array([[losses[-1] if finite else self._worst]]))


def _within(about: Hyperparameter, value: Any) -> Any:
    """Return a value as a built-in type; HEBO computes limits of logarithmic ranges with rounding errors."""
    if isinstance(about, FloatHyperparameter):
        return min(max(float(value), float(about.lower)), float(about.upper))
    return value.item() if isinstance(value, np.generic) else value


def _parameter(about: Hyperparameter) -> dict[str, Any]:
    if isinstance(about, FloatHyperparameter | IntegerHyperparameter):
        is_float = isinstance(about, FloatHyperparameter)
        kind = {(True, False): "num", (True, True): "pow", (False, False): "int", (False, True): "pow_int"}
        convert = float if is_float else int
        limits = {"lb": convert(about.lower), "ub": convert(about.upper)}
        return {"name": about.name, "type": kind[is_float, bool(about.log)], **limits}
    choices = [choice.item() if isinstance(choice, np.generic) else choice for choice in about.choices]
    return {"name": about.name, "type": "cat", "categories": choices}
