"""Promises of the recognition of transformations: seven heads that all train, and what is measured."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import accuracy_score
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import SettingsError
from emotune.models import ConvNet, ModelSettings, Transformer
from emotune.models.dropout import Dropout
from emotune.tasks import RecogniseTransformation
from emotune.tasks.recognise_transformation import VIEWS, RecogniseObjective

CONVNET = ConvNet(channels=(4, 8), kernels=(6, 3))
TRANSFORMER = Transformer(channels=(4, 8), kernels=(5, 3), feedforward=16, dropout=0, attention_dropout=0)


def make(settings: RecogniseTransformation, model: ModelSettings = CONVNET) -> RecogniseObjective:
    torch.manual_seed(0)
    return settings.build(model.build(channels=1), channels=1, labels=None)


def make_batch(size: int = 6, *, samples: int = 100) -> Batch:
    signals = torch.randn(size, 1, samples, generator=torch.Generator().manual_seed(1))
    return Batch(signals=signals, label=None, rows=torch.arange(size))


def source() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_published_heads() -> None:
    objective = RecogniseTransformation().build(ConvNet().build(channels=1), channels=1, labels=None)
    sizes = [sum(parameter.numel() for parameter in head.parameters()) for head in objective.heads.values()]
    assert sizes == [2 * (128 * 128 + 128) + 128 + 1] * 7
    assert objective.logits(torch.randn(2, 1, 64)).shape == (2, 7)


@pytest.mark.parametrize("model", [CONVNET, TRANSFORMER], ids=["convnet", "transformer"])
def test_every_parameter_of_every_head_gets_a_gradient_and_moves(model: ModelSettings) -> None:
    objective = make(RecogniseTransformation(hidden=16, l2=0), model).train()
    before = {name: value.detach().clone() for name, value in objective.heads.named_parameters()}
    assert len(before) == 7 * 6
    optimiser = torch.optim.Adam(objective.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        objective.loss(make_batch(), generator=source()).backward()
        optimiser.step()
    for name, value in objective.heads.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name
        assert not torch.equal(value, before[name]), name


def test_evaluation_switches_the_dropout_of_all_heads_off() -> None:
    objective = make(RecogniseTransformation())
    signals = make_batch().signals
    dropouts = [part for part in objective.heads.modules() if isinstance(part, Dropout)]
    assert [part.rate for part in dropouts] == [0.6] * 14
    objective.train()
    assert all(part.training for part in dropouts)
    assert not torch.equal(objective.logits(signals), objective.logits(signals))
    objective.eval()
    assert not any(part.training for part in dropouts)
    assert torch.equal(objective.logits(signals), objective.logits(signals))


def test_loss_is_the_weighted_sum_of_the_heads_and_the_squares_of_all_kernels() -> None:
    weights = (0.5, 0.25, 0.0, 0.125, 1.0, 2.0, 0.75)
    objective = make(RecogniseTransformation(weights=weights, l2=0.01)).eval()
    batch = make_batch()
    views = objective.settings.views(batch, generator=source())
    expected = torch.tensor(0.0)
    for head, (weight, view) in enumerate(zip(weights, VIEWS, strict=True)):
        logits = objective.heads[view](objective.encoder.summarise(views.flatten(0, 1)))[:, 0]
        own = torch.arange(7).repeat_interleave(6) == head
        expected = expected + weight * functional.binary_cross_entropy_with_logits(logits, own.float())
    kernels = [value for name, value in objective.named_parameters() if name.endswith(".weight")]
    assert len(kernels) == 4 + 7 * 3
    expected = expected + 0.005 * sum(kernel.square().sum() for kernel in kernels)
    loss = objective.loss(batch, generator=source())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_accuracies_are_those_of_scikit_learn() -> None:
    objective = make(RecogniseTransformation()).eval()
    batch = make_batch(20)
    views = objective.settings.views(batch, generator=source())
    logits = objective.logits(views.flatten(0, 1)).detach().numpy() + np.random.default_rng(0).normal(size=(140, 7))
    objective.logits = lambda signals: torch.from_numpy(logits).float()  # untrained heads all say nearly the same
    metrics = objective.summarise(objective.measure(batch, generator=source()))
    truth = np.arange(7).repeat(20)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, logits.argmax(axis=1)))
    alone = [accuracy_score(truth == head, logits[:, head] > 0) for head in range(7)]
    assert metrics["binary_accuracy"] == pytest.approx(np.mean(alone))
    for head, view in enumerate(VIEWS):
        assert metrics[f"binary_accuracy_{view}"] == pytest.approx(alone[head])
        assert metrics[f"accuracy_{view}"] == pytest.approx((logits[truth == head].argmax(axis=1) == head).mean())


def test_views_are_in_the_documented_order() -> None:
    settings = RecogniseTransformation()
    signals = make_batch().signals
    views = dict(zip(VIEWS, settings.views(make_batch(), generator=source()), strict=True))
    assert torch.equal(views["original"], signals)
    assert torch.equal(views["scaling"], signals * 1.1)
    assert torch.equal(views["negation"], -signals)
    assert torch.equal(views["reversal"], signals.flip(2))
    assert 0.1 < (views["noise"] - signals).std() < 0.25
    assert torch.equal(views["permutation"].sort(dim=2).values, signals.sort(dim=2).values)
    assert not torch.equal(views["warping"], signals)


def test_the_training_learns_to_classify_the_views() -> None:
    objective = make(RecogniseTransformation(hidden=16, dropout=0.0, weights=(1, 1, 1, 1, 1, 1, 1), l2=0))
    time = torch.arange(100) / 100
    phases = torch.rand(8, 1, 1, generator=source())
    signals = ((time + phases) * 4 % 1) ** 3 - 0.25  # asymmetric in time and in height, as heartbeats are
    batch = Batch(signals=signals, label=None, rows=torch.arange(8))
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-2)
    for step in range(60):
        optimiser.zero_grad()
        objective.loss(batch, generator=torch.Generator().manual_seed(step)).backward()
        optimiser.step()
    objective.eval()
    metrics = objective.summarise(objective.measure(batch, generator=source()))
    assert metrics["accuracy"] > 0.5
    assert metrics["accuracy_negation"] == 1.0


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"weights": (0,) * 7}, "all are 0"),
        ({"weights": (1,) * 6}, "Field required"),
        ({"scaling": 1.0}, "equals the original"),
        ({"warp_factor": 1.0}, "greater than 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(values: dict, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        RecogniseTransformation(**values)


def test_too_short_signals_are_refused() -> None:
    with pytest.raises(SettingsError, match="20 pieces are more than a segment's 19 samples"):
        RecogniseTransformation().views(make_batch(2, samples=19), generator=source())
