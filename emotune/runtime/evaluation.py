"""The Tune class of an evaluation with one worker, whatever it trains.

Starting an actor and importing its packages takes seconds, a new job in a running actor milliseconds. So the actor is
reused (``reset_config``) and keeps what it has opened.
"""

import time
from abc import abstractmethod
from typing import Any

from ray import tune

from emotune.errors import TrainingDivergedError
from emotune.runtime.cluster.access_check import InaccessibleError, check_access
from emotune.runtime.crashes import record_crashes
from emotune.runtime.failures import failure_of
from emotune.runtime.job import EvaluationJob, EvaluationWorker
from emotune.runtime.step_report import StepReport

STEP_DURATION_S = 0.2
"""Training time of a Tune step; shorter steps would flood the driver with results of short epochs."""

IDLE_INTERVAL_S = (0.02, 0.5)
"""Shortest and longest duration of the step of an idle worker, which waits for a job."""

ACCESS_POLL_INTERVAL_S = 5.0
"""Interval at which a worker checks the access again that it did not have."""


class TrialTrainable(tune.Trainable):
    """One evaluation with one worker, as Tune's class API requires it: a step trains for `STEP_DURATION_S`.

    Subclasses say which job it is and which worker trains it.
    """

    @abstractmethod
    def read_job(self, content: str) -> EvaluationJob:
        """Return the job of the driver, from JSON."""

    @abstractmethod
    def begin(self, job: EvaluationJob) -> EvaluationWorker:
        """Return the worker of a job, at its newest checkpoint."""

    def setup(self, config: dict[str, Any]) -> None:
        """Read a job. Its work starts in the first step, which the watchdog observes."""
        self.job = self.read_job(config["job"])
        self.worker: EvaluationWorker | None = None
        self.idle_since: float | None = None
        self.inaccessible = False
        self._error: Exception | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Read another job in this running actor."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a moment, and return a `StepReport` as Tune's result.

        If the evaluation has ended, the step waits for a moment. An exception is returned as a failure first, and
        raised in the next step, so that Tune ends this process: its memory or its GPU may be in a bad state.
        """
        if self._error is not None:
            raise self._error
        try:
            report = self._step()
        except TrainingDivergedError as error:
            report = StepReport(failure=failure_of(error))
        except Exception as error:  # noqa: BLE001 (every exception is classified here, and raised again)
            self._error = error
            report = StepReport(failure=failure_of(error), ends_worker=True)
        if report.ended and self.idle_since is None:
            self.idle_since = time.monotonic()
        return report.to_result()

    def _step(self) -> StepReport:
        if self.idle_since is not None:
            wait_idle(self.idle_since)
            return StepReport(finished=True)
        if self.worker is None:
            try:
                self._check_access()
            except InaccessibleError as error:
                self.inaccessible = True
                return StepReport(inaccessible=str(error))
            if self.inaccessible:
                return StepReport(finished=True)  # another worker has this job by now
            record_crashes(self.job.crash_file)
            self.worker = self.begin(self.job)
        return _train(self.worker)

    def _check_access(self) -> None:
        if self.inaccessible:
            time.sleep(ACCESS_POLL_INTERVAL_S)
        check_access(self.job.requirements)

    def cleanup(self) -> None:
        """Save what was trained since the newest checkpoint, when the search stops in order."""
        if self.worker is not None:
            self.worker.save()


def _train(worker: EvaluationWorker) -> StepReport:
    end = time.monotonic() + STEP_DURATION_S
    reports = worker.work(lambda: time.monotonic() >= end)
    worker.save_when_due()
    return StepReport(reports=tuple(reports), finished=worker.finished)


def wait_idle(since: float) -> None:
    """Sleep for a tenth of the time since ``since``, within `IDLE_INTERVAL_S`; so idle workers send few results."""
    shortest, longest = IDLE_INTERVAL_S
    time.sleep(min(max((time.monotonic() - since) / 10, shortest), longest))
