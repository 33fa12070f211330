"""Folds over the index table: who is trained on, who chooses, who tests."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from pydantic import Field

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.randomness import stream

RowNumbers = Int64[np.ndarray, " row"]


FoldUnit = Literal["subject", "trial", "video", "moment"]


class HeldOutMoments(Settings):
    """Which moments of a corpus a pre-training must not see, since the encoder will be tested on them."""

    corpus: str
    """The corpus that folds are made of."""

    half: Literal["first", "second"]
    """Which half of the folds by moment."""


class Folds(Settings):
    """How the segments are parted."""

    by: FoldUnit = "subject"
    """What stays together on one side: a subject; a trial (a subject's session or video); a video, whoever saw it;
    or a moment (both arms, and ECG and EEG, of the same seconds)."""

    count: int = Field(default=5, ge=2)
    """Number of folds; each is the test set once."""

    index: int | None = Field(default=0, ge=0)
    """Which fold tests, counted from 0; null: none, all segments train or validate."""

    without: HeldOutMoments | None = None
    """Leave moments out altogether."""

    channels: tuple[str, ...] = ()
    """Only segments of these channels of the index table, for instance ``ECG Left``; all if empty."""

    validation: float = Field(default=0.2, ge=0, lt=1)
    """Share of the others that validates, at least one of what stays together unless it is 0."""

    segments: int | None = Field(default=None, ge=1)
    """At most so many training segments, drawn evenly over the subjects; all if not given."""

    validation_segments: int | None = Field(default=None, ge=1)
    """At most so many validation segments, drawn in the same way; all if not given."""

    seed: int = 0
    """Who is in which fold."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers of the index table, ascending, none on two sides."""

    train: Int64[np.ndarray, " train"]
    val: Int64[np.ndarray, " val"]
    test: Int64[np.ndarray, " test"]


def split(
    index: pd.DataFrame,
    folds: Folds,
    *,
    labels: Float[np.ndarray, " segment"] | None = None,
    among: Bool[np.ndarray, " segment"] | None = None,
) -> Fold:
    """Part the segments into training, validation and test rows.

    Nothing that stays together is on two sides, and the test sets of all folds together hold every
    row of the chosen channels once. Folds by subject, trial or video have nearly equal numbers of
    them; with labels, these are dealt in the order of their mean label, so that the sides resemble
    each other. A moment's fold is a function of the seed and the moment alone: equal in every store,
    whatever else is in it. Rows without a label (NaN) are left out.

    Args:
        index: The index table of a store.
        folds: How to part it.
        labels: A label per row of the table, for instance 0 or 1.
        among: Which rows to part; all if not given.

    Raises:
        SettingsError: There are fewer subjects (trials, …) than it takes, or no such channel.

    Source:
        In place of scikit-learn's ``StratifiedGroupKFold``, which leaves a fold empty now and then
        (1 of 2000 random tables) and cannot give a stated share for validation. Folds by moment are
        those of Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-D.
    """
    chosen = _of_channels(index, channels=folds.channels) & _without(index, folds=folds)
    chosen = chosen if labels is None else chosen & ~np.isnan(labels)
    rows = np.flatnonzero(chosen if among is None else chosen & among)
    table = index.iloc[rows]
    names, unit_of = np.unique(unit_keys(table, by=folds.by), return_inverse=True)
    _check_enough(folds, units=len(names))
    means = np.zeros(len(names)) if labels is None else _mean_labels(table, labels=labels[rows], unit_of=unit_of)
    dealt = hashed_folds(names, folds=folds) if folds.by == "moment" else _deal(means, folds=folds)
    tests = dealt == (-1 if folds.index is None else folds.index)
    validates = _choose(means, among=np.flatnonzero(~tests), folds=folds)
    subject_of = np.unique(unit_keys(table, by="subject"), return_inverse=True)[1]
    train = _draw_evenly((~tests & ~validates)[unit_of], subject_of=subject_of, count=folds.segments, seed=folds.seed)
    val = _draw_evenly(validates[unit_of], subject_of=subject_of, count=folds.validation_segments, seed=folds.seed)
    if folds.index is not None and not tests.any():
        raise SettingsError(
            f"fold {folds.index} of {folds.count} by {folds.by} is empty. Use fewer folds or more data."
        )
    return Fold(train=rows[train], val=rows[val], test=rows[tests[unit_of]])


PARTS_OF_KEY: dict[FoldUnit, tuple[str, ...]] = {
    "subject": ("corpus", "subject"),
    "trial": ("corpus", "subject", "session"),
    "video": ("corpus", "session"),
    "moment": ("corpus", "subject", "session"),
}


def unit_keys(index: pd.DataFrame, *, by: FoldUnit) -> np.ndarray:
    """Return a text for each row, the same in all rows that stay together."""
    text = index["corpus"].astype(str)
    for part in PARTS_OF_KEY[by][1:]:
        text = text + "/" + index[part].astype(str)
    if by == "moment":
        text = text + "/" + index["start"].map("{:.3f}".format)
    return text.to_numpy(dtype=str)


def hashed_folds(names: np.ndarray, *, folds: Folds) -> Int64[np.ndarray, " unit"]:
    """Give each name a fold that depends on nothing but the name, the seed and the number of folds."""
    digests = (hashlib.blake2b(f"{folds.seed}/{name}".encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(digest, "big") % folds.count for digest in digests], dtype=np.int64)


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
    """Return each unit's mean label over its moments, however many leads each has."""
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
            f"fold {folds.index} was asked for, but {folds.count} folds count from 0 to {folds.count - 1}"
        )
    needed = (2 if folds.validation else 1) if folds.index is None else max(folds.count, 3 if folds.validation else 2)
    if units < needed:
        raise SettingsError(
            f"{folds.count} folds by {folds.by} need at least {needed} {folds.by}s, but the data have {units}. "
            "Use fewer folds or more data."
        )


def _deal(means: Float[np.ndarray, " unit"], *, folds: Folds) -> Int64[np.ndarray, " unit"]:
    """Deal subjects, trials or videos to folds in rounds, each round to those of most similar labels."""
    random = stream(folds.seed, "folds")
    order = np.lexsort((random.permutation(len(means)), means))
    rounds = -(-len(means) // folds.count)
    hands = np.concatenate([random.permutation(folds.count) for _ in range(rounds)])
    dealt = np.empty(len(means), dtype=np.int64)
    dealt[order] = hands[: len(means)]
    return dealt


def _choose(means: Float[np.ndarray, " unit"], *, among: RowNumbers, folds: Folds) -> Bool[np.ndarray, " unit"]:
    """Choose who validates: one of each group of subjects, trials, … with similar labels."""
    chosen = np.zeros(len(means), dtype=bool)
    if not folds.validation:
        return chosen
    random = stream(folds.seed, "validation", -1 if folds.index is None else folds.index)
    order = among[np.lexsort((random.permutation(len(among)), means[among]))]
    count = min(max(1, round(folds.validation * len(among))), len(among) - 1)
    chosen[[random.choice(group) for group in np.array_split(order, count)]] = True
    return chosen


def _draw_evenly(
    chosen: Bool[np.ndarray, " all"], *, subject_of: Int64[np.ndarray, " all"], count: int | None, seed: int
) -> RowNumbers:
    """Return the chosen rows or, if that is more, so many drawn in turns, one of every subject."""
    rows = np.flatnonzero(chosen)
    if count is None:
        return rows
    shuffled = rows[stream(seed, "segments").permutation(len(rows))]
    owners = subject_of[shuffled]
    turns = pd.Series(owners).groupby(owners).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turns, kind="stable")[:count]])
