"""Folds: the rows of an index table for training, validation and test."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from pydantic import Field, model_validator

from emotune.base import Settings
from emotune.data.named_people import NamedPeople, list_names, resolve
from emotune.errors import SettingsError
from emotune.randomness import stream

RowNumbers = Int64[np.ndarray, " row"]


FoldUnit = Literal["subject", "trial", "video", "moment", "corpus"]


class HeldOutMoments(Settings):
    """Moments of a corpus that are excluded from a pre-training, because its encoder will be tested on them."""

    corpus: str
    """Corpus whose moments are divided into folds."""

    half: Literal["first", "second"]
    """Half of the folds by moment that is excluded."""


class Folds(Settings):
    """Settings of the division into training, validation and test."""

    by: FoldUnit = "subject"
    """What is never split between parts: a subject; a trial (a subject's session or video); a video of all subjects;
    a moment (both arms, and ECG and EEG, of the same seconds); or a corpus."""

    count: int = Field(default=5, ge=2)
    """Number of folds; each is the test set once."""

    index: int | None = Field(default=0, ge=0)
    """Index of the test fold, counted from 0; null: no test set, all segments train or validate."""

    test: NamedPeople | None = None
    """People whose segments are the test set; null: the test set is fold ``index``."""

    train: NamedPeople | None = None
    """With ``test``: people whose segments train and validate; null: everybody else."""

    without: HeldOutMoments | None = None
    """Moments that are in no set."""

    channels: tuple[str, ...] = ()
    """Channels of the index table whose segments are used, for example ``ECG Left``; empty: all channels."""

    validation: float = Field(default=0.2, ge=0, lt=1)
    """Share of the units outside the test fold that validate; at least one unit unless it is 0."""

    segments: int | None = Field(default=None, ge=1)
    """Largest number of training segments, drawn evenly over the subjects; null: all."""

    validation_segments: int | None = Field(default=None, ge=1)
    """Largest number of validation segments, drawn evenly over the subjects; null: all."""

    calibration_minutes: float = Field(default=0, ge=0)
    """Minutes at the start of each recording of a test subject that train and are not tested; 0: none. They measure a
    model that is calibrated to new people with a few labelled minutes."""

    seed: int = 0
    """Seed of the assignment to folds."""

    @model_validator(mode="after")
    def _check_people(self) -> "Folds":
        if self.train is not None and self.test is None:
            raise ValueError("train was given without test; give the people to test on as well, or remove train")
        if self.test is not None and self.index != 0:
            raise ValueError(
                f"index: {'null' if self.index is None else self.index} was given with test, which names the people "
                "that are tested; remove index"
            )
        if self.calibration_minutes and self.test is None and self.by not in ("subject", "corpus"):
            raise ValueError(
                f"calibration_minutes: {self.calibration_minutes:g} was given with by: {self.by}, where test people "
                "have training segments already; give by: subject, or remove calibration_minutes"
            )
        return self

    @property
    def numbers(self) -> range:
        """Numbers of the folds of a cross-validation; only 0 if the test people are named."""
        return range(self.count if self.test is None else 1)


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers of the three sets, ascending and disjoint."""

    train: Int64[np.ndarray, " train"]
    val: Int64[np.ndarray, " val"]
    test: Int64[np.ndarray, " test"]

    @property
    def rows(self) -> RowNumbers:
        """Row numbers of the three sets together, ascending."""
        return np.sort(np.concatenate([self.train, self.val, self.test]))


def split(
    index: pd.DataFrame,
    folds: Folds,
    *,
    labels: Float[np.ndarray, " segment"] | None = None,
    among: Bool[np.ndarray, " segment"] | None = None,
) -> Fold:
    """Divide the segments into training, validation and test rows.

    A unit (subject, trial, video or moment) is in one set only. The test sets of all folds together contain
    every row of the chosen channels once. With ``folds.test`` the test set has the rows of the people it names, and
    the units of the others are divided into training and validation. Folds by subject, trial or video have nearly
    equal numbers of units; with labels, units are assigned in the order of their mean label, so that the sets have
    similar labels. The fold of a moment is a function of the seed and the moment alone, and therefore the same in
    every store.
    Rows without a label (NaN) are in no set. With ``folds.calibration_minutes`` the first test rows of each recording
    are training rows.

    Args:
        index: Index table of a store.
        folds: Settings of the division.
        labels: A label per row of the table, for example 0 or 1.
        among: Mask of the rows to divide; None: all rows.

    Raises:
        SettingsError: There are too few units for the number of folds, or a channel does not exist. A person of
            ``folds.test`` or ``folds.train`` is unknown, has no row to use or is named in both, or there are too few
            people to train on. The calibration leaves a person without a test row.

    Source:
        This replaces scikit-learn's ``StratifiedGroupKFold``, which left a fold empty in 1 of 2000 random
        tables and cannot take a given share for validation. Folds by moment are those of Vazquez-Rodriguez
        et al. 2022 (arXiv:2204.05103), section IV-D.
    """
    chosen = _of_channels(index, channels=folds.channels) & _without(index, folds=folds)
    chosen = chosen if labels is None else chosen & ~np.isnan(labels)
    rows = np.flatnonzero(chosen if among is None else chosen & among)
    if folds.test is not None:
        fold = _split_by_name(index, folds, rows=rows, labels=labels)
    else:
        fold = _split_by_unit(index, folds, rows=rows, labels=labels)
    return _calibrate(index, fold, minutes=folds.calibration_minutes) if folds.calibration_minutes else fold


def _split_by_unit(
    index: pd.DataFrame, folds: Folds, *, rows: RowNumbers, labels: Float[np.ndarray, " segment"] | None
) -> Fold:
    """Divide rows by the unit ``folds.by``."""
    table = index.iloc[rows]
    names, unit_of = np.unique(unit_keys(table, by=folds.by), return_inverse=True)
    _check_enough(folds, units=len(names))
    means = np.zeros(len(names)) if labels is None else _mean_labels(table, labels=labels[rows], unit_of=unit_of)
    dealt = hashed_folds(names, folds=folds) if folds.by == "moment" else _deal(means, folds=folds)
    tests = dealt == (-1 if folds.index is None else folds.index)
    validates = _choose(means, among=np.flatnonzero(~tests), folds=folds)
    subject_of = np.unique(unit_keys(table, by="subject"), return_inverse=True)[1]
    train = draw_evenly((~tests & ~validates)[unit_of], subject_of=subject_of, count=folds.segments, seed=folds.seed)
    val = draw_evenly(validates[unit_of], subject_of=subject_of, count=folds.validation_segments, seed=folds.seed)
    if folds.index is not None and not tests.any():
        raise SettingsError(
            f"fold {folds.index} of {folds.count} by {folds.by} is empty. Use fewer folds or more data."
        )
    return Fold(train=rows[train], val=rows[val], test=rows[tests[unit_of]])


KEY_COLUMNS: dict[FoldUnit, tuple[str, ...]] = {
    "subject": ("corpus", "subject"),
    "trial": ("corpus", "subject", "session"),
    "video": ("corpus", "session"),
    "corpus": ("corpus",),
    "moment": ("corpus", "subject", "session"),
}


def unit_keys(index: pd.DataFrame, *, by: FoldUnit) -> np.ndarray:
    """Return the unit of each row as a text, for example ``amigos/P01/10`` for a trial."""
    text = index["corpus"].astype(str)
    for column in KEY_COLUMNS[by][1:]:
        text = text + "/" + index[column].astype(str)
    if by == "moment":
        text = text + "/" + index["start"].map("{:.3f}".format)
    return text.to_numpy(dtype=str)


def hashed_folds(names: np.ndarray, *, folds: Folds) -> Int64[np.ndarray, " unit"]:
    """Return the fold of each name: ``blake2b(seed/name) mod count``."""
    digests = (hashlib.blake2b(f"{folds.seed}/{name}".encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(digest, "big") % folds.count for digest in digests], dtype=np.int64)


def _split_by_name(
    index: pd.DataFrame, folds: Folds, *, rows: RowNumbers, labels: Float[np.ndarray, " segment"] | None
) -> Fold:
    """Divide rows by the people that ``folds.test`` and ``folds.train`` name."""
    assert folds.test is not None
    people = unit_keys(index, by="subject")
    used = people[rows]
    tested = resolve(folds.test, setting="folds.test", index=index, people=people, used=used)
    named = None
    if folds.train is not None:
        named = resolve(folds.train, setting="folds.train", index=index, people=people, used=used)
    both = sorted(tested & (named or set()))
    if both:
        raise SettingsError(
            f"folds.train and folds.test both name {list_names(both)}; a person can be in one of them only: remove "
            "the person from one"
        )
    is_test = np.isin(used, list(tested))
    is_train = ~is_test if named is None else np.isin(used, list(named))
    outside = rows[is_train]
    table = index.iloc[outside]
    names, unit_of = np.unique(unit_keys(table, by=folds.by), return_inverse=True)
    needed = 2 if folds.validation else 1
    if len(names) < needed:
        setting, remedy = ("folds.test", "fewer people to test") if named is None else ("folds.train", "more people")
        raise SettingsError(
            f"{setting} leaves {len(names)} {folds.by}{'' if len(names) == 1 else 's'} to train"
            f"{' and validate' if needed == 2 else ''} on, expected at least {needed}; name {remedy}"
        )
    means = np.zeros(len(names)) if labels is None else _mean_labels(table, labels=labels[outside], unit_of=unit_of)
    validates = _choose(means, among=np.arange(len(names)), folds=folds)[unit_of]
    subject_of = np.unique(used[is_train], return_inverse=True)[1]
    train = draw_evenly(~validates, subject_of=subject_of, count=folds.segments, seed=folds.seed)
    val = draw_evenly(validates, subject_of=subject_of, count=folds.validation_segments, seed=folds.seed)
    return Fold(train=outside[train], val=outside[val], test=rows[is_test])


def _calibrate(index: pd.DataFrame, fold: Fold, *, minutes: float) -> Fold:
    """Move the first minutes of each test recording to the training rows."""
    tested = index.iloc[fold.test]
    recording = unit_keys(tested, by="trial")
    start = tested["start"].to_numpy(dtype=np.float64)
    first = pd.Series(start).groupby(recording).transform("min").to_numpy()
    calibrates = start - first < 60 * minutes
    people = unit_keys(tested, by="subject")
    without = sorted(set(people) - set(people[~calibrates]))
    if without:
        raise SettingsError(
            f"folds.calibration_minutes: {minutes:g} was given, but no recording of {list_names(without)} has a "
            "segment after them to test; give fewer minutes"
        )
    train = np.sort(np.concatenate([fold.train, fold.test[calibrates]]))
    return Fold(train=train, val=fold.val, test=fold.test[~calibrates])


def _without(index: pd.DataFrame, *, folds: Folds) -> Bool[np.ndarray, " row"]:
    kept = np.ones(len(index), dtype=bool)
    if folds.without is None:
        return kept
    rows = np.flatnonzero(index["corpus"] == folds.without.corpus)
    if not len(rows):
        known = ", ".join(sorted(index["corpus"].unique()))
        raise SettingsError(f"folds.without: the data have no corpus {folds.without.corpus!r}; they have {known}")
    names, moment_of = np.unique(unit_keys(index.iloc[rows], by="moment"), return_inverse=True)
    in_first = hashed_folds(names, folds=folds) < folds.count // 2
    kept[rows] = (in_first if folds.without.half == "second" else ~in_first)[moment_of]
    return kept


def _mean_labels(
    table: pd.DataFrame, *, labels: Float[np.ndarray, " row"], unit_of: Int64[np.ndarray, " row"]
) -> Float[np.ndarray, " unit"]:
    """Return the mean label of each unit over its moments; a moment counts once for any number of leads."""
    _, first = np.unique(unit_keys(table, by="moment"), return_index=True)
    return np.bincount(unit_of[first], weights=labels[first]) / np.bincount(unit_of[first])


def _of_channels(index: pd.DataFrame, *, channels: tuple[str, ...]) -> Bool[np.ndarray, " row"]:
    known = index["channel"].unique().tolist()
    missing = set(channels).difference(known)
    if missing:
        raise SettingsError(
            f"the data have no channel {', '.join(sorted(missing))}; they have {', '.join(sorted(known))}"
        )
    return index["channel"].isin(channels or known).to_numpy()


def _check_enough(folds: Folds, *, units: int) -> None:
    if folds.index is not None and folds.index >= folds.count:
        raise SettingsError(
            f"folds.index: {folds.index} was given; {folds.count} folds are numbered from 0 to {folds.count - 1}"
        )
    needed = (2 if folds.validation else 1) if folds.index is None else max(folds.count, 3 if folds.validation else 2)
    if units < needed:
        raise SettingsError(
            f"{folds.count} folds by {folds.by} need at least {needed} {folds.by}s, but the data have {units}. "
            "Use fewer folds or more data."
        )


def _deal(means: Float[np.ndarray, " unit"], *, folds: Folds) -> Int64[np.ndarray, " unit"]:
    """Assign units to folds in rounds: each round assigns ``count`` units of similar labels to all folds at random."""
    random = stream(folds.seed, "folds")
    order = np.lexsort((random.permutation(len(means)), means))
    rounds = -(-len(means) // folds.count)
    hands = np.concatenate([random.permutation(folds.count) for _ in range(rounds)])
    dealt = np.empty(len(means), dtype=np.int64)
    dealt[order] = hands[: len(means)]
    return dealt


def _choose(means: Float[np.ndarray, " unit"], *, among: RowNumbers, folds: Folds) -> Bool[np.ndarray, " unit"]:
    """Return the mask of the validation units: one drawn from each group of units with similar labels."""
    chosen = np.zeros(len(means), dtype=bool)
    if not folds.validation:
        return chosen
    random = stream(folds.seed, "validation", -1 if folds.index is None else folds.index)
    order = among[np.lexsort((random.permutation(len(among)), means[among]))]
    count = min(max(1, round(folds.validation * len(among))), len(among) - 1)
    chosen[[random.choice(group) for group in np.array_split(order, count)]] = True
    return chosen


def draw_evenly(
    chosen: Bool[np.ndarray, " all"], *, subject_of: Int64[np.ndarray, " all"], count: int | None, seed: int
) -> RowNumbers:
    """Return the chosen rows, or ``count`` of them drawn in turns, one of each subject per turn.

    Args:
        chosen: Mask of the rows.
        subject_of: Number of each row's subject.
        count: Largest number of rows; None: all.
        seed: Seed of the order.
    """
    rows = np.flatnonzero(chosen)
    if count is None:
        return rows
    shuffled = rows[stream(seed, "segments").permutation(len(rows))]
    owners = subject_of[shuffled]
    turns = pd.Series(owners).groupby(owners).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turns, kind="stable")[:count]])
