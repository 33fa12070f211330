"""The encoder ``strided``: two strided convolutions and the mean over time."""

from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from emotune.models import Encoder, ModelSettings


class Strided(ModelSettings):
    """Sizes of the encoder."""

    kind: Literal["strided"] = "strided"

    width: int = Field(default=32, ge=1)
    """Number of features of a representation."""

    stride: int = Field(default=8, ge=1)
    """Stride and kernel size of each convolution, in samples."""

    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add counts as 2)."""
        return 2.0 * samples * self.width * (channels + self.width / self.stride)

    def build(self, *, channels: int) -> "StridedEncoder":
        """Return an encoder with newly drawn weights."""
        return StridedEncoder(self, channels=channels)


class StridedEncoder(Encoder):
    """The network of `Strided`."""

    def __init__(self, settings: Strided, *, channels: int) -> None:
        super().__init__()
        self.channels, self.width = channels, settings.width
        size = settings.stride
        self.layers = nn.Sequential(
            nn.Conv1d(channels, settings.width, size, stride=size),
            nn.ReLU(),
            nn.Conv1d(settings.width, settings.width, size, stride=size),
            nn.ReLU(),
        )

    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return the mean of the features over time."""
        return self.layers(signals).mean(dim=2)
