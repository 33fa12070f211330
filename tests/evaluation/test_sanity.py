"""The checks of a training: they pass on a training that works, and fail on one that learns nothing or sees labels."""

from pathlib import Path

import numpy as np
import pytest

from emotune.cli.actions import training_checks
from emotune.data.store import SegmentStore
from emotune.evaluation.sanity import Overfit, chance_score, overfit_batch, score_random_labels
from emotune.experiment import Experiment
from tests.evaluation.conftest import MODEL

PEOPLE = np.repeat([f"p{number}" for number in range(8)], 20)
TRUTH = np.tile([0.0, 1.0], 80)


@pytest.fixture
def store(small_store: Path) -> SegmentStore:
    return SegmentStore.open(small_store)


def experiment(**changes: object) -> Experiment:
    return Experiment.model_validate({"model": MODEL, "optim": {"lr": 5e-3}, "batch_size": 16, **changes})


def test_a_network_that_learns_passes_and_one_without_a_learning_rate_does_not(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = overfit_batch(experiment(), store=store)
    assert result.passed
    assert result.segments == 8
    monkeypatch.setattr("emotune.evaluation.sanity.MAX_STEPS", 5)
    result = overfit_batch(experiment(optim={"lr": 1e-12}), store=store)
    assert (result.passed, result.conclusive, result.steps) == (False, True, 5)
    assert result.factor == pytest.approx(1.0, abs=1e-3)
    assert not Overfit(segments=8, steps=4, first=1.0, last=0.9, seconds=25.0).conclusive, "it was too slow"


def test_random_labels_of_a_classification_score_at_chance(
    store: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotune.evaluation.sanity.LABELLED_EPOCHS", 1)
    task = {"kind": "classify", "target": "arousal"}
    score = score_random_labels(experiment(task=task, folds={"validation": 0.5}), store=store)
    assert score is not None
    assert score.people == 3
    assert score.conclusive
    assert score.passed
    assert score_random_labels(experiment(), store=store) is None


@pytest.mark.parametrize(("right", "passed"), [(0.5, True), (0.8, False), (0.2, False)])
def test_a_score_off_chance_fails(right: float, passed: bool) -> None:
    """Below chance too: the fold is then the opposite of the training."""
    generator = np.random.default_rng(0)
    predicted = np.where(generator.random(len(TRUTH)) < right, TRUTH, 1 - TRUTH).astype(int)
    score = chance_score(predicted, truth=TRUTH, people=PEOPLE, labels=2)
    assert (score.people, score.passed) == (8, passed)


def test_two_people_are_too_few_and_one_label_is_no_score() -> None:
    predicted = np.ones(len(TRUTH), dtype=int)
    assert not chance_score(predicted, truth=TRUTH, people=np.repeat(["a", "b"], 80), labels=2).conclusive
    assert chance_score(predicted, truth=np.ones(len(TRUTH)), people=PEOPLE, labels=2).people == 0


def test_doctor_prints_both_checks_of_a_study(small_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.evaluation.sanity.MAX_STEPS", 2)
    monkeypatch.delenv("EMOTUNE_STORE", raising=False)
    batch, labels = training_checks.check_training("smoke", store=str(small_store))
    assert batch.name == "training on one batch"
    assert "in 2 steps on 8 segments" in batch.found
    assert (labels.state, labels.found) == ("ok", "the task masked_values has no labels")
