"""Promises of explicit attention: it computes what torch computes, there and back, with and without dropout."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from emotune.models import attention
from emotune.models.attention import Attention
from emotune.models.dropout import seed_dropout

States = tuple[Tensor, Tensor, Tensor]


def states(*, batch: int, heads: int, rows: int, steps: int, width: int) -> States:
    def draw(length: int) -> Tensor:
        # as the projections give them: the heads side by side, not contiguous
        return torch.randn(batch, length, heads, width).transpose(1, 2).requires_grad_()

    return draw(rows), draw(steps), draw(steps)


def plain(query: Tensor, key: Tensor, value: Tensor, *, kept: Tensor | None = None) -> Tensor:
    probabilities = (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)
    return (probabilities if kept is None else probabilities * kept) @ value


def outcome(result: Tensor, given: States) -> list[Tensor]:
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(result.dtype)
    return [result, *torch.autograd.grad((result * weights).sum(), given)]


def kept_by(module: Attention, given: States, *, seed: int) -> Tensor:
    """What dropout keeps, times its scale: seen where every value is another unit vector and all scores are equal."""
    query, key, value = given
    steps = key.shape[2]
    seed_dropout(module, seed=seed, first=0, count=len(query))
    eyes = torch.eye(steps, dtype=value.dtype).expand(*value.shape[:3], steps)
    return module(torch.zeros_like(query), torch.zeros_like(key), eyes) * steps


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_explicit_equals_fused(batch: int, heads: int, rows: int, steps: int, width: int) -> None:
    given = states(batch=batch, heads=heads, rows=rows, steps=steps, width=width)
    expected = outcome(functional.scaled_dot_product_attention(*given), given)
    torch.testing.assert_close(outcome(Attention(0.0)(*given), given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group", [1, 200, 2**21], ids=["one head", "some heads", "all heads"])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_equal_in_the_forward_and_the_backward_pass(
    monkeypatch: pytest.MonkeyPatch, group: int, training: bool
) -> None:
    monkeypatch.setattr(attention, "GROUP_PROBABILITIES", group)
    given = states(batch=3, heads=2, rows=7, steps=9, width=9)
    module = Attention(0.3).train(training)
    kept = kept_by(module, given, seed=5).detach()
    assert not training or 0.1 < (kept == 0).float().mean() < 0.5
    seed_dropout(module, seed=5, first=0, count=3)
    expected = outcome(plain(*given, kept=kept), given)
    torch.testing.assert_close(outcome(module(*given), given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_bfloat16_differs_by_its_rounding_only(rate: float) -> None:
    given = states(batch=2, heads=2, rows=100, steps=160, width=32)
    module = Attention(rate)
    kept = kept_by(module, given, seed=2).detach()
    half: States = tuple(state.detach().bfloat16().requires_grad_() for state in given)
    seed_dropout(module, seed=2, first=0, count=2)
    expected = outcome(plain(*given, kept=kept), given)
    for got, exact in zip(outcome(module(*half), half), expected, strict=True):
        assert (got - exact).norm() < 2e-2 * exact.norm()
        assert functional.cosine_similarity(got.float().flatten(), exact.flatten(), dim=0) > 0.999


def test_gradients_can_be_computed_twice() -> None:
    given = states(batch=1, heads=2, rows=5, steps=5, width=4)
    module = nn.Sequential(Attention(0.5))[0]
    result = module(*given)
    once = torch.autograd.grad(result.sum(), given, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(result.sum(), given), once, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_is_the_same_without_gradients(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(attention, "GROUP_PROBABILITIES", 100)
    given: States = tuple(
        state.detach().to(dtype).requires_grad_() for state in states(batch=4, heads=2, rows=7, steps=5, width=4)
    )
    module = Attention(0.0)
    with torch.no_grad():
        alone = module(*given)
        module.kernel = "explicit"
        explicit = module(*given)
    torch.testing.assert_close(explicit, module(*given), rtol=0, atol=0)
    torch.testing.assert_close(alone, explicit, rtol=1e-4, atol=1e-5)


def test_the_fused_kernel_can_be_chosen_on_a_cpu() -> None:
    given = states(batch=2, heads=1, rows=4, steps=6, width=4)
    module = Attention(0.0)
    explicit = module(*given)
    module.kernel = "fused"
    torch.testing.assert_close(module(*given), explicit, rtol=1e-4, atol=1e-5)
