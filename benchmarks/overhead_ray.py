"""Run one small study on real Ray in its own process: with emotune, or with Ray's BOHB.

An evaluation is a sleep, so that all other time is overhead. Workers record their sleeps.
"""

import argparse
import json
import os
import sys
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import ray
import torch
from ConfigSpace import ConfigurationSpace, Float
from ray import tune
from ray.tune import Callback
from ray.tune.schedulers.hb_bohb import HyperBandForBOHB
from ray.tune.search.bohb import TuneBOHB

from benchmarks.overhead_spans import Span, ladder_segment
from emotune.experiment import Experiment
from emotune.randomness import stream
from emotune.runtime.cluster.connect import connect
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.evaluation import STEP_DURATION_S, wait_idle
from emotune.runtime.step_report import StepReport
from emotune.runtime.tune_adapter import CoordinatorSearcher, run_trials
from emotune.runtime.worker import Job
from emotune.search import Evaluation, Optimizer
from emotune.search.criteria import Criteria, StudyObjective
from emotune.search.records import Ended, Opened, Record
from emotune.search.settings import virtual_workers
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import Journal
from emotune.training.epoch_report import EpochReport

LADDER = (1, 3, 9)
"""Rungs of the study, in epochs."""

RECORDED_COUNTS = (10, 100, 1000)
"""Numbers of evaluations after which the driver's memory is recorded."""

METRIC = "val/loss"


@dataclass(frozen=True)
class Sleep:
    """The duration of an epoch.

    Attributes:
        seconds: Duration from one rung to the next, or of an epoch.
        per_epoch: Whether ``seconds`` is the duration of an epoch.
        jitter: Standard deviation of the logarithm of the factor by which evaluations differ.
        folder: Folder of the workers' records.
    """

    seconds: float
    per_epoch: bool
    jitter: float
    folder: Path


class MemoryRecorder:
    """Records the driver's memory in MiB after each of `RECORDED_COUNTS` evaluations."""

    def __init__(self) -> None:
        self.count = 0
        self.mib: dict[int, float] = {}

    def count_evaluation(self) -> None:
        """Count an evaluation that has ended or started."""
        self.count += 1
        if self.count in RECORDED_COUNTS:
            self.mib[self.count] = psutil.Process().memory_info().rss / 2**20


class CountStarts(Callback):
    """Counts the evaluations of Ray's BOHB: each starts or resumes a trial."""

    def __init__(self, memory: MemoryRecorder) -> None:
        self._memory = memory

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count the evaluation that starts with this trial."""
        del iteration, trials, trial, info
        self._memory.count_evaluation()


def space() -> ConfigurationSpace:
    """Return the study's space."""
    return ConfigurationSpace(space={f"x{number}": Float(f"x{number}", (0.0, 1.0)) for number in range(3)}, seed=0)


def loss_of(values: dict[str, Any], epoch: int) -> float:
    """Return the loss of an epoch: it is lower for small values, and falls slightly with every epoch."""
    return sum(float(values[name]) for name in ("x0", "x1", "x2")) + 1 / epoch


def nap(key: str, epoch: int, sleep: Sleep) -> None:
    """Sleep for an epoch, and record its start and end."""
    first, last = ladder_segment(epoch, LADDER)
    factor = stream(0, "jitter", key).lognormal(0.0, sleep.jitter)
    start = time.time()
    time.sleep(sleep.seconds * factor / (1 if sleep.per_epoch else last - first))
    end = time.time()
    span = Span(pid=os.getpid(), key=key, start=start, end=end, training=end - start)
    with (sleep.folder / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(asdict(span)) + "\n")


def sleeping_trainable(sleep: Sleep) -> type[tune.Trainable]:
    """Return a trainable like emotune's (the same steps, reuse and reports) whose epochs are sleeps."""

    class Sleeping(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            torch.set_num_threads(1)
            self.job = Job.model_validate_json(config["job"])
            self.values = json.loads(self.job.checkpoints.local().name)
            self.epoch = self.job.from_epoch
            self.idle_since: float | None = None

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            if self.idle_since is not None:
                wait_idle(self.idle_since)
                return StepReport(finished=True).to_result()
            end = time.monotonic() + STEP_DURATION_S
            reports = []
            while self.epoch < self.job.to_epoch and (not reports or time.monotonic() < end):
                self.epoch += 1
                nap(str(self.job.evaluation_id), self.epoch, sleep)
                reports.append(EpochReport(self.epoch, {METRIC: loss_of(self.values, self.epoch)}))
            finished = self.epoch >= self.job.to_epoch
            self.idle_since = time.monotonic() if finished else None
            return StepReport(reports=tuple(reports), finished=finished).to_result()

    return Sleeping


def run_emotune(given: argparse.Namespace, *, sleep: Sleep, memory: MemoryRecorder) -> None:
    """Run the study with emotune's journal, coordinator, searcher and `run_trials`."""
    concurrency = virtual_workers(given.workers, order=given.order)
    if given.ahead is not None:
        concurrency = given.workers + given.ahead
    optimizer = Optimizer(
        space(),
        min_budget=LADDER[0],
        max_budget=LADDER[-1],
        concurrency=concurrency,
        kind="bohb",
        model=given.model,
        evaluations=given.evaluations,
        order=given.order,
    )

    def count_ends(record: Record, number: int) -> None:
        del number
        if isinstance(record, Ended):
            memory.count_evaluation()

    first = Opened(time=0.0, name="overhead", study={}, digest="", seed=0, concurrency=given.workers, software={})
    with Journal.open(LocalLog(given.folder / "journal.jsonl"), owner="overhead") as journal:
        journal.append(first)
        searcher = CoordinatorSearcher(
            Coordinator(
                optimizer,
                journal=journal,
                criteria=Criteria((StudyObjective(metric=METRIC, mode="min"),)),
                observers=[count_ends],
            ),
            make_job=lambda evaluation: _job(evaluation, folder=given.folder),
            concurrency=given.workers,
            stop_request=lambda: None,
        )
        run_trials(searcher, trainable=sleeping_trainable(sleep))


def _job(evaluation: Evaluation, *, folder: Path) -> Job:
    return Job(
        evaluation_id=evaluation.id,
        config_id=evaluation.config_id,
        from_epoch=evaluation.from_epoch,
        to_epoch=evaluation.to_epoch,
        experiment=Experiment(),
        checkpoints=LocalStorage(folder / json.dumps(evaluation.values)),
    )


def run_stock(given: argparse.Namespace, *, sleep: Sleep, memory: MemoryRecorder) -> None:
    """Run the study with Ray's BOHB, as in its documentation."""

    class Sleeping(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            torch.set_num_threads(1)
            self.config, self.epoch, self.key = config, 0, uuid.uuid4().hex

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            nap(self.key, self.epoch, sleep)
            return {METRIC: loss_of(self.config, self.epoch)}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "epoch").write_text(str(self.epoch))

        def load_checkpoint(self, checkpoint_dir: str | None) -> None:
            assert checkpoint_dir is not None
            self.epoch = int((Path(checkpoint_dir) / "epoch").read_text())

    tune.Tuner(
        tune.with_resources(Sleeping, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=TuneBOHB(space(), metric=METRIC, mode="min", seed=0),
            scheduler=HyperBandForBOHB(metric=METRIC, mode="min", max_t=LADDER[-1], reduction_factor=3),
            num_samples=given.configurations,
            reuse_actors=given.reuse,
        ),
        run_config=tune.RunConfig(
            name="stock", storage_path=str(given.folder / "tune"), verbose=0, callbacks=[CountStarts(memory)]
        ),
    ).fit()


SIDES = {"emotune": run_emotune, "stock": run_stock}


def main() -> None:
    """Start a separate Ray, run one side, and write its times and memory to a file."""
    given = _arguments()
    started = time.time()
    connect(given.workers)
    ready = time.time()
    memory = MemoryRecorder()
    sleep = Sleep(given.seconds, per_epoch=given.per_epoch, jitter=given.jitter, folder=given.folder)
    SIDES[given.side](given, sleep=sleep, memory=memory)
    about = {"ray_seconds": ready - started, "begin": ready, "end": time.time(), "mib": memory.mib}
    (given.folder / "about.json").write_text(json.dumps(about))
    ray.shutdown()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--per-epoch", action="store_true", help="--seconds is the duration of an epoch")
    parser.add_argument("--jitter", type=float, default=0.0)
    parser.add_argument("--evaluations", type=int, default=22, help="number of evaluations after which emotune ends")
    parser.add_argument("--configurations", type=int, default=17, help="number of configurations of Ray's BOHB")
    parser.add_argument("--model", default="rungs")
    parser.add_argument("--order", choices=["strict", "free"], default="strict")
    parser.add_argument("--ahead", type=int, help="evaluations decided ahead [default: as in a real search]")
    parser.add_argument("--reuse", action="store_true", help="Ray's BOHB with reuse_actors")
    return parser.parse_args()


if __name__ == "__main__":
    main()
