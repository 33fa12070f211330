"""The workload of a search of a user's trainable, and its worker.

The driver binds the trainable to a Tune class, which Ray sends to the workers: by its name if they can import it, by
its code if it was defined in a script or a notebook. Every configuration has a folder of checkpoints in the search's
folder, as an experiment has:

    state.tar        the files that the trainable wrote
    state.json       epochs and their metrics, and whether the training has ended by itself
    manifest.json    size and SHA-256 of both; written last

An evaluation trains from the newest checkpoint to the epoch of its rung. An epoch is reported when it is in a
checkpoint, so that no epoch of the journal is trained again: a trainable need not give the same numbers twice. The
instance of a class is kept for the next configuration if its ``reset_config`` returns true.
"""

import json
import math
import numbers
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS, DONE

from emotune.errors import TrainingDivergedError
from emotune.runtime.cluster.capacity import Capacity
from emotune.runtime.cluster.connect import connect
from emotune.runtime.cluster.resources import available_resources, check_available, count_slots
from emotune.runtime.evaluation import TrialTrainable
from emotune.runtime.job import EvaluationJob, Pause
from emotune.runtime.options import RunOptions
from emotune.runtime.trainings import Training, training_of
from emotune.runtime.workload import JobMaker, Workload
from emotune.search.criteria import SECONDS_PER_EPOCH
from emotune.search.records import Evaluation, Value
from emotune.storage import Storage
from emotune.storage.generations import (
    forget_unshared,
    generation_name,
    matches_manifest,
    newest_generation,
    save_generation,
    write_manifest,
)
from emotune.study.folder import SearchFolder
from emotune.study.trainable_study import Trainable, TrainableStudy
from emotune.training.epoch_report import EpochReport

STATE_FILES = ("state.tar", "state.json")
"""Files of a checkpoint that its manifest lists."""

IGNORED_METRICS = frozenset({*AUTO_RESULT_KEYS, *DEBUG_METRICS, DONE, "trial_id", "experiment_tag", "iterations"})
"""Entries that Tune adds to a result, which are no metrics of the training."""

MAX_SAVING_SHARE = 0.1
"""Largest share of the time for checkpoints: an epoch is saved if it took at least ten times as long as saving."""

CHECKPOINT_INTERVAL_S = 300.0
"""Time after which an epoch is saved in any case."""


class TrainableJob(EvaluationJob):
    """One evaluation of a trainable, as sent to a worker."""

    config: dict[str, Any]
    """Values of the configuration, and the constants of the study."""
    patience: float
    """Time (s) that the worker may be silent in any case; 0: without limit."""
    working_folder: Path
    """The driver's working folder, in which the trainable runs if the machine has it: Tune would change it."""

    @property
    def cost(self) -> float:
        """Cost of an epoch: not known before it is measured."""
        return 1.0

    @property
    def silence_limit(self) -> float:
        """Time (s) that the worker may be silent in any case; 0: without limit."""
        return self.patience


class TrainableWorker:
    """Trains one job of a trainable: resumes from the newest checkpoint, trains, saves.

    Args:
        job: What to train, and between which epochs.
        training: The trainable, with the job's configuration.
    """

    def __init__(self, job: TrainableJob, training: Training) -> None:
        self.job = job
        self.training = training
        self.history: list[EpochReport] = []
        self.ended = False
        """Whether the training has ended by itself: its last metrics count for all later epochs."""
        self._resume()
        self._reported = job.from_epoch
        self._saved = len(self.history)
        """Epochs of the newest checkpoint."""
        self._saved_at = time.monotonic()
        self._saving_seconds = 0.0

    @property
    def finished(self) -> bool:
        """Whether the last epoch of the job is done."""
        return len(self.history) >= self.job.to_epoch

    def _resume(self) -> None:
        forget_unshared(self.job.checkpoints)
        folder = newest_generation(self.job.checkpoints, up_to=self.job.to_epoch, is_intact=is_intact)
        if folder is None:
            return
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        self.history = [EpochReport(**report) for report in content["history"]]
        self.ended = content["ended"]
        with _unpacked(folder / "state.tar") as files:
            self.training.load(files, epoch=len(self.history))

    def work(self, pause: Pause) -> list[EpochReport]:
        """Train to the end or to a pause, and return the reports of saved epochs that were not returned before.

        Args:
            pause: Called after every epoch; true: pause.

        Raises:
            TrainingDivergedError: The metric is not finite.
        """
        while not self.finished:
            self.history.append(EpochReport(len(self.history) + 1, self._train()))
            self.save_when_due()
            if pause():
                break
        reports = self.history[self._reported : self._saved]
        self._reported += len(reports)
        return reports

    def _train(self) -> dict[str, float]:
        """Train an epoch, and return its metrics."""
        if self.ended:
            return self.history[-1].metrics
        epoch = len(self.history) + 1
        started = time.monotonic()
        result = self.training.train(epoch)
        seconds = time.monotonic() - started
        self.ended = bool(result.get(DONE, False))
        metrics = metrics_of(result)
        if SECONDS_PER_EPOCH in self.job.metrics:
            metrics.setdefault(SECONDS_PER_EPOCH, seconds)
        for name in self.job.metrics:
            value = metrics.get(name, 0.0)
            if not math.isfinite(value):
                raise TrainingDivergedError(f"{name} is {value} after epoch {epoch}")
        return metrics

    def save_when_due(self) -> None:
        """Write a checkpoint at the end of the job, after an epoch that took long enough, and after a long time."""
        trained = time.monotonic() - self._saved_at
        if self.finished or self._saving_seconds <= MAX_SAVING_SHARE * trained or trained > CHECKPOINT_INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of the epochs so far, unless there is one."""
        epochs = len(self.history)
        if epochs == self._saved:
            return
        started = time.monotonic()
        content = {"history": [asdict(report) for report in self.history], "ended": self.ended}
        save_state(self.job.checkpoints, content, epoch=epochs, write=self.training.save)
        self._saved, self._saved_at = epochs, time.monotonic()
        self._saving_seconds = self._saved_at - started


def metrics_of(result: Mapping[str, Any], *, prefix: str = "") -> dict[str, float]:
    """Return the numbers of a trainable's result by name, those of a dictionary in it as ``outer/inner``."""
    metrics: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, Mapping):
            metrics |= {} if name == "config" else metrics_of(value, prefix=f"{prefix}{name}/")
        elif prefix or name not in IGNORED_METRICS:
            metrics |= {f"{prefix}{name}": float(value)} if _is_number(value) else {}
    return metrics


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def save_state(root: Storage, content: Mapping[str, Any], *, epoch: int, write: Callable[[Path], None]) -> None:
    """Write a checkpoint of a trainable.

    Args:
        root: Storage of the configuration's checkpoints.
        content: Content of ``state.json``.
        epoch: Number of trained epochs.
        write: Writes the trainable's own files into a folder.

    Raises:
        StorageError: The disk is full or cannot be written; earlier checkpoints are untouched.
    """
    with _scratch() as files:
        write(files)  # an error in the user's code is none of the disk

        def pack(draft: Path) -> None:
            with tarfile.open(draft / "state.tar", "w") as archive:
                archive.add(files, arcname="")
            (draft / "state.json").write_text(json.dumps(content), encoding="utf-8")
            write_manifest(draft, STATE_FILES)

        save_generation(root, generation_name(epoch), write=pack, is_intact=is_intact)


def is_intact(folder: Path) -> bool:
    """Return whether a checkpoint is what was written."""
    return matches_manifest(folder, files=STATE_FILES)


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    with _scratch() as files, tarfile.open(archive) as content:
        content.extractall(files, filter="data")
        yield files


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="emotune-state-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class BoundTrainable(TrialTrainable):
    """One evaluation of a trainable. A subclass names the trainable."""

    target: Trainable
    """A subclass of `ray.tune.Trainable`, or a function."""
    training: Training | None = None
    """The trainable of this process, which is kept from one evaluation to the next."""

    def read_job(self, content: str) -> TrainableJob:
        """Return the job of the driver."""
        return TrainableJob.model_validate_json(content)

    def begin(self, job: EvaluationJob) -> TrainableWorker:
        """Return the worker of a job."""
        assert isinstance(job, TrainableJob)
        if job.working_folder.is_dir():
            os.chdir(job.working_folder)
        if self.training is None:
            self.training = training_of(type(self).target)
        self.training.begin(job.config)
        return TrainableWorker(job, self.training)

    def cleanup(self) -> None:
        """Save what was trained since the newest checkpoint, and end the trainable."""
        super().cleanup()
        if self.training is not None:
            self.training.end()


@dataclass(frozen=True)
class TrainableWorkload(Workload):
    """The evaluations of a study of a trainable."""

    study: TrainableStudy
    """The study."""
    target: Trainable
    """The trainable."""

    def connect(self, options: RunOptions) -> Callable[[], Capacity]:
        """Connect to the cluster, and return a function that returns its present capacity.

        Raises:
            SettingsError: The cluster does not have the resources of one evaluation.
        """
        needed = {name: amount for name, amount in self.study.resources.items() if amount}
        connect(max(1, math.ceil((options.concurrency or 1) * needed.get("CPU", 0.0))))

        check_available(needed)
        return lambda: Capacity(max(1, count_slots(needed, available=available_resources())), needed)

    def job_maker(self, folder: SearchFolder, options: RunOptions) -> JobMaker:
        """Return the function that makes the jobs of a search."""
        del folder, options

        def make(evaluation: Evaluation, common: Mapping[str, Any]) -> TrainableJob:
            config: dict[str, Value | Any] = {**self.study.constants, **evaluation.values}
            return TrainableJob(
                **common,
                config=config,
                patience=self.study.patience,
                working_folder=Path.cwd(),
            )

        return make

    def trainable(self, options: RunOptions) -> type[tune.Trainable]:
        """Return the Tune class that trains a job."""
        del options
        return bind(self.target)


def bind(trainable: Trainable) -> type[tune.Trainable]:
    """Return the Tune class that trains a trainable.

    It is made in a function, so that Ray sends its code, and with it that of a trainable from a script or a notebook.
    """

    class Bound(BoundTrainable):
        """One evaluation of this trainable."""

        target = staticmethod(trainable)  # pyright: ignore[reportAssignmentType] (a function must not become a method)

    return Bound
