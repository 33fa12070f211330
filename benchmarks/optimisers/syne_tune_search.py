"""Syne Tune's ASHA and BOHB: its schedulers get one epoch at a time. They do not support conditions."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter
from syne_tune import config_space as ranges
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import ASHA, BOHB
from syne_tune.optimizer.scheduler import SchedulerDecision

from benchmarks.optimisers.conditions import active_only
from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import EPOCHS, LADDER
from benchmarks.simulation import Task, Work

KINDS = {"ASHA": ASHA, "BOHB": BOHB}
logging.getLogger("syne_tune").setLevel(logging.CRITICAL)

CREATION_TIME = datetime(2000, 1, 1)


class SyneTune:
    """A scheduler of Syne Tune with its defaults: trials are stopped early, never paused."""

    def __init__(self, task: Task, *, name: str) -> None:
        self._space = task.space
        self._random = GlobalNumpy(task.seed)
        with self._random.lent():
            self._scheduler = KINDS[name](
                config_space=_ranges(task.space),
                metric="loss",
                time_attr="epoch",
                max_t=EPOCHS,
                grace_period=LADDER[0],
                reduction_factor=3,
                random_seed=task.seed,
            )
        self._continued: list[Work] = []
        self._count = 0

    def ask(self) -> Work:
        """Return a trial that was not stopped, to resume it, or a new trial."""
        if self._continued:
            return self._continued.pop()
        with self._random.lent():
            suggestion = self._scheduler.suggest()
            assert suggestion is not None
            trial = Trial(self._count, suggestion.config, CREATION_TIME)
            self._count += 1
            self._scheduler.on_trial_add(trial)
        return Work(trial, active_only(self._space, values=trial.config), 0, LADDER[0])

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report the losses; the trial resumes later unless the scheduler stops it."""
        trial = work.key
        assert isinstance(trial, Trial)
        with self._random.lent():
            if not np.isfinite(losses[-1]):
                self._scheduler.on_trial_error(trial)
                return
            for epoch, loss in enumerate(losses, start=work.from_epoch + 1):
                if self._scheduler.on_trial_result(trial, {"loss": loss, "epoch": epoch}) == SchedulerDecision.STOP:
                    return
        following = LADDER[LADDER.index(work.to_epoch) + 1]
        self._continued.append(work._replace(from_epoch=work.to_epoch, to_epoch=following))


def _ranges(space: ConfigurationSpace) -> dict[str, Any]:
    return {name: _range(space[name]) for name in space}


def _range(about: Hyperparameter) -> Any:
    if isinstance(about, FloatHyperparameter):
        make = ranges.loguniform if about.log else ranges.uniform
        return make(float(about.lower), float(about.upper))
    if isinstance(about, IntegerHyperparameter):
        make = ranges.lograndint if about.log else ranges.randint
        return make(int(about.lower), int(about.upper))
    return ranges.choice([value.item() if isinstance(value, np.generic) else value for value in about.choices])
