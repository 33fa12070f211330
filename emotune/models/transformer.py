"""The ECG and EEG Transformer: a convolutional stem, a class token, positions, encoder blocks.

Source: Vazquez-Rodriguez et al., "Transformer-Based Self-Supervised Learning for Emotion
Recognition", ICPR 2022 (arXiv:2204.05103), sections III and IV-C. For a signal x_1, ..., x_s:

    F = stem(X) = {f_1, ..., f_s}                          a feature per sample
    Z = {CLS + pe_0, f_1 + pe_1, ..., f_s + pe_s}          equation 1
    E = {e_CLS, e_1, ..., e_s} = blocks(LayerNorm(Z))      equation 2

The paper leaves some choices open. The docstrings and comments state each of them.
"""

from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.models.attention import Attention
from emotune.models.base import Encoder, ModelSettings
from emotune.models.dropout import Dropout

Rows = Int64[Tensor, "batch row"]
"""Numbers of representations, per signal: 0 is ``e_CLS``, i is ``e_i``, that of sample i - 1."""

CLASS_TOKEN_STD = 0.02
"""Standard deviation of the initial class token, as in BERT (arXiv:1810.04805); the paper gives none."""

WAVELENGTH_RATIO = 10_000.0
"""Longest over shortest wavelength of the position encoding; the shortest is 2 pi steps."""


class Transformer(ModelSettings):
    """A convolutional stem followed by a Transformer encoder; the defaults are the published sizes.

    With the head of `emotune.tasks.MaskedValues` these are 2,445,953 parameters for ECG.
    """

    kind: Literal["transformer"] = "transformer"

    channels: tuple[int, ...] = Field(default=(64, 128, 256), min_length=1)
    """Output channels of each convolution of the stem; the last number is the width of the Transformer."""

    kernels: tuple[int, ...] = Field(default=(65, 33, 17), min_length=1)
    """Kernel size of each convolution of the stem, in samples; odd numbers."""

    layers: int = Field(default=2, ge=1, le=48)
    """Number of Transformer blocks."""

    heads: int = Field(default=2, ge=1, le=64)
    """Number of attention heads; must divide the width."""

    feedforward: int = Field(default=1024, ge=1)
    """Hidden units of the blocks' feed-forward networks."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate after the stem, after the position encoding and inside the blocks."""

    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate of the attention probabilities; 0 is much faster on a CPU."""

    @property
    def width(self) -> int:
        """Number of features of a representation."""
        return self.channels[-1]

    @model_validator(mode="after")
    def _check_shapes(self) -> "Transformer":
        if len(self.channels) != len(self.kernels):
            raise ValueError(
                f"channels {self.channels} and kernels {self.kernels} must have the same length, one per convolution"
            )
        even = [kernel for kernel in self.kernels if kernel < 1 or kernel % 2 == 0]
        if even:
            raise ValueError(
                f"kernels {self.kernels}: {even[0]} is not odd and positive, so outputs would not align with inputs; "
                "give odd kernel sizes"
            )
        if min(self.channels) < 1 or self.width % 2:
            raise ValueError(f"channels {self.channels}: give positive numbers, the last one even")
        if self.width % self.heads:
            raise ValueError(
                f"heads: {self.heads} does not divide the width {self.width} (the last of channels); give a divisor"
            )
        return self

    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add counts as 2).

        Matrix products and convolutions are counted, for all rows of all blocks. Per block, with n steps of width d
        and a feed-forward network of h units: 8 n d^2 (four projections), 4 n^2 d (scores and weighted values) and
        4 n d h (two linear layers).
        """
        steps, width = samples + 1, self.width
        sizes = [channels, *self.channels]
        stem = sum(
            2 * samples * before * after * kernel
            for before, after, kernel in zip(sizes[:-1], sizes[1:], self.kernels, strict=True)
        )
        block = 8 * steps * width**2 + 4 * steps**2 * width + 4 * steps * width * self.feedforward
        return float(stem + self.layers * block)

    def build(self, *, channels: int) -> "TransformerEncoder":
        """Return an encoder for signals with this number of channels, with newly drawn weights."""
        return TransformerEncoder(self, channels=channels)


class Stem(nn.Module):
    """Convolutions of stride 1 that keep the length, so that feature f_i belongs to sample x_i.

    The published kernels give a receptive field of 113 samples, 0.88 s at 128 Hz: about one heartbeat.

    The paper places LayerNorm "on the first layer" and on the output, without the order or the axis. Here the first
    layer is convolution, LayerNorm, ReLU, and the output is LayerNorm after the last ReLU. LayerNorm is over the
    channels at each time step, as in the Transformer. Zero padding is half a kernel on both sides.
    """

    def __init__(self, settings: Transformer, *, channels: int) -> None:
        super().__init__()
        sizes = [channels, *settings.channels]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding=kernel // 2)
            for before, after, kernel in zip(sizes[:-1], sizes[1:], settings.kernels, strict=True)
        )
        self.first_norm = LayerNorm(settings.channels[0])
        self.last_norm = LayerNorm(settings.width)

    def forward(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch time width"]:
        """Return a feature vector for each sample."""
        first, *others = self.convolutions
        by_product = signals.device.type == "cuda"
        features = (convolve_as_product if by_product else convolve)(first, signals.transpose(1, 2))
        features = functional.relu(self.first_norm(features))
        for convolution in others:
            features = functional.relu(convolve(convolution, features))
        return self.last_norm(features)


def convolve(convolution: nn.Module, features: Float[Tensor, "batch time before"]) -> Float[Tensor, "batch time after"]:
    """Convolve along time, as a 2-D convolution over an image one pixel high.

    Conv1d has no memory format with the channels last, conv2d has: oneDNN computes it up to 1.6 times faster, and
    the features need no transposition before LayerNorm.
    """
    assert isinstance(convolution, nn.Conv1d)
    image = features[:, None].permute(0, 3, 1, 2)
    kernel = convolution.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    padding = (0, convolution.weight.shape[2] // 2)
    return functional.conv2d(image, kernel, convolution.bias, padding=padding).permute(0, 2, 3, 1)[:, 0]


def convolve_as_product(
    convolution: nn.Module, features: Float[Tensor, "batch time before"]
) -> Float[Tensor, "batch time after"]:
    """Convolve along time, as one matrix product over all windows.

    cuDNN has no fast kernel for one input channel. The windows of a signal are few, so they may be copied.
    """
    assert isinstance(convolution, nn.Conv1d)
    weight = convolution.weight.flatten(1)
    size = convolution.weight.shape[2]
    padded = functional.pad(features, (0, 0, size // 2, size // 2))
    windows = padded.unfold(1, size, 1).flatten(2)
    # rows of a multiple of 16 bytes, which tensor cores require
    missing = -weight.shape[1] % 8
    windows, weight = (functional.pad(factor, (0, missing)) for factor in (windows, weight))
    return functional.linear(windows, weight, convolution.bias)


class Block(nn.Module):
    """One encoder block with LayerNorm after each residual sum (post-norm) and ReLU.

        y = LayerNorm(x + dropout(attention(x)))
        z = LayerNorm(y + dropout(W_2 dropout(ReLU(W_1 y + b_1)) + b_2))

    The paper's block is "almost identical" to that of Vaswani et al. 2017 (arXiv:1706.03762), section 3.1.
    Dropout acts on attention probabilities, on both residual branches and inside the feed-forward
    network, as in ``torch.nn.TransformerEncoderLayer``.
    """

    def __init__(self, settings: Transformer) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.attention = Attention(settings.attention_dropout)
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.widen = nn.Linear(width, settings.feedforward)
        self.narrow = nn.Linear(settings.feedforward, width)
        self.attention_norm = LayerNorm(width)
        self.feedforward_norm = LayerNorm(width)
        self.dropout = Dropout(settings.dropout)

    def forward(
        self, inputs: Float[Tensor, "batch step width"], rows: Rows | None = None
    ) -> Float[Tensor, "batch row width"]:
        """Return the representations of all steps, or of ``rows`` only.

        Every row attends to all steps, so a row has the same value whichever others are computed. Only queries and
        the feed-forward network are computed for fewer rows; keys and values are computed for all steps.
        """
        queried = inputs if rows is None else take_rows(inputs, rows)
        outputs = self.attention_norm(self.dropout.add(queried, branch=self._attend(queried, inputs)))
        hidden = self.dropout.rectify(self.widen(outputs))
        return self.feedforward_norm(self.dropout.add(outputs, branch=self.narrow(hidden)))

    def _attend(
        self, queried: Float[Tensor, "batch row width"], inputs: Float[Tensor, "batch step width"]
    ) -> Float[Tensor, "batch row width"]:
        """Return multi-head attention from the queried rows to all steps (Vaswani et al. 2017, section 3.2.2)."""
        width = inputs.shape[-1]
        # one weight holds the three projections, as in torch.nn.MultiheadAttention; rows may need queries only
        query_weight, key_value_weight = self.project_in.weight.split([width, 2 * width])
        query_bias, key_value_bias = self.project_in.bias.split([width, 2 * width])
        query = self._by_head(functional.linear(queried, query_weight, query_bias))
        key, value = functional.linear(inputs, key_value_weight, key_value_bias).chunk(2, dim=-1)
        attended = self.attention(query, self._by_head(key), self._by_head(value))
        return self.project_out(attended.transpose(1, 2).flatten(2))

    def _by_head(self, states: Float[Tensor, "batch step width"]) -> Float[Tensor, "batch head step head_width"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerEncoder(Encoder):
    """Signals to representations: ``e_CLS`` and one for each sample (equations 1 and 2).

    The paper names dropout "after" the position encoding; here LayerNorm comes first, as in BERT.

    Args:
        settings: Sizes and dropout.
        channels: Channels of the signals (1 for ECG, 10 for the papers' EEG).
    """

    def __init__(self, settings: Transformer, *, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.width = settings.width
        self.stem = Stem(settings, channels=channels)
        self.class_token = nn.Parameter(torch.randn(settings.width) * CLASS_TOKEN_STD)
        self.position_norm = LayerNorm(settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.dropout = Dropout(settings.dropout)

    def forward(
        self, signals: Float[Tensor, "batch channel time"], rows: Rows | None = None
    ) -> Float[Tensor, "batch row width"]:
        """Return representations of signals.

        Args:
            signals: Standardised signals (zero mean, unit variance).
            rows: Which representations to return, per signal: 0 is ``e_CLS``, i is that of
                sample i - 1 (counted from 0). Only the last block is computed for fewer rows, since the
                blocks below it provide its keys and values. None returns all time + 1 of them.
        """
        features = self.dropout(self.stem(signals))
        # equation 1; the class token comes first and so has position 0
        token = self.class_token.expand(signals.shape[0], 1, -1)
        steps = torch.cat([token.to(features.dtype), features], dim=1)
        positions = sinusoids(steps.shape[1], self.width, dtype=steps.dtype, device=steps.device)
        states = self.dropout(self.position_norm(steps + positions))
        *others, last = self.blocks
        for block in others:
            states = block(states)
        return last(states, rows)

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each convolution, and of each block; token and norms are with their neighbours."""
        stem = [list(convolution.parameters()) for convolution in self.stem.convolutions]
        stem[0] += self.stem.first_norm.parameters()
        stem[-1] += [*self.stem.last_norm.parameters(), self.class_token, *self.position_norm.parameters()]
        return [*stem, *(list(block.parameters()) for block in self.blocks)]

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return ``e_CLS``; the last block is computed for one row."""
        rows = torch.zeros(signals.shape[0], 1, dtype=torch.int64, device=signals.device)
        return self(signals, rows)[:, 0]


def take_rows(states: Float[Tensor, "batch step width"], rows: Rows) -> Float[Tensor, "batch row width"]:
    """Return the representations with the given numbers, which may differ between signals."""
    return states.gather(1, rows[:, :, None].expand(-1, -1, states.shape[-1]))


@torch.compiler.assume_constant_result
def sinusoids(
    steps: int, width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Float[Tensor, "step width"]:
    """Return the fixed position encoding of Vaswani et al. 2017, section 3.5; a constant in a compiled network.

    ``pe[i, 2 j] = sin(i / 10000^(2 j / width))`` and ``pe[i, 2 j + 1] = cos(i / 10000^(2 j / width))``.
    """
    return cached_sinusoids(steps, width, dtype=dtype, device=device)


@lru_cache(maxsize=8)
def cached_sinusoids(
    steps: int, width: int, *, dtype: torch.dtype, device: torch.device | None
) -> Float[Tensor, "step width"]:
    """Return `sinusoids`, computed once for equal arguments."""
    frequencies = torch.exp(torch.arange(0, width, 2) * (-torch.log(torch.tensor(WAVELENGTH_RATIO)) / width))
    angles = torch.arange(steps)[:, None] * frequencies[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(device=device, dtype=dtype)


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` with gradients of scale and shift that are summed in float32 for bfloat16 inputs, too.

    On a CPU torch sums them in bfloat16, over all time steps of a batch. The relative error was about 0.1: bfloat16
    keeps 8 bits, so a sum over thousands of steps loses the small terms.

    On a GPU autocast normalises in float32 and returns float32, so all sums and activations after it would take twice
    the memory. The result has the type of the input, as on a CPU.
    """

    def forward(self, input: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Normalise over the last dimension."""
        if input.device.type == "cpu" and input.dtype == torch.bfloat16 and torch.is_grad_enabled():
            return _Normalise.apply(input, self.weight, self.bias, self.eps)
        return super().forward(input).to(input.dtype)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        normalised, mean, rstd = torch.native_layer_norm(states, weight.shape, weight, bias, epsilon)
        ctx.save_for_backward(states, mean, rstd, weight, bias)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        states, mean, rstd, weight, bias = ctx.saved_tensors
        inward, scale, shift = torch.ops.aten.native_layer_norm_backward(
            gradients[0].float(), states.float(), weight.shape, mean, rstd, weight, bias, [True, True, True]
        )
        return inward.to(states.dtype), scale, shift, None
