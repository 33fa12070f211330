"""The convolutional network that the papers compare with: three pairs of convolutions and a maximum over time.

Source: Sarkar & Etemad, "Self-Supervised ECG Representation Learning for Emotion Recognition",
IEEE Transactions on Affective Computing 2020 (arXiv:2002.03898), as in its authors' published
TensorFlow code. Not confirmed: the slope of the leaky ReLU, which that code leaves to TensorFlow's
default, taken here to be 0.2.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.errors import SettingsError
from emotune.models.base import Encoder, ModelSettings
from emotune.models.dropout import Dropout


class ConvNet(ModelSettings):
    """Pairs of convolutions with pooling between them; the defaults are the published sizes (329,152 parameters)."""

    kind: Literal["convnet"] = "convnet"

    channels: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    """Output channels of each pair of convolutions; the last one is the width."""

    kernels: tuple[int, ...] = Field(default=(32, 16, 8), min_length=1)
    """Kernel sizes of each pair, in samples."""

    pool: int = Field(default=8, ge=1)
    """Samples over which the maximum is taken between two pairs."""

    pool_stride: int = Field(default=2, ge=1)
    """Samples from one such maximum to the next."""

    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of the leaky ReLU below zero; 0 is the plain ReLU."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout of whole channels after each convolution."""

    @property
    def width(self) -> int:
        """Size of a representation."""
        return self.channels[-1]

    @model_validator(mode="after")
    def _check_shapes(self) -> "ConvNet":
        if len(self.channels) != len(self.kernels):
            raise ValueError(
                f"channels {self.channels} and kernels {self.kernels} must have the same length, one per pair"
            )
        if min(*self.channels, *self.kernels) < 1:
            raise ValueError(f"channels {self.channels} and kernels {self.kernels} must be positive")
        return self

    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add is 2)."""
        total, before = 0, channels
        for length, after, kernel in zip(self.lengths(samples), self.channels, self.kernels, strict=True):
            total += 2 * length * after * kernel * (before + after)
            before = after
        return float(total)

    def lengths(self, samples: int) -> list[int]:
        """Return how long the signal is in each pair of convolutions; 0 or less if it is too short."""
        found = [samples]
        for _ in self.channels[1:]:
            found.append((found[-1] - self.pool) // self.pool_stride + 1)
        return found

    def build(self, *, channels: int) -> "ConvNetEncoder":
        """Make the encoder for signals of so many channels, with freshly drawn weights."""
        return ConvNetEncoder(self, channels=channels)


class ConvNetEncoder(Encoder):
    """Signals of any length to one representation each, the maximum of every channel over time.

    Zero padding keeps the length; where it cannot be the same on both sides there is one more zero
    on the right. Weights are drawn as by TensorFlow: Glorot's uniform distribution, biases zero.

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
        self.dropout = Dropout(settings.dropout, channels=True)
        draw_like_tensorflow(self)

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return the maximum of every channel of the last pair over time.

        Raises:
            SettingsError: The signals are too short to be pooled so often.
        """
        settings = self.settings
        if min(settings.lengths(signals.shape[2])) < 1:
            raise SettingsError(
                f"signals of {signals.shape[2]} samples are too short for {len(settings.channels)} pairs of "
                f"convolutions with model.pool {settings.pool} between them. Use longer segments or a smaller pool"
            )
        features = signals
        for number, convolution in enumerate(self.convolutions):
            if number and number % 2 == 0:
                features = functional.max_pool1d(features, settings.pool, settings.pool_stride)
            features = self._convolve(convolution, features)
        return features.amax(dim=2)

    def _convolve(
        self, convolution: nn.Module, features: Float[Tensor, "batch before time"]
    ) -> Float[Tensor, "batch after time"]:
        assert isinstance(convolution, nn.Conv1d)
        zeros = convolution.kernel_size[0] - 1
        padded = functional.pad(features, (zeros // 2, zeros - zeros // 2))
        return self.dropout(functional.leaky_relu(convolution(padded), self.settings.slope))


def draw_like_tensorflow(module: nn.Module) -> None:
    """Draw weights from Glorot's uniform distribution and set biases to zero, in all layers of a module."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
