"""What Ray Tune runs for an evaluation: a class kept warm between evaluations.

Starting an actor and importing torch costs seconds, a new job in a warm one milliseconds. So the
actor is reused (``reset_config``), and keeps the store it has opened.
"""

import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from emotune.base import Settings
from emotune.data.store import SegmentStore
from emotune.errors import TrainingDivergedError
from emotune.experiment import Experiment
from emotune.runtime.cluster.visibility import InaccessibleError, Requirements, check_sight
from emotune.storage import StorageField
from emotune.training.checkpoints import (
    fetch_checkpoint,
    forget_unshared,
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from emotune.training.loop import EpochReport, Pause, TrainingData, evaluate, measure_references, train_epoch
from emotune.training.meter import Meter, training_flops
from emotune.training.workers import ALONE, WorkerGroup

STEP_SECONDS = 0.2
"""A Tune step trains for about this long, so that short epochs do not drown the driver in results."""

IDLE_SECONDS = (0.02, 0.5)
"""The shortest and the longest time after which an idle worker looks again whether there is work for it."""

LOOK_SECONDS = 5.0
"""So often a worker that does not see what it needs looks again."""

SAVING_SHARE = 0.1
"""Checkpoints may take this share of the time; an epoch is always saved if it took ten times as long."""

LONGEST_UNSAVED = 300.0
"""After so many seconds a checkpoint is written in the middle of an epoch."""


class Job(Settings):
    """One evaluation, as handed to a worker."""

    evaluation_id: int
    config_id: int
    from_epoch: int
    to_epoch: int
    experiment: Experiment
    """The base experiment with the configuration's values."""
    checkpoints: StorageField
    """Folder of the configuration's checkpoints."""
    encoder: StorageField | None = None
    """Checkpoint of the pre-trained encoder to start from."""
    measure_test: bool = False
    """Measure on the test segments after the last epoch."""
    requirements: Requirements | None = None
    """What whoever carries it out must see."""
    workers: tuple[int, int] | None = None
    """Fewest and most workers that share it, as a Ray Train group; None: one worker, without a group."""


class Worker:
    """Carries out one job: goes on from the newest checkpoint, trains, saves.

    Args:
        job: What to train, from where to where.
        group: This worker among those that share the job; only the first of them saves.
    """

    def __init__(self, job: Job, *, group: WorkerGroup = ALONE) -> None:
        torch.set_num_threads(job.experiment.compute.threads)
        self.job = job
        self.group = group
        self.training_data = open_training_data(job.experiment)
        self.plan = job.experiment.plan()
        if job.encoder is not None:
            fetch_checkpoint(job.encoder)
        encoder_weights = None if job.encoder is None else job.encoder.local()
        self.state = job.experiment.begin(self.training_data, encoder_weights=encoder_weights)
        self._go_on()
        self.state.network = group.wrap(self.state.objective)
        self._references = references(job.experiment)
        self._meter = self._make_meter()
        self._reported = job.from_epoch
        self.saved_position = self.state.position
        """Epochs, and steps of the next one, that are in a checkpoint."""
        self._saved_at = time.monotonic()
        self._saving_seconds = 0.0

    def _go_on(self) -> None:
        if not self.group.rank:
            forget_unshared(self.job.checkpoints)
        folder = newest_checkpoint(self.job.checkpoints, up_to=self.job.to_epoch)
        if folder is not None:
            restore(folder, self.state)

    def _make_meter(self) -> Meter:
        channels, samples = self.training_data.store.signal.shape[1:]
        flops = training_flops(self.job.experiment.model, channels=channels, samples=samples)
        device = next(self.state.objective.parameters()).device
        return Meter(flops, device=device, dtype=self.state.paths.dtype, workers=self.group.size)

    @property
    def finished(self) -> bool:
        """Whether the last epoch of the job is done."""
        return self.state.epoch >= self.job.to_epoch

    def work(self, pause: Pause) -> list[EpochReport]:
        """Train until the end or a pause, and return the reports that were not returned before.

        Epochs that an earlier worker trained and saved are reported too.

        Args:
            pause: Asked after every optimiser step whether to pause, also in the middle of an epoch.

        Raises:
            TrainingDivergedError: The loss is no longer finite.
        """
        paused = False

        def ask() -> bool:
            nonlocal paused
            paused = pause()
            return paused

        # a pause that falls on the last step of an epoch ends the work after that epoch
        while not (self.finished or paused):
            report = train_epoch(self.state, self.training_data, self.plan, group=self.group, pause=ask)
            if report is None:
                break
            report.metrics.update(self._references)
            report.metrics.update(self._meter.metrics(report.metrics["train/segments_per_second"]))
            if self.finished and self.job.measure_test:
                report.metrics.update(self._measure_test())
            self.save_when_due()
        reports = self.state.history[self._reported :]
        self._reported = self.state.epoch
        return reports

    def _measure_test(self) -> dict[str, float]:
        rows = self.training_data.fold.test
        if not len(rows):
            return {}
        return evaluate(
            self.state.objective, self.training_data, rows, prefix="test", group=self.group, paths=self.state.paths
        )

    def save_when_due(self) -> None:
        """Write a checkpoint after an epoch that took long enough, and in the middle of a very long one."""
        trained = time.monotonic() - self._saved_at
        after_epoch = not self.state.progress.steps and self._saving_seconds <= SAVING_SHARE * trained
        if self.finished or after_epoch or trained > LONGEST_UNSAVED:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the present epoch and step if there is none yet; the first of a group does so."""
        if self.state.position == self.saved_position or self.group.rank:
            return
        started = time.monotonic()
        about = describe(self.job.experiment, self.training_data) | {"computed": str(self.state.paths)}
        save_checkpoint(self.job.checkpoints, self.state, about=about)
        self.saved_position, self._saved_at = self.state.position, time.monotonic()
        self._saving_seconds = self._saved_at - started


class EvaluationTrainable(tune.Trainable):
    """One evaluation as Tune's class API wants it: a step trains for a moment."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a job in a fresh actor; it begins in the first step, where a worker that hangs is noticed."""
        self.job = Job.model_validate_json(config["job"])
        self.worker: Worker | None = None
        self.idle_since: float | None = None
        self.blind = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another job in this warm actor."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for a moment; or wait for one, if all is done and the search has not ended this trial.

        Returns:
            ``reports`` (epoch and metrics, each epoch once), ``finished``, ``diverged``: None or why the loss is no
            longer a number, and ``blind``: None, or what this machine does not see, so that it cannot begin.
        """
        if self.worker is None and self.idle_since is None:
            blind = self._look()
            if blind is not None:
                return {"reports": [], "diverged": None, "finished": False, "blind": blind}
        if self.idle_since is not None:
            idle(self.idle_since)
            return {"reports": [], "diverged": None, "finished": True}
        assert self.worker is not None
        reports, diverged = _train(self.worker)
        finished = diverged is not None or self.worker.finished
        if finished:
            self.idle_since = time.monotonic()
        return {"reports": reports, "diverged": diverged, "finished": finished}

    def _look(self) -> str | None:
        """Begin, if this machine sees what that needs; whoever did not at first idles when it does."""
        if self.blind:
            time.sleep(LOOK_SECONDS)
        try:
            check_sight(self.job.requirements)
        except InaccessibleError as error:
            self.blind = True
            return str(error)
        if self.blind:
            self.idle_since = time.monotonic()  # somebody else carries this job out
        else:
            self.worker = Worker(self.job)
        return None

    def cleanup(self) -> None:
        """Save what was trained since the last checkpoint, when the search is stopped in order."""
        if self.worker is not None:
            self.worker.save()


def _train(worker: Worker) -> tuple[list[dict[str, Any]], str | None]:
    """Train for a step, and return its reports and why the loss is no longer a number, if so."""
    end = time.monotonic() + STEP_SECONDS
    try:
        reports = worker.work(lambda: time.monotonic() >= end)
        worker.save_when_due()
    except TrainingDivergedError as error:
        return [], str(error)
    return [asdict(report) for report in reports], None


def idle(since: float) -> None:
    """Wait a tenth of the time that was waited before, so that many idle workers do not keep the driver busy."""
    shortest, longest = IDLE_SECONDS
    time.sleep(min(max((time.monotonic() - since) / 10, shortest), longest))


@lru_cache(maxsize=4)
def _open_store(path: str) -> SegmentStore:
    return SegmentStore.open(Path(path))


@lru_cache(maxsize=8)
def _training_data(data: str) -> TrainingData:
    experiment = Experiment.model_validate_json(data)
    return experiment.training_data(_open_store(experiment.store))


@lru_cache(maxsize=8)
def _references(data: str) -> dict[str, float]:
    training_data = _training_data(data)
    return measure_references(
        Experiment.model_validate_json(data).task, training_data, training_data.fold.val, prefix="val"
    )


def _data_part(experiment: Experiment) -> str:
    """Only what decides segments, labels and masks, so that jobs on the same data share them."""
    parts = {"store", "fingerprint", "partner", "partner_fingerprint", "folds", "task"}
    parts |= {"model"} if experiment.model.kind == "features" else set()
    return (
        Experiment(epochs=500).model_copy(update={name: getattr(experiment, name) for name in parts}).model_dump_json()
    )


def open_training_data(experiment: Experiment) -> TrainingData:
    """Open an experiment's store and choose its segments; kept for the next job on the same data."""
    return _training_data(_data_part(experiment))


def references(experiment: Experiment) -> dict[str, float]:
    """Measure what needs no learning on the validation segments, once per worker and task."""
    return _references(_data_part(experiment))


def describe(experiment: Experiment, training_data: TrainingData) -> dict[str, Any]:
    """Return what a checkpoint says of itself: experiment, channels, and how its signals were prepared."""
    store = training_data.store
    return {
        "experiment": experiment.model_dump(mode="json"),
        "channels": list(store.channels),
        "modality": store.modality,
        "rate": store.rate,
        "seconds": store.seconds,
        "corpora": [source.corpus for source in store.about.sources],
        "preparation": store.about.settings,
    }
