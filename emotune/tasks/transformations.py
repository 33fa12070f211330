"""Seven views of a signal, as which of them it is can be learnt without labels.

Source: Sarkar & Etemad 2020 (arXiv:2002.03898), as in its authors' published code. All functions
are pure: what is random comes from the generator, and all channels of a signal are treated alike.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Signals = Float[Tensor, "batch channel time"]


def add_noise(signals: Signals, *, snr: float, generator: torch.Generator) -> Signals:
    """Add white noise to every channel, so many dB weaker than its mean power."""
    power = signals.square().mean(dim=2, keepdim=True) / 10 ** (snr / 10)
    return signals + power.sqrt() * torch.randn(signals.shape, generator=generator).to(signals)


def scale(signals: Signals, *, factor: float) -> Signals:
    """Multiply by a factor."""
    return signals * factor


def negate(signals: Signals) -> Signals:
    """Turn upside down."""
    return -signals


def reverse(signals: Signals) -> Signals:
    """Let time run backwards."""
    return signals.flip(2)


def permute(signals: Signals, *, pieces: int, generator: torch.Generator) -> Signals:
    """Cut into pieces of equal length and put them together in a random order, the same for all channels.

    The samples that are left over, fewer than there are pieces, stay at the end.
    """
    length = signals.shape[2] // pieces
    whole = pieces * length
    order = torch.rand(signals.shape[0], pieces, generator=generator).argsort(dim=1)
    steps = (order[:, :, None] * length + torch.arange(length)).flatten(1).to(signals.device)
    dealt = signals.gather(2, steps[:, None].expand(-1, signals.shape[1], -1))
    return torch.cat([dealt, signals[:, :, whole:]], dim=2)


def warp(signals: Signals, *, pieces: int, stretch: float, generator: torch.Generator) -> Signals:
    """Stretch half of the pieces of a signal, the larger half, and squeeze the others by the same factor.

    Which ones is random, and so is which part of the result, longer than the signal, is kept.
    Pieces are of equal length; the samples that are left over, fewer than there are pieces, are
    dropped. New samples are interpolated linearly, piece by piece, as by OpenCV's ``resize``.
    Should the result be shorter than the signal, its last sample is held.
    """
    count, time = signals.shape[0], signals.shape[2]
    length = time // pieces
    stretched = torch.rand(count, pieces, generator=generator).argsort(dim=1) < -(-pieces // 2)
    sizes = torch.where(stretched, math.ceil(length * stretch), math.ceil(length / stretch))
    ends = sizes.cumsum(dim=1)
    surplus = (ends[:, -1:] - time).clamp(min=0)
    chance = torch.rand(count, 1, generator=generator)
    steps = torch.arange(time) + (chance * surplus).long()
    steps = torch.minimum(steps, ends[:, -1:] - 1)
    piece = torch.searchsorted(ends, steps, right=True)
    size = sizes.gather(1, piece)
    within = (steps - (ends.gather(1, piece) - size) + 0.5) * (length / size) - 0.5
    places = piece * length + within.clamp(0, length - 1)
    return _read_between(signals, places.to(signals.device))


def _read_between(signals: Signals, places: Float[Tensor, "batch time"]) -> Signals:
    """Interpolate linearly at places between the samples."""
    left = places.floor()
    share = (places - left).to(signals.dtype)[:, None]
    first = left.long().clamp(max=signals.shape[2] - 1)
    second = (first + 1).clamp(max=signals.shape[2] - 1)
    before, after = (signals.gather(2, steps[:, None].expand(-1, signals.shape[1], -1)) for steps in (first, second))
    return before + (after - before) * share
