"""Losses of short training runs."""

import tempfile
from pathlib import Path

import torch

from tests.golden.content import Experiment, SegmentStore, train_until
from tests.golden.stores import prepare_store

EXPERIMENTS = {
    "masked_values": {"task": {"kind": "masked_values", "head": 8}},
    "classify": {
        "task": {"kind": "classify", "hidden": (16,)},
        "optim": {"schedule": "step", "warmup_epochs": 0, "weight_decay": 1e-5},
    },
}


def losses() -> dict[str, list[list[float]]]:
    """Return training and validation losses of three epochs per experiment, on synthetic ECG, one thread, float32."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        prepare_store(path)
        return {name: _losses(path, settings) for name, settings in EXPERIMENTS.items()}


def _losses(path: Path, settings: dict) -> list[list[float]]:
    model = {"channels": (4, 8), "kernels": (9, 5), "feedforward": 16}
    common = {"store": str(path), "model": model, "optim": {"warmup_epochs": 1}, "epochs": 3, "batch_size": 16}
    common["compute"] = {"precision": "fp32", "device": "cpu"}
    experiment = Experiment.model_validate(common | settings)
    training_data = experiment.training_data(SegmentStore.open(path))
    state = train_until(experiment.begin(training_data), training_data, experiment, until=3)
    return [[report.metrics["train/loss"], report.metrics["val/loss"]] for report in state.history]
