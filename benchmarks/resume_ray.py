"""One driver of a small study on real Ray, to be killed and started again.

The search is emotune's own, emotune's searcher in a `tune.Tuner`, or Ray's BOHB. An epoch is a sleep, after which the
worker saves its state. Workers record the start and the end of each epoch.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import ray
import torch
from ConfigSpace import ConfigurationSpace, Float
from ray import tune
from ray.tune.schedulers.hb_bohb import HyperBandForBOHB
from ray.tune.search.bohb import TuneBOHB

from emotune.experiment import Experiment
from emotune.result import Result
from emotune.runtime.cluster.connect import connect
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.evaluation import wait_idle
from emotune.runtime.step_report import StepReport
from emotune.runtime.tune_adapter import CoordinatorSearcher, run_trials
from emotune.runtime.worker import Job
from emotune.search import Evaluation
from emotune.search.criteria import Criteria, StudyObjective
from emotune.search.records import Opened, Started
from emotune.storage import LocalLog, LocalStorage
from emotune.study.definition import Budget
from emotune.study.journal import Journal
from emotune.study.resume import optimizer_from_records
from emotune.training.epoch_report import EpochReport
from emotune.tune import EmotuneScheduler, EmotuneSearch

LADDER = (1, 3, 9)
EVALUATIONS, CONFIGURATIONS = 22, 17
"""Numbers of evaluations and configurations in one round of brackets."""

WORKERS = 2
METRIC = "val/loss"
NAMES = ("x0", "x1", "x2")


def space() -> ConfigurationSpace:
    """Return the study's space."""
    return ConfigurationSpace(space={name: Float(name, (0.0, 1.0)) for name in NAMES}, seed=0)


def key_of(values: dict[str, Any]) -> str:
    """Return a key that is different for different configurations."""
    return " ".join(repr(float(values[name])) for name in NAMES)


def loss_of(values: dict[str, Any], epoch: int) -> float:
    """Return the loss of an epoch."""
    return sum(float(values[name]) for name in NAMES) + 1 / epoch


def train(values: dict[str, Any], epoch: int, *, seconds: float, folder: Path) -> float:
    """Train for an epoch, which is a sleep, and return its loss."""
    with (folder / f"{os.getpid()}.jsonl").open("a") as file:
        note = {"config": key_of(values), "epoch": epoch}
        file.write(json.dumps({**note, "done": False}) + "\n")
        file.flush()
        time.sleep(seconds)
        file.write(json.dumps({**note, "done": True}) + "\n")
    return loss_of(values, epoch)


def run_emotune(*, seconds: float, folder: Path) -> list[list[Any]]:
    """Start or resume the study with emotune's journal, coordinator and searcher; return its table."""
    notes = folder / "notes"

    class Trainable(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.job = Job.model_validate_json(config["job"])
            self.values = json.loads(self.job.checkpoints.local().name)
            self.saved = folder / f"configuration-{self.job.config_id}"
            self.epoch = int(self.saved.read_text()) if self.saved.exists() else 0
            self.reported = self.job.from_epoch
            self.idle_since: float | None = None

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            if self.idle_since is not None:
                wait_idle(self.idle_since)
                return StepReport(finished=True).to_result()
            if self.epoch < self.job.to_epoch:
                self.epoch += 1
                train(self.values, self.epoch, seconds=seconds, folder=notes)
                draft = self.saved.with_suffix(".draft")
                draft.write_text(str(self.epoch))
                draft.rename(self.saved)
            epochs = range(self.reported + 1, self.epoch + 1)
            self.reported = self.epoch
            reports = [EpochReport(epoch, {METRIC: loss_of(self.values, epoch)}) for epoch in epochs]
            finished = self.epoch >= self.job.to_epoch
            self.idle_since = time.monotonic() if finished else None
            return StepReport(reports=tuple(reports), finished=finished).to_result()

    settings = {"min_budget": 1, "max_budget": 9, "concurrency": WORKERS, "kind": "bohb", "evaluations": EVALUATIONS}
    with Journal.open(LocalLog(folder / "journal.jsonl"), owner="resume") as journal:
        if not journal.records:
            about = {"study": {}, "digest": "", "seed": 0, "concurrency": WORKERS, "software": {}}
            journal.append(Opened(time=time.time(), name="resume", **about))
        optimizer = optimizer_from_records(space(), journal.records, settings=settings)
        searcher = CoordinatorSearcher(
            Coordinator(optimizer, journal=journal, criteria=Criteria((StudyObjective(metric=METRIC, mode="min"),))),
            make_job=lambda evaluation: _job(evaluation, folder=folder),
            concurrency=WORKERS,
            stop_request=lambda: None,
        )
        run_trials(searcher, trainable=Trainable)
        results = {evaluation.id: loss for evaluation, loss in optimizer.results()}
        started = [record.evaluation for record in journal.records if isinstance(record, Started)]
    return [[key_of(evaluation.values), evaluation.to_epoch, results.get(evaluation.id)] for evaluation in started]


def _job(evaluation: Evaluation, *, folder: Path) -> Job:
    return Job(
        evaluation_id=evaluation.id,
        config_id=evaluation.config_id,
        from_epoch=evaluation.from_epoch,
        to_epoch=evaluation.to_epoch,
        experiment=Experiment(),
        checkpoints=LocalStorage(folder / json.dumps(evaluation.values)),
    )


def run_tuner(*, seconds: float, folder: Path) -> list[list[Any]]:
    """Start the study with `EmotuneSearch` in a `tune.Tuner`, or `Tuner.restore` it; return its table."""
    search = EmotuneSearch(
        space(),
        budget=Budget(min=LADDER[0], max=LADDER[-1], evaluations=EVALUATIONS),
        metric=METRIC,
        mode="min",
        name="tuner",
        storage=folder / "results",
        concurrency=WORKERS,
    )
    settings = tune.TuneConfig(
        search_alg=search, scheduler=EmotuneScheduler(), num_samples=-1, reuse_actors=True, metric=METRIC, mode="min"
    )
    _fit(settings, seconds=seconds, folder=folder)
    table = Result.read("tuner", storage=str(folder / "results")).table
    names = [*NAMES, "to_epoch", "objective"]
    return [[key_of(dict(zip(NAMES, row[:-2], strict=True))), *row[-2:]] for row in table[names].values.tolist()]


def run_stock(*, seconds: float, folder: Path) -> list[list[Any]]:
    """Start the study with Ray's BOHB, or resume it with `Tuner.restore`; return its table."""
    settings = tune.TuneConfig(
        search_alg=TuneBOHB(space(), metric=METRIC, mode="min", seed=0),
        scheduler=HyperBandForBOHB(metric=METRIC, mode="min", max_t=LADDER[-1], reduction_factor=3),
        num_samples=CONFIGURATIONS,
        reuse_actors=True,
    )
    rows = [result.metrics or {} for result in _fit(settings, seconds=seconds, folder=folder)]
    named = [row for row in rows if "config" in row]
    return [[key_of(row["config"]), row["training_iteration"], row.get(METRIC)] for row in named]


def _fit(settings: tune.TuneConfig, *, seconds: float, folder: Path) -> tune.ResultGrid:
    """Run a `tune.Tuner` until it ends: a new one, or the one in the folder with `Tuner.restore`."""
    notes = folder / "notes"

    class Trainable(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            torch.set_num_threads(1)
            self.values, self.epoch = config, 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            loss = train(self.values, self.epoch, seconds=seconds, folder=notes)
            return {METRIC: loss, "done": self.epoch >= LADDER[-1]}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            (Path(checkpoint_dir) / "epoch").write_text(str(self.epoch))

        def load_checkpoint(self, checkpoint_dir: str | None) -> None:
            assert checkpoint_dir is not None
            self.epoch = int((Path(checkpoint_dir) / "epoch").read_text())

    path = folder / "tune" / "stock"
    trainable = tune.with_resources(Trainable, {"cpu": 1})
    if tune.Tuner.can_restore(str(path)):
        return tune.Tuner.restore(str(path), trainable=trainable).fit()
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=1)
    run_config = tune.RunConfig(name=path.name, storage_path=str(path.parent), verbose=0, checkpoint_config=checkpoints)
    return tune.Tuner(trainable, tune_config=settings, run_config=run_config).fit()


SIDES = {"emotune": run_emotune, "tuner": run_tuner, "stock": run_stock}


def main() -> None:
    """Start a separate Ray, start or resume the study, and write the final table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.2, help="duration of an epoch")
    given = parser.parse_args()
    connect(WORKERS)
    table = SIDES[given.side](seconds=given.seconds, folder=given.folder)
    (given.folder / "table.json").write_text(json.dumps(table))
    ray.shutdown()


if __name__ == "__main__":
    main()
