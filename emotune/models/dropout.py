"""Dropout whose draws belong to the segments, and which costs little on a CPU.

What is drawn for a segment is a function of the step's seed and of the segment's place in the joint
batch alone, so that several workers together draw what one worker draws. On a CPU torch spends 5 ns
on each element; here 16 bits are drawn for each, four at a time, and masks are applied to the bits
of the numbers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int16
from torch import Tensor, nn
from torch.nn import functional

from emotune.randomness import derive_seed

STRIDE = 210306068529402873165736369884012333109
"""The golden section of 2**128: multiples of it lie far apart in PCG64's period, as NumPy's ``jumped`` has it."""

LEVELS = 2**16
"""Dropout rates are exact to one in so many."""


class Draws:
    """The random numbers of one optimiser step: a stream for each dropout, segment and part (head) of it.

    A longer stream begins with the shorter one. The n-th dropout of the forward pass has the n-th
    number, so that streams do not depend on which worker asks.

    Args:
        seed: Seed of the step.
        first: Place of the batch's first segment in the joint batch.
        count: Segments of the batch.
    """

    def __init__(self, *, seed: int, first: int, count: int) -> None:
        self._generator = np.random.PCG64(seed)
        self._position = 0
        self._first = first
        self._count = count
        self._dropouts = 0

    def next_dropout(self) -> int:
        """Return the number of the next dropout in the forward pass."""
        self._dropouts += 1
        return self._dropouts

    def numbers(self, which: range, *, dropout: int, parts: int, length: int) -> Int16[Tensor, "stream length"]:
        """Draw 16-bit numbers, each as probable as any other.

        Args:
            which: Numbers of the streams; stream i is that of part ``i % parts`` of entry
                ``i // parts`` of the batch. A batch may hold its segments several times (views).
            dropout: As from `next_dropout`.
            parts: Streams of each entry.
            length: Numbers of each stream.
        """
        words = -(-length // 4)
        if len(which) == 1:
            drawn = self._draw(self._place(which[0], dropout=dropout, parts=parts), words)[None]
        else:
            drawn = np.empty((len(which), words), dtype=np.uint64)
            for row, stream in enumerate(which):
                drawn[row] = self._draw(self._place(stream, dropout=dropout, parts=parts), words)
        return torch.from_numpy(drawn).view(torch.int16)[:, :length]

    def _place(self, stream: int, *, dropout: int, parts: int) -> int:
        entry, part = divmod(stream, parts)
        view, segment = divmod(entry, self._count)
        return ((dropout << 24 | view) << 24 | part) << 40 | self._first + segment

    def _draw(self, place: int, words: int) -> np.ndarray:
        start = place * STRIDE
        self._generator.advance((start - self._position) % 2**128)
        self._position = start + words
        return self._generator.random_raw(words)


class Dropout(nn.Module):
    """Sets elements, or whole channels, to zero at random and scales the others up, while training.

    Equal in distribution to ``torch.nn.Dropout``, with the rate rounded to 2**-16. On a CPU the
    draws are those of `seed_dropout`; without it, on other devices and in compiled networks, of
    torch's generator.

    Args:
        rate: Share of the elements that become zero.
        channels: Whether whole channels (the second dimension) become zero together.
    """

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        self.dropped = min(round(rate * LEVELS), LEVELS - 1)
        self.scale = 1 / (1 - self.dropped / LEVELS)
        self.draws: Draws | None = None

    @property
    def active(self) -> bool:
        """Whether anything is dropped at present."""
        return self.training and self.dropped > 0

    def forward(self, states: Float[Tensor, "entry ..."]) -> Float[Tensor, "entry ..."]:
        """Drop elements."""
        if not self.active:
            return states
        if _by_torch(states):
            return self._drop_with_torch(states)
        return _Drop.apply(states, self._mask(states), self.scale)

    def add(self, states: Float[Tensor, "*shape"], *, branch: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the states plus what is left of a branch."""
        if not self.active:
            return states + branch
        if _by_torch(branch):
            return states + self._drop_with_torch(branch)
        return _AddDropped.apply(states, branch, self._mask(branch), self.scale)

    def rectify(self, states: Float[Tensor, "entry ..."]) -> Float[Tensor, "entry ..."]:
        """Drop elements of the states' positive part."""
        if not self.active or _by_torch(states):
            return self(functional.relu(states))
        return _DropRectified.apply(states, self._mask(states), self.scale)

    def bits(self, entries: int, *, parts: int) -> "Bits":
        """Return the source of masks for something that applies them itself, on a CPU."""
        return Bits(self._draws_for(entries), parts=parts, dropped=self.dropped)

    def extra_repr(self) -> str:
        """Return what the printed module shows."""
        return f"{self.rate}, channels={self.channels}"

    def _draws_for(self, entries: int) -> Draws:
        if self.draws is not None:
            return self.draws
        return Draws(seed=int(torch.randint(2**62, ()).item()), first=0, count=entries)

    def _mask(self, states: Tensor) -> Int16[Tensor, "entry ..."]:
        shape = states.shape[:2] + (1,) * (states.ndim - 2) if self.channels else states.shape
        kept = self.bits(shape[0], parts=1).kept(range(shape[0]), length=shape[1:].numel())
        return kept.view(shape) if kept.is_contiguous() else kept.reshape(shape)

    def _drop_with_torch(self, states: Tensor) -> Tensor:
        drop = functional.dropout1d if self.channels else functional.dropout
        return drop(states, self.rate)


class Bits:
    """Masks of one dropout in one forward pass, stream by stream (see `Draws.numbers`)."""

    def __init__(self, draws: Draws, *, parts: int, dropped: int) -> None:
        self._draws = draws
        self._dropout = draws.next_dropout()
        self._parts = parts
        self._threshold = dropped - LEVELS // 2

    def kept(self, which: range, *, length: int) -> Int16[Tensor, "stream length"]:
        """Return 1 for what is kept and 0 for what is dropped."""
        return self._numbers(which, length).ge_(self._threshold)

    def dropped(self, which: range, *, length: int) -> Int16[Tensor, "stream length"]:
        """Return 1 for what is dropped and 0 for what is kept."""
        return self._numbers(which, length).lt_(self._threshold)

    def _numbers(self, which: range, length: int) -> Tensor:
        return self._draws.numbers(which, dropout=self._dropout, parts=self._parts, length=length)


def seed_dropout(module: nn.Module, *, seed: int, first: int, count: int) -> None:
    """Decide what the dropouts of a module draw in its next forward pass.

    On a CPU the draws of a segment depend on the seed and its place in the joint batch alone. On
    other devices, and in compiled networks, they are torch's own, seeded from the seed and the first
    place: several workers draw something else than one, equal in distribution only.

    Args:
        module: The network.
        seed: Seed of the optimiser step.
        first: Place of the batch's first segment in the joint batch.
        count: Segments of the batch; the network's batches may hold each several times.
    """
    dropouts = list(_active_dropouts(module))
    if not dropouts:
        return
    torch.manual_seed(derive_seed(seed, "first", first))
    draws = Draws(seed=seed, first=first, count=count)
    for dropout in dropouts:
        dropout.draws = draws


def _active_dropouts(module: nn.Module) -> Iterator[Dropout]:
    return (part for part in module.modules() if isinstance(part, Dropout) and part.active)


def _by_torch(states: Tensor) -> bool:
    return states.device.type != "cpu" or torch.compiler.is_compiling()


def _keep(states: Tensor, mask: Tensor) -> Tensor:
    """Multiply by a mask of zeros and ones; of 16-bit numbers the bits, which is several times faster."""
    if states.element_size() == 2:
        return (states.view(torch.int16) * mask).view(states.dtype)
    return states * mask


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return _keep(states, mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return _keep(gradients[0], mask).mul_(ctx.scale), None, None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, branch: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale, ctx.dtype = scale, branch.dtype
        return torch.add(states, _keep(branch, mask), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0], _keep(gradients[0].to(ctx.dtype), mask).mul_(ctx.scale), None, None


class _DropRectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, mask: Tensor, scale: float) -> Tensor:
        result = _keep(functional.relu(states), mask).mul_(scale)
        ctx.save_for_backward(result)
        ctx.scale = scale
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], result, 0).mul_(ctx.scale), None, None
