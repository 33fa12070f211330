"""SMAC3's multi-fidelity facade through its ask/tell interface: a random forest per rung, and Hyperband."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ConfigSpace import Configuration
from smac import MultiFidelityFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue
from smac.runhistory.enumerations import StatusType

from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work

TRIALS = 330
"""Approximate number of trials within 40 full evaluations; a quarter of it limits SMAC's random phase."""


class Smac:
    """SMAC3 with its defaults for multi-fidelity."""

    def __init__(self, task: Task) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._random = GlobalNumpy(task.seed)
        self._checkpoints = Checkpoints()
        self._worst = 1.0
        scenario = Scenario(
            task.space,
            deterministic=True,
            min_budget=LADDER[0],
            max_budget=EPOCHS,
            n_trials=TRIALS,
            seed=task.seed,
            output_directory=Path(self._folder.name),
        )
        with self._random.lent():
            self._smac = MultiFidelityFacade(scenario, _never_called, overwrite=True, logging_level=50)

    def ask(self) -> Work:
        """Return the next trial, from the checkpoint of its values if there is one."""
        with self._random.lent():
            info = self._smac.ask()
        assert info.budget is not None
        values, end = dict(info.config), round(info.budget)
        start = self._checkpoints.epochs(values)
        self._checkpoints.trained(values, epochs=end)
        return Work(info, values, start if start < end else 0, end)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss; for a diverged trial the worst so far, because the forest does not accept infinity."""
        assert isinstance(work.key, TrialInfo)
        finite = bool(np.isfinite(losses[-1]))
        status = StatusType.SUCCESS if finite else StatusType.CRASHED
        self._worst = max(self._worst, losses[-1]) if finite else self._worst
        cost = losses[-1] if finite else self._worst
        with self._random.lent():
            self._smac.tell(work.key, TrialValue(cost=cost, time=1.0, status=status), save=False)


def _never_called(config: Configuration, seed: int = 0, budget: float = 0) -> float:
    raise AssertionError((config, seed, budget))
