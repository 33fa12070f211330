"""Promises of the masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import SettingsError
from emotune.tasks.masked_values import hidden_rows, span_mask


def draw(steps: int, *, signals: int = 64, chance: float = 0.0325, span: int = 20, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return span_mask((signals, steps), start_probability=chance, span=span, generator=generator)


@pytest.mark.parametrize(("steps", "share"), [(1280, 0.478), (2560, 0.483), (5120, 0.483)])
def test_hidden_share_of_the_published_masks(steps: int, share: float) -> None:
    assert draw(steps, signals=4000).float().mean().item() == pytest.approx(share, abs=0.002)


def test_numbers_of_hidden_samples_of_the_published_masks() -> None:
    counts = draw(1280, signals=20_000).sum(dim=1).float()
    assert counts.mean().item() == pytest.approx(611, abs=2)
    assert counts.std().item() == pytest.approx(33, abs=2)


@given(steps=st.integers(20, 300), chance=st.floats(0.06, 0.6), span=st.integers(1, 40), seed=st.integers(0, 999))
def test_hidden_samples_are_spans(steps: int, chance: float, span: int, seed: int) -> None:
    mask = draw(steps, signals=3, chance=chance, span=span, seed=seed)
    starts = int(chance * steps)
    for row in mask:
        hidden = int(row.sum())
        assert min(starts, steps) <= hidden <= min(starts * span, steps)
        edges = torch.diff(row.int(), prepend=torch.zeros(1, dtype=torch.int32))
        begins = (edges == 1).nonzero().flatten().tolist()
        ends = (edges == -1).nonzero().flatten().tolist()
        for begin, end in zip(begins, ends, strict=False):
            assert end - begin >= span
    assert torch.equal(mask, draw(steps, signals=3, chance=chance, span=span, seed=seed))


@given(steps=st.integers(1, 200), seed=st.integers(0, 99), multiple=st.integers(1, 64))
def test_hidden_rows_list_every_hidden_step_once(steps: int, seed: int, multiple: int) -> None:
    mask = torch.rand(4, steps, generator=torch.Generator().manual_seed(seed)) < 0.4
    rows, weights = hidden_rows(mask, multiple=multiple)
    for signal in range(4):
        counted = rows[signal][weights[signal] == 1].tolist()
        assert counted == mask[signal].nonzero().flatten().tolist()
    assert rows.shape[1] == steps or rows.shape[1] % multiple == 0


def test_too_short_signals_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"at least 0\.1 is needed"):
        draw(10, chance=0.05)


def test_masks_do_not_depend_on_the_batch_size() -> None:
    generator = torch.Generator().manual_seed(3)
    halves = [span_mask((5, 100), start_probability=0.05, span=4, generator=generator) for _ in range(2)]
    assert torch.equal(torch.cat(halves), draw(100, signals=10, chance=0.05, span=4, seed=3))
