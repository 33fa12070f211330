"""Late fusion: the features that frozen ECG and EEG classifiers compute of each moment, written as a store.

`find_shared_moments` checks that two cross-validations can be fused, and returns the moments of both;
`build_features` computes their features, once, into a store that a fusion network is trained on.

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
from jaxtyping import Bool, Float32, Int64

from emotune.data.folds import split, unit_keys
from emotune.data.modality import FUSED_MODALITIES, Modality
from emotune.data.people import require_shared_people
from emotune.data.prepare.parts import write_index
from emotune.data.prepare.pool import scratch_folder
from emotune.data.prepare.writer import file_records, fingerprint_store
from emotune.data.recording import Exclusion
from emotune.data.store import (
    ABOUT_FILE,
    ALL_CHANNELS,
    FEATURES,
    INDEX_FILE,
    SIGNAL_FILE,
    About,
    SegmentStore,
    SourceCorpus,
)
from emotune.errors import DataError, SettingsError
from emotune.evaluation.classifiers import (
    Classifier,
    Classifiers,
    FoldMembership,
    fold_membership,
    identity_of,
    read_classifiers,
)
from emotune.files import new_folder, restore_replaced
from emotune.models.features import TRAINED_ON, fold_name
from emotune.study.folder import SearchFolder
from emotune.tasks.classify import Classify
from emotune.training.centring import with_person_means

BATCH_SEGMENTS = 128
"""Segments in one forward pass."""

SHARED_FOLD_SETTINGS = ("by", "count", "seed", "validation", "test", "train")
"""Settings of the folds that must be equal in both inputs."""

REMEDY = "run both cross-validations again, each with the other's store as --partner, so that both use the same moments"


@dataclass(frozen=True)
class FeatureSummary:
    """The result of `build_features`."""

    store: SegmentStore
    written: bool
    """False if the same features existed already."""
    relabelled: int
    """Number of moments whose label differs from that in one of the two stores, because the mean rating differs."""
    task: Classify
    """The task of the fused classifiers: target, condition and threshold."""


@dataclass(frozen=True, eq=False)
class FusionInput:
    """One of the two cross-validations that are fused.

    Attributes:
        classifiers: One per fold.
        membership: The folds' training and test moments.
        shared: Positions, among its moments, of those that the other input has too.
    """

    classifiers: Classifiers
    membership: FoldMembership
    shared: Int64[np.ndarray, " moment"]

    @property
    def trained(self) -> Bool[np.ndarray, "moment fold"]:
        """True where a shared moment is in the training set of a fold's classifier."""
        return self.membership.trained[self.shared]

    @property
    def tested(self) -> Bool[np.ndarray, "moment fold"]:
        """True where a shared moment is in a fold's test set."""
        return self.membership.tested[self.shared]

    @property
    def shared_table(self) -> pd.DataFrame:
        """Rows of the store's index for the shared moments; the first row of a moment with several leads."""
        rows = _first_rows(self.membership)[self.shared]
        return self.classifiers.store.index.iloc[rows].reset_index(drop=True)

    @property
    def unshared_table(self) -> pd.DataFrame:
        """Rows of the store's index for the moments that only this input has."""
        rows = np.delete(_first_rows(self.membership), self.shared)
        return self.classifiers.store.index.iloc[np.sort(rows)]


@dataclass(frozen=True, eq=False)
class SharedMoments:
    """The moments of both inputs, in the order of the ECG's store.

    Attributes:
        inputs: The ECG's and the EEG's classifiers.
        index: A row per moment: the row of the ECG's store, ``test_fold`` (-1 if no fold tests it), and
            for each fold whether one of its two classifiers was trained on it.
        relabelled: Number of moments whose label differs from that in one of the two stores.
    """

    inputs: tuple[FusionInput, FusionInput]
    index: pd.DataFrame
    relabelled: int


def build_features(
    ecg: SearchFolder,
    eeg: SearchFolder,
    *,
    store: Path,
    progress: Callable[[float, str], None] = lambda share, doing: None,
) -> FeatureSummary:
    """Compute, for every fold and moment, the last hidden activations of the fold's two frozen classifiers.

    The result is a store whose channels are the folds and whose samples are features, the ECG's first;
    `emotune.models.features.Features` reads it. If several leads of a moment were used, the ECG's
    activations are their mean (the papers use one lead, of the left arm). An existing store of the same
    features is kept; if a checkpoint has changed, the store is computed again. An interrupted run keeps
    the finished folds for the next run.

    Args:
        ecg: A finished cross-validation on ECG, or a fine-tuning of fold 0, to tune a fusion on.
        eeg: The same on EEG, with the same folds.
        store: The folder to write.
        progress: Receives the finished share (0 to 1) and the name of the fold that is computed.

    Raises:
        SettingsError: An input is not finished, the inputs differ in target or folds, a classifier was
            trained on test moments of the other, the people of the stores cannot be matched, or ``store`` holds
            something else.
        DataError: The inputs share no moment, or have different ratings of a moment.
    """
    moments = find_shared_moments(ecg, eeg)
    first = moments.inputs[0].classifiers.members[0]
    settings = {
        "target": first.task.target,
        "folds": first.experiment.folds.model_dump(mode="json", include=set(SHARED_FOLD_SETTINGS), exclude_none=True),
        **{name: identity_of(part.classifiers) for name, part in zip(FUSED_MODALITIES, moments.inputs, strict=True)},
    }
    restore_replaced(store)
    existing = _open_existing(store, settings=settings)
    if existing is not None and existing.about.settings == settings:
        return FeatureSummary(existing, written=False, relabelled=moments.relabelled, task=first.task)
    with scratch_folder(store) as scratch:
        fold_files = _compute_folds(moments, scratch=scratch, progress=progress)
        with new_folder(store, replace=existing is not None) as draft:
            _write_store(draft, moments, fold_files=fold_files, settings=settings)
    return FeatureSummary(SegmentStore.open(store), written=True, relabelled=moments.relabelled, task=first.task)


def find_shared_moments(ecg: SearchFolder, eeg: SearchFolder) -> SharedMoments:
    """Return the moments of both cross-validations, or of both fine-tunings.

    Raises:
        SettingsError: An input is not finished or has the wrong modality, the inputs differ in target or
            folds, or a classifier was trained on test moments of the other.
        DataError: The inputs share no moment, or have different ratings of a moment.
    """
    first, second = FUSED_MODALITIES
    ecg_classifiers, eeg_classifiers = _read(ecg, modality=first), _read(eeg, modality=second)
    _check_settings(ecg_classifiers, eeg_classifiers)
    inputs = _intersect(ecg_classifiers, eeg_classifiers)
    _check_membership(*inputs)
    index = _shared_index(*inputs)
    return SharedMoments(inputs, index, relabelled=_check_folds(index, *inputs))


def _read(folder: SearchFolder, *, modality: Modality) -> Classifiers:
    classifiers = read_classifiers(folder)
    if classifiers.store.modality != modality:
        raise SettingsError(
            f"{classifiers.name!r} was trained on {classifiers.store.modality}, expected {modality}; "
            "give the cross-validation on ECG first, then the one on EEG"
        )
    return classifiers


def _check_settings(ecg: Classifiers, eeg: Classifiers) -> None:
    """Check that target, folds and length of a segment are equal."""
    if ecg.fold_numbers != list(range(len(ecg.fold_numbers))):
        raise SettingsError(
            f"{ecg.name!r} is a fine-tuning of fold {ecg.fold_numbers[0]}, expected fold 0; "
            "set folds.index to 0 in both"
        )
    eeg_settings = _settings_to_compare(eeg)
    for name, value in _settings_to_compare(ecg).items():
        if eeg_settings[name] != value:
            raise SettingsError(
                f"{ecg.name!r} has {name} {value} and {eeg.name!r} has {eeg_settings[name]}; both must have the same"
            )


def _settings_to_compare(classifiers: Classifiers) -> dict[str, Any]:
    first = classifiers.members[0]
    return {
        "task.target": first.task.target,
        "task.high": first.task.high,
        "task.classes": list(first.task.classes),
        "task.threshold": first.task.threshold,
        **{f"folds.{name}": getattr(first.experiment.folds, name) for name in SHARED_FOLD_SETTINGS},
        "folds": len(classifiers.members),
        "seconds per segment": classifiers.store.seconds,
    }


def _intersect(ecg: Classifiers, eeg: Classifiers) -> tuple[FusionInput, FusionInput]:
    require_shared_people(ecg.store, eeg.store)
    ecg_membership, eeg_membership = fold_membership(ecg), fold_membership(eeg)
    moments, in_ecg, in_eeg = np.intersect1d(
        ecg_membership.moments, eeg_membership.moments, assume_unique=True, return_indices=True
    )
    if not len(moments):
        raise DataError(
            f"{ecg.name!r} and {eeg.name!r} have no moment in common: corpus, subject, session and start must be the "
            "same. Prepare both stores of one corpus, with the same seconds"
        )
    order = np.argsort(_first_rows(ecg_membership)[in_ecg])
    return (
        FusionInput(ecg, ecg_membership, shared=in_ecg[order]),
        FusionInput(eeg, eeg_membership, shared=in_eeg[order]),
    )


def _first_rows(membership: FoldMembership) -> Int64[np.ndarray, " moment"]:
    return membership.rows[np.unique(membership.moment_of, return_index=True)[1]]


def _check_membership(ecg: FusionInput, eeg: FusionInput) -> None:
    """Check that both inputs have the same test sets, so that no classifier was trained on the other's."""
    different = np.any(ecg.tested != eeg.tested, axis=1)
    leaked = np.any((ecg.tested | eeg.tested) & (ecg.trained | eeg.trained), axis=1)
    if not different.any():
        assert not leaked.any(), "a fold has the same moment in its training and its test set"
        return
    names = f"{ecg.classifiers.name!r} and {eeg.classifiers.name!r}"
    raise SettingsError(
        f"{different.sum()} of {len(different)} moments are in the test sets of different folds in {names}, and for "
        f"{leaked.sum()} of them one model was trained on a moment that the other is tested on; {REMEDY}"
    )


def _shared_index(ecg: FusionInput, eeg: FusionInput) -> pd.DataFrame:
    ecg_table, eeg_table = ecg.shared_table, eeg.shared_table
    for name in (str(column) for column in ecg_table.filter(regex="^rating_") if column in eeg_table):
        different = ~np.isclose(ecg_table[name].to_numpy(float), eeg_table[name].to_numpy(float), equal_nan=True)
        if different.any():
            raise DataError(
                f"{different.sum()} of {len(different)} moments have different {name} in {ecg.classifiers.store.path} "
                f"and in {eeg.classifiers.store.path}; prepare both from the same files"
            )
    numbers = np.array(ecg.classifiers.fold_numbers, dtype=np.int16)
    test_fold = np.where(ecg.tested.any(axis=1), numbers[ecg.tested.argmax(axis=1)], np.int16(-1))
    digits = np.where(ecg.trained | eeg.trained, "1", "0")
    trained = {TRAINED_ON: ["".join(row) for row in digits]}
    return ecg_table.assign(channel=ALL_CHANNELS, test_fold=test_fold, **trained)


def _check_folds(index: pd.DataFrame, ecg: FusionInput, eeg: FusionInput) -> int:
    """Check that splitting the shared moments gives the folds of the cross-validations.

    Returns:
        The number of moments whose label differs from that in one of the two stores.
    """
    labels = ecg.classifiers.members[0].task.labels(index)
    for classifier in ecg.classifiers.members:
        folds = classifier.experiment.folds.model_copy(update={"channels": ()})
        test = split(index, folds, labels=labels).test
        if not np.array_equal(test, np.flatnonzero(index["test_fold"] == classifier.fold)):
            raise SettingsError(
                f"the {len(index)} shared moments are divided by {folds.by} into other folds than in the "
                f"cross-validations; {REMEDY}"
            )
    ecg_labels, eeg_labels = ecg.membership.labels[ecg.shared], eeg.membership.labels[eeg.shared]
    return int(((labels != ecg_labels) | (labels != eeg_labels)).sum())


def _open_existing(store: Path, *, settings: Mapping[str, Any]) -> SegmentStore | None:
    """Open an existing store of these inputs; refuse a store of anything else."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        return None
    existing = SegmentStore.open(store)
    names = [existing.about.settings[name]["name"] for name in FUSED_MODALITIES] if existing.holds_features else []
    if names != [settings[name]["name"] for name in FUSED_MODALITIES]:
        content = f"features of {' and '.join(names)}" if names else f"segments of {existing.modality}"
        raise SettingsError(f"{store} contains {content}; give another folder, or remove that one")
    return existing


def _compute_folds(moments: SharedMoments, *, scratch: Path, progress: Callable[[float, str], None]) -> list[Path]:
    """Compute each fold's features into a file, unless an interrupted run has left the file."""
    ecg, eeg = moments.inputs
    moment_names = "\n".join(unit_keys(moments.index, by="moment"))
    fingerprints = [part.classifiers.store.fingerprint for part in moments.inputs]
    pairs = list(zip(ecg.classifiers.members, eeg.classifiers.members, strict=True))
    files: list[Path] = []
    for position, pair in enumerate(pairs):
        progress(position / len(pairs), fold_name(pair[0].fold))
        content = [moment_names, *fingerprints, *(member.sha256 + member.experiment.digest() for member in pair)]
        file = scratch / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}.npy"
        if not file.is_file():
            features = [_activations(member, part) for member, part in zip(pair, moments.inputs, strict=True)]
            draft = file.with_suffix(".draft.npy")
            np.save(draft, np.concatenate(features, axis=1))
            draft.replace(file)
        files.append(file)
    return files


def _activations(member: Classifier, part: FusionInput) -> Float32[np.ndarray, "moment hidden"]:
    """Return the last hidden activations of the shared moments, averaged over the leads of a moment."""
    membership, shared, store = part.membership, part.shared, part.classifiers.store
    objective = member.load(store)
    position_of = np.full(len(membership.moments), -1)
    position_of[shared] = np.arange(len(shared))
    positions = position_of[membership.moment_of]
    rows, positions = membership.rows[positions >= 0], positions[positions >= 0]
    leads = np.bincount(positions, minlength=len(shared))
    data = with_person_means(member.experiment.select(store), objective, rows=rows)
    sums: Float32[np.ndarray, "moment hidden"] | None = None
    for begin in range(0, len(rows), BATCH_SEGMENTS):
        batch = slice(begin, begin + BATCH_SEGMENTS)
        means = None if data.person_means is None else data.person_means.of(torch.from_numpy(rows[batch]))
        hidden = objective.hidden_activations(torch.from_numpy(store.signal[rows[batch]]), person_means=means).numpy()
        sums = np.zeros((len(shared), hidden.shape[1]), dtype=np.float32) if sums is None else sums
        np.add.at(sums, positions[batch], hidden)
    assert sums is not None
    return sums / leads[:, None].astype(np.float32)


def _write_store(draft: Path, moments: SharedMoments, *, fold_files: Sequence[Path], settings: dict[str, Any]) -> None:
    index, classifiers = moments.index, moments.inputs[0].classifiers
    width = int(np.load(fold_files[0], mmap_mode="r", allow_pickle=False).shape[1])
    shape = (len(index), len(fold_files), width)
    signal = np.lib.format.open_memmap(draft / SIGNAL_FILE, mode="w+", dtype=np.float32, shape=shape)
    for position, file in enumerate(fold_files):
        signal[:, position] = np.load(file, mmap_mode="r", allow_pickle=False)
    signal.flush()
    write_index(index, file=draft / INDEX_FILE)
    files = file_records(draft)
    ecg, eeg = moments.inputs
    about = About(
        modality=FEATURES,
        rate=0,
        seconds=classifiers.store.seconds,
        channels=tuple(map(fold_name, classifiers.fold_numbers)),
        width=width,
        settings=settings,
        segments=len(index),
        sources=(_source(ecg, other=eeg, index=index), _source(eeg, other=ecg, index=index)),
        software={name: importlib.metadata.version(name) for name in ("numpy", "torch", "pyarrow")},
        files=files,
        fingerprint=fingerprint_store(files, settings=settings),
    )
    (draft / ABOUT_FILE).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _source(part: FusionInput, *, other: FusionInput, index: pd.DataFrame) -> SourceCorpus:
    """Describe an input: its name, the hashes of its weights, and its moments that the other one lacks."""
    classifiers = part.classifiers
    reason = f"no {other.classifiers.store.modality.upper()} of these moments"
    unshared = part.unshared_table
    counts = Counter(zip(unshared["subject"], unshared["session"], strict=True))
    left_out = tuple(
        Exclusion(what=f"subject {subject}, session {session}: {count} moments", reason=reason)
        for (subject, session), count in counts.items()
    )
    identity = json.dumps(identity_of(classifiers), sort_keys=True)
    return SourceCorpus(
        corpus=classifiers.name,
        settings={"weights": {fold_name(member.fold): member.sha256 for member in classifiers.members}},
        fingerprint=hashlib.sha256(identity.encode()).hexdigest(),
        subjects=len(index.drop_duplicates(["corpus", "subject"])),
        recordings=len(index.drop_duplicates(["corpus", "subject", "session"])),
        segments=len(index),
        hours=round(len(index) * classifiers.store.seconds / 3600, 4),
        left_out=left_out,
    )
