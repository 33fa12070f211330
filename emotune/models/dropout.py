"""Dropout whose random numbers belong to the segments, and which is cheap on a CPU.

The numbers of a segment are a function of the seed of the optimiser step and of the segment's position in the
joint batch alone. So several workers, each with a part of the joint batch, draw what one worker draws, and a run
resumes with other workers and the same numbers.

On a CPU torch's dropout takes 5 ns per element. Here 16 random bits are drawn per element, four elements at a time,
and masks multiply the bits of 16-bit numbers as integers.

On a GPU torch draws the numbers. In a compiled network only two numbers per segment are of torch's generator; those of
the elements are hashes of them, because torch's generator takes longer than the memory traffic of a dropout.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, Int32
from torch import Tensor, nn
from torch.nn import functional

from emotune.randomness import derive_seed

STREAM_STRIDE = 210306068529402873165736369884012333109
"""Distance between neighbouring streams in PCG64's period of 2**128, in numbers.

It is 2**128 divided by the golden ratio, as in NumPy's ``PCG64.jumped``: multiples of it, modulo the period, lie far
apart.
"""

RATE_LEVELS = 2**16
"""Dropout rates are rounded to multiples of 1 / RATE_LEVELS, as 16 bits are drawn per element."""


INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

HASH_FACTORS = (0xED5AD4BB - 2**32, 0xAC4C1B51 - 2**32, 0x31848BAB)
"""Factors of `hashed_numbers`, as signed 32-bit integers."""


class DropoutStreams:
    """The random numbers of one optimiser step: a stream for each dropout, segment and attention head.

    Every stream is a position in the period of one PCG64 generator. A longer stream begins with the shorter one, so
    padding rows at the end change nothing. The n-th dropout of the forward pass uses the streams with number n, on
    every worker.

    Args:
        seed: Seed of the optimiser step.
        first: Position of the batch's first segment in the joint batch.
        count: Number of segments of the batch.
    """

    def __init__(self, *, seed: int, first: int, count: int) -> None:
        self._generator = np.random.PCG64(seed)
        self._position = 0
        self._first = first
        self._count = count
        self._dropouts = 0

    def next_dropout(self) -> int:
        """Return the number of the next dropout in the forward pass, counted from 1."""
        self._dropouts += 1
        return self._dropouts

    def numbers(self, streams: range, *, dropout: int, heads: int, length: int) -> Int16[Tensor, "stream length"]:
        """Draw uniformly distributed 16-bit numbers.

        Args:
            streams: Numbers of the streams: stream i is that of head ``i % heads`` of entry
                ``i // heads`` of the batch. A batch may hold its segments several times (views).
            dropout: Number of the dropout, from `next_dropout`.
            heads: Streams per entry.
            length: Numbers per stream.
        """
        words = -(-length // 4)  # one 64-bit word gives four numbers
        if len(streams) == 1:  # an array that is not copied
            drawn = self._draw(self._index(streams[0], dropout=dropout, heads=heads), words)[None]
        else:
            drawn = np.empty((len(streams), words), dtype=np.uint64)
            for row, stream in enumerate(streams):
                drawn[row] = self._draw(self._index(stream, dropout=dropout, heads=heads), words)
        return torch.from_numpy(drawn).view(torch.int16)[:, :length]

    def _index(self, stream: int, *, dropout: int, heads: int) -> int:
        """Return a number for (dropout, view, head, position in the joint batch) that no other combination has."""
        entry, head = divmod(stream, heads)
        view, segment = divmod(entry, self._count)
        return ((dropout << 24 | view) << 24 | head) << 40 | self._first + segment

    def _draw(self, index: int, words: int) -> np.ndarray:
        start = index * STREAM_STRIDE
        self._generator.advance((start - self._position) % 2**128)
        self._position = start + words
        return self._generator.random_raw(words)


class Dropout(nn.Module):
    """Dropout of elements or of whole channels: in training mode, zeros at random and the others over (1 - rate).

    Equal in distribution to ``torch.nn.Dropout``, with the rate rounded to a multiple of 2**-16. On a CPU the
    random numbers are those of `seed_dropout`. Without it, on other devices and in compiled networks, they are of
    torch's generator.

    Args:
        rate: Share of the elements that become zero.
        channels: Whether whole channels (the second dimension) become zero together.

    Attributes:
        dropped: Rate in units of 1 / RATE_LEVELS.
        scale: Factor of the elements that are kept.
        streams: Random numbers of the present step; None draws from torch's generator.
    """

    def __init__(self, rate: float, *, channels: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        self.dropped = min(round(rate * RATE_LEVELS), RATE_LEVELS - 1)
        self.scale = 1 / (1 - self.dropped / RATE_LEVELS)
        self.streams: DropoutStreams | None = None

    @property
    def active(self) -> bool:
        """Whether elements are dropped: in training mode, at a rate above 0."""
        return self.training and self.dropped > 0

    def forward(self, states: Float[Tensor, "entry ..."]) -> Float[Tensor, "entry ..."]:
        """Return the states with some elements dropped."""
        if not self.active:
            return states
        if _by_torch(states):
            return self._drop_with_torch(states)
        return _Drop.apply(states, self._mask(states), self.scale)

    def add(self, states: Float[Tensor, "*shape"], *, branch: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ``states + dropout(branch)``, in one operation: a residual sum."""
        if not self.active:
            return states + branch
        if _by_torch(branch):
            return states + self._drop_with_torch(branch)
        return _AddDropped.apply(states, branch, self._mask(branch), self.scale)

    def rectify(self, states: Float[Tensor, "entry ..."]) -> Float[Tensor, "entry ..."]:
        """Return ``dropout(relu(states))``, in one operation."""
        if not self.active or _by_torch(states):
            return self(functional.relu(states))
        return _DropRectified.apply(states, self._mask(states), self.scale)

    def masks(self, entries: int, *, heads: int) -> "Masks":
        """Return the masks of one forward pass on a CPU, for a caller that applies them by itself.

        Args:
            entries: Entries of the batch.
            heads: Masks per entry.
        """
        return Masks(self._streams_for(entries), heads=heads, dropped=self.dropped)

    def extra_repr(self) -> str:
        """Return the text in the printed module."""
        return f"{self.rate}, channels={self.channels}"

    def _streams_for(self, entries: int) -> DropoutStreams:
        if self.streams is not None:
            return self.streams
        return DropoutStreams(seed=int(torch.randint(2**62, ()).item()), first=0, count=entries)

    def _mask_shape(self, states: Tensor) -> torch.Size:
        return states.shape[:2] + (1,) * (states.ndim - 2) if self.channels else states.shape

    def _mask(self, states: Tensor) -> Int16[Tensor, "entry ..."]:
        shape = self._mask_shape(states)
        kept = self.masks(shape[0], heads=1).kept(range(shape[0]), length=shape[1:].numel())
        return kept.view(shape) if kept.is_contiguous() else kept.reshape(shape)

    def _drop_with_torch(self, states: Tensor) -> Tensor:
        if states.device.type == "cuda" and torch.compiler.is_compiling():
            return torch.where(self._hashed_mask(states), states, 0) * self.scale
        drop = functional.dropout1d if self.channels else functional.dropout
        return drop(states, self.rate)

    def _hashed_mask(self, states: Tensor) -> Bool[Tensor, "entry ..."]:
        shape = self._mask_shape(states)
        keys = torch.randint(INT32_MIN, INT32_MAX, (2, shape[0], 1), dtype=torch.int32, device=states.device)
        numbers = hashed_numbers(keys, length=shape[1:].numel())
        return (numbers >= INT32_MIN + self.dropped * (2**32 // RATE_LEVELS)).view(shape)


def hashed_numbers(keys: Int32[Tensor, "2 entry 1"], *, length: int) -> Int32[Tensor, "entry length"]:
    """Return numbers that are uniformly distributed over all 32-bit integers, as a function of two keys per entry.

    The position is multiplied and its high bits are added to its low ones, three times, with a key before each of the
    first two products. It takes a tenth of the operations of torch's generator.

    Source: the finalizer ``triple32`` of Wellons, "Prospecting for hash functions" (nullprogram.com, 2018), with keys.

    Args:
        keys: Two random 32-bit integers per entry.
        length: Numbers per entry.
    """
    first, second = keys
    numbers = torch.arange(length, dtype=torch.int32, device=keys.device)[None] + first
    numbers = (numbers ^ (numbers >> 17 & 0x7FFF)) * HASH_FACTORS[0] ^ second
    numbers = (numbers ^ (numbers >> 11 & 0x1FFFFF)) * HASH_FACTORS[1]
    return (numbers ^ (numbers >> 15 & 0x1FFFF)) * HASH_FACTORS[2]


class Masks:
    """Masks of one dropout in one forward pass, stream by stream (see `DropoutStreams.numbers`).

    A 16-bit number, -32768 to 32767, drops its element if it lies among the ``dropped`` lowest.
    """

    def __init__(self, streams: DropoutStreams, *, heads: int, dropped: int) -> None:
        self._streams = streams
        self._dropout = streams.next_dropout()
        self._heads = heads
        self._threshold = dropped - RATE_LEVELS // 2

    def kept(self, streams: range, *, length: int) -> Int16[Tensor, "stream length"]:
        """Return 1 for elements that are kept and 0 for those that are dropped."""
        return self._numbers(streams, length).ge_(self._threshold)

    def dropped(self, streams: range, *, length: int) -> Int16[Tensor, "stream length"]:
        """Return 1 for elements that are dropped and 0 for those that are kept."""
        return self._numbers(streams, length).lt_(self._threshold)

    def _numbers(self, streams: range, length: int) -> Tensor:
        return self._streams.numbers(streams, dropout=self._dropout, heads=self._heads, length=length)


def seed_dropout(module: nn.Module, *, seed: int, first: int, count: int) -> None:
    """Set the random numbers of a module's dropouts for its next forward pass.

    On a CPU the numbers of a segment depend on the seed and its position in the joint batch alone. On
    other devices, and in compiled networks, torch draws them; its generator is seeded from the seed and the first
    position. Several workers then draw other numbers than one worker, with the same distribution.

    Args:
        module: The network.
        seed: Seed of the optimiser step.
        first: Position of the batch's first segment in the joint batch.
        count: Segments of the batch; the network's input may hold each several times (views).
    """
    dropouts = list(_active_dropouts(module))
    if not dropouts:
        return
    torch.manual_seed(derive_seed(seed, "first", first))
    streams = DropoutStreams(seed=seed, first=first, count=count)
    for dropout in dropouts:
        dropout.streams = streams


def _active_dropouts(module: nn.Module) -> Iterator[Dropout]:
    return (part for part in module.modules() if isinstance(part, Dropout) and part.active)


def _by_torch(states: Tensor) -> bool:
    return states.device.type != "cpu" or torch.compiler.is_compiling()


def _keep(states: Tensor, mask: Tensor) -> Tensor:
    """Return the states times a mask of zeros and ones.

    The bits of 16-bit floats are multiplied as integers, which gives the same result several times faster.
    """
    if states.element_size() == 2:
        return (states.view(torch.int16) * mask).view(states.dtype)
    return states * mask


class _Drop(torch.autograd.Function):
    """``scale * mask * states``; saves the mask only."""

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
    """``states + scale * mask * branch``; saves the mask only."""

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
    """``scale * mask * relu(states)``; saves the result, whose zeros are those of the mask and of the ReLU together."""

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
