"""Promises of the compared network, from pre-training on transformations to a classifier on frozen features."""

from pathlib import Path

import pytest
import torch

from emotune.data.store import SegmentStore
from emotune.evaluation.encoders import PretrainedEncoder
from emotune.runtime.worker import describe
from emotune.search.criteria import StudyObjective
from emotune.storage import LocalStorage
from emotune.study.definition import Budget
from emotune.study.resolve import resolve_study
from emotune.study.study import Study
from emotune.training.checkpoints import restore, save_checkpoint
from tests.support.training import train_until
from tests.training.conftest import tiny_experiment

CONVNET = {"kind": "convnet", "channels": (4, 8), "kernels": (6, 3)}
FEW = {"segments": 12, "validation_segments": 6}
PRETEXT = {"kind": "recognise_transformation", "hidden": 8}


@pytest.mark.parametrize("model", [CONVNET, {"channels": (4, 8), "kernels": (9, 5)}], ids=["convnet", "transformer"])
def test_interrupted_pre_training_is_equal_to_the_last_bit(store: SegmentStore, tmp_path: Path, model: dict) -> None:
    experiment = tiny_experiment(store.path, model=model, task=PRETEXT, folds=FEW)
    training_data = experiment.training_data(store)
    unbroken = train_until(experiment.begin(training_data), training_data, experiment, until=2)
    folder = save_checkpoint(
        LocalStorage(tmp_path),
        train_until(experiment.begin(training_data), training_data, experiment, until=1),
        about={},
    )
    again = experiment.model_copy(update={"seed": 99}).begin(training_data)
    restore(folder, again)
    train_until(again, training_data, experiment, until=2)
    for name, weight in unbroken.objective.state_dict().items():
        assert torch.equal(again.objective.state_dict()[name], weight), name


def test_a_classifier_on_frozen_features_starts_from_the_pretrained_network(
    store: SegmentStore, tmp_path: Path
) -> None:
    pretext = tiny_experiment(store.path, model=CONVNET, task=PRETEXT, folds=FEW)
    pretext_data = pretext.training_data(store)
    state = train_until(pretext.begin(pretext_data), pretext_data, pretext, until=1)
    checkpoint = save_checkpoint(LocalStorage(tmp_path), state, about=describe(pretext, pretext_data))
    task = {"kind": "classify", "frozen": True, "hidden": (512, 512, 512), "dropout": 0.4}
    base = tiny_experiment(store.path, model={}, task=task, start={"encoder": "pretext"})
    study = Study(base=base, objective=StudyObjective(), budget=Budget(min=1, max=1), space={"hyperparameters": []})
    settled = resolve_study(study, store=store, encoders={"encoder": checkpoint}).base
    assert settled.model == pretext.model
    training_data = settled.training_data(store)
    classifier = settled.begin(training_data, encoder_weights=checkpoint)
    head = classifier.objective.get_parameter("head.0.weight").detach().clone()
    train_until(classifier, training_data, settled, until=1)
    for name, weight in state.objective.encoder.state_dict().items():
        assert torch.equal(classifier.objective.encoder.state_dict()[name], weight), name
    assert head.shape == (512, 8)
    assert not torch.equal(classifier.objective.get_parameter("head.0.weight"), head)
    signals = torch.from_numpy(store.signal[:3].copy())
    summary = state.objective.encoder.summarise(signals)
    assert torch.equal(PretrainedEncoder(checkpoint)(signals), summary)
