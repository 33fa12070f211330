"""Ray Tune's TuneBOHB with HyperBandForBOHB, driven by a stand-in for Tune's controller.

Searcher and scheduler are Ray's own. What calls them is a copy in small of ``TuneController``: one trial at
most is suggested ahead (as for every searcher without a limiter), the scheduler chooses what runs, else
pending trials do; a result goes to the scheduler, and to the searcher unless the decision is to stop; a trial
is reported epoch by epoch. Only the workers limit how much runs: with ``max_concurrent_trials=1`` Ray would add
every trial after the first bracket to that one, and train it to the end. Left out: the time that pausing and
starting a trial takes, which is to its advantage. A diverged trial goes on reporting infinity at no cost until
it is halted.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.hb_bohb import HyperBandForBOHB
from ray.tune.search.bohb import TuneBOHB

from benchmarks.optimisers.global_numpy import GlobalNumpy
from benchmarks.problems import EPOCHS, Values
from benchmarks.simulation import Task, Work


class Trial:
    """What scheduler and searcher read of a trial."""

    is_saving = False

    def __init__(self, number: int, values: Values) -> None:
        self.trial_id = f"{number:06d}"
        self.values = values
        self.status = RayTrial.PENDING
        self.epoch = 0
        self.last_result: dict[str, Any] = {}
        self.broken = False


class Controller:
    """What scheduler and searcher call of Tune's controller."""

    def __init__(self, searcher: TuneBOHB, scheduler: HyperBandForBOHB) -> None:
        self.search_alg = SimpleNamespace(searcher=searcher)
        self.trials: list[Trial] = []
        self._scheduler: Any = scheduler

    def get_trials(self) -> list[Trial]:
        """Return all trials."""
        return self.trials

    def stop_trial(self, trial: Trial) -> None:
        """Stop a trial as ``TuneController.stop_trial`` does."""
        searcher = self.search_alg.searcher
        if trial.status in {RayTrial.PENDING, RayTrial.PAUSED}:
            self._scheduler.on_trial_remove(self, trial)
            searcher.on_trial_complete(trial.trial_id)
        elif trial.status == RayTrial.RUNNING:
            self._scheduler.on_trial_complete(self, trial, trial.last_result)
            searcher.on_trial_complete(trial.trial_id, result=trial.last_result)
        trial.status = RayTrial.TERMINATED


class RayBohb:
    """Ray Tune's BOHB with its defaults."""

    def __init__(self, task: Task) -> None:
        self._random = GlobalNumpy(task.seed)
        with self._random.lent():
            self._searcher = TuneBOHB(task.space, metric="loss", mode="min", seed=task.seed)
        # Any: it gets stand-ins
        self._scheduler: Any = HyperBandForBOHB("epoch", metric="loss", mode="min", max_t=EPOCHS, reduction_factor=3)
        self._controller = Controller(self._searcher, self._scheduler)
        self._going_on: list[Trial] = []

    def ask(self) -> Work | None:
        """Let a running trial go on, or start or resume one."""
        with self._random.lent():
            while (trial := self._next_trial()) is not None:
                if not trial.broken:
                    return Work(trial, trial.values, trial.epoch, trial.epoch + 1)
                self._report_broken(trial)
        return None

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report an epoch and do as the scheduler decides."""
        trial = work.key
        assert isinstance(trial, Trial)
        with self._random.lent():
            if math.isfinite(losses[-1]):
                self._report(trial, losses[-1])
            else:
                trial.broken = True
                self._report_broken(trial)

    def _next_trial(self) -> Trial | None:
        if self._going_on:
            return self._going_on.pop()
        self._suggest_ahead()
        trial = self._scheduler.choose_trial_to_run(self._controller)
        if trial is None:
            pending = (each for each in self._controller.trials if each.status == RayTrial.PENDING)
            trial = next(pending, None)
        if trial is not None:
            trial.status = RayTrial.RUNNING
            # Tune does so while the trial runs: which bracket the next one joins depends on it
            self._suggest_ahead()
        return trial

    def _suggest_ahead(self) -> None:
        """Suggest a trial unless one is pending."""
        if any(trial.status == RayTrial.PENDING for trial in self._controller.trials):
            return
        number = len(self._controller.trials)
        values = self._searcher.suggest(f"{number:06d}")
        if values is not None:
            trial = Trial(number, dict(values))
            self._controller.trials.append(trial)
            self._scheduler.on_trial_add(self._controller, trial)

    def _report_broken(self, trial: Trial) -> None:
        while trial.status == RayTrial.RUNNING:
            self._report(trial, math.inf)
            if trial in self._going_on:
                self._going_on.remove(trial)

    def _report(self, trial: Trial, loss: float) -> None:
        trial.epoch += 1
        result = {"loss": loss, "epoch": trial.epoch}
        decision = self._scheduler.on_trial_result(self._controller, trial, result)
        if decision != TrialScheduler.STOP:
            self._searcher.on_trial_result(trial.trial_id, result)
        trial.last_result = result
        if decision == TrialScheduler.STOP:
            self._controller.stop_trial(trial)
        elif decision == TrialScheduler.PAUSE:
            trial.status = RayTrial.PAUSED
        else:
            self._going_on.append(trial)
