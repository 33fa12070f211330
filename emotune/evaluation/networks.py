"""A network on disk, in a checkpoint or in a model folder: description, weights and the facts of its card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from emotune.evaluation.model_card import CardFacts, facts_of_checkpoint
from emotune.evaluation.model_folder import is_model_folder, read_model_document, read_model_weights
from emotune.training.checkpoints import read_state, read_weights


@dataclass(frozen=True, eq=False)
class Network:
    """Content of a checkpoint or model folder."""

    about: Mapping[str, Any]
    weights: dict[str, Tensor]
    """Weights by name; those of the encoder begin with ``encoder.``."""
    facts: CardFacts


def read_network(folder: Path, *, name: str = "") -> Network:
    """Read a network and what is known about its training.

    Args:
        folder: A checkpoint folder or a model folder.
        name: Name for the card of a checkpoint; the folder's name if empty.

    Raises:
        DamageError: The folder is damaged.
    """
    if is_model_folder(folder):
        document = read_model_document(folder)
        return Network(about=document.about, weights=read_model_weights(folder), facts=document.facts)
    state = read_state(folder)
    return Network(
        about=state["about"], weights=read_weights(folder), facts=facts_of_checkpoint(state, name=name or folder.name)
    )


def read_about(folder: Path) -> Mapping[str, Any]:
    """Read the description of a network.

    Raises:
        DamageError: The folder is damaged.
    """
    return read_model_document(folder).about if is_model_folder(folder) else read_state(folder)["about"]


def read_network_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a network by name.

    Raises:
        DamageError: The folder is damaged.
    """
    return read_model_weights(folder) if is_model_folder(folder) else read_weights(folder)
