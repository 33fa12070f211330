"""Runs with SGD, learning rates by layer and batch normalisation resume as all others do."""

from pathlib import Path

import torch

from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.training.checkpoints import restore, save_checkpoint
from emotune.training.loop import train_epoch
from tests.evaluation.conftest import make_store

OPTIM = {"kind": "sgd", "nesterov": True, "layer_decay": 0.5, "schedule": "none", "warmup_epochs": 0, "lr": 0.01}
SETTINGS = {
    "model": {"kind": "convnet", "channels": [4, 8], "kernels": [5, 3], "norm": "batch"},
    "task": {"kind": "classify", "hidden": [8]},
    "optim": OPTIM,
    "epochs": 3,
    "batch_size": 16,
}


def test_a_run_with_sgd_resumes_from_a_checkpoint_with_the_same_numbers(tmp_path: Path) -> None:
    store = SegmentStore.open(make_store(tmp_path / "store", modality="ecg", subjects=6, seconds=4.0))
    experiment = Experiment.model_validate({"store": str(store.path), **SETTINGS})
    data, plan = experiment.training_data(store), experiment.training_plan()
    whole, first, second = (experiment.begin(data) for _ in range(3))
    for _ in range(3):
        train_epoch(whole, data, plan)
    train_epoch(first, data, plan)
    restore(save_checkpoint(LocalStorage(tmp_path / "checkpoints"), first, about={}), second)
    for _ in range(2):
        train_epoch(second, data, plan)
    weights = second.objective.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in whole.objective.state_dict().items())
    assert whole.history[-1].metrics["train/lr"] == 0.01
