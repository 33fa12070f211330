"""Losses and gradients are those of two independent implementations of the papers, in double precision."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.models import Transformer
from emotune.tasks import Classify, MaskedValues, Objective
from emotune.tasks.masked_values import span_mask
from emotune.training.optim import Optim
from tests.models.reference import Plain, classifier_loss, masked_loss, numpy_weights, representations

SMALL = Transformer(
    channels=(4, 6, 8), kernels=(7, 5, 3), layers=2, heads=2, feedforward=12, dropout=0, attention_dropout=0
)
TRAIN_LABELS = np.array([1.0, 0, 0, 0, 1])
LABELS = np.array([1.0, 0, 1])
MASKED = MaskedValues(start_probability=0.06, span=5, validation=None, head=6)
CLASSIFY = Classify(hidden=(7, 5), dropout=0)


def signals_of(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).standard_normal((3, channels, 50))


def objective_of(task: MaskedValues | Classify, *, channels: int) -> Objective:
    torch.manual_seed(0)
    return task.build(SMALL.build(channels=channels), channels=channels, labels=TRAIN_LABELS).double()


def batch_of(channels: int) -> Batch:
    label = torch.from_numpy(LABELS)
    return Batch(signals=torch.from_numpy(signals_of(channels)), label=label, rows=torch.arange(3))


def loss_of(objective: Objective, *, channels: int) -> torch.Tensor:
    return objective.loss(batch_of(channels), generator=torch.Generator().manual_seed(2))


def mask_of(channels: int) -> np.ndarray:
    return MASKED.training_mask.draw(batch_of(channels), generator=torch.Generator().manual_seed(2)).numpy()


def reference_loss(task: MaskedValues | Classify, weights: dict[str, np.ndarray], *, channels: int) -> float:
    if isinstance(task, MaskedValues):
        return masked_loss(weights, signals_of(channels), mask_of(channels), heads=2)
    return classifier_loss(weights, signals_of(channels), LABELS, heads=2, train_labels=TRAIN_LABELS)


@pytest.mark.parametrize("channels", [1, 10])
def test_representations_are_those_of_numpy(channels: int) -> None:
    encoder = SMALL.build(channels=channels).double()
    expected = representations(numpy_weights(encoder), signals_of(channels), heads=2)
    got = encoder(torch.from_numpy(signals_of(channels))).detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)  # the table of positions is in single precision


@pytest.mark.parametrize("channels", [1, 10])
@pytest.mark.parametrize("task", [MASKED, CLASSIFY], ids=["equation 3", "equation 4"])
def test_losses_are_those_of_numpy(task: MaskedValues | Classify, channels: int) -> None:
    objective = objective_of(task, channels=channels)
    expected = reference_loss(task, numpy_weights(objective), channels=channels)
    assert loss_of(objective, channels=channels).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("channels", [1, 10])
@pytest.mark.parametrize("task", [MASKED, CLASSIFY], ids=["equation 3", "equation 4"])
def test_gradients_are_finite_differences_of_numpy(task: MaskedValues | Classify, channels: int) -> None:
    objective = objective_of(task, channels=channels)
    loss_of(objective, channels=channels).backward()
    weights, step = numpy_weights(objective), 1e-5
    random = np.random.default_rng(0)
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        place = tuple(random.integers(size) for size in parameter.shape)
        losses = []
        for sign in (1, -1):
            moved = {key: value.copy() for key, value in weights.items()}
            moved[name][place] += sign * step
            losses.append(reference_loss(task, moved, channels=channels))
        difference = (losses[0] - losses[1]) / (2 * step)
        assert parameter.grad[place].item() == pytest.approx(difference, rel=2e-4, abs=2e-7), name


@pytest.mark.parametrize("channels", [1, 10])
@pytest.mark.parametrize("task", [MASKED, CLASSIFY], ids=["equation 3", "equation 4"])
def test_gradients_are_those_of_torchs_own_layers(task: MaskedValues | Classify, channels: int) -> None:
    objective = objective_of(task, channels=channels)
    loss_of(objective, channels=channels).backward()
    plain = Plain(objective.encoder.state_dict(), heads=2).double()
    plain_loss(task, objective, plain, channels=channels).backward()
    gradients = {name: parameter.grad for name, parameter in objective.encoder.named_parameters()}
    assert len(gradients) == len(plain.pairs())
    for parameter, name in plain.pairs():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-7, msg=name)


def plain_loss(task: MaskedValues | Classify, objective: Objective, plain: Plain, *, channels: int) -> torch.Tensor:
    batch, head = batch_of(channels), objective.get_submodule("head")
    assert batch.label is not None
    if isinstance(task, MaskedValues):
        mask = torch.from_numpy(mask_of(channels))[:, None]
        predicted = head(plain(batch.signals * ~mask)[:, 1:]).mT
        return ((predicted - batch.signals) * mask).square().sum() / (mask.sum() * channels)
    high = head(plain(batch.signals)[:, 0])[:, 0].sigmoid()
    return functional.binary_cross_entropy(high, batch.label, weight=1 + 0.5 * batch.label)


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({}, 256 * 1024 + 1024 + 1024 * 512 + 512 + 512 + 1),
        ({"hidden": (64,), "dropout": 0.6}, 256 * 64 + 64 + 64 + 1),
        ({"hidden": (64,), "aggregate": "average-groups"}, 1024 * 64 + 64 + 64 + 1),
        ({"hidden": (64,), "aggregate": "max-groups"}, 256 * 64 + 64 + 128 * 64 + 64 + 64 + 1),
    ],
)
def test_published_heads(settings: dict, parameters: int) -> None:
    encoder = Transformer(layers=1).build(channels=1)
    inside = sum(parameter.numel() for parameter in encoder.parameters())
    objective = Classify.model_validate(settings).build(encoder, channels=1, labels=TRAIN_LABELS)
    assert sum(parameter.numel() for parameter in objective.parameters()) - inside == parameters


def test_the_published_shapes_of_ecg_and_eeg() -> None:
    for channels, samples in ((1, 1280), (10, 640)):
        encoder = Transformer(layers=1).build(channels=channels).eval()
        with torch.no_grad():
            assert encoder(torch.randn(1, channels, samples)).shape == (1, samples + 1, 256)


def test_one_mask_for_all_channels_of_an_eeg() -> None:
    objective = objective_of(MASKED, channels=10)
    seen: list[torch.Tensor] = []
    objective.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss_of(objective, channels=10)
    hidden = (seen[0] == 0).numpy()
    assert np.array_equal(hidden, np.broadcast_to(mask_of(10)[:, None], hidden.shape))
    assert (
        objective.measure(batch_of(10), generator=torch.Generator().manual_seed(2))["points"] == 10 * hidden[:, 0].sum()
    )


@pytest.mark.parametrize(("samples", "share"), [(1280, 0.478), (2560, 0.483), (5120, 0.483)])
def test_hidden_shares_are_those_of_a_simulation_in_numpy(samples: int, share: float) -> None:
    random = np.random.default_rng(0)
    simulated = np.zeros((2000, samples), dtype=bool)
    for row in simulated:
        for start in random.choice(samples, size=int(0.0325 * samples), replace=False):
            row[start : start + 20] = True
    mask = span_mask((2000, samples), start_probability=0.0325, span=20, generator=torch.Generator().manual_seed(0))
    assert simulated.mean() == pytest.approx(share, abs=1.5e-3)
    assert mask.float().mean().item() == pytest.approx(float(simulated.mean()), abs=1.5e-3)
    assert mask.sum(dim=1).float().std().item() == pytest.approx(simulated.sum(axis=1).std(), rel=0.1)


ECG_PRETRAIN = Optim()
EEG_PRETRAIN = Optim(lr=5e-4)
FINETUNE = Optim(lr=1e-4, schedule="step", warmup_epochs=0, weight_decay=1e-5)
FUSION = Optim(lr=1e-5, schedule="step", step_epochs=20, warmup_epochs=0, weight_decay=1e-5)


@pytest.mark.parametrize(
    ("optim", "epochs", "known"),
    [
        (ECG_PRETRAIN, 500, {0: 1e-3 / 3000, 15: 1e-3 * 1501 / 3000, 30: 1e-3, 265: 5e-4, 499: 1e-3 / 470}),
        (EEG_PRETRAIN, 500, {30: 5e-4, 265: 2.5e-4, 453: 5e-5}),
        (FINETUNE, 100, {0: 1e-4, 44: 1e-4, 45: 6.5e-5, 89: 6.5e-5, 90: 4.225e-5, 99: 4.225e-5}),
        (FUSION, 52, {19: 1e-5, 20: 6.5e-6, 40: 4.225e-6, 51: 4.225e-6}),
    ],
)
def test_published_learning_rates_at_the_first_step_of_an_epoch(
    optim: Optim, epochs: int, known: dict[int, float]
) -> None:
    for epoch, rate in known.items():
        assert optim.learning_rate(epoch * 100, steps_per_epoch=100, epochs=epochs) == pytest.approx(rate, rel=1e-9)
    assert optim.betas == (0.9, 0.999)
    assert optim.kind == "adam"
