"""Optuna's Gaussian process, alone or with its Hyperband pruner."""

import warnings

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner

from benchmarks.optimisers.optuna_tpe import OptunaTpe, OptunaTpeHyperband
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class OptunaGp(OptunaTpe):
    """`optuna.samplers.GPSampler` with its defaults; every trial is trained for all epochs."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, NopPruner())


class OptunaGpHyperband(OptunaTpeHyperband):
    """The same sampler with the Hyperband pruner, which decides after every epoch."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, HyperbandPruner(LADDER[0], EPOCHS, reduction_factor=3))
        self._unpruned = []


def _study(task: Task, pruner: BasePruner) -> optuna.Study:
    sampler = optuna.samplers.GPSampler(seed=task.seed)
    return optuna.create_study(sampler=sampler, pruner=pruner, study_name=f"seed-{task.seed}")
