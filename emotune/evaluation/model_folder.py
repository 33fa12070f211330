"""A network in a folder of the Hugging Face convention, to be taken away, shared and loaded again.

    model.safetensors            weights by name, those of the encoder beginning with ``encoder.``
    config.json                  settings of the network, its channels, where it is from, SHA-256 of the weights
    preprocessor_config.json     how its signals are prepared
    README.md                    model card

It holds data only: loading it runs no code from it. Paths of the machine and the hashes of people, which a checkpoint
has, are left out. ``model.onnx`` or ``model.pt2`` takes the place of ``model.safetensors`` in other exports.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotune.data.prepare.segments import ADDED_SETTINGS, PrepareSettings
from emotune.errors import DamageError, SettingsError, StorageError
from emotune.evaluation.model_card import CardFacts, render_card
from emotune.files import new_folder, sha256_of

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
FORMAT = 1
"""Version of the folder's content."""

Part = Literal["encoder", "classifier"]

ARCHITECTURES: dict[Part, str] = {"encoder": "EmotuneEncoder", "classifier": "EmotuneClassifier"}
"""Name of each part in ``config.json``."""


@dataclass(frozen=True)
class ModelDocument:
    """What a model folder states about its network.

    Attributes:
        part: The encoder alone, or the whole classifier.
        about: Description of the network, with the keys of a checkpoint's ``about`` that concern it.
        facts: Content of the model card.
    """

    part: Part
    about: Mapping[str, Any]
    facts: CardFacts


def model_document(about: Mapping[str, Any], *, part: Part, facts: CardFacts) -> ModelDocument:
    """Return the document of a network from a checkpoint's description, without paths and people."""
    experiment = {"model": about["experiment"]["model"]}
    if part == "classifier":
        experiment["task"] = about["experiment"]["task"]
    names = ["channels", "modality", "preparation", *(["classes", "calibration"] if part == "classifier" else [])]
    kept = {name: about.get(name) for name in names}
    return ModelDocument(part=part, about={"experiment": experiment, **kept}, facts=facts)


def is_model_folder(folder: Path) -> bool:
    """Return whether a folder is in the Hugging Face convention."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def write_model_folder(to: Path, *, document: ModelDocument, write_model: Callable[[Path], str]) -> None:
    """Write a folder with a network; it appears when it is complete.

    Args:
        to: The folder. It must not exist, or be empty.
        document: Description of the network.
        write_model: Writes the network into the folder that it receives, and returns the name of the file.

    Raises:
        SettingsError: The folder is not empty.
        StorageError: The disk is full or cannot be written.
    """
    refuse_filled_folder(to)
    try:
        with new_folder(to) as draft:
            model = write_model(draft)
            config = {
                "model_type": "emotune",
                "architectures": [ARCHITECTURES[document.part]],
                "format": FORMAT,
                "about": {name: value for name, value in document.about.items() if name != "preparation"},
                "sha256": {model: sha256_of(draft / model)},
                "card": document.facts.model_dump(mode="json"),
            }
            _write_json(draft / CONFIG, config)
            preparation = {"feature_extractor_type": "emotune", **document.about["preparation"]}
            _write_json(draft / PREPROCESSOR, preparation)
            card = render_card(document.facts, about=document.about, part=document.part, model=model)
            (draft / CARD).write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{to} could not be written: {getattr(error, 'strerror', None) or error}") from error


def refuse_filled_folder(to: Path) -> None:
    """Refuse to write into a folder that has content.

    Raises:
        SettingsError: The path is a file, or a folder that is not empty.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise SettingsError(f"{to} exists and is not empty; give another folder, or remove it")


def write_weights(folder: Path, weights: Mapping[str, Tensor]) -> str:
    """Write weights into a draft of a model folder; return the name of the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return WEIGHTS


def read_model_document(folder: Path) -> ModelDocument:
    """Read the description of a network from a model folder.

    Raises:
        DamageError: A file is missing, is no valid JSON, or the weights are not those that were written.
    """
    config, preparation = _read_json(folder / CONFIG), _read_json(folder / PREPROCESSOR)
    try:
        parts: dict[str, Part] = {name: part for part, name in ARCHITECTURES.items()}
        (architecture,) = config["architectures"]
        part = parts[architecture]
        digest = config["sha256"][WEIGHTS]
        present = [name for name in PrepareSettings.model_fields if name in preparation or name not in ADDED_SETTINGS]
        fields = {name: preparation[name] for name in present}
        about = {**config["about"], "preparation": fields}
        facts = CardFacts.model_validate(config["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamageError(f"{folder}: {CONFIG} does not describe a network of emotune; give another folder") from error
    if sha256_of(folder / WEIGHTS) != digest:
        raise DamageError(f"{folder}: {WEIGHTS} is not the file that {CONFIG} describes; get the folder again")
    return ModelDocument(part=part, about=about, facts=facts)


def read_model_weights(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a model folder by name.

    Raises:
        DamageError: The file is not in the format of safetensors.
    """
    try:
        return load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise DamageError(f"{folder}: {WEIGHTS} cannot be read; get the folder again") from error


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(f"{file} cannot be read; get the folder again") from error
    if not isinstance(content, dict):
        raise DamageError(f"{file} is not a JSON object; get the folder again")
    return content
