"""The baseline of the papers, a convolutional network: three pairs of convolutions and a maximum over time.

    signals -> [conv k, leaky ReLU, dropout] x 2 -> max-pool -> ... -> maximum over time (global max-pooling)

With ``norm: batch`` each convolution is followed by a batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).

Source: Sarkar & Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 2020 (arXiv:2002.03898), as in its authors' published
TensorFlow code. Not confirmed: the slope of the leaky ReLU. That code leaves it to TensorFlow's
default, taken here to be 0.2.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.errors import SettingsError
from emotune.models.base import Encoder, ModelSettings
from emotune.models.dropout import Dropout

Samples = Annotated[int, Field(ge=1)]


class ConvNet(ModelSettings):
    """Pairs of convolutions with max-pooling between pairs; the defaults are the published sizes.

    These are 329,152 parameters for one channel.
    """

    kind: Literal["convnet"] = "convnet"

    channels: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    """Output channels of each pair of convolutions; the last number is the width of the representation."""

    kernels: tuple[int, ...] = Field(default=(32, 16, 8), min_length=1)
    """Kernel size of each pair of convolutions, in samples."""

    pool: Samples | tuple[Samples, ...] = 8
    """Window of the max-pooling between two pairs, in samples; a list has one for each gap between pairs."""

    pool_stride: Samples | tuple[Samples, ...] = 2
    """Stride of the max-pooling, in samples; a list has one for each gap between pairs."""

    groups: int = Field(default=1, ge=1)
    """Groups of equal length in time at the end, each of which gives its maximum of every channel; 1: one maximum over
    all of the signal, as published. The representation has ``groups`` times the last number of ``channels``."""

    norm: Literal["none", "batch"] = "none"
    """Normalisation after each convolution: ``none``, as published, or ``batch``. Batch normalisation makes the loss of
    a segment depend on the others of its batch, so that several workers (``--workers``) give other numbers than one."""

    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of the leaky ReLU for negative inputs; 0 gives the plain ReLU."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate of whole channels after each convolution."""

    @property
    def width(self) -> int:
        """Number of features of a representation."""
        return self.groups * self.channels[-1]

    @property
    def pools(self) -> list[tuple[int, int]]:
        """Window and stride of the max-pooling between each two pairs, in samples."""
        gaps = len(self.channels) - 1
        windows, strides = (
            [given] * gaps if isinstance(given, int) else list(given) for given in (self.pool, self.pool_stride)
        )
        return list(zip(windows, strides, strict=True))

    @model_validator(mode="after")
    def _check_shapes(self) -> "ConvNet":
        if len(self.channels) != len(self.kernels):
            raise ValueError(
                f"channels {self.channels} and kernels {self.kernels} must have the same length, one per pair"
            )
        if min(*self.channels, *self.kernels) < 1:
            raise ValueError(f"channels {self.channels} and kernels {self.kernels} must be positive")
        for name in ("pool", "pool_stride"):
            given = getattr(self, name)
            if not isinstance(given, int) and len(given) != len(self.channels) - 1:
                raise ValueError(
                    f"{name}: {list(given)} was given, expected one number, or {len(self.channels) - 1} for the gaps "
                    f"between {len(self.channels)} pairs"
                )
        return self

    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add counts as 2).

        Convolutions are counted: 2 * length * output channels * kernel * input channels, for both of each pair.
        """
        total, before = 0, channels
        for length, after, kernel in zip(self.lengths(samples), self.channels, self.kernels, strict=True):
            total += 2 * length * after * kernel * (before + after)
            before = after
        return float(total)

    def lengths(self, samples: int) -> list[int]:
        """Return the length of the signal in each pair of convolutions, in samples; 0 or less if it is too short.

        Max-pooling without padding makes ``floor((length - pool) / stride) + 1`` of a length.
        """
        lengths = [samples]
        for window, stride in self.pools:
            lengths.append((lengths[-1] - window) // stride + 1)
        return lengths

    def build(self, *, channels: int) -> "ConvNetEncoder":
        """Return an encoder for signals with this number of channels, with newly drawn weights."""
        return ConvNetEncoder(self, channels=channels)


class ConvNetEncoder(Encoder):
    """Signals of any length to one representation each: the maximum over time of every channel.

    Zero padding keeps the length ("same"). An even kernel needs an odd number of zeros, and TensorFlow puts the odd
    one on the right. Weights are drawn as by TensorFlow: Glorot's uniform distribution, biases zero.

    Args:
        settings: Sizes.
        channels: Channels of the signals.
    """

    def __init__(self, settings: ConvNet, *, channels: int) -> None:
        super().__init__()
        self.settings = settings
        self.channels = channels
        self.width = settings.width
        sizes = [channels, *settings.channels]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, after, kernel)
            for before, after, kernel in zip(sizes[:-1], sizes[1:], settings.kernels, strict=True)
            for inputs in (before, after)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(convolution.out_channels)
            for convolution in self.convolutions
            if settings.norm == "batch" and isinstance(convolution, nn.Conv1d)
        )
        self.dropout = Dropout(settings.dropout, channels=True)
        draw_like_tensorflow(self)

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each pair of convolutions."""
        by_layer: list[list[nn.Parameter]] = [[] for _ in self.settings.channels]
        for modules in (self.convolutions, self.norms):
            for number, module in enumerate(modules):
                by_layer[number // 2] += module.parameters()
        return by_layer

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return the maximum over time of every channel of the last pair.

        Raises:
            SettingsError: The signals are too short for the pooling.
        """
        settings = self.settings
        lengths = settings.lengths(signals.shape[2])
        if min(lengths) < 1 or lengths[-1] < settings.groups:
            raise SettingsError(
                f"signals of {signals.shape[2]} samples are too short for {len(settings.channels)} pairs of "
                f"convolutions with model.pool {settings.pool} between them and model.groups {settings.groups}. Use "
                "longer segments, a smaller pool or fewer groups"
            )
        features = signals
        for number in range(len(self.convolutions)):
            # convolutions 2, 4, ... begin a new pair
            if number and number % 2 == 0:
                window, stride = settings.pools[number // 2 - 1]
                features = functional.max_pool1d(features, window, stride)
            features = self._convolve(number, features)
        if settings.groups == 1:
            return features.amax(dim=2)
        return torch.cat([part.amax(dim=2) for part in features.tensor_split(settings.groups, dim=2)], dim=1)

    def _convolve(self, number: int, features: Float[Tensor, "batch before time"]) -> Float[Tensor, "batch after time"]:
        convolution = self.convolutions[number]
        assert isinstance(convolution, nn.Conv1d)
        zeros = convolution.kernel_size[0] - 1
        padded = functional.pad(features, (zeros // 2, zeros - zeros // 2))
        convolved = convolution(padded)
        if self.norms:
            convolved = self.norms[number](convolved)
        return self.dropout(functional.leaky_relu(convolved, self.settings.slope))


def draw_like_tensorflow(module: nn.Module) -> None:
    """Draw new weights in all layers of a module as TensorFlow does by default.

    Weights are from Glorot's uniform distribution, U(-a, a) with ``a = sqrt(6 / (fan_in + fan_out))``; biases are 0.
    torch's default is another one (Kaiming's), which gives the network other losses at the start.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
