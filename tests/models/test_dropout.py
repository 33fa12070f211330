"""Dropout: its rate and scale, equal masks in the forward and the backward pass, and draws per segment."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from emotune.models import Transformer
from emotune.models.dropout import INT32_MAX, INT32_MIN, Dropout, hashed_numbers, seed_dropout

DTYPES = [torch.float32, torch.bfloat16]


def seeded(dropout: Dropout, states: Tensor, *, seed: int = 3, first: int = 0, count: int | None = None) -> Dropout:
    seed_dropout(nn.Sequential(dropout), seed=seed, first=first, count=len(states) if count is None else count)
    return dropout


@given(st.floats(0.001, 0.95))
def test_rate_and_scale(rate: float) -> None:
    dropout = Dropout(rate)
    states = torch.ones(8, 40_000)
    left = seeded(dropout, states)(states)
    kept = (left > 0).double().mean().item()
    assert kept == pytest.approx(1 - rate, abs=5 * (rate * (1 - rate) / states.numel()) ** 0.5 + 2**-16)
    assert left[left > 0].unique().tolist() == pytest.approx([1 / (1 - rate)], rel=2**-16 / (1 - rate))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["forward", "add", "rectify"])
def test_gradients_are_zero_where_dropout_is(form: str, dtype: torch.dtype) -> None:
    dropout = Dropout(0.3)
    states = torch.randn(4, 50, 7).to(dtype).requires_grad_()
    residual = torch.zeros_like(states).requires_grad_()
    seeded(dropout, states)
    if form == "add":
        result = dropout.add(residual, branch=states)
    else:
        result = dropout(states) if form == "forward" else dropout.rectify(states)
    gradient = torch.randn_like(result)
    result.backward(gradient)
    passed = result != 0
    scale = torch.tensor(dropout.scale)
    torch.testing.assert_close(result, torch.where(passed, states * scale, 0).to(dtype), rtol=1e-2, atol=0)
    torch.testing.assert_close(states.grad, torch.where(passed, gradient * scale, 0).to(dtype), rtol=1e-2, atol=0)
    assert form != "add" or torch.equal(residual.grad, gradient)
    assert passed.float().mean() == pytest.approx(0.35 if form == "rectify" else 0.7, abs=0.05)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 33))
def test_parts_of_a_joint_batch_have_the_draws_of_the_whole_batch(
    mine: int, theirs: int, views: int, length: int
) -> None:
    dropout, other = Dropout(0.5), Dropout(0.25)
    joint = torch.ones(views, mine + theirs, length)
    for part in (slice(0, mine), slice(mine, None)):
        whole, own = joint.flatten(0, 1), joint[:, part].flatten(0, 1)
        seed_dropout(nn.Sequential(dropout, other), seed=7, first=0, count=mine + theirs)
        expected = [layer(whole).unflatten(0, (views, -1))[:, part].flatten(0, 1) for layer in (dropout, other)]
        seed_dropout(nn.Sequential(dropout, other), seed=7, first=part.start, count=own.shape[0] // views)
        assert all(torch.equal(layer(own), values) for layer, values in zip((dropout, other), expected, strict=True))


def test_the_draws_of_a_segments_first_rows_do_not_depend_on_the_number_of_rows() -> None:
    dropout, states = Dropout(0.5), torch.ones(3, 20, 5)
    long = seeded(dropout, states)(states)
    assert torch.equal(seeded(dropout, states)(states[:, :9]), long[:, :9])


def test_steps_segments_and_dropouts_draw_independently() -> None:
    dropout, states = Dropout(0.5), torch.ones(2, 4096)
    first = seeded(dropout, states)(states)
    drawn = torch.stack([*first, *dropout(states), *seeded(dropout, states, seed=4)(states)])
    together = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert together.abs().max() < 5 / 4096**0.5
    assert torch.equal(seeded(dropout, states)(states), first)


def test_whole_channels_are_dropped_together() -> None:
    dropout, states = Dropout(0.5, channels=True), torch.ones(4, 50, 6)
    left = seeded(dropout, states)(states)
    assert torch.equal(left, left[:, :, :1].expand_as(left))
    assert 0.3 < (left[:, :, 0] > 0).float().mean() < 0.7


def test_without_a_seed_draws_are_those_of_torch() -> None:
    dropout, states = Dropout(0.5), torch.ones(2, 100)
    torch.manual_seed(5)
    first, second = dropout(states), dropout(states)
    torch.manual_seed(5)
    assert torch.equal(dropout(states), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_nothing_is_dropped_in_evaluation(rate: float) -> None:
    dropout, states = Dropout(rate).train(rate == 0), torch.randn(2, 5)
    assert dropout(states) is states
    assert torch.equal(dropout.add(states, branch=states), 2 * states)
    assert torch.equal(dropout.rectify(states), states.relu())


def test_a_network_in_parts_is_the_network_as_a_whole() -> None:
    sizes = {"channels": (4, 8), "kernels": (5, 3), "feedforward": 16, "dropout": 0.2, "attention_dropout": 0.2}
    encoder = Transformer(**sizes).build(channels=1).train()
    signals = torch.randn(5, 1, 32)
    rows = torch.arange(1, 10).expand(5, -1)
    seed_dropout(encoder, seed=1, first=0, count=5)
    whole = encoder(signals, rows)
    for part in (slice(0, 2), slice(2, 5)):
        seed_dropout(encoder, seed=1, first=part.start, count=part.stop - part.start)
        torch.testing.assert_close(encoder(signals[part], rows[part]), whole[part], rtol=1e-5, atol=1e-6)


def keep_mask(keys: torch.Tensor, *, rate: float, length: int) -> torch.Tensor:
    """Zeros and ones of the numbers' threshold, minus their mean, over their standard deviation."""
    kept = hashed_numbers(keys, length=length) >= INT32_MIN + round(rate * 2**32)
    return (kept.double() - (1 - rate)) / (rate * (1 - rate)) ** 0.5


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["random keys", "neighbouring keys"])
def test_hashed_numbers_are_uniform_and_independent(rate: float, kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randint(INT32_MIN, INT32_MAX, (2, 32, 1), dtype=torch.int32, generator=generator)
    if kind == "neighbouring keys":
        keys[0, :, 0] = torch.arange(32)
    entries, length = 32, 65_536
    mask = keep_mask(keys, rate=rate, length=length)
    assert abs(mask.mean().item()) * (entries * length) ** 0.5 < 4
    for lag in (1, 2, 7, 64, 256, 1024):
        products = mask[:, lag:] * mask[:, :-lag]
        assert abs(products.mean().item()) * products.numel() ** 0.5 < 4.5, lag
    between = (mask @ mask.T / length**0.5).fill_diagonal_(0)
    assert between.abs().max() < 5
    assert mask.view(entries, -1, 256).mean(dim=2).var().item() * 256 == pytest.approx(1, abs=0.1)


def test_hashed_numbers_depend_on_both_keys() -> None:
    keys = torch.tensor([[[1], [1], [2]], [[5], [6], [5]]], dtype=torch.int32)
    numbers = hashed_numbers(keys, length=1000)
    assert [(numbers[0] == other).float().mean().item() for other in numbers[1:]] == [0, 0]
    assert torch.equal(hashed_numbers(keys, length=10), numbers[:, :10])
