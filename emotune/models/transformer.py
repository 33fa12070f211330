"""The ECG and EEG Transformer: a convolutional stem, a class token, positions, encoder blocks.

Source: Vazquez-Rodriguez et al., "Transformer-Based Self-Supervised Learning for Emotion
Recognition", ICPR 2022 (arXiv:2204.05103), sections III and IV-C. Where the paper leaves a choice
open, the docstrings say what was chosen.
"""

from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.models.attention import Attention
from emotune.models.base import Encoder, ModelSettings
from emotune.models.dropout import Dropout
from emotune.models.norm import LayerNorm

Rows = Int64[Tensor, "batch row"]


class Transformer(ModelSettings):
    """A convolutional stem followed by a Transformer encoder; the defaults are the published sizes."""

    kind: Literal["transformer"] = "transformer"

    channels: tuple[int, ...] = Field(default=(64, 128, 256), min_length=1)
    """Output channels of the stem's convolutions; the last one is the width of the Transformer."""

    kernels: tuple[int, ...] = Field(default=(65, 33, 17), min_length=1)
    """Odd kernel sizes of the stem's convolutions, in samples."""

    layers: int = Field(default=2, ge=1, le=48)
    """Number of Transformer blocks."""

    heads: int = Field(default=2, ge=1, le=64)
    """Number of attention heads; must divide the width."""

    feedforward: int = Field(default=1024, ge=1)
    """Hidden units of the blocks' feed-forward networks."""

    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after the stem, after the positions and inside the blocks."""

    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of attention probabilities; 0 is much faster on a CPU."""

    @property
    def width(self) -> int:
        """Size of a representation."""
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
                f"kernels {self.kernels}: {even[0]} is not odd and positive, so outputs would not align with inputs"
            )
        if min(self.channels) < 1 or self.width % 2:
            raise ValueError(f"channels {self.channels} must be positive, and the last one even")
        if self.width % self.heads:
            raise ValueError(f"heads: {self.heads} does not divide the width {self.width} (the last of channels)")
        return self

    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add is 2)."""
        steps, width = samples + 1, self.width
        sizes = [channels, *self.channels]
        stem = sum(
            2 * samples * before * after * kernel
            for before, after, kernel in zip(sizes[:-1], sizes[1:], self.kernels, strict=True)
        )
        block = 8 * steps * width**2 + 4 * steps**2 * width + 4 * steps * width * self.feedforward
        return float(stem + self.layers * block)

    def build(self, *, channels: int) -> "TransformerEncoder":
        """Make the encoder for signals of so many channels, with freshly drawn weights."""
        return TransformerEncoder(self, channels=channels)


class Stem(nn.Module):
    """Convolutions of stride 1 that keep the length, so that feature i belongs to sample i.

    The first layer is convolution, LayerNorm, ReLU; the output is LayerNorm after the last ReLU.
    LayerNorm is taken over the channels at each time step. Zero padding of half a kernel.
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
        """Return a feature for each sample."""
        first, *others = self.convolutions
        features = _convolve(first, signals.transpose(1, 2))
        features = functional.relu(self.first_norm(features))
        for convolution in others:
            features = functional.relu(_convolve(convolution, features))
        return self.last_norm(features)


def _convolve(
    convolution: nn.Module, features: Float[Tensor, "batch time before"]
) -> Float[Tensor, "batch time after"]:
    """Convolve along time, the channels of a sample side by side in memory: up to 1.6 times faster so (oneDNN)."""
    assert isinstance(convolution, nn.Conv1d)
    picture = features[:, None].permute(0, 3, 1, 2)
    kernel = convolution.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    padding = (0, convolution.weight.shape[2] // 2)
    return functional.conv2d(picture, kernel, convolution.bias, padding=padding).permute(0, 2, 3, 1)[:, 0]


class Block(nn.Module):
    """One post-norm encoder block with ReLU, "almost identical" to Vaswani et al. 2017.

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
        """Encode all steps, or only those that ``rows`` names (each still attends to all steps)."""
        queried = inputs if rows is None else take_rows(inputs, rows)
        outputs = self.attention_norm(self.dropout.add(queried, branch=self._attend(queried, inputs)))
        hidden = self.dropout.rectify(self.widen(outputs))
        return self.feedforward_norm(self.dropout.add(outputs, branch=self.narrow(hidden)))

    def _attend(
        self, queried: Float[Tensor, "batch row width"], inputs: Float[Tensor, "batch step width"]
    ) -> Float[Tensor, "batch row width"]:
        width = inputs.shape[-1]
        query_weight, key_value_weight = self.project_in.weight.split([width, 2 * width])
        query_bias, key_value_bias = self.project_in.bias.split([width, 2 * width])
        query = self._by_head(functional.linear(queried, query_weight, query_bias))
        key, value = functional.linear(inputs, key_value_weight, key_value_bias).chunk(2, dim=-1)
        attended = self.attention(query, self._by_head(key), self._by_head(value))
        return self.project_out(attended.transpose(1, 2).flatten(2))

    def _by_head(self, states: Float[Tensor, "batch step width"]) -> Float[Tensor, "batch head step part"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class TransformerEncoder(Encoder):
    """Signals to representations: ``e_CLS`` and one for each sample (equations 1 and 2).

    Args:
        settings: Sizes and dropout.
        channels: Channels of the signals (1 for ECG, 10 for the papers' EEG).
    """

    def __init__(self, settings: Transformer, *, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.width = settings.width
        self.stem = Stem(settings, channels=channels)
        self.class_token = nn.Parameter(torch.randn(settings.width) * 0.02)
        self.position_norm = LayerNorm(settings.width)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.dropout = Dropout(settings.dropout)

    def forward(
        self, signals: Float[Tensor, "batch channel time"], rows: Rows | None = None
    ) -> Float[Tensor, "batch row width"]:
        """Encode signals.

        Args:
            signals: Standardised signals.
            rows: Which representations to return, per signal: 0 is ``e_CLS``, i is that of
                sample i - 1. The last block is computed for these only, which changes nothing
                else. None returns all, time + 1 of them.
        """
        features = self.dropout(self.stem(signals))
        token = self.class_token.expand(signals.shape[0], 1, -1)
        steps = torch.cat([token.to(features.dtype), features], dim=1)
        positions = sinusoids(steps.shape[1], self.width, dtype=steps.dtype, device=steps.device)
        states = self.dropout(self.position_norm(steps + positions))
        *others, last = self.blocks
        for block in others:
            states = block(states)
        return last(states, rows)

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return ``e_CLS`` only; the last block is computed for one row."""
        rows = torch.zeros(signals.shape[0], 1, dtype=torch.int64, device=signals.device)
        return self(signals, rows)[:, 0]


def take_rows(states: Float[Tensor, "batch step width"], rows: Rows) -> Float[Tensor, "batch row width"]:
    """Pick representations by number, for each signal its own."""
    return states.gather(1, rows[:, :, None].expand(-1, -1, states.shape[-1]))


@lru_cache(maxsize=8)
def sinusoids(
    steps: int, width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> Float[Tensor, "step width"]:
    """Return the fixed positions of Vaswani et al. 2017, section 3.5: sines in even columns, cosines in odd."""
    wavelengths = torch.exp(torch.arange(0, width, 2) * (-torch.log(torch.tensor(10_000.0)) / width))
    angles = torch.arange(steps)[:, None] * wavelengths[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(device=device, dtype=dtype)
