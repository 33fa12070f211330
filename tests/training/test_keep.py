"""A run that keeps the best epoch ends with its weights, also after an interruption."""

import itertools
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from emotune.experiment import Experiment
from emotune.runtime.worker import Job, Worker
from emotune.storage import LocalStorage
from emotune.training.checkpoints import newest_checkpoint, read_state, read_weights
from emotune.training.loop import never_pause

EPOCHS = 5


@pytest.fixture(scope="module")
def store(small_store: Path) -> Path:
    return small_store


def experiment(store: Path, keep: str) -> Experiment:
    return Experiment.model_validate(
        {
            "store": str(store),
            "model": {"channels": (4,), "kernels": (5,), "feedforward": 8, "layers": 1, "attention_dropout": 0},
            "task": {"kind": "classify", "hidden": (8,)},
            "optim": {"schedule": "none", "warmup_epochs": 0, "lr": 0.03, "weight_decay": 0},
            "folds": {"segments": 48, "validation_segments": 40},
            "epochs": EPOCHS,
            "batch_size": 16,
            "keep": keep,
        }
    )


def train(
    store: Path, folder: Path, *, keep: str, until: int = EPOCHS, interrupted: bool = False
) -> list[dict[str, float]]:
    """Train to an epoch, with a new worker after four epochs and a step if interrupted; return all epochs' metrics."""
    job = Job(
        evaluation_id=0,
        config_id=0,
        from_epoch=0,
        to_epoch=until,
        experiment=experiment(store, keep),
        checkpoints=LocalStorage(folder),
        measure_test=True,
    )
    metrics: dict[int, dict[str, float]] = {}
    if interrupted:
        steps = itertools.count(1)
        worker = Worker(job)
        metrics |= {report.epoch: report.metrics for report in worker.work(lambda: next(steps) == 13)}
        assert worker.state.position == (4, 1)
        worker.save()
    worker = Worker(job)
    metrics |= {report.epoch: report.metrics for report in worker.work(never_pause)}
    worker.save()
    return [metrics[epoch] for epoch in sorted(metrics)]


def test_the_kept_weights_are_those_of_the_best_epoch(store: Path, tmp_path: Path) -> None:
    metrics = train(store, tmp_path / "best", keep="best")
    values = [epoch["val/macro_f1"] for epoch in metrics]
    best = values.index(max(values)) + 1
    assert metrics[-1]["kept/epoch"] == best
    assert metrics[-1]["kept/macro_f1"] == max(values)
    train(store, tmp_path / "reference", keep="last", until=best)
    final, reference = (
        read_weights(checkpoint)
        for name in ("best", "reference")
        if (checkpoint := newest_checkpoint(LocalStorage(tmp_path / name))) is not None
    )
    assert all(torch.equal(final[name], reference[name]) for name in reference)


def test_an_interruption_changes_neither_the_metrics_nor_the_kept_weights(store: Path, tmp_path: Path) -> None:
    whole = train(store, tmp_path / "whole", keep="best")
    parts = train(store, tmp_path / "parts", keep="best", interrupted=True)
    assert [epoch["val/macro_f1"] for epoch in whole] == [epoch["val/macro_f1"] for epoch in parts]
    newest = [newest_checkpoint(LocalStorage(tmp_path / name)) for name in ("whole", "parts")]
    states = [read_state(checkpoint) for checkpoint in newest if checkpoint is not None]
    assert states[0]["kept"] == states[1]["kept"]
    weights = [read_weights(checkpoint) for checkpoint in newest if checkpoint is not None]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_published_runs_keep_the_last_epoch_and_write_no_other_weights(store: Path, tmp_path: Path) -> None:
    metrics = train(store, tmp_path, keep="last")
    checkpoint = newest_checkpoint(LocalStorage(tmp_path))
    assert checkpoint is not None
    assert not (checkpoint / "kept.safetensors").exists()
    assert not any(name.startswith("kept/") for name in metrics[-1])
    assert Experiment().keep == "last"


def test_a_checkpoint_has_what_probabilities_are_computed_from(store: Path, tmp_path: Path) -> None:
    metrics = train(store, tmp_path, keep="last")
    checkpoint = newest_checkpoint(LocalStorage(tmp_path))
    assert checkpoint is not None
    about = read_state(checkpoint)["about"]
    assert about["classes"]["low"]["name"] == "low"
    assert about["classes"]["low"]["segments"] + about["classes"]["high"]["segments"] == 48
    assert about["calibration"]["segments"] == 40
    assert len(about["people"]["identities"]) < 6
    assert metrics[-1]["test/subjects"] >= 1
    assert 0 <= metrics[-1]["val/ece"] <= 1


def test_the_best_epoch_needs_validation_segments() -> None:
    with pytest.raises(ValidationError, match=r"give folds\.validation above 0, or keep: last"):
        Experiment.model_validate({"keep": "best", "folds": {"validation": 0}})
