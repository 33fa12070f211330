"""A trial of Ray Tune: an evaluation and its worker, as a state machine.

    starting      -> running                       it gets a worker
    running       -> idle | inaccessible | hung    its evaluation ends | cannot begin | is silent for too long
    inaccessible  -> idle                          its machine has access again
    idle          -> hung                          its worker is silent for too long

A trial ends when its worker is given to another trial, or when Tune reports that its worker is lost.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from emotune.runtime.job import EvaluationJob
from emotune.search.records import Failure
from emotune.waiting import announce

WAIT_ANNOUNCEMENT_S = 20.0
"""Time without any worker after which that is printed."""


class TrialState(StrEnum):
    """State of a trial."""

    STARTING = "starting"
    """It has an evaluation, and waits for a worker process."""
    RUNNING = "running"
    """Its worker trains its evaluation."""
    IDLE = "idle"
    """Its evaluation has ended. Its worker waits for the next one."""
    INACCESSIBLE = "inaccessible"
    """Its worker's machine cannot access what the search needs, and its evaluation was taken back.

    The trial is kept, so that Tune starts no other trial on that machine.
    """
    HUNG = "hung"
    """Its worker was silent for too long and is being killed."""


@dataclass
class Trial:
    """A trial of Ray Tune."""

    job: EvaluationJob
    state: TrialState = TrialState.STARTING
    evaluation_id: int | None = field(init=False)
    """The evaluation that the trial still has to end."""
    created_at: float = field(default_factory=time.monotonic)
    """When it was created (s, monotonic clock)."""
    worker_promised: bool = False
    """Whether a worker of another trial was released for this one, which is starting."""
    hang: Failure | None = None
    """Why it counts as hung."""

    def __post_init__(self) -> None:
        self.evaluation_id = self.job.evaluation_id

    def run(self) -> None:
        """Change to running: the trial has a worker. Only a starting trial gets one."""
        self._require(TrialState.STARTING)
        self.state, self.worker_promised = TrialState.RUNNING, False

    def finish(self) -> None:
        """Change to idle: the evaluation has ended. A hung trial stays hung, because its worker is being killed."""
        self._require(TrialState.RUNNING, TrialState.HUNG)
        self._release(TrialState.IDLE)

    def lose_access(self) -> None:
        """Change to inaccessible: the evaluation could not begin. A hung trial stays hung."""
        self._require(TrialState.RUNNING, TrialState.HUNG)
        self._release(TrialState.INACCESSIBLE)

    def regain_access(self) -> None:
        """Change to idle: the machine has access again. Only from inaccessible."""
        self._require(TrialState.INACCESSIBLE)
        self.state = TrialState.IDLE

    def mark_hung(self, failure: Failure) -> None:
        """Change to hung: the worker was silent for too long. Only a trial with a worker can hang."""
        self._require(TrialState.RUNNING, TrialState.IDLE)
        self.state, self.hang = TrialState.HUNG, failure

    def _release(self, state: TrialState) -> None:
        self.evaluation_id, self.worker_promised = None, False
        if self.state is not TrialState.HUNG:
            self.state = state

    def _require(self, *states: TrialState) -> None:
        if self.state not in states:
            raise RuntimeError(f"the trial of evaluation {self.job.evaluation_id} is {self.state}, not {states}")


class WorkerWait:
    """Prints once that no trial has a worker.

    Args:
        resource: What a worker needs, such as ``a GPU``.
    """

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._announced = False

    def check(self, trials: Collection[Trial]) -> None:
        """Print that trials wait, if all have waited for a worker for `WAIT_ANNOUNCEMENT_S`."""
        if not trials or any(trial.state is not TrialState.STARTING for trial in trials):
            self._announced = False
        elif not self._announced and time.monotonic() - min(t.created_at for t in trials) > WAIT_ANNOUNCEMENT_S:
            self._announced = True
            announce(f"waiting for a worker with {self._resource}: none is free, or its process is starting")
