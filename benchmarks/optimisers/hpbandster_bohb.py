"""HpBandSter's BOHB: its generator and its brackets, without its name server.

The loop of its Master is reproduced: the oldest bracket with a run to start is first; if there is none, a
new bracket is started. Its trials restart from epoch 0 at every rung; here they resume from their checkpoints,
which is an advantage for it.
"""

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from hpbandster.optimizers import bohb
from hpbandster.optimizers.config_generators import bohb as generators

from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import LADDER
from benchmarks.simulation import Task, Work

SILENT = logging.getLogger("hpbandster-silent")
SILENT.setLevel(logging.CRITICAL)


class HpBandSter:
    """BOHB as in ``hpbandster.optimizers.BOHB`` and ``hpbandster.core.master.Master.run``."""

    def __init__(self, task: Task) -> None:
        task.space.seed(task.seed)
        self._random = GlobalNumpy(task.seed)
        with self._random.lent():
            self._generator = generators.BOHB(task.space, logger=SILENT)
        # the attributes that the Master's method reads; the Master itself would start threads and a server
        self._master = SimpleNamespace(
            max_SH_iter=len(LADDER),
            eta=3,
            budgets=np.array(LADDER, dtype=float),
            config_generator=self._generator,
        )
        self._brackets: list[Any] = []
        self._trained: dict[tuple, int] = {}

    def ask(self) -> Work:
        """Return the next run of the oldest bracket with a run to start."""
        with self._random.lent():
            while True:
                for bracket in self._brackets:
                    run = None if bracket.is_finished else bracket.get_next_run()
                    if run is not None:
                        return self._work(run)
                number = len(self._brackets)
                self._brackets.append(bohb.BOHB.get_next_iteration(self._master, number, {"logger": SILENT}))  # pyright: ignore[reportArgumentType]

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Register the last loss with the bracket and with the generator."""
        config_id, config, budget = work.key  # pyright: ignore[reportGeneralTypeIssues]
        job = SimpleNamespace(
            id=config_id,
            kwargs={"config": config, "budget": budget},
            timestamps={},
            result={"loss": losses[-1]},
            exception=None,
        )
        with self._random.lent():
            self._brackets[config_id[0]].register_result(job)
            self._generator.new_result(job)

    def _work(self, run: tuple) -> Work:
        config_id, config, budget = run
        start = self._trained.get(config_id, 0)
        self._trained[config_id] = round(budget)
        return Work(run, dict(config), start, round(budget))
