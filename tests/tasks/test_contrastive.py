"""The contrastive task: its loss against a definition by hand, its views, and that it finds what segments share."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.models import Transformer
from emotune.tasks.contrastive import Contrastive, compare

MODEL = Transformer(channels=(8, 8), kernels=(9, 5), layers=1, heads=2, feedforward=16, dropout=0.0)


def batch_of(signals: torch.Tensor) -> Batch:
    return Batch(signals=signals, label=None, rows=torch.arange(len(signals)))


@given(segments=st.integers(1, 6), temperature=st.sampled_from([0.05, 0.5, 2.0]), people=st.booleans())
def test_the_loss_is_that_of_the_definition(segments: int, temperature: float, people: bool) -> None:
    count = 2 * segments
    vectors = functional.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(segments)), dim=1)
    owner = (torch.arange(segments) // 2).float().repeat(2) if people else None
    losses, recognised = compare(vectors, people=owner, temperature=temperature)
    for view in range(count):
        other = (view + segments) % count
        similar = [(vectors[view] @ vectors[b]).item() / temperature for b in range(count)]
        whole = math.log(sum(math.exp(similar[b]) for b in range(count) if b != view))
        positives = [other] if owner is None else [b for b in range(count) if b != view and owner[b] == owner[view]]
        expected = np.mean([whole - similar[b] for b in positives])
        assert losses[view].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert recognised[view].item() == (max(similar[b] for b in range(count) if b != view) == similar[other])


def test_segments_of_other_groups_change_nothing() -> None:
    task = Contrastive(group=4)
    objective = task.build(MODEL.build(channels=1), channels=1, labels=None).eval()
    signals = torch.randn(8, 1, 64)
    changed = torch.cat([signals[:4], torch.randn(4, 1, 64)])
    with torch.no_grad():
        whole, other = (
            [objective.measure(part_of(rows, s), generator=torch.Generator().manual_seed(0)) for rows in (0, 4)]
            for s in (signals, changed)
        )
    assert whole[0] == other[0]
    assert whole[1] != other[1]


def part_of(start: int, signals: torch.Tensor) -> Batch:
    rows = slice(start, start + 4)
    return Batch(signals=signals[rows], label=None, rows=torch.arange(8)[rows], offset=start, joint=8)


@given(masked=st.floats(0, 0.9), seed=st.integers(0, 9))
def test_a_view_is_the_scaled_segment_with_a_span_of_zeros(masked: float, seed: int) -> None:
    signals = torch.randn(3, 2, 50).abs() + 1
    task = Contrastive(masked=masked, noise=0.0, scaling=2.0)
    for view in task.pair(batch_of(signals), generator=torch.Generator().manual_seed(seed)):
        for segment, made in zip(signals, view, strict=True):
            hidden = (made == 0).all(dim=0)
            assert hidden.sum() == int(masked * 50)
            assert torch.equal((made == 0).any(dim=0), hidden)
            steps = hidden.nonzero()[:, 0]
            assert len(steps) == 0 or (steps[-1] - steps[0] + 1 == len(steps))
            factors = (made / segment)[:, ~hidden]
            assert torch.allclose(factors, factors.flatten()[0].expand_as(factors), rtol=1e-5)
            assert 0.5 <= factors.flatten()[0] <= 2.0 + 1e-6


def test_halves_are_the_first_and_the_second_half() -> None:
    signals = torch.randn(2, 1, 11)
    first, second = Contrastive(views="halves").pair(batch_of(signals), generator=torch.Generator())
    assert torch.equal(first, signals[:, :, :5])
    assert torch.equal(second, signals[:, :, 5:10])


@pytest.mark.parametrize("views", ["augmented", "halves"])
def test_segments_with_frequencies_of_their_own_are_found(views: str) -> None:
    """Training raises the share of views that are found from chance to most of them."""
    torch.manual_seed(0)
    time = torch.arange(64) / 64
    frequencies = torch.arange(8)[:, None, None] * 3.0 + 2
    signals = torch.sin(2 * math.pi * (frequencies * time + torch.rand(8, 1, 1)))
    objective = Contrastive.model_validate({"views": views, "group": 8}).build(
        MODEL.build(channels=1), channels=1, labels=None
    )
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        optimiser.zero_grad()
        objective.loss(batch_of(signals), generator=generator).backward()
        optimiser.step()
    sums = objective.eval().measure(batch_of(signals), generator=generator)
    assert objective.summarise(sums)["accuracy"] > 0.8
