"""A user's trainable in a worker: what it resumes from, what it reports, and what counts as a failure."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from emotune.errors import StorageError, TrainingDivergedError
from emotune.runtime.cluster.resources import count_slots
from emotune.runtime.job import EvaluationWorker
from emotune.runtime.step_report import StepReport
from emotune.runtime.trainables import TrainableJob, TrainableWorker, bind, metrics_of
from emotune.runtime.trainings import training_of
from emotune.storage import LocalStorage
from emotune.storage.generations import generations


class Sum(tune.Trainable):
    """Adds its step in each epoch; its state is in a folder of its checkpoint."""

    made = 0
    reusable = True

    def setup(self, config: dict[str, Any]) -> None:
        type(self).made += 1
        self.begin(config)

    def begin(self, config: dict[str, Any]) -> None:
        self.config_step, self.total = config["step"], 0.0

    def step(self) -> dict[str, Any]:
        self.total += self.config_step
        done = self.config.get("last") == self.iteration + 1
        return {"loss": self.total, "count": self.iteration + 1, "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state").mkdir()
        Path(checkpoint_dir, "state", "total").write_text(str(self.total))

    def load_checkpoint(self, checkpoint: str) -> None:
        self.total = float(Path(checkpoint, "state", "total").read_text())

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.begin(new_config)
        return self.reusable


class Mapped(Sum):
    """Its checkpoint is a dictionary."""

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, float]:  # type: ignore[override]
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: dict[str, float]) -> None:  # type: ignore[override]
        self.total = checkpoint["total"]


def add(config: dict[str, Any], epochs: int, checkpoint: Path) -> dict[str, float]:
    """Do the same as a function."""
    file = checkpoint / "state" / "total"
    total = float(file.read_text()) if file.exists() else 0.0
    file.parent.mkdir(exist_ok=True)
    file.write_text(str(total + config["step"]))
    return {"loss": total + config["step"], "count": epochs}


FORMS = {"class": Sum, "dictionary": Mapped, "function": add}


def job(folder: Path, *, to: int, start: int = 0, **config: Any) -> TrainableJob:
    return TrainableJob(
        evaluation_id=0,
        config_id=0,
        from_epoch=start,
        to_epoch=to,
        checkpoints=LocalStorage(folder / "run"),
        config={"step": 2.0, **config},
        metrics=("loss",),
        patience=0,
        working_folder=folder,
    )


def begin(target: Any, work: TrainableJob) -> TrainableWorker:
    training = training_of(target)
    training.begin(work.config)
    return TrainableWorker(work, training)


def train(target: Any, work: TrainableJob) -> list[tuple[int, Mapping[str, float]]]:
    return [(report.epoch, report.metrics) for report in begin(target, work).work(lambda: False)]


@pytest.mark.parametrize("target", FORMS.values(), ids=FORMS)
def test_a_promotion_continues_from_the_checkpoint(target: Any, tmp_path: Path) -> None:
    assert train(target, job(tmp_path, to=2)) == [(1, {"loss": 2.0, "count": 1}), (2, {"loss": 4.0, "count": 2})]
    assert train(target, job(tmp_path, start=2, to=3)) == [(3, {"loss": 6.0, "count": 3})]
    assert train(target, job(tmp_path, start=2, to=3)) == [(3, {"loss": 6.0, "count": 3})], "it was trained already"


@pytest.mark.parametrize("target", FORMS.values(), ids=FORMS)
def test_after_a_kill_no_reported_epoch_is_trained_again(target: Any, tmp_path: Path) -> None:
    first = begin(target, job(tmp_path, to=9))
    assert isinstance(first, EvaluationWorker)
    reported = [report.epoch for _ in range(4) for report in first.work(lambda: True)]
    second = begin(target, job(tmp_path, to=9))
    assert second.history[-1].epoch >= max(reported)
    assert [report.metrics["loss"] for report in second.work(lambda: False)] == [2.0 * n for n in range(1, 10)]


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = begin(Sum, job(tmp_path, to=2))
    for _ in range(2):
        whole.work(lambda: True)
        whole.save()
    newest, previous = generations(LocalStorage(tmp_path / "run"))
    (tmp_path / "run" / newest / "state.tar").write_bytes(b"torn")
    assert [report.metrics["loss"] for report in begin(Sum, job(tmp_path, to=3)).work(lambda: False)] == [2.0, 4.0, 6.0]
    assert previous == "epoch-000001"
    assert "is damaged" in caplog.text


def test_a_training_that_ends_by_itself_keeps_its_metrics_at_later_rungs(tmp_path: Path) -> None:
    assert [metrics["loss"] for _, metrics in train(Sum, job(tmp_path, to=3, last=2))] == [2.0, 4.0, 4.0]
    assert [metrics["loss"] for _, metrics in train(Sum, job(tmp_path, start=3, to=5, last=2))] == [4.0, 4.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_a_divergence(value: float, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=f"loss is {value} after epoch 1"):
        train(lambda config, epochs, checkpoint: {"loss": value}, job(tmp_path, to=1))


def test_an_instance_is_kept_if_its_reset_config_returns_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*, reusable: bool) -> int:
        monkeypatch.setattr(Sum, "made", 0)
        monkeypatch.setattr(Sum, "reusable", reusable)
        trainable = bind(Sum)(config={"job": job(tmp_path / "a", to=1).model_dump_json()})
        results = [StepReport.from_result(trainable.step())]
        trainable.reset_config({"job": job(tmp_path / "b", to=1, step=3.0).model_dump_json()})
        results.append(StepReport.from_result(trainable.step()))
        trainable.cleanup()
        assert [report.reports[0].metrics["loss"] for report in results] == [2.0, 3.0]
        return Sum.made

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    assert made(reusable=True) == 1
    for folder in ("a", "b"):
        LocalStorage(tmp_path / folder / "run").clear(last="manifest.json")
    assert made(reusable=False) == 2


def test_it_runs_in_the_working_folder_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    trainable = bind(lambda config, epochs, checkpoint: {"loss": 1.0, "here": Path("mark").exists()})
    (tmp_path / "mark").touch()
    report = StepReport.from_result(trainable(config={"job": job(tmp_path, to=1).model_dump_json()}).step())
    assert report.finished
    assert Path.cwd() == tmp_path
    os.chdir("/")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("x"), "program_error"), (MemoryError(), "out_of_memory"), (FileNotFoundError("x"), "os_error")],
)
def test_an_error_of_the_trainable_has_a_kind(error: Exception, kind: str, tmp_path: Path) -> None:
    def fail(config: dict[str, Any], epochs: int, checkpoint: Path) -> dict[str, float]:
        raise error

    trainable = bind(fail)(config={"job": job(tmp_path, to=1).model_dump_json()})
    failure = StepReport.from_result(trainable.step()).failure
    assert failure is not None
    assert failure.kind == kind
    with pytest.raises(type(error)):
        trainable.step()


def test_a_full_disk_is_no_failure_of_the_trainable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tarfile.open", full)
    with pytest.raises(StorageError, match="could not be written: No space left on device"):
        train(add, job(tmp_path, to=1))


def test_metrics_are_the_numbers_of_a_result() -> None:
    result = {
        "loss": np.float32(0.5),
        "correct": np.int64(3),
        "val": {"f1": 0.25, "name": "x"},
        "note": "text",
        "flag": True,
        "time_total_s": 3.0,
        "done": False,
        "config": {"lr": 0.1},
    }
    assert metrics_of(result) == {"loss": 0.5, "correct": 3.0, "val/f1": 0.25}


def test_a_function_that_returns_no_dictionary_is_named(tmp_path: Path) -> None:
    def nothing(config: dict[str, Any], epochs: int, checkpoint: Path) -> None:
        """Return nothing."""

    with pytest.raises(TypeError, match="nothing returned NoneType; expected a dictionary of metrics"):
        train(nothing, job(tmp_path, to=1))


@pytest.mark.parametrize(
    ("needed", "expected"), [({"CPU": 1.0}, 4), ({"CPU": 1.0, "GPU": 0.5}, 2), ({"CPU": 0.1}, 40), ({"TPU": 1.0}, 0)]
)
def test_the_slots_are_those_of_the_scarcest_resource(needed: dict[str, float], expected: int) -> None:
    assert count_slots(needed, available={"CPU": 4.0, "GPU": 1.0}) == expected


def test_the_checkpoint_describes_what_was_trained(tmp_path: Path) -> None:
    train(add, job(tmp_path, to=1))
    content = json.loads((tmp_path / "run" / "epoch-000001" / "state.json").read_text())
    assert content == {"history": [{"epoch": 1, "metrics": {"loss": 2.0, "count": 1.0}}], "ended": False}
