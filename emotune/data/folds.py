"""Folds over the index table: who is trained on, who chooses, who tests."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from pydantic import Field

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.randomness import stream

Rows = Int64[np.ndarray, " row"]


class Folds(Settings):
    """How the segments are parted."""

    by: Literal["subject"] = "subject"
    """What stays together: all segments of a subject are on one side."""

    count: int = Field(default=5, ge=2)
    """Number of folds; each is the test set once."""

    index: int = Field(default=0, ge=0)
    """Which fold tests, counted from 0."""

    channels: tuple[str, ...] = ()
    """Only segments of these channels of the index table, for instance ``ECG Left``; all if empty."""

    validation: float = Field(default=0.2, ge=0, lt=1)
    """Share of the other subjects that validates, at least one unless it is 0."""

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


def split(index: pd.DataFrame, folds: Folds, *, labels: Float[np.ndarray, " segment"] | None = None) -> Fold:
    """Part the segments into training, validation and test rows.

    No subject is on two sides, the test sets of all folds together hold every row of the chosen
    channels once, and the folds' numbers of subjects differ by one at most. With labels, subjects
    are dealt in the order of their mean label, so that the sides resemble each other; rows without
    one (NaN) are left out.

    Args:
        index: The index table of a store.
        folds: How to part it.
        labels: A label per row of the table, for instance 0 or 1.

    Raises:
        SettingsError: There are fewer subjects than it takes, or no such channel.

    Source:
        In place of scikit-learn's ``StratifiedGroupKFold``, which leaves a fold empty now and then
        (1 of 2000 random tables) and cannot give a stated share for validation.
    """
    chosen = _of_channels(index, channels=folds.channels)
    rows = np.flatnonzero(chosen if labels is None else chosen & ~np.isnan(labels))
    names, subject_of = np.unique(
        (index["corpus"].astype(str) + "/" + index["subject"].astype(str)).to_numpy()[rows],
        return_inverse=True,
    )
    _check_enough(folds, subjects=len(names))
    means = np.zeros(len(names))
    if labels is not None:
        means = np.bincount(subject_of, weights=labels[rows]) / np.bincount(subject_of)
    tests = _deal(means, folds=folds) == folds.index
    validates = _choose(means, among=np.flatnonzero(~tests), folds=folds)
    trains = ~tests & ~validates
    train = _draw_evenly(trains, subject_of=subject_of, count=folds.segments, seed=folds.seed)
    val = _draw_evenly(validates, subject_of=subject_of, count=folds.validation_segments, seed=folds.seed)
    return Fold(train=rows[train], val=rows[val], test=rows[tests[subject_of]])


def _of_channels(index: pd.DataFrame, *, channels: tuple[str, ...]) -> Bool[np.ndarray, " row"]:
    known = index["channel"].unique().tolist()
    missing = set(channels).difference(known)
    if missing:
        raise SettingsError(
            f"the data have no channel {', '.join(sorted(missing))}; they have {', '.join(sorted(known))}"
        )
    return index["channel"].isin(channels or known).to_numpy()


def _check_enough(folds: Folds, *, subjects: int) -> None:
    if folds.index >= folds.count:
        raise SettingsError(
            f"fold {folds.index} was asked for, but {folds.count} folds count from 0 to {folds.count - 1}"
        )
    needed = max(folds.count, 3 if folds.validation else 2)
    if subjects < needed:
        raise SettingsError(
            f"{folds.count} folds by subject need at least {needed} subjects, but the data have {subjects}. "
            "Use fewer folds or more data."
        )


def _deal(means: Float[np.ndarray, " subject"], *, folds: Folds) -> Int64[np.ndarray, " subject"]:
    """Deal the subjects to folds in rounds, each round to those of most similar labels."""
    random = stream(folds.seed, "folds")
    order = np.lexsort((random.permutation(len(means)), means))
    rounds = -(-len(means) // folds.count)
    hands = np.concatenate([random.permutation(folds.count) for _ in range(rounds)])
    dealt = np.empty(len(means), dtype=np.int64)
    dealt[order] = hands[: len(means)]
    return dealt


def _choose(means: Float[np.ndarray, " subject"], *, among: Rows, folds: Folds) -> np.ndarray:
    """Choose who validates: one of each group of subjects with similar labels."""
    chosen = np.zeros(len(means), dtype=bool)
    if not folds.validation:
        return chosen
    random = stream(folds.seed, "validation", folds.index)
    order = among[np.lexsort((random.permutation(len(among)), means[among]))]
    count = min(max(1, round(folds.validation * len(among))), len(among) - 1)
    chosen[[random.choice(group) for group in np.array_split(order, count)]] = True
    return chosen


def _draw_evenly(subjects: np.ndarray, *, subject_of: np.ndarray, count: int | None, seed: int) -> Rows:
    """Return the rows of the chosen subjects or, if that is more, so many drawn in turns, one of every subject."""
    rows = np.flatnonzero(subjects[subject_of])
    if count is None:
        return rows
    shuffled = rows[stream(seed, "segments").permutation(len(rows))]
    owners = subject_of[shuffled]
    turns = pd.Series(owners).groupby(owners).cumcount().to_numpy()
    return np.sort(shuffled[np.argsort(turns, kind="stable")[:count]])
