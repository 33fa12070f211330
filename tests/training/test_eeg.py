"""EEG from pre-training to fine-tuning: ten channels predicted, and the encoder handed over whole."""

from pathlib import Path

import pytest
import torch

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.modality import TEN_CHANNELS
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.runtime.worker import describe
from emotune.storage import LocalStorage
from emotune.training.checkpoints import save_checkpoint
from emotune.training.loop import TrainState, measure_references
from tests.support.training import train_until
from tests.training.conftest import tiny_experiment


@pytest.fixture(scope="module")
def eeg(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    path = tmp_path_factory.mktemp("stores") / "eeg"
    settings = PrepareSettings(modality="eeg", seconds=1.0)
    prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=Synthetic(subjects=5))
    return SegmentStore.open(path)


def trained(experiment: Experiment, store: SegmentStore, *, encoder: Path | None = None) -> TrainState:
    training_data = experiment.training_data(store)
    state = experiment.begin(training_data, encoder_weights=encoder)
    return train_until(state, training_data, experiment, until=experiment.epochs)


def test_ten_channels_are_pre_trained_and_fine_tuned(eeg: SegmentStore, tmp_path: Path) -> None:
    assert eeg.channels == TEN_CHANNELS
    folds = {"segments": 160, "validation_segments": 60}
    pretraining = tiny_experiment(eeg.path, optim={"lr": 0.01, "warmup_epochs": 0, "weight_decay": 0}, folds=folds)
    pretrained = trained(pretraining, eeg)
    losses = [report.metrics["val/loss"] for report in pretrained.history]
    training_data = pretraining.training_data(eeg)
    zero = measure_references(pretraining.task, training_data, training_data.fold.val, prefix="val")["val/loss_zero"]
    assert losses[-1] < losses[0]
    assert losses[-1] < 0.97 * zero
    assert pretrained.objective.get_parameter("head.2.weight").shape[0] == 10

    checkpoint = save_checkpoint(LocalStorage(tmp_path), pretrained, about=describe(pretraining, training_data))
    finetuning = tiny_experiment(
        eeg.path,
        task={"kind": "classify", "hidden": (64,), "dropout": 0.6, "frozen": True},
        optim={"schedule": "step", "warmup_epochs": 0, "lr": 1e-4},
        folds=folds,
        epochs=1,
        start={"encoder": "eeg"},
    )
    finetuned = trained(finetuning, eeg, encoder=checkpoint)
    for name, value in pretrained.objective.encoder.state_dict().items():
        assert torch.equal(finetuned.objective.encoder.state_dict()[name], value), name
    assert 0 <= finetuned.history[-1].metrics["val/macro_f1"] <= 1
