"""Objectives: losses, measurements and labels, and that what is not read changes nothing."""

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import DataError
from emotune.models import Transformer
from emotune.tasks import Classify, MaskedValues
from emotune.tasks.classify import ClassifyObjective
from emotune.tasks.masked_values import Mask, MaskedValueObjective, interpolate_linearly

MODEL = Transformer(channels=(4, 8), kernels=(5, 3), heads=2, feedforward=16, dropout=0, attention_dropout=0)
MASKS = MaskedValues(start_probability=0.05, span=6, head=8)


def make_batch(*, channels: int = 1, label: torch.Tensor | None = None, size: int = 5) -> Batch:
    signals = torch.randn(size, channels, 100, generator=torch.Generator().manual_seed(1))
    return Batch(signals=signals, label=label, rows=torch.arange(size))


def masked_objective(channels: int) -> MaskedValueObjective:
    torch.manual_seed(0)
    return MASKS.build(MODEL.build(channels=channels), channels=channels, labels=None)


@pytest.mark.parametrize("channels", [1, 3])
def test_pruned_loss_equals_that_of_the_whole_sequence(channels: int) -> None:
    objective = masked_objective(channels).double()
    batch = make_batch(channels=channels)
    batch = Batch(signals=batch.signals.double(), label=None, rows=batch.rows)
    mask = MASKS.training_mask.draw(batch, generator=torch.Generator().manual_seed(4))
    shown = batch.signals.masked_fill(mask[:, None], 0.0)
    predicted = objective.head(objective.encoder(shown)[:, 1:]).transpose(1, 2)
    hidden = mask[:, None].expand_as(batch.signals)
    reference = (predicted - batch.signals)[hidden].square().mean()
    parameters = list(objective.parameters())
    expected = torch.autograd.grad(reference, parameters)
    loss = objective.loss(batch, generator=torch.Generator().manual_seed(4))
    assert loss.item() == pytest.approx(reference.item(), rel=1e-12)
    for gradient, reference_gradient in zip(torch.autograd.grad(loss, parameters), expected, strict=True):
        torch.testing.assert_close(gradient, reference_gradient, rtol=1e-9, atol=1e-12)


def test_every_parameter_has_a_gradient() -> None:
    labels = np.array([0.0, 1, 1, 0, 1])
    batch = make_batch(label=torch.tensor(labels, dtype=torch.float32))
    for task in (MASKS, Classify(hidden=(8,))):
        objective = task.build(MODEL.build(channels=1), channels=1, labels=labels)
        objective.loss(batch, generator=torch.Generator().manual_seed(0)).backward()
        for name, parameter in objective.named_parameters():
            # a shift of all keys shifts all scores alike, which softmax does not see
            key_bias = name.endswith("project_in.bias")
            moved = parameter.grad is not None and parameter.grad.abs().sum() > 0
            assert moved or key_bias, name


def test_the_prediction_does_not_depend_on_hidden_values() -> None:
    objective = masked_objective(1)
    batch = make_batch()
    mask = MASKS.training_mask.draw(batch, generator=torch.Generator().manual_seed(4))
    other = batch.signals.masked_fill(mask[:, None], 9.0)
    rows = torch.arange(100).expand(5, -1) + 1
    first, second = (
        objective.encoder(signals.masked_fill(mask[:, None], 0.0), rows) for signals in (batch.signals, other)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("validation", [None, Mask(start_probability=0.1, span=3)])
def test_references_use_the_masks_of_the_measurement(validation: Mask | None) -> None:
    task = MASKS.model_copy(update={"validation": validation})
    batch = make_batch(channels=2)
    sums = task.references(batch, generator=torch.Generator().manual_seed(7))
    mask = (validation or task.training_mask).draw(batch, generator=torch.Generator().manual_seed(7))
    hidden = mask[:, None].expand_as(batch.signals)
    assert sums["points"] == hidden.sum()
    assert sums["loss_zero"] == pytest.approx(batch.signals.double()[hidden].square().sum().item())
    objective = task.build(MODEL.build(channels=2), channels=2, labels=None)
    measured = objective.measure(batch, generator=torch.Generator().manual_seed(7))
    assert measured["points"] == sums["points"]


def test_the_mask_of_the_training_does_not_change_the_measurement() -> None:
    torch.manual_seed(0)
    objective = MASKS.build(MODEL.build(channels=1), channels=1, labels=None).eval()
    other = MaskedValues(start_probability=0.3, span=9, head=8).build(objective.encoder, channels=1, labels=None).eval()  # pyright: ignore[reportArgumentType]
    other.load_state_dict(objective.state_dict())
    batch = make_batch()
    sums = [part.measure(batch, generator=torch.Generator().manual_seed(3)) for part in (objective, other)]
    assert sums[0] == sums[1]
    losses = [part.loss(batch, generator=torch.Generator().manual_seed(3)).item() for part in (objective, other)]
    assert losses[0] != losses[1]


def test_interpolation_restores_straight_lines() -> None:
    line = torch.linspace(-1, 3, 50)[None, None].expand(2, 2, -1).clone()
    mask = torch.zeros(2, 50, dtype=torch.bool)
    mask[0, 10:20] = mask[0, 30:31] = mask[1, 5:45] = True
    torch.testing.assert_close(interpolate_linearly(line.masked_fill(mask[:, None], 7.0), mask), line)


def index_of(ratings: list[float]) -> pd.DataFrame:
    rows = [("c", "s", f"v{video}", rating) for video, rating in enumerate(ratings) for _ in range(video + 1)]
    return pd.DataFrame(rows, columns=["corpus", "subject", "session", "rating_arousal"])


def test_labels_split_at_the_mean_of_recordings_not_of_segments() -> None:
    labels = Classify().labels(index_of([1.0, 2.0, 9.0, np.nan]))
    assert labels.tolist()[:6] == [0, 0, 0, 1, 1, 1]
    assert np.isnan(labels[6:]).all()


@pytest.mark.parametrize(
    ("ratings", "settings", "message"),
    [([np.nan], {}, "no ratings of arousal"), ([3.0, 4.0], {"threshold": 8.0}, "one side of 8")],
)
def test_unusable_ratings_are_refused(ratings: list[float], settings: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Classify(**settings).labels(index_of(ratings))


def classify_objective(**settings: object) -> ClassifyObjective:
    torch.manual_seed(0)
    task = Classify.model_validate({"hidden": (8,), **settings})
    return task.build(MODEL.build(channels=1), channels=1, labels=np.array([1.0, 0, 0, 0]))


def test_loss_is_equation_four() -> None:
    label = torch.tensor([1.0, 0, 0, 1, 1])
    objective = classify_objective().eval()
    batch = make_batch(label=label)
    probability = torch.sigmoid(objective.logits(batch.signals))
    expected = (-3.0 * label * probability.log() - (1 - label) * (1 - probability).log()).mean()
    assert objective.loss(batch, generator=torch.Generator()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_scores_are_those_of_scikit_learn() -> None:
    label = torch.tensor([1.0, 0, 1, 1, 1, 0, 0, 1])
    objective = classify_objective().eval()
    batch = make_batch(label=label, size=8)
    high = (objective.logits(batch.signals) > 0).float()
    metrics = objective.summarise(objective.measure(batch, generator=torch.Generator()))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(label, high))
    assert metrics["macro_f1"] == pytest.approx(f1_score(label, high, average="macro"))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label, high))


def test_a_frozen_encoder_is_not_trained() -> None:
    objective = classify_objective(frozen=True).train()
    assert not objective.encoder.training
    assert objective.head.training
    trained = [name for name, parameter in objective.named_parameters() if parameter.requires_grad]
    assert all(name.startswith("head.") for name in trained)
    assert functional.dropout(torch.ones(9), training=objective.encoder.training).sum() == 9


@pytest.mark.parametrize("training", [True, False])
def test_hidden_activations_are_what_the_last_layer_reads(training: bool) -> None:
    objective = classify_objective(hidden="12-8", dropout=0.5).train(training)
    signals = make_batch().signals
    hidden = objective.hidden_activations(signals)
    assert objective.training is training
    assert hidden.shape == (5, 8)
    assert (hidden >= 0).all()
    assert not hidden.requires_grad
    torch.testing.assert_close(objective.head[-1](hidden)[:, 0], objective.eval().logits(signals))


def test_without_hidden_layers_the_activations_are_the_representation() -> None:
    objective = classify_objective(hidden=()).eval()
    signals = make_batch().signals
    torch.testing.assert_close(objective.hidden_activations(signals), objective.encoder.summarise(signals))


def test_a_condition_is_classified_against_the_others() -> None:
    index = pd.DataFrame({"condition": ["rest", "arithmetic", "", "rest"]})
    task = Classify(target="condition", high="arithmetic")
    assert np.array_equal(task.labels(index), [0, 1, np.nan, 0], equal_nan=True)
    with pytest.raises(DataError, match="'stress' was given, but the conditions of the store are 'arithmetic', 'rest'"):
        Classify(target="condition", high="stress").labels(index)
    with pytest.raises(ValidationError, match="give a condition as high"):
        Classify(target="condition")


@pytest.mark.parametrize("target", ["dominance", "liking", "familiarity", "happiness", "sadness"])
def test_every_rating_is_a_target(target: str) -> None:
    ratings = [0.0, 1.0, 1.0, 0.0]
    index = pd.DataFrame({"corpus": "amigos", "subject": "P01", "session": list("abcd"), f"rating_{target}": ratings})
    assert Classify.model_validate({"target": target}).labels(index).tolist() == ratings


def test_a_store_of_an_older_version_lacks_ratings_of_its_corpus() -> None:
    index = index_of([1.0, 9.0]).assign(corpus="dreamer")
    message = (
        "ratings of arousal: set .*; stores of older versions have arousal and valence only: prepare dreamer again"
    )
    with pytest.raises(DataError, match=message):
        Classify(target="dominance").labels(index)
    with pytest.raises(DataError) as refused:
        Classify(target="liking").labels(index)
    assert "older versions" not in str(refused.value)
