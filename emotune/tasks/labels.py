"""Labels of segments by their ratings or by their condition."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from emotune.errors import DataError
from emotune.tasks.thresholds import Threshold, thresholds

MORE_RATINGS = {
    "amigos": (
        "dominance",
        "liking",
        "familiarity",
        "neutral",
        "disgust",
        "happiness",
        "surprise",
        "anger",
        "fear",
        "sadness",
    ),
    "dreamer": ("dominance",),
}
"""Ratings of corpora that stores of older versions lack."""


def rated_columns(index: pd.DataFrame) -> list[str]:
    """Return the columns of an index with at least one rating."""
    return [str(column) for column in index.filter(regex="^rating_").dropna(axis="columns", how="all")]


def conditions_of(index: pd.DataFrame) -> list[str]:
    """Return the conditions of an index, ascending, without the empty one."""
    return sorted(set(index["condition"].astype(str)) - {""}) if "condition" in index else []


def no_ratings(index: pd.DataFrame, *, target: str) -> str:
    """Return the refusal of a store without the target's ratings, with the settings that use what it has."""
    rated = [column.removeprefix("rating_") for column in rated_columns(index)]
    conditions = conditions_of(index)
    remedies = [f"it has ratings of {', '.join(rated)}: set task.target to one of them"] if rated else []
    if len(conditions) > 1:
        remedies.append(
            f"it has the conditions {', '.join(map(repr, conditions))}: set task.target: condition and task.high to "
            "one of them"
        )
    remedies += [
        f"stores of older versions have arousal and valence only: prepare {corpus} again in another folder"
        for corpus in sorted(set(index["corpus"]) & set(MORE_RATINGS))
        if target in MORE_RATINGS[corpus]
    ]
    return f"the store has no ratings of {target}; {'; '.join(remedies) or 'task.target needs a rated corpus'}"


def label_ratings(
    index: pd.DataFrame,
    *,
    rating: str,
    threshold: float | Literal["mean"] | Threshold,
    train: Int64[np.ndarray, " row"] | None = None,
) -> Float[np.ndarray, " segment"]:
    """Return 1 for segments whose rating is above the threshold, 0 for other rated ones, NaN without a rating.

    Args:
        index: Index table of a store.
        rating: Name of the rating.
        threshold: As for `emotune.tasks.thresholds.thresholds`.
        train: Rows of the training segments; None before the division into folds.

    Raises:
        DataError: No recording is rated, or all ratings are on one side of the threshold.
    """
    column = f"rating_{rating}"
    if column not in rated_columns(index):
        raise DataError(no_ratings(index, target=rating))
    ratings = index[column].to_numpy(dtype=float)
    limits = thresholds(index, rating=rating, threshold=threshold, train=train)
    labels = np.where(np.isnan(ratings), np.nan, (ratings > limits).astype(float))
    if len(np.unique(labels[~np.isnan(labels)])) < 2:
        known = np.unique(limits[~np.isnan(labels)])
        side = f"{known[0]:g}" if len(known) == 1 else f"its threshold ({known[0]:g} to {known[-1]:g})"
        raise DataError(
            f"every rating of {rating} lies on one side of {side}; set task.threshold so that "
            f"ratings between {np.nanmin(ratings):g} and {np.nanmax(ratings):g} fall on both sides"
        )
    return labels


def label_condition(index: pd.DataFrame, *, high: str) -> Float[np.ndarray, " segment"]:
    """Return 1 for segments with the condition ``high``, 0 for those with another one, NaN for those with none.

    Raises:
        DataError: The store has no such condition, or no other one.
    """
    known = conditions_of(index)
    if high not in known or len(known) < 2:
        raise DataError(
            f"task.high: {high!r} was given, but the conditions of the store are "
            f"{', '.join(map(repr, known)) or 'none'}; name one of at least two"
        )
    conditions = index["condition"].astype(str).to_numpy()
    return np.where(conditions == "", np.nan, (conditions == high).astype(float))


def label_classes(index: pd.DataFrame, *, classes: Sequence[str]) -> Float[np.ndarray, " segment"]:
    """Return the position of each segment's condition among ``classes``; NaN for any other condition.

    Raises:
        DataError: The store has no segment of one of the classes.
    """
    known = conditions_of(index)
    missing = [name for name in classes if name not in known]
    if missing:
        raise DataError(
            f"task.classes: {', '.join(map(repr, missing))} was given, but the conditions of the store are "
            f"{', '.join(map(repr, known)) or 'none'}; name only these"
        )
    numbers = {name: float(number) for number, name in enumerate(classes)}
    return np.array([numbers.get(condition, np.nan) for condition in index["condition"].astype(str)])
