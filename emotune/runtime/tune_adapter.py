"""The one adapter to Ray Tune: its searcher and its callback over the search's coordinator.

Tune runs one trial per evaluation and decides nothing itself. Its own state is never read back.
"""

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from emotune.errors import SearchFailedError
from emotune.runtime.cluster.following import Following
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.watchdog import Watchdog
from emotune.runtime.worker import Job
from emotune.search.records import Evaluation

logger = logging.getLogger(__name__)
MakeJob = Callable[[Evaluation], Job]

START_SECONDS = 20.0
"""So long a process may take to start while others wait for it."""


class CoordinatorSearcher(Searcher):
    """Asks the coordinator when Tune has room, and hands Tune's results to it.

    Starting a process costs seconds, and Tune keeps one for the next trial only if that is there at once;
    a trial that is about to get a process of its own even takes another's, and its own is thrown away. So
    an evaluation that is finished stays where it is, idle, until its worker may go on with the next one.

    Args:
        coordinator: The search.
        make_job: Turns an evaluation into what a worker needs.
        concurrency: Evaluations at a time.
        stop_requested: Asked before each evaluation; once true, no more are handed out.
        places: Tells how many evaluations the cluster has room for, which the concurrency then follows; None: fixed.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        make_job: MakeJob,
        concurrency: int,
        stop_requested: Callable[[], bool],
        places: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self.concurrency = concurrency
        self.evaluations: dict[str, int] = {}
        self.failure: SearchFailedError | None = None
        self._coordinator = coordinator
        self._make_job = make_job
        self._stop_requested = stop_requested
        self._following = None if places is None else Following(places, there=concurrency)
        self._idle: set[str] = set()
        self._blind: set[str] = set()
        self._told: set[str] = set()
        self._starting: dict[str, float] = {}
        self._helped: set[str] = set()
        self._next: Evaluation | None = None
        self._jobs: dict[str, Job] = {}
        self._watchdog = Watchdog()
        self._hung: dict[str, str] = {}

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.failure is not None or self._coordinator.finished

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tell Tune that it need not count; it then starts all first workers at once."""
        return max_concurrent == self.concurrency

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] (Tune annotates it without its own FINISHED)
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the next job, None to wait, or that the search is over."""
        if self._stop_requested():
            self._coordinator.stopping = True
        if self.over:
            return Searcher.FINISHED
        self._follow()
        in_warm_worker = self._next is not None
        if not in_warm_worker and not self._idle and not self._helped:
            self._next = self._look()
        if self._next is None:
            return None
        evaluation, self._next = self._next, None
        self.evaluations[trial_id] = evaluation.id
        self._jobs[trial_id] = job = self._make_job(evaluation)
        if in_warm_worker:
            self._watch(trial_id)
        else:
            self._starting[trial_id] = time.monotonic()
        return {"job": job.model_dump_json()}

    def _follow(self) -> None:
        """Let the concurrency follow the cluster, unless it is fixed."""
        there = self.concurrency if self._following is None else self._following.look()
        if there != self.concurrency:
            self.concurrency = there
            self._coordinator.resize(there)

    def _look(self) -> Evaluation | None:
        return self._coordinator.next_evaluation() if self._coordinator.out < self.concurrency else None

    def started(self, trial_id: str) -> None:
        """Take in that a trial has a worker."""
        self._helped.discard(trial_id)
        if self._starting.pop(trial_id, None) is not None:
            self._watch(trial_id)

    def _watch(self, trial_id: str) -> None:
        job = self._jobs.pop(trial_id)
        self._watchdog.begin(trial_id, cost=job.experiment.cost(), patience=job.experiment.compute.patience)

    def hanging(self) -> set[str]:
        """Return the trials that have begun to hang, whose workers are to be killed; each is named once."""
        found = self._watchdog.hanging()
        self._hung |= {trial_id: f"hung: no epoch in {seconds:.0f} s" for trial_id, seconds in found.items()}
        return set(found)

    def take(self, trial_id: str, *, result: dict[str, Any]) -> bool:
        """Take in a step of a trial.

        Returns:
            Whether the trial shall end, so that its worker goes on with the next evaluation.
        """
        self._watchdog.heard(trial_id, epochs=len(result["reports"]))
        if trial_id in self.evaluations and not result.get("blind"):
            self._take_reports(trial_id, result)
            self._take_end(trial_id, result)
        self._take_sight(trial_id, result.get("blind"))
        if trial_id not in self._idle or self._next is not None:
            return False
        without = self._starting.keys() - self._helped
        if without and not self._are_about_to_start(without):
            # whoever has no worker gets this one
            self._helped.add(min(without, key=self._starting.__getitem__))
        elif without or (evaluation := self._look()) is None:
            return False
        else:
            self._next = evaluation
        self._idle.remove(trial_id)
        self._watchdog.end(trial_id)
        return True

    def _take_sight(self, trial_id: str, blind: str | None) -> None:
        """Take in whether a trial's machine sees what it needs; as long as it does not its worker gets nothing.

        Such a trial goes on, so that no other one is started in its place, until all of that machine's are taken.
        """
        if blind is None and trial_id in self._blind:
            self._blind.remove(trial_id)
            self._idle.add(trial_id)
        elif blind is not None and trial_id in self.evaluations:
            self._coordinator.hand_back(self.evaluations.pop(trial_id))
            self._watchdog.end(trial_id)
            self._blind.add(trial_id)
            if blind not in self._told:
                self._told.add(blind)
                logger.warning("%s; until it does it gets no work", blind)

    def _are_about_to_start(self, trials: Collection[str]) -> bool:
        """Tell whether processes are being started for trials, which Tune would throw away for one that is free."""
        if len(self.evaluations) + len(self._idle) + len(self._blind) > ray.cluster_resources().get("CPU", 0):
            return False  # on a full cluster a trial without a worker gets none of its own
        earliest = time.monotonic() - START_SECONDS
        return any(self._starting[trial_id] > earliest for trial_id in trials)

    def _take_reports(self, trial_id: str, result: dict[str, Any]) -> None:
        if result.get("note"):
            logger.warning("%s", result["note"])
        number = self.evaluations[trial_id]
        try:
            for report in result["reports"]:
                self._coordinator.report(number, epoch=report["epoch"], metrics=report["metrics"])
            if result.get("saved"):
                self._coordinator.note_progress(number, saved=tuple(result["saved"]))
        except SearchFailedError as error:
            self.failure = error

    def _take_end(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in that an evaluation is finished, or that the group which carried it out broke off."""
        error, infrastructure = result.get("broke_off") or (None, False)
        if self.failure is not None or not (result["finished"] or error):
            return
        number = self.evaluations.pop(trial_id)
        self._idle.add(trial_id)
        if error:
            self._fail(number, error=error, infrastructure=infrastructure)
        else:
            self._coordinator.complete(number, diverged=result["diverged"])

    def _fail(self, number: int, *, error: str, infrastructure: bool) -> None:
        try:
            self._coordinator.fail(number, error=error, infrastructure=infrastructure)
        except SearchFailedError as failure:
            self.failure = failure

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 (Tune's signature)
    ) -> None:
        """Do nothing: results come by `take`, and errors with their reason by `fail`."""

    def fail(self, trial_id: str, text: str) -> None:
        """Take in that an evaluation broke off; an error of the program is told by its traceback."""
        self._starting.pop(trial_id, None)
        self._helped.discard(trial_id)
        self._jobs.pop(trial_id, None)
        self._watchdog.end(trial_id)
        hung = self._hung.pop(trial_id, None)
        if trial_id in self._idle | self._blind:
            self._idle.discard(trial_id)
            self._blind.discard(trial_id)
            return
        lines = [line.strip() for line in text.strip().splitlines()]
        raised = any("ray::" in line for line in lines)
        self._fail(
            self.evaluations.pop(trial_id),
            error=hung or (lines[-1] if raised else lines[0]),
            infrastructure=not (hung or raised),
        )

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: the journal is the state of the search."""
        with open(checkpoint_path, "w") as file:  # noqa: PTH123 (Tune hands over a string)
            file.write("the state of this search is in its journal")

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a search goes on from its journal, in a new Tuner."""
        raise AssertionError(f"{checkpoint_path}: Tune's state is never read back")

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's own files nothing: open journals cannot be pickled, and are not wanted there."""
        return {}


class TrialCallback(Callback):
    """Brings to the searcher what Tune does not tell it: that a trial has a worker, and why one failed.

    It also kills the workers of trials that hang, which Tune then takes for failed.
    """

    def __init__(self, searcher: CoordinatorSearcher) -> None:
        self._searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Take in that a trial has a worker."""
        del iteration, trials, info
        self._searcher.started(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """End the workers that hang."""
        del iteration, info
        hanging = self._searcher.hanging()
        for trial in trials if hanging else ():
            actor = trial.temporary_state.ray_actor
            if trial.trial_id in hanging and actor is not None:
                ray.kill(actor)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Take in the error of a trial."""
        del iteration, trials, info
        assert trial.error_file is not None
        text = Path(trial.error_file).read_text()
        self._searcher.fail(trial.trial_id, text.rsplit("Failure # ", 1)[-1].split("\n", 1)[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Tune's own files."""
        return {}
