"""Optuna's TPE, alone or with its Hyperband pruner. Conditions are given as its define-by-run does."""

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
    """TPE with its defaults; every trial is trained to the end."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, NopPruner())

    def ask(self) -> Work:
        """Ask for a trial."""
        trial = self._study.ask()
        return Work(trial, _suggest(trial, self._space), 0, EPOCHS)

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Tell the last loss."""
        _finish(self._study, work, losses)


class OptunaTpeHyperband:
    """TPE with the Hyperband pruner, which is asked after every epoch."""

    def __init__(self, task: Task) -> None:
        self._space = task.space
        self._study = _study(task, HyperbandPruner(LADDER[0], EPOCHS, reduction_factor=3))
        self._going_on: list[Work] = []

    def ask(self) -> Work:
        """Go on with a trial that was not pruned, or ask for one."""
        if self._going_on:
            return self._going_on.pop()
        trial = self._study.ask()
        return Work(trial, _suggest(trial, self._space), 0, LADDER[0])

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the losses and prune, finish or go on."""
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
            self._going_on.append(work._replace(from_epoch=work.to_epoch, to_epoch=following))


def _study(task: Task, pruner: BasePruner) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(seed=task.seed)
    # the pruner deals trials to brackets by a hash of the name
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
