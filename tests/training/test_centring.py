"""The mean of a person: whose segments it has, and that it depends on neither their order nor the batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment, deciding_settings
from emotune.storage import LocalStorage
from emotune.tasks import Classify
from emotune.tasks.centring import person_numbers
from emotune.tasks.classify import ClassifierObjective
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import restore, save_checkpoint
from emotune.training.loop import TrainState, collect_logits
from emotune.training.workers import WorkerGroup
from tests.support.training import train_until
from tests.training.conftest import tiny_experiment

TASK = {"kind": "classify", "hidden": (8,), "dropout": 0.2, "frozen": True, "centre": "person"}


def centred(store: SegmentStore, **more: object) -> Experiment:
    return tiny_experiment(store.path, **({"task": TASK} | more))


def begin(experiment: Experiment, store: SegmentStore) -> TrainState:
    return experiment.begin(experiment.training_data(store))


def means_of(experiment: Experiment, store: SegmentStore) -> dict[str, np.ndarray]:
    """Return the mean vector by person and lead; those that were not computed are left out."""
    data = with_person_means(experiment.training_data(store), begin(experiment, store).objective)
    assert data.person_means is not None
    keys = unit_keys(store.index, by="subject").astype(object) + "/" + store.index["channel"].astype(str).to_numpy()
    rows = torch.from_numpy(np.unique(keys.astype(str), return_index=True)[1])
    vectors = data.person_means.of(rows).numpy()
    return {str(keys[row]): vector for row, vector in zip(rows, vectors, strict=True) if np.isfinite(vector).all()}


def test_the_mean_is_that_of_all_segments_of_a_person_and_lead_with_and_without_a_label(store: SegmentStore) -> None:
    first = store.index["session"].iloc[0]
    rated = replace(
        store,
        index=store.index.assign(rating_arousal=store.index["rating_arousal"].where(store.index["session"] != first)),
    )
    experiment = centred(store, folds={"segments": 10, "validation": 0.4, "validation_segments": 4})
    objective = begin(experiment, rated).objective
    assert isinstance(objective, ClassifierObjective)
    with torch.no_grad():
        pooled = objective.eval().pooled(torch.from_numpy(np.array(store.signal))).numpy()
    means = means_of(experiment, rated)
    assert len(means) >= 6
    for name, vector in means.items():
        _, subject, lead = name.split("/")
        own = (store.index["subject"] == subject) & (store.index["channel"] == lead)
        np.testing.assert_allclose(vector, pooled[own.to_numpy()].mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("size", [5, 1000])
def test_the_mean_depends_on_neither_the_order_of_the_segments_nor_the_size_of_a_batch(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    expected = means_of(centred(store), store)
    monkeypatch.setattr("emotune.training.loop.EVALUATION_BATCH", size)
    order = np.random.default_rng(size).permutation(len(store))
    mixed = replace(store, signal=np.array(store.signal)[order], index=store.index.iloc[order].reset_index(drop=True))
    means = means_of(centred(store, batch_size=7), mixed)
    assert means.keys() == expected.keys()
    for name, vector in means.items():
        np.testing.assert_allclose(vector, expected[name], atol=1e-5)


def test_the_sums_of_several_workers_add_up_to_those_of_one(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = centred(store)
    data, objective = experiment.training_data(store), begin(experiment, store).objective
    whole = with_person_means(data, objective).person_means
    monkeypatch.setattr(WorkerGroup, "add_arrays", lambda group, values: values)
    parts = [with_person_means(data, objective, group=WorkerGroup(rank, 3)).person_means for rank in range(3)]
    assert whole is not None
    total = sum(part.means for part in parts if part is not None)
    torch.testing.assert_close(total, whole.means, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_the_vectors_of_a_person_have_the_mean_zero(store: SegmentStore) -> None:
    experiment = centred(store, task=TASK | {"hidden": ()})
    state = begin(experiment, store)
    data = with_person_means(experiment.training_data(store), state.objective)
    rows, number = np.arange(len(store)), person_numbers(store.index)
    head = state.objective.head[-1]
    logits = collect_logits(state.objective, replace(data, labels=None), rows)
    for person in np.unique(number[data.fold.train]):
        assert logits[number == person].mean() == pytest.approx(head.bias.item(), abs=1e-5)


def test_an_interrupted_run_has_the_same_weights(store: SegmentStore, tmp_path: Path) -> None:
    experiment = centred(store, folds={"segments": 40, "validation": 0.4}, epochs=3)
    data = experiment.training_data(store)
    whole = train_until(experiment.begin(data), data, experiment, until=3)
    half = train_until(experiment.begin(data), data, experiment, until=1)
    again = experiment.begin(data)
    restore(save_checkpoint(LocalStorage(tmp_path), half, about={}), again)
    train_until(again, data, experiment, until=3)
    weights = whole.objective.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.objective.state_dict().items())
    assert [report.metrics["val/loss"] for report in again.history] == [
        report.metrics["val/loss"] for report in whole.history
    ]


def test_a_training_without_the_means_fails(store: SegmentStore) -> None:
    experiment = centred(store)
    data = experiment.training_data(store)
    with pytest.raises(AssertionError, match="centre: person without the means of people"):
        collect_logits(experiment.begin(data).objective, data, data.fold.train)


def test_no_mean_is_computed_for_a_task_that_subtracts_none(store: SegmentStore) -> None:
    experiment = centred(store, task=TASK | {"centre": "none"})
    data = experiment.training_data(store)
    assert with_person_means(data, experiment.begin(data).objective) is data


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frozen": False}, r"centre: person was given with frozen: false, .*; set frozen: true \(--adapt frozen or"),
        ({"aggregate": "max-groups"}, "centre: person was given with aggregate: max-groups, .*; set another aggregate"),
    ],
)
def test_a_mean_that_training_changes_is_refused_in_a_line(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Classify.model_validate(TASK | settings)
    assert "\n" not in caught.value.errors()[0]["msg"]


def test_hashes_of_older_experiments_stay_the_same() -> None:
    document = Experiment(task=Classify()).model_dump(mode="json")
    assert "centre" not in deciding_settings(document)["task"]
    document["task"] |= {"frozen": True, "centre": "person"}
    assert deciding_settings(document)["task"]["centre"] == "person"
