"""Checkpoints: written atomically, verified when read, without pickle; the newest two are kept.

A checkpoint is a folder ``epoch-000009``, or ``epoch-000009-step-000120`` after 120 steps of epoch 10, with

    weights.safetensors      weights of the objective
    optimiser.safetensors    state of the optimiser
    kept.safetensors         weights of the best epoch so far, if the run keeps them
    state.json               epoch, reports of all epochs, progress within the next one, and the caller's description
    manifest.json            size and SHA-256 of each file; written last

Safetensors and JSON hold data only: reading a checkpoint never runs code from it, as unpickling would.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotune.errors import DamageError
from emotune.files import new_folder
from emotune.storage import Storage
from emotune.storage.generations import (
    MANIFEST,
    generation_name,
    matches_manifest,
    newest_generation,
    save_generation,
    write_manifest,
)
from emotune.training.epoch_report import EpochReport
from emotune.training.loop import EpochProgress, KeptWeights, TrainState

EXPORTED_FILES = ("weights.safetensors", "state.json")
"""Files of a checkpoint without the optimiser's state."""

FILES = (*EXPORTED_FILES, "optimiser.safetensors")
"""Files that the manifest of a whole checkpoint lists."""

KEPT = "kept.safetensors"
"""Weights of the best epoch so far, in the checkpoints of runs that keep them."""


def save_checkpoint(root: Storage, state: TrainState, *, about: Mapping[str, Any]) -> Path:
    """Write a checkpoint, then remove all but the newest two generations.

    Args:
        root: Storage of one run's checkpoints; created if it does not exist, but not the folder of its search.
        state: What to save.
        about: What describes the run (JSON), read back by `read_about`.

    Returns:
        The folder of the checkpoint. If one of this epoch and step is there already and undamaged, it
        is kept as it is.

    Raises:
        StorageError: The disk is full or cannot be written; earlier checkpoints are untouched.
        StorageRefusedError: The folder of the search was renamed or deleted.
        StorageAwayError: The bucket was away for minutes.
    """
    return save_generation(
        root,
        generation_name(state.epoch, steps=state.progress.steps),
        write=lambda draft: _write(draft, state, about),
        is_intact=is_intact,
    )


def _write(draft: Path, state: TrainState, about: Mapping[str, Any]) -> None:
    save_file(_contiguous(state.objective.state_dict()), draft / "weights.safetensors")
    save_file(_flatten(state), draft / "optimiser.safetensors")
    content = {
        "epoch": state.epoch,
        "within": asdict(state.progress),
        "history": [asdict(report) for report in state.history],
        "about": dict(about),
    }
    files = FILES
    if state.kept is not None:
        content["kept"] = {"epoch": state.kept.epoch, "value": state.kept.value}
        save_file(_contiguous(state.kept.weights), draft / KEPT)
        files = (*FILES, KEPT)
    (draft / "state.json").write_text(json.dumps(content))
    write_manifest(draft, files)


def export_weights(checkpoint: Path, *, to: Path) -> None:
    """Write a checkpoint without the optimiser's state into a new folder: for prediction, not for resumption.

    Raises:
        DamageError: The checkpoint is damaged.
    """
    read_state(checkpoint)
    with new_folder(to) as draft:
        for name in EXPORTED_FILES:
            shutil.copyfile(checkpoint / name, draft / name)
        write_manifest(draft, EXPORTED_FILES)


def is_intact(folder: Path) -> bool:
    """Return whether every file of a checkpoint has the size and hash of the manifest and the format of its name."""
    try:
        return matches_manifest(folder, files=EXPORTED_FILES) and all(
            _has_format_of_its_name(folder / name) for name in json.loads((folder / MANIFEST).read_text())
        )
    except (OSError, ValueError, SafetensorError):
        return False


def _has_format_of_its_name(file: Path) -> bool:
    """Return whether a JSON file holds an object; other files, if not of safetensors (a pickle), raise an error."""
    if file.suffix == ".json":
        return isinstance(json.loads(file.read_text()), dict)
    with safe_open(file, framework="pt"):
        return True


def newest_checkpoint(root: Storage, *, up_to: int | None = None) -> Path | None:
    """Return the newest undamaged checkpoint, if any; damaged ones are named in a warning.

    Args:
        root: Storage of one run's checkpoints.
        up_to: Look only at checkpoints of the end of this epoch or earlier.
    """
    return newest_generation(root, up_to=up_to, is_intact=is_intact)


def restore(folder: Path, state: TrainState) -> None:
    """Load a checkpoint into a state of the same experiment, in place.

    Raises:
        DamageError: The checkpoint is damaged.
    """
    content = read_state(folder)
    state.objective.load_state_dict(load_file(folder / "weights.safetensors"))
    _unflatten(state, load_file(folder / "optimiser.safetensors"))
    state.history[:] = [EpochReport(**report) for report in content["history"]]
    state.progress = EpochProgress(**content.get("within", {}))
    state.kept = KeptWeights(**content["kept"], weights=load_file(folder / KEPT)) if "kept" in content else None


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Return all weights of a checkpoint by name, after verifying it.

    Raises:
        DamageError: The checkpoint is damaged.
    """
    read_state(folder)
    return load_file(folder / "weights.safetensors")


def read_state(folder: Path) -> dict[str, Any]:
    """Return the content of ``state.json``: epoch, within, history, kept and about; all files are verified first.

    Raises:
        DamageError: The checkpoint is damaged.
    """
    if not is_intact(folder):
        raise DamageError(
            f"{folder} is not an undamaged checkpoint: its files differ from manifest.json. Use another checkpoint"
        )
    content = json.loads((folder / "state.json").read_text())
    if not isinstance(content.get("about"), dict):
        raise DamageError(f"{folder}: state.json has no object 'about'. Use another checkpoint")
    return content


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _flatten(state: TrainState) -> dict[str, Tensor]:
    names = {id(parameter): name for name, parameter in state.objective.named_parameters()}
    return _contiguous(
        {
            f"{names[id(parameter)]}|{key}": torch.as_tensor(value)
            for parameter, values in state.optimiser.state.items()
            for key, value in values.items()
        }
    )


def _unflatten(state: TrainState, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(state.objective.named_parameters())
    state.optimiser.state.clear()
    for name, tensor in tensors.items():
        parameter, key = name.rsplit("|", 1)
        group = state.optimiser.param_groups[0]
        on_cpu = key == "step" and not group["fused"]  # only a fused optimiser has its step counter on the device
        value = tensor if on_cpu else tensor.to(parameters[parameter].device)
        state.optimiser.state[parameters[parameter]][key] = value
