"""What Ray Tune runs for an evaluation that several workers share: a Ray Train group behind a trial.

The trial itself computes nothing. It starts the group, hands it jobs, waits for what it writes, and lets
it save and end. A group is kept for the next job, as starting one costs many seconds.
"""

import os
import shutil
import tempfile
import threading
import time
from typing import Any

import ray
from ray import train, tune
from ray.train.torch import TorchConfig, TorchTrainer

from emotune.runtime.cluster.group_size import GroupSize
from emotune.runtime.cluster.resources import has_gpus, worker_resources
from emotune.runtime.failures import Breakdown, breakdown
from emotune.runtime.group_worker import serve
from emotune.runtime.mailbox import Letter, Mail, Post
from emotune.runtime.worker import Job, idle

LOOK_SECONDS = 0.1
"""So often a trial looks into the post."""

HEARTBEAT_SECONDS = 1.0
"""So often a trial shows a sign of life while its group waits for room or starts."""

BLIND_SECONDS = 30.0
"""So long a trial waits before it lets a group begin again that had a worker where what it needs is not seen."""

ENDING_SECONDS = 120.0
"""So long a group may take to save and end."""

ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30"}
"""Dead workers are noticed soon, and room that is not there after all is waited for no longer than so."""


class Group:
    """A Ray Train run in a thread, and the post to it.

    Args:
        job: The first job.
        size: Number of workers.
    """

    def __init__(self, job: Job, *, size: int) -> None:
        own_node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self.post: Any = ray.remote(num_cpus=0, label_selector=own_node)(Post).remote()
        self.size = size
        self.begun = False
        self.breakdown: Breakdown | None = None
        self._first = job
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.hand_in(job)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether Ray Train runs."""
        return self._thread.is_alive()

    def hand_in(self, job: Job) -> None:
        """Hand a job to the group."""
        ray.get(self.post.hand_in.remote(job.model_dump_json()))

    def wait(self) -> list[Letter]:
        """Wait for a sign of life, and return the new letters.

        While the group waits for room or starts, a second is a sign of life; then letters are, or its end.
        """
        until = time.monotonic() + HEARTBEAT_SECONDS
        while True:
            alive = self.alive
            mail: Mail = ray.get(self.post.collect.remote())
            self.begun = mail.workers > 0
            starting = not self.begun and time.monotonic() >= until
            if mail.letters or starting or not alive:
                return mail.letters
            time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Let the group save and end."""
        ray.get(self.post.stop.remote())
        self._thread.join(ENDING_SECONDS)

    def _run(self) -> None:
        scratch = tempfile.mkdtemp(prefix="emotune-train-")
        try:
            trainer(self._first, size=self.size, config={"post": self.post}, scratch=scratch).fit()
        except Exception as error:  # noqa: BLE001 (whatever it is: it is told, and the coordinator decides)
            self.breakdown = breakdown(error)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def trainer(job: Job, *, size: int, config: dict[str, Any], scratch: str) -> TorchTrainer:
    """Make the Ray Train run of a group.

    Failures are not retried by Ray Train, whose checkpoints are not used either: both is the search's own. So
    is the number of workers: Ray Train would kill a group to resize it, and go by what drivers that are dead had asked
    for, which stands for three minutes.

    Args:
        job: With how many threads, and how long silence is borne.
        size: Number of workers.
        config: For every worker.
        scratch: Folder for what Ray Train writes.
    """
    compute = job.experiment.compute
    silence = compute.patience or 1800.0
    for name, value in (ENVIRONMENT | {"RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(silence)}).items():
        os.environ.setdefault(name, value)
    return TorchTrainer(
        serve,
        train_loop_config=config,
        torch_config=TorchConfig(timeout_s=max(60, int(silence))),
        scaling_config=train.ScalingConfig(
            num_workers=size,
            use_gpu=has_gpus(),
            resources_per_worker=worker_resources(compute.threads),
        ),
        run_config=train.RunConfig(
            name="group",
            storage_path=scratch,
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
        ),
    )


class GroupTrainable(tune.Trainable):
    """One evaluation that several workers share, as Tune's class API wants it: a step waits for news."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a job in a fresh actor; its group is started in the first step."""
        self.group: Group | None = None
        self._take(Job.model_validate_json(config["job"]))
        self._size = GroupSize(self.job)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job, for the same group if that is alive."""
        self._take(Job.model_validate_json(new_config["job"]))
        if self.group is not None:
            self.group.hand_in(self.job)
        return True

    def _take(self, job: Job) -> None:
        self.job = job
        self.idle_since: float | None = None
        self.blind: str | None = None

    def step(self) -> dict[str, Any]:
        """Wait for news of the group; or a moment, if all is done and the search has not ended this trial.

        Returns:
            ``reports``, ``finished`` and ``diverged`` as of an evaluation with one worker; ``saved``: how far the
            newest checkpoint goes; ``broke_off``: None, or why the group broke off and whether that was the
            infrastructure; ``note``: None, or what people should know; ``blind``: None, or what a worker's machine does
            not see, so that the group could not begin.
        """
        if self.idle_since is not None:
            idle(self.idle_since)
            self.blind = self.blind if time.monotonic() - self.idle_since < BLIND_SECONDS else None
            return _result(finished=self.blind is None) | {"blind": self.blind}
        if self.group is None:
            self.group = Group(self.job, size=self._size.choose())
        letters = self.group.wait()
        result = _result(
            reports=[report for letter in letters for report in letter["reports"]],
            saved=letters[-1]["saved"] if letters else None,
            finished=any(letter["finished"] for letter in letters),
            diverged=next((letter["diverged"] for letter in letters if letter["diverged"]), None),
        )
        if not result["finished"]:
            result |= self._look_after(self.group)
        self.blind = result["blind"]
        if result["finished"] or result["broke_off"] or self.blind:
            self.idle_since = time.monotonic()
        return result

    def _look_after(self, group: Group) -> dict[str, Any]:
        """Take in that the group has ended, or that it could have more workers."""
        if group.alive:
            if group.begun and self._size.could_grow(group.size):
                group.end()
            return {}
        self.group = None
        broken = group.breakdown
        if broken is None:
            return {}
        if broken.blind:
            return {"blind": broken.error}
        if broken.no_room:
            return {"note": self._size.reduce(group.size)}
        return {"broke_off": (broken.error, broken.infrastructure)}

    def cleanup(self) -> None:
        """Let the group save and end, when the search is stopped in order or over."""
        if self.group is not None:
            self.group.end()


def _result(
    *,
    reports: list[dict[str, Any]] | None = None,
    saved: tuple[int, int] | None = None,
    finished: bool = False,
    diverged: str | None = None,
) -> dict[str, Any]:
    return {
        "reports": reports or [],
        "saved": saved,
        "finished": finished,
        "diverged": diverged,
        "broke_off": None,
        "note": None,
        "blind": None,
    }
