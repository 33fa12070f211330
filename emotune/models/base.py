"""What the tasks need of an encoder, and everything else of its settings."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from emotune.base import Settings


class Encoder(nn.Module, ABC):
    """Signals to representations."""

    channels: int
    """Channels of the signals."""

    width: int
    """Size of a representation."""

    @abstractmethod
    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return one representation of each signal as a whole."""


class ModelSettings(Settings, ABC):
    """Base of the encoders' settings."""

    @abstractmethod
    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add is 2)."""

    @abstractmethod
    def build(self, *, channels: int) -> Encoder:
        """Make the encoder for signals of so many channels, with freshly drawn weights."""
