"""The pre-trained encoders that a search starts from, and their copies in the search's folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from emotune.storage import Storage
from emotune.storage.generations import MANIFEST, share_generation
from emotune.study.folder import SearchFolder
from emotune.training.checkpoints import newest_checkpoint

Encoders = Mapping[str, Path]
"""Checkpoints of pre-trained encoders: ``encoder``, and ``second`` for the second half of the folds."""


def copy_encoders(encoders: Encoders, folder: SearchFolder) -> dict[str, Storage]:
    """Copy encoders into a search's folder, so that the search can resume without the originals."""
    return {name: _copy(checkpoint, folder.kept_encoder(name)) for name, checkpoint in encoders.items()}


def copied_encoders(folder: SearchFolder) -> Encoders:
    """Return the copies of pre-trained encoders in a search's folder."""
    newest = {name: newest_checkpoint(folder.kept_encoder(name)) for name in ("encoder", "second")}
    return {name: checkpoint for name, checkpoint in newest.items() if checkpoint is not None}


def _copy(checkpoint: Path, storage: Storage) -> Storage:
    target = storage.local()
    copy = target / checkpoint.name
    if not (copy.exists() and (copy / MANIFEST).read_bytes() == (checkpoint / MANIFEST).read_bytes()):
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(checkpoint, draft / checkpoint.name)
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    share_generation(storage / checkpoint.name)
    return storage / checkpoint.name
