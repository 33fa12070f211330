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
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emotune.errors import DamageError, StorageError, StorageRefusedError
from emotune.files import new_folder, sha256_of
from emotune.storage import Storage
from emotune.storage.patience import patiently
from emotune.training.epoch_report import EpochReport
from emotune.training.loop import EpochProgress, KeptWeights, TrainState

logger = logging.getLogger(__name__)
GENERATIONS = 2
"""Number of checkpoints that are kept: one more than needed, in case the newest is damaged."""

EXPORTED_FILES = ("weights.safetensors", "state.json")
"""Files of a checkpoint without the optimiser's state."""

MANIFEST = "manifest.json"
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
    steps = f"-step-{state.progress.steps:06d}" if state.progress.steps else ""
    checkpoint = root / f"epoch-{state.epoch:06d}{steps}"
    folder = checkpoint.local()
    try:
        _create_folder(root)
        if folder.exists() and not is_intact(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            with new_folder(folder, parents=not root.mounted) as draft:
                _write(draft, state, about)
    except (OSError, SafetensorError) as error:  # safetensors has an error of its own for a full disk
        raise StorageError(f"{folder} could not be written: {_reason(error)}") from error
    share_checkpoint(checkpoint)
    for old in generations(root)[GENERATIONS:]:
        (root / old).clear(last=MANIFEST)
    return folder


def _create_folder(root: Storage) -> None:
    """Create the folder of a run's checkpoints and the one above it.

    The folder above both is that of the search, which only its driver creates: a worker that created it again after it
    was renamed would keep it from getting its name back.
    """
    folder = root.local()
    if not root.mounted:
        folder.mkdir(parents=True, exist_ok=True)
        return
    try:
        for path in (folder.parent, folder):
            path.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise StorageRefusedError(
            f"{folder} cannot be created: {folder.parent.parent} was renamed or deleted"
        ) from error


def share_checkpoint(folder: Storage) -> None:
    """Write a checkpoint to the storage, the manifest last.

    Raises:
        StorageAwayError: The bucket could not be reached for minutes.
        StorageRefusedError: It does not take it.
    """
    folder.upload(last=MANIFEST)


def fetch_checkpoint(folder: Storage) -> bool:
    """Bring a checkpoint to this machine, and return whether it exists.

    Raises:
        StorageAwayError: The bucket could not be reached for minutes.
    """
    return patiently(lambda: folder.download(last=MANIFEST), what=folder)


def forget_unshared(root: Storage) -> None:
    """Remove the checkpoints of a working copy that are not in its storage.

    They are of a worker that died, or of an earlier search of the same name, and would be taken for newer ones.

    Raises:
        StorageAwayError: The bucket could not be reached for minutes.
    """
    if root.mounted or not root.local().is_dir():
        return
    shared = patiently(root.folders, what=root)
    for folder in root.local().glob("epoch-*"):
        if not (folder.name in shared and fetch_checkpoint(root / folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


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
    _write_manifest(draft, files)


def _write_manifest(folder: Path, files: Sequence[str]) -> None:
    manifest = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in files}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def export_weights(checkpoint: Path, *, to: Path) -> None:
    """Write a checkpoint without the optimiser's state into a new folder: for prediction, not for resumption.

    Raises:
        DamageError: The checkpoint is damaged.
    """
    read_state(checkpoint)
    with new_folder(to) as draft:
        for name in EXPORTED_FILES:
            shutil.copyfile(checkpoint / name, draft / name)
        _write_manifest(draft, EXPORTED_FILES)


def generations(root: Storage) -> list[str]:
    """Return the names of the checkpoints in a storage and in its working copy, newest first."""
    folder = root.local()
    here = [checkpoint.name for checkpoint in folder.glob("epoch-*")] if folder.is_dir() else []
    there = [] if root.mounted else patiently(root.folders, what=root)
    return sorted({*here, *there}, reverse=True)


def is_intact(folder: Path) -> bool:
    """Return whether every file of a checkpoint has the size and hash of the manifest and the format of its name."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return set(manifest) >= set(EXPORTED_FILES) and all(
            (folder / name).stat().st_size == entry["bytes"]
            and sha256_of(folder / name) == entry["sha256"]
            and _has_format_of_its_name(folder / name)
            for name, entry in manifest.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
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
    for name in generations(root):
        if up_to is not None and name > f"epoch-{up_to:06d}":
            continue
        if not fetch_checkpoint(root / name):
            continue
        folder = (root / name).local()
        if is_intact(folder):
            return folder
        logger.warning("checkpoint %s is damaged; the previous one is used", folder)
    return None


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
