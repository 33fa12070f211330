"""The interfaces of encoders and of their settings."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from emotune.base import Settings


class Encoder(nn.Module, ABC):
    """A network that maps signals to representations; what the tasks require of every model."""

    channels: int
    """Number of channels of the signals."""

    width: int
    """Number of features of a representation."""

    def parameters_by_layer(self) -> list[list[nn.Parameter]]:
        """Return all parameters by layer, from the signal to the representation; by default one layer.

        ``optim.layer_decay`` gives each layer a learning rate of its own.
        """
        return [list(self.parameters())]

    @abstractmethod
    def summarise(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch width"]:
        """Return one representation of each whole signal."""


class ModelSettings(Settings, ABC):
    """Base class of the encoders' settings; a subclass per model, listed in `emotune.models.MODELS`."""

    @abstractmethod
    def flops(self, *, channels: int, samples: int) -> float:
        """Return the floating-point operations of one forward pass of one signal (a multiply-add counts as 2).

        Args:
            channels: Channels of the signal.
            samples: Samples per channel.
        """

    @abstractmethod
    def build(self, *, channels: int) -> Encoder:
        """Return an encoder for signals with this number of channels, with newly drawn weights.

        Weights are drawn from torch's global generator.
        """
