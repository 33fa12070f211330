"""Classification of several conditions: the categorical cross-entropy, its weights, labels and scores."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_fscore_support,
)
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import DataError
from emotune.experiment import Experiment, deciding_settings
from emotune.models import Transformer
from emotune.tasks import Classify
from emotune.tasks.classify import CategoricalObjective, ClassifyObjective
from emotune.tasks.scores import class_scores, confusion_scores, label_scores

MODEL = Transformer(channels=(4, 8), kernels=(5, 3), heads=2, feedforward=16, dropout=0, attention_dropout=0)
NAMES = ("baseline", "stress", "amusement")
LABELS = np.array([0.0, 0, 0, 0, 1, 1, 2, 2])


def task_of(*names: str, **settings: object) -> Classify:
    return Classify.model_validate({"target": "condition", "classes": names or NAMES, "hidden": (8,), **settings})


def objective_of(task: Classify, *, labels: np.ndarray = LABELS) -> CategoricalObjective:
    torch.manual_seed(0)
    objective = task.build(MODEL.build(channels=1), channels=1, labels=labels)
    assert isinstance(objective, CategoricalObjective)
    return objective.eval()


def batch_of(labels: np.ndarray) -> Batch:
    signals = torch.randn(len(labels), 1, 64, generator=torch.Generator().manual_seed(1))
    return Batch(signals=signals, label=torch.from_numpy(labels.astype(np.float32)), rows=torch.arange(len(labels)))


def test_the_label_is_the_position_of_the_condition_and_other_conditions_have_none() -> None:
    index = pd.DataFrame({"condition": ["stress", "baseline", "", "meditation", "amusement"]})
    assert np.array_equal(task_of().labels(index), [1, 0, np.nan, np.nan, 2], equal_nan=True)


def test_a_class_without_a_segment_is_refused() -> None:
    index = pd.DataFrame({"condition": ["stress", "baseline"]})
    with pytest.raises(
        DataError, match=r"task\.classes: 'amusement' was given, but the conditions of the store are 'bas"
    ):
        task_of().labels(index)
    with pytest.raises(DataError, match="no training segment has the condition 'amusement'"):
        objective_of(task_of(), labels=np.array([0.0, 1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["stress"]}, "at least two different conditions"),
        ({"classes": ["a", "a"]}, "at least two different conditions"),
        ({"classes": ["a/b", "a:b"]}, "at least two different conditions"),
        ({"high": "stress"}, "classes need target: condition and no high"),
        ({"target": "arousal"}, "classes need target: condition and no high"),
    ],
)
def test_impossible_classes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task_of(**settings)


def test_all_classes_have_the_same_total_weight_and_the_mean_weight_is_one() -> None:
    weights = np.exp(objective_of(task_of()).log_weights)
    assert weights * [4, 2, 2] == pytest.approx([8 / 3] * 3)
    assert np.exp(objective_of(task_of(class_weight="none")).log_weights) == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_the_loss_is_that_of_torch_with_weights(class_weight: str) -> None:
    objective, batch = objective_of(task_of(class_weight=class_weight)), batch_of(LABELS)
    weights = torch.tensor([2 / 3, 4 / 3, 4 / 3] if class_weight == "balanced" else [1.0] * 3)
    logits, labels = objective.logits(batch.signals), torch.from_numpy(LABELS).long()
    # torch divides by the sum of the weights, which over the training segments is their number
    expected = functional.cross_entropy(logits, labels, weight=weights)
    assert objective.loss(batch, generator=torch.Generator()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_two_classes_are_equation_four_times_a_constant() -> None:
    labels = np.array([0.0, 0, 0, 1])
    two = objective_of(task_of("low", "high"), labels=labels)
    one = Classify(hidden=(8,)).build(MODEL.build(channels=1), channels=1, labels=labels)
    assert isinstance(one, ClassifyObjective)
    one.eval().encoder.load_state_dict(two.encoder.state_dict())
    one.head[0].load_state_dict(two.head[0].state_dict())
    with torch.no_grad():
        one.head[-1].weight.copy_((two.head[-1].weight[1] - two.head[-1].weight[0])[None])
        one.head[-1].bias.copy_((two.head[-1].bias[1] - two.head[-1].bias[0])[None])
    batch = batch_of(labels)
    losses = [part.loss(batch, generator=torch.Generator()).item() for part in (two, one)]
    assert losses[0] == pytest.approx(losses[1] * 4 / (2 * 3), rel=1e-5)
    logits = [part.logits(batch.signals).detach().double().numpy() for part in (two, one)]
    for many, single in zip(
        two.probabilities(logits[0], calibration=None), one.probabilities(logits[1], calibration=None), strict=True
    ):
        assert many[:, 1] == pytest.approx(single, abs=1e-6)


def test_the_scores_of_a_measurement_are_those_of_scikit_learn() -> None:
    objective, batch = objective_of(task_of()), batch_of(LABELS)
    predicted = objective.logits(batch.signals).argmax(dim=1).numpy()
    metrics = objective.summarise(objective.measure(batch, generator=torch.Generator()))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(LABELS, predicted))
    assert metrics["macro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="macro", zero_division=0))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(LABELS, predicted))
    recalls = {name: metrics[f"recall_{name}"] for name in NAMES}
    assert recalls == {name: np.mean(predicted[number == LABELS] == number) for number, name in enumerate(NAMES)}
    assert set(Classify.metrics) <= set(metrics)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_scores_of_a_confusion_matrix_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(values) for values in zip(*pairs, strict=True))
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (truth, predicted), 1)
    scores = confusion_scores(matrix)
    occurring = np.union1d(truth, predicted)
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert scores["macro_f1"] == pytest.approx(
        f1_score(truth, predicted, labels=occurring, average="macro", zero_division=0)
    )
    recalls = [np.mean(predicted[truth == label] == label) for label in np.unique(truth)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert label_scores(predicted.astype(float), truth=truth.astype(float)) == pytest.approx(scores)
    by_class = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)[:3]
    for name, values in zip(("precision", "recall", "f1"), by_class, strict=True):
        assert [part[name] for part in class_scores(matrix)] == pytest.approx(values)


def test_an_experiment_without_classes_keeps_its_hash() -> None:
    content = Experiment(task=Classify()).model_dump(mode="json")
    old = {**content, "task": {name: value for name, value in content["task"].items() if name != "classes"}}
    assert deciding_settings(content) == deciding_settings(old)
    assert "classes" in deciding_settings(Experiment(task=task_of()).model_dump(mode="json"))["task"]
