"""The worker of an experiment: loads the newest checkpoint, trains, saves."""

import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from emotune.data.folds import unit_keys
from emotune.data.people import people_of
from emotune.data.store import SegmentStore
from emotune.errors import GpuLostError
from emotune.experiment import Experiment
from emotune.runtime.cluster.access_check import this_node_name
from emotune.runtime.evaluation import TrialTrainable
from emotune.runtime.job import EvaluationJob
from emotune.search.criteria import PARAMETERS, SECONDS_PER_EPOCH
from emotune.storage import StorageField
from emotune.storage.generations import fetch_generation, forget_unshared
from emotune.tasks import Classify
from emotune.tasks.base import trainable_parameters
from emotune.tasks.classify import ClassifyObjective
from emotune.tasks.scores import interval_half_width, majority_label
from emotune.training.calibration import calibrate
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import (
    newest_checkpoint,
    restore,
    save_checkpoint,
)
from emotune.training.epoch_report import EpochReport
from emotune.training.loop import Pause, TrainingData, evaluate, measure_references, train_epoch
from emotune.training.meter import Meter, training_flops
from emotune.training.workers import ALONE, WorkerGroup

MAX_SAVING_SHARE = 0.1
"""Largest share of the time for checkpoints: an epoch is saved if it took at least ten times as long as saving."""

CHECKPOINT_INTERVAL_S = 300.0
"""Time after which a checkpoint is written in any case, also in the middle of an epoch."""


class Job(EvaluationJob):
    """One evaluation of an experiment, as sent to a worker."""

    experiment: Experiment
    """The base experiment with the configuration's values."""
    encoder: StorageField | None = None
    """Checkpoint of the pre-trained encoder to start from."""
    measure_test: bool = False
    """Measure on the test segments after the last epoch."""
    workers: tuple[int, int] | None = None
    """Fewest and most workers, as a Ray Train group; None: one worker, without a group."""

    @property
    def cost(self) -> float:
        """Cost of an epoch, in a unit that is the same for all jobs of a search."""
        return self.experiment.cost()

    @property
    def silence_limit(self) -> float:
        """Time (s) that the worker may be silent in any case; 0: without limit."""
        return self.experiment.compute.patience


class Worker:
    """Trains one job: resumes from the newest checkpoint, trains, saves.

    Args:
        job: What to train, and between which epochs.
        group: This worker among those that share the job; only the first of them saves.
    """

    def __init__(self, job: Job, *, group: WorkerGroup = ALONE) -> None:
        check_gpu()
        torch.set_num_threads(job.experiment.compute.threads)
        self.job = job
        self.group = group
        self.training_data = open_training_data(job.experiment)
        self.plan = job.experiment.training_plan()
        if job.encoder is not None:
            fetch_generation(job.encoder)
        encoder_weights = None if job.encoder is None else job.encoder.local()
        self.state = job.experiment.begin(self.training_data, encoder_weights=encoder_weights)
        self._resume()
        self.training_data = with_person_means(
            self.training_data, self.state.objective, group=group, execution=self.state.execution
        )
        self.state.network = group.wrap(self.state.objective)
        self._references = references(job.experiment)
        self._meter = self._make_meter()
        self._reported = job.from_epoch
        self.saved_position = self.state.position
        """Position of the newest checkpoint: epochs, and optimiser steps of the next epoch."""
        self._saved_at = time.monotonic()
        self._saving_seconds = 0.0

    def _resume(self) -> None:
        if not self.group.rank:
            forget_unshared(self.job.checkpoints)
        folder = newest_checkpoint(self.job.checkpoints, up_to=self.job.to_epoch)
        if folder is not None:
            restore(folder, self.state)

    def _make_meter(self) -> Meter:
        channels, samples = self.training_data.store.signal.shape[1:]
        flops = training_flops(self.job.experiment.model, channels=channels, samples=samples)
        device = next(self.state.objective.parameters()).device
        return Meter(flops, device=device, dtype=self.state.execution.dtype, workers=self.group.size)

    @property
    def finished(self) -> bool:
        """Whether the last epoch of the job is done."""
        return self.state.epoch >= self.job.to_epoch

    def work(self, pause: Pause) -> list[EpochReport]:
        """Train to the end or to a pause, and return the reports that were not returned before.

        Epochs that an earlier worker trained and saved are reported too.

        Args:
            pause: Called after every optimiser step, also in the middle of an epoch; true: pause.

        Raises:
            TrainingDivergedError: The loss is not finite.
        """
        paused = False

        def check_pause() -> bool:
            nonlocal paused
            paused = pause()
            return paused

        # a pause after the last step of an epoch ends the work when that epoch is complete
        while not (self.finished or paused):
            report = train_epoch(self.state, self.training_data, self.plan, group=self.group, pause=check_pause)
            if report is None:
                break
            report.metrics.update(self._references)
            report.metrics.update(self._meter.metrics(report.metrics["train/segments_per_second"]))
            report.metrics.update(self._quantities(report.metrics["train/segments_per_second"]))
            if self.job.experiment.keep == "best":
                metric, mode = self.job.experiment.task.selection
                self.state.keep_best(metric, mode=mode)
            if self.finished:
                self.state.load_kept()
            if self.finished and self.job.measure_test:
                report.metrics.update(self._measure_test())
            self.save_when_due()
        reports = self.state.history[self._reported :]
        self._reported = self.state.epoch
        return reports

    def _quantities(self, segments_per_second: float) -> dict[str, float]:
        """Return the metrics of the study that are no results of training: the size of the network, and the time."""
        quantities: dict[str, float] = {}
        if PARAMETERS in self.job.metrics:
            quantities[PARAMETERS] = float(trainable_parameters(self.state.objective))
        if SECONDS_PER_EPOCH in self.job.metrics:
            quantities[SECONDS_PER_EPOCH] = len(self.training_data.fold.train) / segments_per_second
        return quantities

    def _measure_test(self) -> dict[str, float]:
        rows = self.training_data.fold.test
        if not len(rows):
            return {}
        by_subject = len(np.unique(unit_keys(self.training_data.store.index.iloc[rows], by="subject")))
        metrics = self._evaluate(rows) | {"test/subjects": float(by_subject)}
        if "test/accuracy" in metrics and self.training_data.labels is not None:
            metrics |= self._accuracy_interval(rows)
        return metrics

    def _evaluate(self, rows: np.ndarray) -> dict[str, float]:
        return evaluate(
            self.state.objective,
            self.training_data,
            rows,
            prefix="test",
            group=self.group,
            execution=self.state.execution,
        )

    def _accuracy_interval(self, rows: np.ndarray) -> dict[str, float]:
        """Return the half width of the accuracy's interval over subjects, and that of its excess over the majority."""
        subjects = unit_keys(self.training_data.store.index.iloc[rows], by="subject")
        parts = [rows[subjects == subject] for subject in np.unique(subjects)]
        accuracies = [self._evaluate(part)["test/accuracy"] for part in parts]
        labels = self.training_data.labels
        assert labels is not None
        majority = majority_label(labels[self.training_data.fold.train])
        baseline = [float(np.mean(labels[part] == majority)) for part in parts]
        widths = {
            "test/accuracy_half_width": interval_half_width(accuracies),
            "test/gain_half_width": interval_half_width(np.subtract(accuracies, baseline).tolist()),
        }
        return {name: width for name, width in widths.items() if width is not None}

    def save_when_due(self) -> None:
        """Write a checkpoint at the end of the job, after an epoch that took long enough, and after a long time."""
        trained = time.monotonic() - self._saved_at
        after_epoch = not self.state.progress.steps and self._saving_seconds <= MAX_SAVING_SHARE * trained
        if self.finished or after_epoch or trained > CHECKPOINT_INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the present position, unless there is one; in a group only the first worker writes."""
        if self.state.position == self.saved_position or self.group.rank:
            return
        started = time.monotonic()
        about = describe(self.job.experiment, self.training_data) | {"computed": str(self.state.execution)}
        if self.finished and isinstance(self.state.objective, ClassifyObjective):
            fitted = calibrate(self.state.objective, self.training_data, execution=self.state.execution)
            about["calibration"] = None if fitted is None else fitted.model_dump()
        save_checkpoint(self.job.checkpoints, self.state, about=about)
        self.saved_position, self._saved_at = self.state.position, time.monotonic()
        self._saving_seconds = self._saved_at - started


class EvaluationTrainable(TrialTrainable):
    """One evaluation of an experiment with one worker."""

    def read_job(self, content: str) -> Job:
        """Return the job of the driver."""
        return Job.model_validate_json(content)

    def begin(self, job: EvaluationJob) -> Worker:
        """Return the worker of a job."""
        assert isinstance(job, Job)
        return Worker(job)


def check_gpu() -> None:
    """Refuse to train on the CPU in the place of a GPU that Ray assigned to this process.

    Raises:
        GpuLostError: The machine has NVIDIA's driver, and torch cannot use the GPU.
    """
    if not ray.is_initialized() or not ray.get_gpu_ids() or torch.cuda.is_available():
        return
    if torch.version.cuda is not None and shutil.which("nvidia-smi") is not None:
        raise GpuLostError(f"torch cannot use GPU {ray.get_gpu_ids()} of node {this_node_name()}")


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


def _data_settings(experiment: Experiment) -> str:
    """Return the settings that determine segments, labels and masks, as JSON; jobs with equal ones share the data."""
    parts = {"store", "fingerprint", "partner", "partner_fingerprint", "folds", "task"}
    parts |= {"model"} if experiment.model.kind == "features" else set()
    return (
        Experiment(epochs=500).model_copy(update={name: getattr(experiment, name) for name in parts}).model_dump_json()
    )


def open_training_data(experiment: Experiment) -> TrainingData:
    """Open an experiment's store and select its segments; cached for the next job on the same data."""
    return _training_data(_data_settings(experiment))


def references(experiment: Experiment) -> dict[str, float]:
    """Return the metrics of predictions without learning on the validation segments; cached per task."""
    return _references(_data_settings(experiment))


def describe(experiment: Experiment, training_data: TrainingData) -> dict[str, Any]:
    """Return a checkpoint's metadata: experiment, channels, preparation of its signals, its people and its classes."""
    store, fold = training_data.store, training_data.fold
    rows = np.concatenate([fold.train, fold.val])
    return {
        "experiment": experiment.model_dump(mode="json"),
        "channels": list(store.channels),
        "modality": store.modality,
        "rate": store.rate,
        "seconds": store.seconds,
        "corpora": [source.corpus for source in store.about.sources],
        "people": people_of(store, rows).model_dump(mode="json"),
        "preparation": store.about.settings,
        "classes": _describe_classes(experiment, training_data),
    }


def _describe_classes(experiment: Experiment, training_data: TrainingData) -> dict[str, Any] | None:
    """Return names and numbers of training segments of the classes; None if the task has no classes."""
    task, labels = experiment.task, training_data.labels
    if not isinstance(task, Classify) or labels is None:
        return None
    conditions = training_data.store.index["condition"].astype(str).to_numpy()[~np.isnan(labels)]
    train = labels[training_data.fold.train]
    counts = [
        {"name": name, "segments": int((train == number).sum())}
        for number, name in enumerate(task.class_names(sorted(set(conditions))))
    ]
    return {"classes": counts} if task.classes else {"low": counts[0], "high": counts[1]}
