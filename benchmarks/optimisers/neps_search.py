"""NePS: PriorBand on HyperBand without priors, and its Gaussian process. It does not support conditions."""

import logging
from collections.abc import Sequence
from typing import Any

import neps
import numpy as np
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter

from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.conditions import active_only
from benchmarks.optimisers.global_torch import GlobalTorch
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work

MODEL_AFTER = 10
"""Full evaluations after which configurations are proposed by the Gaussian process, as in the paper on PriorBand."""

FIDELITY = "fidelity/epochs"
"""Name of the number of epochs among the hyperparameters."""

logging.getLogger("neps").setLevel(logging.CRITICAL)


class Neps:
    """`neps.algorithms.priorband` with its defaults, through `neps.AskAndTell`."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._random = GlobalTorch(task.seed)
        self._checkpoints = Checkpoints()
        elements = {name: _parameter(task.space[name]) for name in task.space}
        space = neps.SearchSpace(elements | {FIDELITY: neps.HPOInteger(LADDER[0], EPOCHS, is_fidelity=True)})
        with self._random.lent():
            self._neps = neps.AskAndTell(
                neps.algorithms.priorband(space, base="hyperband", bayesian_optimization_kick_in_point=MODEL_AFTER)
            )

    def ask(self) -> Work:
        """Return the next trial, from the checkpoint of its values if there is one."""
        with self._random.lent():
            trial = self._neps.ask()
        chosen = {name: _as_integer(self._space[name], trial.config[name]) for name in self._space}
        values = active_only(self._space, values=chosen)
        end = int(trial.config[FIDELITY])
        start = self._checkpoints.epochs(values)
        self._checkpoints.trained(values, epochs=end)
        return Work(trial.id, values, start if start < end else 0, end)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss; a diverged trial is reported as one that has crashed."""
        assert isinstance(work.key, str)
        finite = bool(np.isfinite(losses[-1]))
        self._neps.tell(work.key, float(losses[-1]) if finite else ArithmeticError("the training diverged"))


def _as_integer(about: Hyperparameter, value: Any) -> Any:
    """Return the value of an integer rounded: NePS draws only a few values of a logarithmic integer, not of a float."""
    return round(value) if isinstance(about, IntegerHyperparameter) else value


def _parameter(about: Hyperparameter) -> Any:
    if isinstance(about, IntegerHyperparameter) and not about.log:
        return neps.HPOInteger(int(about.lower), int(about.upper))
    if isinstance(about, FloatHyperparameter | IntegerHyperparameter):
        return neps.HPOFloat(float(about.lower), float(about.upper), log=bool(about.log))
    return neps.HPOCategorical(
        [choice.item() if isinstance(choice, np.generic) else choice for choice in about.choices]
    )
