"""The adapter between Ray Tune, which runs trials, and the coordinator, which makes the decisions of the search.

Tune runs one trial per evaluation and decides nothing. The sequence of a search is:

1. Tune has resources for a trial and calls `CoordinatorSearcher.suggest`. The coordinator takes the next evaluation
   from the optimiser and records it (`Started`); the evaluation becomes a `Trial` in the state *starting*.
2. Tune starts a worker process and calls `TrialCallback.on_trial_start`: the trial is *running*, and the watchdog
   observes it.
3. The worker trains for a moment per step, and returns a `StepReport`. Tune shows it to `SearchStopper`, which calls
   `CoordinatorSearcher.process_report`. The coordinator records the epochs (`EpochDone`).
4. The last report of an evaluation has its end or its failure. The coordinator records the result (`Ended`), which
   the optimiser receives, or queues the evaluation again. The trial is *idle*.
5. If there is another evaluation, `process_report` returns true: Tune ends the trial and calls `suggest` again, which
   returns that evaluation in a new trial. Tune gives the running worker to it, so the trial begins as *running*.
   If there is none yet, the trial stays idle, because Tune ends a worker without a trial, and starting one takes
   seconds. If another trial is still starting and its process is not about to start, that trial gets the worker.
6. A machine that cannot access the results or the data returns a report that says so. Its trial is *inaccessible*
   and its evaluation goes back to the coordinator. The trial becomes idle when the machine has access again.
7. A trial that is silent for too long is *hung*: `TrialCallback.on_step_end` kills its worker.
8. If a worker is lost, Tune calls `TrialCallback.on_trial_error`. The trial is removed, and the coordinator queues
   its evaluation again or records its failure. A worker that has reported an exception of the program raises it in
   its next step; its trial was removed with the report.
9. `SearchStopper.stop_all` returns true when the search is over, has failed, or a signal or ``emotune stop --now`` was
   received. Tune then stops all trials; their workers save a checkpoint.

Tune's own files are never read back: the journal is the state of the search.
"""

import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from emotune.durations import duration
from emotune.errors import ClusterError, SearchFailedError
from emotune.runtime.cluster.capacity import ElasticConcurrency
from emotune.runtime.cluster.connect import find_ray_fault
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.crashes import with_crash
from emotune.runtime.job import EvaluationJob
from emotune.runtime.ray_errors import lost_trial_failure, raise_cause
from emotune.runtime.signals import stop_on_signals
from emotune.runtime.step_report import StepReport
from emotune.runtime.trial import Trial, TrialState, WorkerWait
from emotune.runtime.watchdog import Watchdog
from emotune.search.records import Evaluation, Failure
from emotune.study.folder import StopRequest

logger = logging.getLogger(__name__)
MakeJob = Callable[[Evaluation], EvaluationJob]

START_TIMEOUT_S = 20.0
"""Time for which an idle worker is not given to a trial whose own process is about to start."""
RAY_CHECK_INTERVAL_S = 1.0
"""Interval at which the driver checks that Ray can start workers."""


def _without_state(self: object) -> dict[str, Any]:
    """Return nothing for Tune's own files; an open journal cannot be pickled."""
    return {}


class CoordinatorSearcher(Searcher):
    """Tune's searcher: evaluations of the coordinator become trials, and their reports go to the coordinator.

    Args:
        coordinator: The search.
        make_job: Returns the job of an evaluation.
        concurrency: Evaluations at a time.
        stop_request: Returns the request of ``emotune stop``, if there is one; after it, no evaluation is handed out.
        current_slots: Returns the number of slots of the cluster, which the concurrency then follows; None: fixed.
        resource: What a worker needs.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        make_job: MakeJob,
        concurrency: int,
        stop_request: Callable[[], StopRequest | None],
        current_slots: Callable[[], int] | None = None,
        resource: str = "a CPU",
    ) -> None:
        super().__init__()
        self.concurrency = concurrency
        self.failure: SearchFailedError | None = None
        self.trials: dict[str, Trial] = {}
        self.worker_wait = WorkerWait(resource)
        self._coordinator = coordinator
        self._make_job = make_job
        self._stop_request = stop_request
        self._elastic = None if current_slots is None else ElasticConcurrency(current_slots, slots=concurrency)
        self._reserved: Evaluation | None = None
        """The evaluation for the worker that was released last."""
        self._watchdog = Watchdog()
        self._reported_nodes: set[str] = set()
        """Messages about machines without access that were logged."""

    @property
    def is_over(self) -> bool:
        """Whether the search has failed, or no evaluation is left."""
        return self.failure is not None or self._coordinator.finished

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Return whether the searcher limits the concurrency itself; Tune then starts all first workers at once."""
        return max_concurrent == self.concurrency

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] (Tune annotates it without its own FINISHED)
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the job of a new trial, None if there is none now, or that the search is over."""
        self.check_stop_request()
        if self.is_over:
            return Searcher.FINISHED
        self._update_concurrency()
        has_worker = self._reserved is not None
        evaluation, self._reserved = self._reserved, None
        if evaluation is None and not self._has_worker_to_give():
            evaluation = self._next_evaluation()
        if evaluation is None:
            return None
        self.trials[trial_id] = trial = Trial(self._make_job(evaluation))
        if has_worker:
            self.on_worker_ready(trial_id)
        return {"job": trial.job.model_dump_json()}

    def _update_concurrency(self) -> None:
        slots = self.concurrency if self._elastic is None else self._elastic.poll()
        if slots != self.concurrency:
            self.concurrency = slots
            self._coordinator.resize(slots)

    def _has_worker_to_give(self) -> bool:
        """Return whether a worker is free, so that no process has to be started for the next evaluation."""
        return any(trial.state is TrialState.IDLE or trial.worker_promised for trial in self.trials.values())

    def _next_evaluation(self) -> Evaluation | None:
        return self._coordinator.next_evaluation() if self._coordinator.in_progress < self.concurrency else None

    def on_worker_ready(self, trial_id: str) -> None:
        """Mark a trial as running, unless it is: it has a worker."""
        trial = self.trials.get(trial_id)
        if trial is None or trial.state is not TrialState.STARTING:
            return
        trial.run()
        self._watchdog.watch(trial_id, cost=trial.job.cost, silence_limit=trial.job.silence_limit)

    def mark_hung(self) -> set[str]:
        """Return the trials that have begun to hang, whose workers are to be killed; each is returned once."""
        silent = self._watchdog.find_hung()
        for trial_id, seconds in silent.items():
            self.trials[trial_id].mark_hung(Failure(kind="hung", message=f"hung: no epoch in {duration(seconds)}"))
        return set(silent)

    def check_stop_request(self) -> bool:
        """Hand out no evaluation after a request to stop; return whether the running ones are to save and end now."""
        request = self._stop_request()
        if request is not None:
            self._coordinator.stop_after_running()
        return request == "now"

    def check_journal(self) -> None:
        """End the search if its results can no longer be recorded."""
        try:
            self._coordinator.check_journal()
        except SearchFailedError as error:
            self.failure = error

    def process_report(self, trial_id: str, report: StepReport) -> bool:
        """Process the report of a trial's step, and return whether the trial is to end, for its worker's next one."""
        self._watchdog.record_report(trial_id, epochs=len(report.reports))
        self.on_worker_ready(trial_id)
        trial = self.trials.get(trial_id)
        if trial is None:
            return False  # its worker has failed, and ends in its next step
        if report.inaccessible is not None:
            self._release_inaccessible(trial_id, report.inaccessible)
        elif trial.state is TrialState.INACCESSIBLE:
            trial.regain_access()
        elif trial.evaluation_id is not None:
            self._record_epochs(trial.evaluation_id, report)
            self._record_end(trial_id, report)
        return self._release_worker(trial_id)

    def _release_inaccessible(self, trial_id: str, reason: str) -> None:
        trial = self.trials[trial_id]
        if trial.evaluation_id is None:
            return
        self._coordinator.requeue(trial.evaluation_id)
        self._watchdog.unwatch(trial_id)
        trial.lose_access()
        if reason not in self._reported_nodes:
            self._reported_nodes.add(reason)
            logger.warning("%s; it gets no evaluations until it can", reason)

    def _record_epochs(self, evaluation_id: int, report: StepReport) -> None:
        if report.note:
            logger.warning("%s", report.note)
        try:
            for epoch in report.reports:
                self._coordinator.report(evaluation_id, epoch=epoch.epoch, metrics=epoch.metrics)
            if report.saved is not None:
                self._coordinator.update_saved(evaluation_id, saved=report.saved)
        except SearchFailedError as error:
            self.failure = error

    def _record_end(self, trial_id: str, report: StepReport) -> None:
        trial = self.trials[trial_id]
        evaluation_id = trial.evaluation_id
        if self.failure is not None or evaluation_id is None or not report.ended:
            return
        if report.ends_worker:
            self._remove(trial_id)
        else:
            trial.finish()
        if report.failure is None:
            self._coordinator.complete(evaluation_id)
        else:
            self._fail(evaluation_id, report.failure)

    def _fail(self, evaluation_id: int, failure: Failure) -> None:
        try:
            self._coordinator.fail(evaluation_id, failure)
        except SearchFailedError as error:
            self.failure = error

    def _release_worker(self, trial_id: str) -> bool:
        """End an idle trial if there is another evaluation for its worker, or a trial that waits for one."""
        trial = self.trials.get(trial_id)
        if trial is None or trial.state is not TrialState.IDLE or self._reserved is not None:
            return False
        starting = [
            other for other in self.trials.values() if other.state is TrialState.STARTING and not other.worker_promised
        ]
        if starting:
            if self._will_start_soon(starting):
                return False
            min(starting, key=lambda other: other.created_at).worker_promised = True
        else:
            self._reserved = self._next_evaluation()
            if self._reserved is None:
                return False
        self._remove(trial_id)
        return True

    def _will_start_soon(self, starting: Collection[Trial]) -> bool:
        """Return whether processes of trials are about to start; Tune would end them if it had a free worker."""
        if len(self.trials) > ray.cluster_resources().get("CPU", 0):
            return False  # on a full cluster a trial without a worker gets no process of its own
        earliest = time.monotonic() - START_TIMEOUT_S
        return any(trial.created_at > earliest for trial in starting)

    def _remove(self, trial_id: str) -> None:
        self._watchdog.unwatch(trial_id)
        del self.trials[trial_id]

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 (Tune's signature)
    ) -> None:
        """Do nothing: results come by `process_report`, and lost workers by `on_worker_lost`."""

    def on_worker_lost(self, trial_id: str, failure: Failure) -> None:
        """Remove a trial whose worker is lost; if it hung or crashed, that is the failure of its evaluation."""
        trial = self.trials.get(trial_id)
        if trial is None:
            return
        self._remove(trial_id)
        if trial.evaluation_id is not None:
            self._fail(trial.evaluation_id, trial.hang or with_crash(failure, file=trial.job.crash_file))

    def save(self, checkpoint_path: str) -> None:
        """Write a placeholder: the journal is the state of the search."""
        with open(checkpoint_path, "w") as file:  # noqa: PTH123 (Tune passes a string)
            file.write("the state of this search is in its journal")

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a search resumes from its journal, in a new Tuner."""
        raise AssertionError(f"{checkpoint_path}: Tune's state is never read back")

    __getstate__ = _without_state


class TrialCallback(Callback):
    """Forwards what Tune's searchers do not receive: that a trial has a worker, and why a worker was lost.

    It also kills the workers of trials that hang, which Tune then reports as lost, and checks the journal.
    """

    def __init__(self, searcher: CoordinatorSearcher) -> None:
        self._searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Forward that a trial has a worker."""
        del iteration, trials, info
        self._searcher.on_worker_ready(trial.trial_id)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Kill the workers that hang, and end the search if its journal is gone."""
        del iteration, info
        self._searcher.check_journal()
        self._searcher.worker_wait.check(self._searcher.trials.values())
        hung = self._searcher.mark_hung()
        for trial in trials if hung else ():
            if trial.trial_id in hung and (actor := trial.temporary_state.ray_actor) is not None:
                ray.kill(actor)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Forward why a worker was lost."""
        del iteration, trials, info
        if trial.trial_id in self._searcher.trials:
            self._searcher.on_worker_lost(trial.trial_id, lost_trial_failure(trial))

    __getstate__ = _without_state


class SearchStopper(Stopper):
    """Tune's stopper, which receives every result first: it processes the reports, and ends trials and the search.

    It also checks that Ray can still start workers. If it cannot, Tune is stopped while the workers can still save.
    """

    def __init__(self, searcher: CoordinatorSearcher) -> None:
        self.signal: signal.Signals | None = None
        self.ray_fault: str | None = None
        self._searcher = searcher
        self._checked_at = time.monotonic()

    def stop(self, received: signal.Signals) -> None:
        """End the search in order, because of a signal."""
        self.signal = received

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Process a result, and return whether its trial is to end."""
        return self._searcher.process_report(trial_id, StepReport.from_result(result))

    def stop_all(self) -> bool:
        """Return whether the search is to end now."""
        if self.ray_fault is None and time.monotonic() - self._checked_at >= RAY_CHECK_INTERVAL_S:
            without_workers = all(trial.state is TrialState.STARTING for trial in self._searcher.trials.values())
            self.ray_fault = find_ray_fault(without_workers=without_workers)
            self._checked_at = time.monotonic()
        if self._searcher.check_stop_request() and self.signal is None:
            self.stop(signal.SIGINT)
        return self.signal is not None or self.ray_fault is not None or self._searcher.is_over

    __getstate__ = _without_state


class NoReporter(tune.ProgressReporter):
    """Tune's own display, which shows nothing: in a notebook it would clear the output of the cell."""

    def should_report(self, trials: list[TuneTrial], done: bool = False) -> bool:  # noqa: FBT001, FBT002 (Tune's)
        """Return false."""
        del trials, done
        return False

    def report(self, trials: list[TuneTrial], done: bool, *sys_info: Any) -> None:  # noqa: FBT001 (Tune's)
        """Do nothing."""


def run_trials(
    searcher: CoordinatorSearcher,
    *,
    trainable: type[tune.Trainable],
    resources: Mapping[str, float] = MappingProxyType({"CPU": 1.0}),
) -> signal.Signals | None:
    """Run the searcher's evaluations with Tune until the search is over, has failed, or a signal is received.

    Tune's own files are written to a temporary folder.

    Args:
        searcher: Source of the evaluations.
        trainable: Runs an evaluation.
        resources: Ray resources of a trial; empty for groups, whose trials compute nothing themselves.

    Returns:
        The signal that ended it, if any.

    Raises:
        ClusterError: Ray or Tune failed. No evaluation has failed for that.
    """
    stopper = SearchStopper(searcher)
    scratch: str | None = None
    try:
        bundle = tune.PlacementGroupFactory([dict(resources)]) if resources else _resources_on_driver_node()
        scratch = tempfile.mkdtemp(prefix="emotune-tune-")
        with stop_on_signals(stopper.stop):
            _tuner(searcher, stopper, trainable=tune.with_resources(trainable, bundle), scratch=scratch).fit()
        if stopper.ray_fault is not None and stopper.signal is None and not searcher.is_over:
            raise ClusterError(stopper.ray_fault)
    except Exception as error:
        try:
            raise_cause(error)
        except ClusterError as cause:
            if stopper.signal is None:
                raise
            logger.warning("%s; the epochs since the newest checkpoints will be repeated", cause)
            return stopper.signal
        raise
    else:
        return stopper.signal
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _tuner(
    searcher: CoordinatorSearcher, stopper: SearchStopper, *, trainable: type[tune.Trainable], scratch: str
) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=searcher.concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=scratch,
            callbacks=[TrialCallback(searcher)],
            stop=stopper,
            verbose=0,
            progress_reporter=NoReporter(),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _resources_on_driver_node() -> tune.PlacementGroupFactory:
    """Return the resources of a trial that computes nothing: on the driver's node, which other failures do not end."""
    return tune.PlacementGroupFactory([{"CPU": 0.0, f"node:{ray.util.get_node_ip_address()}": 0.001}])
