"""The Tune class of an evaluation with several workers: a Ray Train group behind a trial.

The trial itself computes nothing. It starts the group, submits jobs to it, forwards its reports, and makes it save
and end. A group is kept for the next job, because starting one takes many seconds.
"""

import os
import shutil
import tempfile
import threading
import time
from dataclasses import replace
from typing import Any

import ray
from ray import train, tune
from ray.train.torch import TorchConfig, TorchTrainer

from emotune.runtime.cluster.group_size import GroupSize
from emotune.runtime.cluster.resources import has_gpus, worker_resources
from emotune.runtime.evaluation import wait_idle
from emotune.runtime.group_worker import serve
from emotune.runtime.mailbox import Mailbox, MailboxContents
from emotune.runtime.ray_errors import group_failure, is_startup_timeout
from emotune.runtime.step_report import StepReport
from emotune.runtime.worker import Job

POLL_INTERVAL_S = 0.1
"""Interval at which a trial reads its group's mailbox."""

HEARTBEAT_INTERVAL_S = 1.0
"""Interval of a trial's steps while its group starts or waits for resources."""

INACCESSIBLE_RETRY_S = 30.0
"""Time for which a trial rests after a worker of its group could not access what it needs."""

SHUTDOWN_TIMEOUT_S = 120.0
"""Time for a group to save and end."""

DEFAULT_SILENCE_LIMIT_S = 1800.0
"""Time without a reply after which a group's worker counts as dead, if ``compute.patience`` is 0."""

ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30"}
"""Ray Train's settings: dead workers are found soon, and a group without resources fails after 30 s."""


class Group:
    """A Ray Train run in a thread, and the mailbox to it.

    Args:
        job: The first job.
        size: Number of workers.
    """

    def __init__(self, job: Job, *, size: int) -> None:
        own_node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self.mailbox: Any = ray.remote(num_cpus=0, label_selector=own_node)(Mailbox).remote()
        self.size = size
        self.begun = False
        self.ended = False
        """Whether Ray Train had ended before the newest reports were collected."""
        self.error: Exception | None = None
        self.last_reports: dict[int, StepReport] = {}
        """Last reports of workers that ended with an exception, by rank."""
        self._first_job = job
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.submit(job)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Send a job to the group."""
        ray.get(self.mailbox.submit.remote(job.model_dump_json()))

    def wait(self) -> list[StepReport]:
        """Wait for reports or the end of the group, and return the new reports.

        While the group starts or waits for resources, it returns after `HEARTBEAT_INTERVAL_S`.
        """
        deadline = time.monotonic() + HEARTBEAT_INTERVAL_S
        while True:
            self.ended = not self._thread.is_alive()
            contents: MailboxContents = ray.get(self.mailbox.collect.remote())
            self.begun, self.last_reports = contents.workers > 0, contents.last_reports
            starting = not self.begun and time.monotonic() >= deadline
            if contents.reports or starting or self.ended:
                return contents.reports
            time.sleep(POLL_INTERVAL_S)

    def end(self) -> None:
        """Make the group save and end, and wait for that."""
        ray.get(self.mailbox.stop.remote())
        self._thread.join(SHUTDOWN_TIMEOUT_S)

    def _run(self) -> None:
        scratch: str | None = None
        try:
            scratch = tempfile.mkdtemp(prefix="emotune-train-")
            make_trainer(self._first_job, size=self.size, config={"mailbox": self.mailbox}, scratch=scratch).fit()
        except Exception as error:  # noqa: BLE001 (every exception is classified, and the coordinator decides)
            self.error = error
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)


def make_trainer(job: Job, *, size: int, config: dict[str, Any], scratch: str) -> TorchTrainer:
    """Return the Ray Train run of a group.

    Retries, checkpoints and the number of workers are the search's own, not Ray Train's. Ray Train kills a group to
    resize it, and counts the resources that a dead driver requested as used for three minutes.

    Args:
        job: With the resources of a worker, and the time for which it may be silent.
        size: Number of workers.
        config: For every worker.
        scratch: Folder for Ray Train's files.
    """
    compute = job.experiment.compute
    silence_limit = compute.patience or DEFAULT_SILENCE_LIMIT_S
    for name, value in (ENVIRONMENT | {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(silence_limit)}).items():
        os.environ.setdefault(name, value)
    return TorchTrainer(
        serve,
        train_loop_config=config,
        torch_config=TorchConfig(timeout_s=max(60, int(silence_limit))),
        scaling_config=train.ScalingConfig(
            num_workers=size,
            use_gpu=has_gpus(),
            resources_per_worker=worker_resources(compute),
        ),
        run_config=train.RunConfig(
            name="group",
            storage_path=scratch,
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
        ),
    )


class GroupTrainable(tune.Trainable):
    """One evaluation with several workers, as Tune's class API requires it: a step waits for reports."""

    def setup(self, config: dict[str, Any]) -> None:
        """Read a job in a fresh actor; its group is started in the first step."""
        self.group: Group | None = None
        self._set_job(Job.model_validate_json(config["job"]))
        self._size = GroupSize(self.job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Read another job, for the same group if there is one."""
        self._set_job(Job.model_validate_json(new_config["job"]))
        if self.group is not None:
            self.group.submit(self.job)
        return True

    def _set_job(self, job: Job) -> None:
        self.job = job
        self.idle_since: float | None = None
        self.inaccessible: str | None = None

    def step(self) -> dict[str, Any]:
        """Wait for reports of the group, and return them as one `StepReport` in Tune's result.

        If the evaluation has ended, the step waits for a moment.
        """
        return self._step().to_result()

    def _step(self) -> StepReport:
        if self.idle_since is not None:
            wait_idle(self.idle_since)
            if time.monotonic() - self.idle_since >= INACCESSIBLE_RETRY_S:
                self.inaccessible = None
            return StepReport(finished=self.inaccessible is None, inaccessible=self.inaccessible)
        if self.group is None:
            self.group = Group(self.job, size=self._size.choose())
        report = StepReport.merged(self.group.wait())
        if not report.ended:
            report = self._inspect(self.group, report)
        self.inaccessible = report.inaccessible
        if report.ended or report.inaccessible:
            self.idle_since = time.monotonic()
        return report

    def _inspect(self, group: Group, report: StepReport) -> StepReport:
        """Add the end of a group to its report, or end a group that could have more workers."""
        if not group.ended:
            if group.begun and self._size.could_grow(group.size):
                group.end()
            return report
        self.group = None
        if group.error is None:
            return report
        last_reports = group.last_reports
        inaccessible = next((last.inaccessible for last in last_reports.values() if last.inaccessible), None)
        if inaccessible is not None:
            return replace(report, inaccessible=inaccessible)
        if is_startup_timeout(group.error):
            return replace(report, note=self._size.reduce(group.size))
        reported = {rank: last.failure for rank, last in last_reports.items() if last.failure is not None}
        return replace(report, failure=group_failure(group.error, reported=reported))

    def cleanup(self) -> None:
        """Make the group save and end, when the search has ended or stops in order."""
        if self.group is not None:
            self.group.end()
