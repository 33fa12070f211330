"""A probe after each epoch: it changes no weight, resumes, and finds in an encoder what the signals have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.tasks.aggregation import embed
from emotune.training.checkpoints import restore, save_checkpoint
from emotune.training.loop import TrainState, collect_embeddings
from tests.support.training import train_until
from tests.training.conftest import tiny_experiment

PROBE = {"target": "arousal"}
FOLDS = {"segments": 40, "validation": 0.4, "validation_segments": 40}
FEW = {"segments": 8, "validation": 0.4, "validation_segments": 8}
CONVNET = {"kind": "convnet", "channels": (4, 8), "kernels": (9, 5)}
TASKS = {
    "masked values": {"task": {"kind": "masked_values", "head": 8}},
    "contrastive": {"task": {"kind": "contrastive", "group": 4, "projection": 8}},
    "transformations": {"task": {"kind": "recognise_transformation", "hidden": 8}, "model": CONVNET, "folds": FEW},
}


def with_probe(store: SegmentStore, settings: dict, *, probe: dict | None) -> Experiment:
    return tiny_experiment(store.path, **({"folds": FOLDS} | settings | {"task": settings["task"] | {"probe": probe}}))


def trained(experiment: Experiment, store: SegmentStore, *, until: int = 2) -> TrainState:
    data = experiment.training_data(store)
    return train_until(experiment.begin(data), data, experiment, until=until)


@pytest.mark.parametrize("settings", TASKS.values(), ids=TASKS)
def test_no_label_reaches_the_weights(store: SegmentStore, settings: dict) -> None:
    probed, plain = (trained(with_probe(store, settings, probe=probe), store, until=1) for probe in (PROBE, None))
    weights = plain.objective.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in probed.objective.state_dict().items())
    added = {"probe/accuracy", "probe/balanced_accuracy", "probe/macro_f1"}
    for own, other in zip(probed.history, plain.history, strict=True):
        assert own.metrics.keys() - other.metrics.keys() == added
        assert own.metrics["val/loss"] == other.metrics["val/loss"]
        assert all(0 <= own.metrics[name] <= 1 for name in added)


def test_an_interrupted_run_has_the_same_probe(store: SegmentStore, tmp_path: Path) -> None:
    experiment = with_probe(store, TASKS["masked values"], probe=PROBE)
    data = experiment.training_data(store)
    whole = trained(experiment, store)
    folder = save_checkpoint(LocalStorage(tmp_path), trained(experiment, store, until=1), about={})
    again = experiment.begin(data)
    restore(folder, again)
    train_until(again, data, experiment, until=2)
    scores = [[report.metrics["probe/macro_f1"] for report in state.history] for state in (whole, again)]
    assert scores[0] == scores[1]


def test_a_probe_uses_labelled_people_outside_the_test_fold(store: SegmentStore) -> None:
    data = with_probe(store, TASKS["masked values"], probe=PROBE).training_data(store)
    assert data.labels is None
    assert data.probe is not None
    subjects = store.index["subject"].to_numpy()
    sides = [set(subjects[rows]) for rows in (data.probe.train, data.probe.val, data.fold.test)]
    assert not sides[0] & sides[1]
    assert not (sides[0] | sides[1]) & sides[2]
    for rows, limited in ((data.probe.train, data.fold.train), (data.probe.val, data.fold.val)):
        everything = np.flatnonzero(np.isin(subjects, subjects[limited]))
        assert len(limited) == 40 < len(everything)
        assert rows.tolist() == everything.tolist()
    assert data.shortened(8).probe is None
    assert data.without_validation().probe is None


def test_embeddings_are_means_over_the_samples_in_the_order_of_the_rows(store: SegmentStore) -> None:
    experiment = tiny_experiment(store.path)
    data = experiment.training_data(store)
    objective = experiment.begin(data).objective
    rows = data.fold.train[::-1].copy()
    embeddings = collect_embeddings(objective, data, rows)
    signals = torch.from_numpy(store.signal[rows[:3]])
    with torch.no_grad():
        expected = embed(signals, encoder=objective.encoder)
        assert torch.equal(expected, objective.encoder(signals)[:, 1:].mean(dim=1))
    np.testing.assert_allclose(embeddings[:3], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_probe_needs_validation_people() -> None:
    with pytest.raises(ValidationError, match=r"task\.probe was given with folds\.validation: 0"):
        Experiment.model_validate({"task": {"kind": "masked_values", "probe": PROBE}, "folds": {"validation": 0}})
