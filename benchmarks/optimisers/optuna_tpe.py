"""Optuna's TPE, alone or with its Hyperband pruner. Conditions are expressed with its define-by-run interface."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.trial import Trial, TrialState

from benchmarks.optimisers.conditions import is_active
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work

optuna.logging.set_verbosity(optuna.logging.ERROR)


class OptunaTpe:
    """TPE with its defaults; every trial is trained for all epochs."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, NopPruner())

    def ask(self) -> Work:
        """Return a new trial."""
        trial = self._study.ask()
        return Work(trial, _suggest(trial, self._space), 0, EPOCHS)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the last loss."""
        _finish(self._study, work, losses)


class OptunaTpeHyperband:
    """TPE with the Hyperband pruner, which decides after every epoch."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, HyperbandPruner(LADDER[0], EPOCHS, reduction_factor=3))
        self._unpruned: list[Work] = []

    def ask(self) -> Work:
        """Return a trial that was not pruned, to resume it, or a new trial."""
        if self._unpruned:
            return self._unpruned.pop()
        trial = self._study.ask()
        return Work(trial, _suggest(trial, self._space), 0, LADDER[0])

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the losses; prune the trial, finish it, or resume it later."""
        trial: Any = work.key
        if not np.isfinite(losses[-1]):
            _finish(self._study, work, losses)
            return
        for epoch, loss in enumerate(losses, start=work.from_epoch + 1):
            trial.report(loss, epoch)
            if trial.should_prune():
                self._study.tell(trial, state=TrialState.PRUNED)
                return
        if work.to_epoch == EPOCHS:
            _finish(self._study, work, losses)
        else:
            following = LADDER[LADDER.index(work.to_epoch) + 1]
            self._unpruned.append(work._replace(from_epoch=work.to_epoch, to_epoch=following))


def _study(task: Task, pruner: BasePruner) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(seed=task.seed)
    # the pruner assigns trials to brackets by a hash of the study's name
    return optuna.create_study(sampler=sampler, pruner=pruner, study_name=f"seed-{task.seed}")


def _finish(study: optuna.Study, work: Work, losses: Sequence[float]) -> None:
    assert isinstance(work.key, Trial)
    if np.isfinite(losses[-1]):
        study.tell(work.key, losses[-1])
    else:
        study.tell(work.key, state=TrialState.FAIL)


def _suggest(trial: Trial, space: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in space:
        if is_active(space, name, values=values):
            values[name] = _suggest_one(trial, space[name])
    return values


def _suggest_one(trial: Trial, about: Hyperparameter) -> Any:
    if isinstance(about, FloatHyperparameter):
        return trial.suggest_float(about.name, float(about.lower), float(about.upper), log=bool(about.log))
    if isinstance(about, IntegerHyperparameter):
        return trial.suggest_int(about.name, int(about.lower), int(about.upper), log=bool(about.log))
    choices = [choice.item() if isinstance(choice, np.generic) else choice for choice in about.choices]
    return trial.suggest_categorical(about.name, choices)
