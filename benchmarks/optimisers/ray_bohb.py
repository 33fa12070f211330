"""Ray Tune's TuneBOHB with HyperBandForBOHB, called by a small replacement of Tune's controller.

Searcher and scheduler are Ray's own. They are called by a small copy of ``TuneController``. At most one trial
is suggested ahead (as for every searcher without a limiter). The scheduler chooses which trial runs; otherwise
a pending trial runs. A result goes to the scheduler, and to the searcher unless the decision is to stop. A trial
is reported epoch by epoch. Only the workers limit how many trials run: with ``max_concurrent_trials=1`` Ray would add
every trial after the first bracket to that bracket, and train it for all epochs. The time for pausing and
starting a trial is not counted, which is an advantage for it. A diverged trial reports infinity at no cost until
the scheduler pauses or stops it.
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
    """The attributes of a trial that scheduler and searcher read."""

    is_saving = False

    def __init__(self, number: int, values: Values) -> None:
        self.trial_id = f"{number:06d}"
        self.values = values
        self.status = RayTrial.PENDING
        self.epoch = 0
        self.last_result: dict[str, Any] = {}
        self.broken = False


class Controller:
    """The methods of Tune's controller that scheduler and searcher call."""

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
        # Any: it receives replacements of Ray's classes
        self._scheduler: Any = HyperBandForBOHB("epoch", metric="loss", mode="min", max_t=EPOCHS, reduction_factor=3)
        self._controller = Controller(self._searcher, self._scheduler)
        self._continued: list[Trial] = []

    def ask(self) -> Work | None:
        """Return the next epoch of a running trial, or start or resume a trial."""
        with self._random.lent():
            while (trial := self._next_trial()) is not None:
                if not trial.broken:
                    return Work(trial, trial.values, trial.epoch, trial.epoch + 1)
                self._report_broken(trial)
        return None

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Report an epoch and apply the scheduler's decision."""
        trial = work.key
        assert isinstance(trial, Trial)
        with self._random.lent():
            if math.isfinite(losses[-1]):
                self._report(trial, losses[-1])
            else:
                trial.broken = True
                self._report_broken(trial)

    def _next_trial(self) -> Trial | None:
        if self._continued:
            return self._continued.pop()
        self._suggest_ahead()
        trial = self._scheduler.choose_trial_to_run(self._controller)
        if trial is None:
            pending = (trial for trial in self._controller.trials if trial.status == RayTrial.PENDING)
            trial = next(pending, None)
        if trial is not None:
            trial.status = RayTrial.RUNNING
            # Tune suggests while the trial runs; the bracket of the next trial depends on this
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
            if trial in self._continued:
                self._continued.remove(trial)

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
            self._continued.append(trial)
