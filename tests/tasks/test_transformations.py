"""Promises of the seven views: what each does to a signal, and that nothing else happens to it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotune.tasks.recognise_transformation import add_noise, negate, permute, reverse, scale, warp


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def waves(*, batch: int = 3, channels: int = 2, time: int = 1280) -> torch.Tensor:
    return torch.randn(batch, channels, time, generator=generator(9), dtype=torch.float64)


@pytest.mark.parametrize("snr", [15.0, 0.0])
def test_noise_has_the_given_ratio_in_every_channel(snr: float) -> None:
    signals = waves(time=20_000) * torch.tensor([1.0, 30.0])[None, :, None]
    noise = add_noise(signals, snr=snr, generator=generator()) - signals
    measured = 10 * torch.log10(signals.square().mean(dim=2) / noise.square().mean(dim=2))
    torch.testing.assert_close(measured, torch.full_like(measured, snr), rtol=0, atol=0.2)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean(dim=2) / noise.square().mean(dim=2)
    assert neighbours.abs().max() < 0.04


def test_what_is_not_random_is_exact() -> None:
    signals = waves()
    assert torch.equal(scale(signals, factor=1.1), signals * 1.1)
    assert torch.equal(negate(signals), -signals)
    assert torch.equal(reverse(signals)[:, :, 5], signals[:, :, -6])
    assert torch.equal(reverse(reverse(signals)), signals)


@given(time=st.integers(40, 300), pieces=st.integers(2, 40), seed=st.integers(0, 99))
def test_permutation_moves_whole_pieces_and_keeps_the_remainder_at_the_end(time: int, pieces: int, seed: int) -> None:
    signals = torch.arange(time, dtype=torch.float64).expand(3, 2, -1)
    dealt = permute(signals, pieces=pieces, generator=generator(seed))
    length = time // pieces
    assert torch.equal(dealt[:, 0], dealt[:, 1])
    for row in dealt[:, 0]:
        cut = row[: pieces * length].reshape(pieces, length)
        assert sorted(cut[:, 0].tolist()) == [float(piece * length) for piece in range(pieces)]
        assert torch.equal(cut - cut[:, :1], torch.arange(length).expand(pieces, -1).double())
        assert torch.equal(row[pieces * length :], signals[0, 0, pieces * length :])


def test_all_orders_of_pieces_are_equally_likely() -> None:
    signals = torch.arange(3, dtype=torch.float64).expand(6000, 1, -1)
    orders = permute(signals, pieces=3, generator=generator())[:, 0].unique(dim=0, return_counts=True)[1]
    assert len(orders) == 6
    assert (orders - 1000).abs().max() < 130


@given(pieces=st.integers(2, 12), stretch=st.floats(1.01, 2.0), seed=st.integers(0, 99))
def test_warping_is_that_of_a_plain_loop(pieces: int, stretch: float, seed: int) -> None:
    compare_with_plain_loop(waves(batch=2, time=97), pieces=pieces, stretch=stretch, seed=seed)


@pytest.mark.parametrize(("samples", "warped"), [(2560, 2579), (1280, 1294)])
def test_published_lengths_of_warped_signals(samples: int, warped: int) -> None:
    lengths = compare_with_plain_loop(waves(batch=2, time=samples), pieces=9, stretch=1.05, seed=0)
    assert lengths == [warped, warped]


def compare_with_plain_loop(signals: torch.Tensor, *, pieces: int, stretch: float, seed: int) -> list[int]:
    """Compare `warp` with a loop over pieces, and return the length of each signal before a part of it is kept."""
    time = signals.shape[2]
    warped = warp(signals, pieces=pieces, stretch=stretch, generator=generator(seed))
    order = torch.rand(len(signals), pieces, generator=(again := generator(seed))).argsort(dim=1)
    chance = torch.rand(len(signals), 1, generator=again)
    lengths = []
    for number, signal in enumerate(signals.numpy()):
        stretched = order[number].numpy() < -(-pieces // 2)
        whole = np.concatenate([resized(part, stretch if up else 1 / stretch) for part, up in cuts(signal, stretched)])
        start = int(chance[number] * max(0, len(whole) - time))
        kept = whole[start : start + time]
        kept = np.concatenate([kept, np.repeat(kept[-1:], time - len(kept), axis=0)])
        # positions are in single precision; a shift by one sample would change these signals by about 1
        np.testing.assert_allclose(warped[number].numpy(), kept.T, atol=max(1e-4, 1e-6 * time))
        lengths.append(len(whole))
    return lengths


def cuts(signal: np.ndarray, stretched: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    length = signal.shape[1] // len(stretched)
    return [(signal[:, number * length : (number + 1) * length], up) for number, up in enumerate(stretched)]


def resized(part: np.ndarray, factor: float) -> np.ndarray:
    """Resize as OpenCV does: samples are areas, and outside of the piece its last ones are repeated."""
    length = part.shape[1]
    size = int(np.ceil(length * factor))
    places = (np.arange(size) + 0.5) * length / size - 0.5
    return np.stack([np.interp(places, np.arange(length), channel) for channel in part], axis=1)


def test_warping_moves_every_sample_by_little() -> None:
    signals = torch.arange(1280, dtype=torch.float64).expand(50, 1, -1)
    warped = warp(signals, pieces=9, stretch=1.05, generator=generator())[:, 0]
    steps = warped.diff(dim=1)
    assert steps.min() > -1e-6
    assert steps.max() < 1.6
    assert (warped - signals[:, 0]).abs().max() < 50
    assert 0.5 < (steps < 1).double().mean() < 0.6


@pytest.mark.parametrize(
    "change",
    [
        lambda signals, source: add_noise(signals, snr=15.0, generator=source),
        lambda signals, source: permute(signals, pieces=20, generator=source),
        lambda signals, source: warp(signals, pieces=9, stretch=1.05, generator=source),
    ],
    ids=["noise", "permutation", "warping"],
)
def test_random_views_differ_between_signals_and_are_equal_for_equal_seeds(change: Callable) -> None:
    signals = waves()[:1].expand(4, -1, -1)
    before = signals.clone()
    first = change(signals, generator(5))
    assert torch.equal(signals, before)
    assert torch.equal(first, change(signals, generator(5)))
    assert first.shape == signals.shape
    assert len(first.flatten(1).unique(dim=0)) == 4
