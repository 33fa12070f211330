"""Loading the weights of a pre-trained encoder: every parameter matches, or an error is raised."""

from collections.abc import Mapping

from torch import Tensor, nn

from emotune.errors import SettingsError

PREFIX = "encoder."


def encoder_part(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's part of an objective's weights, by the encoder's parameter names."""
    return {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}


def load_pretrained(weights: Mapping[str, Tensor], encoder: nn.Module, *, source: str) -> None:
    """Load pre-trained weights into an encoder of the same sizes, in place.

    Args:
        weights: Weights of a whole objective by name; the encoder's names begin with ``encoder.``.
        encoder: The encoder that receives them.
        source: Name of the search, run or checkpoint that they are from, for the error message.

    Raises:
        SettingsError: A parameter is missing, is superfluous or has another shape.
    """
    given = encoder_part(weights)
    own = encoder.state_dict()
    for name in sorted(own.keys() | given.keys()):
        if name not in given or name not in own:
            holder = "the pre-trained encoder" if name in given else "this experiment's encoder"
            raise SettingsError(
                f"the encoder of {source} does not fit: only {holder} has {name!r}. "
                "Use the same 'model' settings as in pre-training"
            )
        if given[name].shape != own[name].shape:
            raise SettingsError(
                f"the encoder of {source} does not fit: {name!r} has shape {tuple(given[name].shape)}, where "
                f"{tuple(own[name].shape)} was expected. Use the same 'model' settings as in pre-training"
            )
    encoder.load_state_dict(given)
