"""The worker process of a group: trains its part of each batch, and synchronises with the other workers.

All workers must call collectives in the same order, so no worker may decide anything alone. After a number of
optimiser steps that is the same for all, they synchronise: the first worker delivers the reports to the trial,
receives whether the group is to end, and sends that to the others in one all-reduce of three numbers.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray import train
from ray.exceptions import RayError
from ray.train.collective import broadcast_from_rank_zero

from emotune.errors import DamageError, TrainingDivergedError
from emotune.runtime.cluster.access_check import InaccessibleError, check_access
from emotune.runtime.failures import failure_of
from emotune.runtime.mailbox import Instruction
from emotune.runtime.step_report import StepReport
from emotune.runtime.worker import Job, Worker
from emotune.search.records import Failure
from emotune.training.epoch_report import EpochReport
from emotune.training.workers import WorkerGroup, joined

SYNC_INTERVAL_S = 1.0
"""Approximate training time between two synchronisations."""

PREEMPTION_POLL_INTERVAL_S = 5.0
"""Interval at which the workers check whether one of their nodes is to be preempted."""

JOB_POLL_INTERVAL_S = 0.3
"""Interval at which a group without a job requests one."""

MAX_STEP_GROWTH = 4
"""Largest factor by which the number of steps between two synchronisations grows from one to the next."""


class GroupSync:
    """The synchronisation of a group's workers.

    Args:
        mailbox: Handle of the trial's mailbox.
        group: This worker among all.
    """

    def __init__(self, mailbox: Any, group: WorkerGroup) -> None:
        self._mailbox = mailbox
        self._group = group
        self._steps = 0
        self._step_limit = 1
        self._synced_at = self._polled_at = time.monotonic()

    def is_due(self) -> bool:
        """Count an optimiser step, and return whether to synchronise now: after the same step in all workers."""
        self._steps += 1
        return self._steps >= self._step_limit

    def synchronise(self, report: StepReport) -> bool:
        """Deliver a report, and agree on the number of steps until the next synchronisation.

        Args:
            report: Of the first worker; that of others is ignored.

        Returns:
            Whether to save and end, because the trial requires it or a node is to be preempted.
        """
        shared = {"stop": 0.0, "poll": 0.0, "limit": 0.0}
        if self._group.rank == 0:
            shared["stop"] = float(ray.get(self._mailbox.deliver.remote(report)))
            shared["poll"] = float(time.monotonic() - self._polled_at >= PREEMPTION_POLL_INTERVAL_S)
            shared["limit"] = float(self._next_step_limit())
        agreed = self._group.add(shared)
        self._step_limit, self._steps, self._synced_at = int(agreed["limit"]), 0, time.monotonic()
        return agreed["stop"] > 0 or (agreed["poll"] > 0 and self._is_preempted())

    def _next_step_limit(self) -> int:
        seconds = max(time.monotonic() - self._synced_at, 1e-6)
        steps = max(self._steps, 1)
        return max(1, min(round(SYNC_INTERVAL_S / seconds * steps), MAX_STEP_GROWTH * steps))

    def _is_preempted(self) -> bool:
        self._polled_at = time.monotonic()
        return train.get_preemption_info() is not None


def serve(config: dict[str, Any]) -> None:
    """Train one job after the other until the group is to end; Ray Train runs this in every worker.

    A worker that ends with an exception delivers its classification to the mailbox first.

    Args:
        config: ``mailbox``, the handle of the trial's mailbox.
    """
    mailbox, group = config["mailbox"], joined()
    try:
        while (job := _next_job(mailbox, group)) is not None:
            if not _train_job(Job.model_validate_json(job), mailbox=mailbox, group=group):
                return
    except InaccessibleError as error:
        _deliver_last(StepReport(inaccessible=str(error)), mailbox=mailbox, group=group)
        raise
    except Exception as error:
        report = StepReport(failure=failure_of(error, in_group=True), ends_worker=True)
        _deliver_last(report, mailbox=mailbox, group=group)
        raise


def _deliver_last(report: StepReport, *, mailbox: Any, group: WorkerGroup) -> None:
    with contextlib.suppress(RayError):  # the trial is gone too; Ray Train reports the exception itself
        ray.get(mailbox.deliver_last.remote(group.rank, report))


def _next_job(mailbox: Any, group: WorkerGroup) -> str | None:
    while True:
        received: Instruction | None = ray.get(mailbox.request.remote(group.size)) if group.rank == 0 else None
        instruction = broadcast_from_rank_zero(received)
        assert instruction is not None
        if instruction.job is not None or instruction.stop:
            return None if instruction.stop else instruction.job
        time.sleep(JOB_POLL_INTERVAL_S)


def _train_job(job: Job, *, mailbox: Any, group: WorkerGroup) -> bool:
    """Train a job, and return whether it has ended; false if the group has to end before that."""
    check_access(job.requirements)
    worker = Worker(job, group=group)
    try:
        _check_equal_start(worker, group)
        return _train(worker, GroupSync(mailbox, group))
    finally:
        # freeing DistributedDataParallel waits for a thread of the process group, which must still exist
        worker.state.network = None


def _train(worker: Worker, sync: GroupSync) -> bool:
    while True:
        try:
            reports = worker.work(sync.is_due)
        except TrainingDivergedError as error:
            return not sync.synchronise(_report(worker, failure=failure_of(error)))
        stopping = sync.synchronise(_report(worker, reports=reports))
        if stopping:
            worker.save()
        else:
            worker.save_when_due()
        if stopping or worker.finished:
            return not stopping


def _report(worker: Worker, *, reports: Sequence[EpochReport] = (), failure: Failure | None = None) -> StepReport:
    return StepReport(reports=tuple(reports), saved=worker.saved_position, finished=worker.finished, failure=failure)


def _check_equal_start(worker: Worker, group: WorkerGroup) -> None:
    """Refuse to train if the workers resume from different checkpoints, as on nodes without a shared folder."""
    epoch, steps = worker.state.position
    lowest = (-group.highest(-epoch), -group.highest(-steps))
    if lowest != (group.highest(epoch), group.highest(steps)):
        raise DamageError(
            f"worker {group.rank} resumes from epoch {epoch}, step {steps}, and another worker from another position; "
            f"make {worker.job.checkpoints} a folder that all nodes share"
        )
