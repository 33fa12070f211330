"""Late fusion's features: what the frozen ECG and EEG classifiers make of each moment, computed once.

Source: Vazquez-Rodriguez et al., "Emotion Recognition with Pre-Trained Transformers Using
Multimodal Signals", ACII 2022 (hal-03897400), section 3.3.
"""

import hashlib
import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32

from emotune.data.folds import unit_keys
from emotune.data.modality import FUSED_MODALITIES
from emotune.data.prepare.parts import write_index
from emotune.data.prepare.pool import scratch_folder
from emotune.data.prepare.writer import file_records, fingerprint_store
from emotune.data.recording import Exclusion
from emotune.data.store import ABOUT_FILE, FEATURES, INDEX_FILE, SIGNAL_FILE, About, SegmentStore, SourceCorpus
from emotune.errors import SettingsError
from emotune.evaluation.classifiers import what_decides
from emotune.evaluation.fusion_join import SAME_FOLDS, Half, Joint, join
from emotune.files import new_folder, restore_replaced
from emotune.models.features import fold_name
from emotune.study.folder import SearchFolder
from emotune.tasks.classify import ClassifyObjective

PORTION = 128
"""Segments that go through a network at a time."""


@dataclass(frozen=True)
class FeatureSummary:
    """What came of building features."""

    store: SegmentStore
    written: bool
    """False if they were there already."""
    relabelled: int
    """Moments whose label is another than in one of the two stores, since the mean rating is."""


def build_features(
    ecg: SearchFolder,
    eeg: SearchFolder,
    *,
    store: Path,
    progress: Callable[[float, str], None] = lambda share, doing: None,
) -> FeatureSummary:
    """Compute, for every fold and every moment, the last hidden activations of the fold's two frozen classifiers.

    The result is a store whose channels are the folds and whose samples are features, the ECG's
    first: `emotune.models.features.Features` reads them. If several leads of a moment were used,
    the ECG's activations are the mean over them (the papers use one lead, of the left arm). If the
    same is there already, nothing is done; if a checkpoint has changed since, it is made anew. A
    killed run leaves the folds it has finished for the next one.

    Args:
        ecg: A finished cross-validation on ECG; or a fine-tuning of fold 0, to tune a fusion on.
        eeg: One on EEG, with the same folds.
        store: The folder to write.
        progress: Is told the share that is done, and what is being done.

    Raises:
        SettingsError: One of them is not finished, they differ in target or folds, a model was trained
            on what one of both tests, or ``store`` holds something else.
        DataError: They have no moment in common, or other ratings of the same moment.
    """
    joint = join(ecg, eeg)
    ours, theirs = joint.halves
    first = ours.classifiers.each[0]
    settings = {
        "target": first.task.target,
        "folds": first.experiment.folds.model_dump(mode="json", include=set(SAME_FOLDS)),
        **{half: what_decides(one.classifiers) for half, one in zip(FUSED_MODALITIES, (ours, theirs), strict=True)},
    }
    restore_replaced(store)
    old = _old(store, settings=settings)
    if old is not None and old.about.settings == settings:
        return FeatureSummary(old, written=False, relabelled=joint.relabelled)
    with scratch_folder(store) as scratch:
        parts = _compute(joint, scratch=scratch, progress=progress)
        with new_folder(store, replace=old is not None) as draft:
            _write(draft, joint, parts=parts, settings=settings)
    return FeatureSummary(SegmentStore.open(store), written=True, relabelled=joint.relabelled)


def _old(store: Path, *, settings: Mapping[str, Any]) -> SegmentStore | None:
    """Open what is there already, unless it is something else."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    old = SegmentStore.open(store)
    names = [old.about.settings[half]["name"] for half in FUSED_MODALITIES] if old.holds_features else []
    if names != [settings[half]["name"] for half in FUSED_MODALITIES]:
        holds = f"features of {' and '.join(names)}" if names else f"segments of {old.modality}"
        raise SettingsError(f"{store} holds {holds}. Give another folder, or remove that one.")
    return old


def _compute(joint: Joint, *, scratch: Path, progress: Callable[[float, str], None]) -> list[Path]:
    """Compute each fold's features into a file of its own, unless an interrupted run has left it."""
    ours, theirs = joint.halves
    moments = "\n".join(unit_keys(joint.index, by="moment"))
    stores = [half.classifiers.store.fingerprint for half in joint.halves]
    pairs = list(zip(ours.classifiers.each, theirs.classifiers.each, strict=True))
    parts: list[Path] = []
    for place, pair in enumerate(pairs):
        progress(place / len(pairs), fold_name(pair[0].fold))
        known = [moments, *stores, *(one.sha256 + one.experiment.digest() for one in pair)]
        part = scratch / f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]}.npy"
        if not part.is_file():
            both = zip(pair, joint.halves, strict=True)
            features = [_activations(one.load(half.classifiers.store), half) for one, half in both]
            draft = part.with_suffix(".draft.npy")
            np.save(draft, np.concatenate(features, axis=1))
            draft.replace(part)
        parts.append(part)
    return parts


def _activations(objective: ClassifyObjective, half: Half) -> Float32[np.ndarray, "moment hidden"]:
    """Return the last hidden activations of the joint moments, the mean over their leads."""
    sides, wanted = half.sides, half.wanted
    place_of = np.full(len(sides.moments), -1)
    place_of[wanted] = np.arange(len(wanted))
    places = place_of[sides.moment_of]
    rows, places = sides.rows[places >= 0], places[places >= 0]
    leads = np.bincount(places, minlength=len(wanted))
    sums: Float32[np.ndarray, "moment hidden"] | None = None
    for begin in range(0, len(rows), PORTION):
        chosen = slice(begin, begin + PORTION)
        signals = torch.from_numpy(half.classifiers.store.signal[rows[chosen]])
        hidden = objective.hidden_activations(signals).numpy()
        sums = np.zeros((len(wanted), hidden.shape[1]), dtype=np.float32) if sums is None else sums
        np.add.at(sums, places[chosen], hidden)
    assert sums is not None
    return sums / leads[:, None].astype(np.float32)


def _write(draft: Path, joint: Joint, *, parts: Sequence[Path], settings: dict[str, Any]) -> None:
    index, classifiers = joint.index, joint.halves[0].classifiers
    width = int(np.load(parts[0], mmap_mode="r", allow_pickle=False).shape[1])
    shape = (len(index), len(parts), width)
    signal = np.lib.format.open_memmap(draft / SIGNAL_FILE, mode="w+", dtype=np.float32, shape=shape)
    for place, part in enumerate(parts):
        signal[:, place] = np.load(part, mmap_mode="r", allow_pickle=False)
    signal.flush()
    write_index(index, file=draft / INDEX_FILE)
    files = file_records(draft)
    about = About(
        modality=FEATURES,
        rate=0,
        seconds=classifiers.store.seconds,
        channels=tuple(map(fold_name, classifiers.numbers)),
        width=width,
        settings=settings,
        segments=len(index),
        sources=tuple(_source(half, other=other, index=index) for half, other in (joint.halves, joint.halves[::-1])),
        software={name: importlib.metadata.version(name) for name in ("numpy", "torch", "pyarrow")},
        files=files,
        fingerprint=fingerprint_store(files, settings=settings),
    )
    (draft / ABOUT_FILE).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _source(half: Half, *, other: Half, index: pd.DataFrame) -> SourceCorpus:
    """Name a cross-validation, the hashes of its weights, and its moments that the other one does not have."""
    classifiers = half.classifiers
    reason = f"no {other.classifiers.store.modality.upper()} of these moments"
    lost = Counter(zip(half.alone["subject"], half.alone["session"], strict=True))
    left_out = tuple(
        Exclusion(what=f"subject {subject}, session {session}: {count} moments", reason=reason)
        for (subject, session), count in lost.items()
    )
    decides = json.dumps(what_decides(classifiers), sort_keys=True)
    return SourceCorpus(
        corpus=classifiers.name,
        settings={"weights": {fold_name(one.fold): one.sha256 for one in classifiers.each}},
        fingerprint=hashlib.sha256(decides.encode()).hexdigest(),
        subjects=len(index.drop_duplicates(["corpus", "subject"])),
        recordings=len(index.drop_duplicates(["corpus", "subject", "session"])),
        segments=len(index),
        hours=round(len(index) * classifiers.store.seconds / 3600, 4),
        left_out=left_out,
    )
