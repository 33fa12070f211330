"""What every worker of a group does: train, and agree with the others now and then on how to go on.

Collectives must be called by all workers in the same order, so nothing may be decided by one alone.
After a number of optimiser steps, the same for all, the workers hold a council: the first one hands in
what was trained, hears whether the group shall end, and tells the others in one small sum.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
from ray import train
from ray.train.collective import broadcast_from_rank_zero

from emotune.errors import DamageError, TrainingDivergedError
from emotune.runtime.cluster.access_check import check_access
from emotune.runtime.mailbox import Letter, Word
from emotune.runtime.worker import Job, Worker
from emotune.training.loop import EpochReport
from emotune.training.workers import WorkerGroup, joined

COUNCIL_SECONDS = 1.0
"""About so long workers train between two councils."""

NOTICE_SECONDS = 5.0
"""So often the workers ask whether one of their nodes is to be taken away."""

IDLE_SECONDS = 0.3
"""So often a group without a job asks for one."""

FASTER = 4
"""The number of steps between two councils grows at most so many times from one to the next."""


class Council:
    """Where the workers of a group agree on how to go on.

    Args:
        post: The post to the trial.
        group: This worker among all.
    """

    def __init__(self, post: Any, group: WorkerGroup) -> None:
        self._post = post
        self._group = group
        self._steps = 0
        self._limit = 1
        self._since = self._looked = time.monotonic()

    def due(self) -> bool:
        """Count an optimiser step, and tell whether the next council is due: at the same step for all workers."""
        self._steps += 1
        return self._steps >= self._limit

    def hold(self, letter: Letter) -> bool:
        """Hand in what was trained, and agree on how long to train now.

        Args:
            letter: Of the first worker; that of others is not read.

        Returns:
            Whether to save and end, because the trial or a notice that a node will be taken away asks for it.
        """
        first = self._group.rank == 0
        words = {"stop": 0.0, "look": 0.0, "limit": 0.0}
        if first:
            words["stop"] = float(ray.get(self._post.deliver.remote(letter)))
            words["look"] = float(time.monotonic() - self._looked >= NOTICE_SECONDS)
            words["limit"] = float(self._next_limit())
        agreed = self._group.add(words)
        self._limit, self._steps, self._since = int(agreed["limit"]), 0, time.monotonic()
        return agreed["stop"] > 0 or (agreed["look"] > 0 and self._notice())

    def _next_limit(self) -> int:
        seconds = max(time.monotonic() - self._since, 1e-6)
        steps = max(self._steps, 1)
        return max(1, min(round(COUNCIL_SECONDS / seconds * steps), FASTER * steps))

    def _notice(self) -> bool:
        self._looked = time.monotonic()
        return train.get_preemption_info() is not None


def serve(config: dict[str, Any]) -> None:
    """Carry out one job after the other until the group shall end: what Ray Train runs in every worker.

    Args:
        config: ``post``, the handle of the post to the trial.
    """
    post, group = config["post"], joined()
    while (job := _next_job(post, group)) is not None:
        if not _carry_out(Job.model_validate_json(job), post=post, group=group):
            return


def _next_job(post: Any, group: WorkerGroup) -> str | None:
    while True:
        asked: Word | None = ray.get(post.ask.remote(group.size)) if group.rank == 0 else None
        word = broadcast_from_rank_zero(asked)
        assert word is not None
        if word.job is not None or word.stop:
            return None if word.stop else word.job
        time.sleep(IDLE_SECONDS)


def _carry_out(job: Job, *, post: Any, group: WorkerGroup) -> bool:
    """Train a job to its end, and tell whether that was reached before the group had to end."""
    check_access(job.requirements)
    worker = Worker(job, group=group)
    try:
        _check_equal_start(worker, group)
        return _train(worker, Council(post, group))
    finally:
        # what averages gradients waits for a thread of the process group when it is freed: not after that is gone
        worker.state.network = None


def _train(worker: Worker, council: Council) -> bool:
    while True:
        try:
            reports = worker.work(council.due)
        except TrainingDivergedError as error:
            return not council.hold(_letter(worker, diverged=str(error)))
        stopping = council.hold(_letter(worker, reports=reports))
        if stopping:
            worker.save()
        else:
            worker.save_when_due()
        if stopping or worker.finished:
            return not stopping


def _letter(worker: Worker, *, reports: Sequence[EpochReport] = (), diverged: str | None = None) -> Letter:
    return {
        "reports": [asdict(report) for report in reports],
        "saved": worker.saved_position,
        "finished": worker.finished or diverged is not None,
        "diverged": diverged,
    }


def _check_equal_start(worker: Worker, group: WorkerGroup) -> None:
    """Refuse to train if not all workers go on from the same checkpoint, as where a folder is not shared."""
    epoch, steps = worker.state.position
    lowest = (-group.highest(-epoch), -group.highest(-steps))
    if lowest != (group.highest(epoch), group.highest(steps)):
        raise DamageError(
            f"worker {group.rank} goes on from epoch {epoch}, step {steps}, and another one from elsewhere: "
            f"{worker.job.checkpoints} must be a folder that all nodes share"
        )
