"""What two cross-validations must have in common for their models to be fused, and the moments that both have."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from emotune.data.folds import split
from emotune.data.modality import FUSED_MODALITIES, Modality
from emotune.data.store import ALL_CHANNELS
from emotune.errors import DataError, SettingsError
from emotune.evaluation.classifiers import Classifiers, FoldMembership, fold_membership, read_classifiers
from emotune.models.features import TRAINED_ON
from emotune.study.folder import SearchFolder

SAME_FOLDS = ("by", "count", "seed", "validation")
"""What the folds of both must have in common."""

REMEDY = "give each the other's store as partner, so that both use the same moments"


@dataclass(frozen=True, eq=False)
class Half:
    """One of the two.

    Attributes:
        classifiers: One per fold.
        sides: Who was on which side of them.
        wanted: Which of its moments the other one has too.
    """

    classifiers: Classifiers
    sides: FoldMembership
    wanted: Int64[np.ndarray, " moment"]

    @property
    def trained(self) -> Bool[np.ndarray, "moment fold"]:
        """Whether a fold's classifier was trained on a joint moment."""
        return self.sides.trained[self.wanted]

    @property
    def tested(self) -> Bool[np.ndarray, "moment fold"]:
        """Whether a joint moment is in a fold's test set."""
        return self.sides.tested[self.wanted]

    @property
    def table(self) -> pd.DataFrame:
        """The store's index of the joint moments; of several leads, the first one's."""
        rows = _first_rows(self.sides)[self.wanted]
        return self.classifiers.store.index.iloc[rows].reset_index(drop=True)

    @property
    def alone(self) -> pd.DataFrame:
        """The store's index of the moments that only this one has."""
        rows = np.delete(_first_rows(self.sides), self.wanted)
        return self.classifiers.store.index.iloc[np.sort(rows)]


@dataclass(frozen=True, eq=False)
class Joint:
    """The moments of both, in the order of the ECG's store.

    Attributes:
        halves: The ECG's and the EEG's classifiers.
        index: A row per moment: that of the ECG's store, which fold tests it (-1: none of those
            there are), and for each fold whether one of its two models was trained on it.
        relabelled: Moments whose label is another than in one of the two stores, since the mean
            rating is.
    """

    halves: tuple[Half, Half]
    index: pd.DataFrame
    relabelled: int


def join(ecg: SearchFolder, eeg: SearchFolder) -> Joint:
    """Find the moments that two cross-validations, or two fine-tunings, have in common.

    Raises:
        SettingsError: One of them is not finished or of another modality, they differ in target or
            folds, or a model was trained on what one of both tests.
        DataError: They have no moment in common, or other ratings of the same moment.
    """
    first, second = FUSED_MODALITIES
    ours, theirs = _read(ecg, modality=first), _read(eeg, modality=second)
    _check_alike(ours, theirs)
    halves = _meet(ours, theirs)
    _check_sides(*halves)
    index = _index(*halves)
    return Joint(halves, index, relabelled=_check_folds(index, *halves))


def _read(folder: SearchFolder, *, modality: Modality) -> Classifiers:
    found = read_classifiers(folder)
    if found.store.modality != modality:
        raise SettingsError(
            f"{found.name!r} was trained on {found.store.modality}, where {modality} is expected; "
            "give the cross-validation on ECG first, then the one on EEG"
        )
    return found


def _check_alike(ecg: Classifiers, eeg: Classifiers) -> None:
    if ecg.numbers != list(range(len(ecg.numbers))):
        raise SettingsError(f"{ecg.name!r} is a fine-tuning of fold {ecg.numbers[0]}; set folds.index to 0 in both")
    theirs = _facts(eeg)
    for name, value in _facts(ecg).items():
        if theirs[name] != value:
            raise SettingsError(
                f"{ecg.name!r} has {name} {value} and {eeg.name!r} has {theirs[name]}; both must have the same"
            )


def _facts(classifiers: Classifiers) -> dict[str, Any]:
    first = classifiers.each[0]
    return {
        "task.target": first.task.target,
        "task.threshold": first.task.threshold,
        **{f"folds.{name}": getattr(first.experiment.folds, name) for name in SAME_FOLDS},
        "folds": len(classifiers.each),
        "seconds per segment": classifiers.store.seconds,
    }


def _meet(ecg: Classifiers, eeg: Classifiers) -> tuple[Half, Half]:
    ours, theirs = fold_membership(ecg), fold_membership(eeg)
    both, in_ecg, in_eeg = np.intersect1d(ours.moments, theirs.moments, assume_unique=True, return_indices=True)
    if not len(both):
        raise DataError(
            f"{ecg.name!r} and {eeg.name!r} have no moment in common: corpus, subject, session and start must be the "
            "same. Prepare both stores of one corpus, with the same seconds"
        )
    order = np.argsort(_first_rows(ours)[in_ecg])
    return Half(ecg, ours, wanted=in_ecg[order]), Half(eeg, theirs, wanted=in_eeg[order])


def _first_rows(sides: FoldMembership) -> Int64[np.ndarray, " moment"]:
    return sides.rows[np.unique(sides.moment_of, return_index=True)[1]]


def _check_sides(ecg: Half, eeg: Half) -> None:
    """Refuse test sets that differ, and with them any model that was trained on what its fold tests."""
    different = np.any(ecg.tested != eeg.tested, axis=1)
    leaked = np.any((ecg.tested | eeg.tested) & (ecg.trained | eeg.trained), axis=1)
    if not different.any():
        assert not leaked.any(), "a fold has the same moment on two sides"
        return
    names = f"{ecg.classifiers.name!r} and {eeg.classifiers.name!r}"
    raise SettingsError(
        f"{different.sum()} of {len(different)} moments are in the test sets of other folds in {names}, and for "
        f"{leaked.sum()} of them one model was trained on what the other is tested on; {REMEDY}"
    )


def _index(ecg: Half, eeg: Half) -> pd.DataFrame:
    ours, theirs = ecg.table, eeg.table
    for name in (str(column) for column in ours.filter(regex="^rating_") if column in theirs):
        other = ~np.isclose(ours[name].to_numpy(float), theirs[name].to_numpy(float), equal_nan=True)
        if other.any():
            raise DataError(
                f"{other.sum()} of {len(other)} moments have another {name} in {ecg.classifiers.store.path} than in "
                f"{eeg.classifiers.store.path}; prepare both from the same files"
            )
    numbers = np.array(ecg.classifiers.numbers, dtype=np.int16)
    tests = np.where(ecg.tested.any(axis=1), numbers[ecg.tested.argmax(axis=1)], np.int16(-1))
    digits = np.where(ecg.trained | eeg.trained, "1", "0")
    trained = {TRAINED_ON: ["".join(row) for row in digits]}
    return ours.assign(channel=ALL_CHANNELS, test_fold=tests, **trained)


def _check_folds(index: pd.DataFrame, ecg: Half, eeg: Half) -> int:
    """Refuse moments whose folds by themselves are others than those of the cross-validations.

    Returns:
        How many labels are others.
    """
    labels = ecg.classifiers.each[0].task.labels(index)
    for one in ecg.classifiers.each:
        folds = one.experiment.folds.model_copy(update={"channels": ()})
        test = split(index, folds, labels=labels).test
        if not np.array_equal(test, np.flatnonzero(index["test_fold"] == one.fold)):
            raise SettingsError(
                f"the {len(index)} moments that both have fall into other folds by {folds.by} than in the "
                f"cross-validations; {REMEDY}"
            )
    ours, theirs = ecg.sides.labels[ecg.wanted], eeg.sides.labels[eeg.wanted]
    return int(((labels != ours) | (labels != theirs)).sum())
