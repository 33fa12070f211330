"""Generations of checkpoints in a storage: written atomically, verified when read; the newest two are kept.

A generation is a folder of files, ``epoch-000009``, or ``epoch-000009-step-000120`` within an epoch. Its manifest has
the size and SHA-256 of each file and is written last. What the files hold is decided by those who write them.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from emotune.errors import StorageError, StorageRefusedError
from emotune.files import new_folder, sha256_of
from emotune.storage.base import Storage
from emotune.storage.patience import patiently

logger = logging.getLogger(__name__)

GENERATIONS = 2
"""Number of checkpoints that are kept: one more than needed, in case the newest is damaged."""

MANIFEST = "manifest.json"


def generation_name(epoch: int, *, steps: int = 0) -> str:
    """Return the name of the checkpoint after an epoch, and a number of optimiser steps of the next one."""
    return f"epoch-{epoch:06d}{f'-step-{steps:06d}' if steps else ''}"


def save_generation(
    root: Storage, name: str, *, write: Callable[[Path], None], is_intact: Callable[[Path], bool]
) -> Path:
    """Write a checkpoint, then remove all but the newest two generations.

    Args:
        root: Storage of one run's checkpoints; created if it does not exist, but not the folder of its search.
        name: Name of the checkpoint, of `generation_name`.
        write: Writes its files and its manifest into a folder.
        is_intact: Returns whether a checkpoint is undamaged.

    Returns:
        The folder of the checkpoint. If one of this name is there already and undamaged, it is kept as it is.

    Raises:
        StorageError: The disk is full or cannot be written; earlier checkpoints are untouched.
        StorageRefusedError: The folder of the search was renamed or deleted.
        StorageAwayError: The bucket was away for minutes.
    """
    checkpoint = root / name
    folder = checkpoint.local()
    try:
        _create_folder(root)
        if folder.exists() and not is_intact(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            with new_folder(folder, parents=not root.mounted) as draft:
                write(draft)
    except Exception as error:
        if not _is_write_error(error):
            raise
        raise StorageError(f"{folder} could not be written: {_reason(error)}") from error
    share_generation(checkpoint)
    for old in generations(root)[GENERATIONS:]:
        (root / old).clear(last=MANIFEST)
    return folder


def _is_write_error(error: Exception) -> bool:
    """Return whether a file could not be written; safetensors has an error of its own for a full disk."""
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"


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


def share_generation(folder: Storage) -> None:
    """Write a checkpoint to the storage, the manifest last.

    Raises:
        StorageAwayError: The bucket could not be reached for minutes.
        StorageRefusedError: It does not take it.
    """
    folder.upload(last=MANIFEST)


def fetch_generation(folder: Storage) -> bool:
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
        if not (folder.name in shared and fetch_generation(root / folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def write_manifest(folder: Path, files: Collection[str]) -> None:
    """Write the manifest of a checkpoint: size and SHA-256 of its files."""
    manifest = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in files}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def matches_manifest(folder: Path, *, files: Collection[str]) -> bool:
    """Return whether every file of a checkpoint has the size and hash of its manifest, which lists some files at least.

    Args:
        folder: Folder of the checkpoint.
        files: Files that the manifest must list.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return set(manifest) >= set(files) and all(
            (folder / name).stat().st_size == entry["bytes"] and sha256_of(folder / name) == entry["sha256"]
            for name, entry in manifest.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def generations(root: Storage) -> list[str]:
    """Return the names of the checkpoints in a storage and in its working copy, newest first."""
    folder = root.local()
    here = [checkpoint.name for checkpoint in folder.glob("epoch-*")] if folder.is_dir() else []
    there = [] if root.mounted else patiently(root.folders, what=root)
    return sorted({*here, *there}, reverse=True)


def newest_generation(root: Storage, *, up_to: int | None = None, is_intact: Callable[[Path], bool]) -> Path | None:
    """Return the newest undamaged checkpoint, if any; damaged ones are named in a warning.

    Args:
        root: Storage of one run's checkpoints.
        up_to: Look only at checkpoints of the end of this epoch or earlier.
        is_intact: Returns whether a checkpoint is undamaged.
    """
    for name in generations(root):
        if up_to is not None and name > generation_name(up_to):
            continue
        if not fetch_generation(root / name):
            continue
        folder = (root / name).local()
        if is_intact(folder):
            return folder
        logger.warning("checkpoint %s is damaged; the previous one is used", folder)
    return None
