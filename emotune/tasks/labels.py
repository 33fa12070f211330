"""Labels of segments by their ratings or by their condition."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from pydantic import model_validator

from emotune.base import Settings
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


class LabelSettings(Settings):
    """Settings of labels: of a classification, and of a probe."""

    target: Literal[
        "arousal", "valence", "dominance", "liking", "familiarity",
        "neutral", "disgust", "happiness", "surprise", "anger", "fear", "sadness",
        "condition",
    ] = "arousal"  # fmt: skip
    """What is predicted: a rating, of those that the corpus has (`emotune data describe` lists them), or the condition.
    AMIGOS has all of them, DREAMER arousal, valence and dominance, DEAP these and liking."""

    high: str = ""
    """With target ``condition``: the condition that counts as high; all others count as low."""

    classes: tuple[str, ...] = ()
    """With target ``condition``, in the place of ``high``: the conditions that are the classes, at least two, such as
    ``[baseline, stress, amusement]``. Segments with another condition are not used."""

    threshold: float | Literal["mean"] | Threshold = Threshold()
    """Ratings above the threshold are high: a number; ``{of: corpus}`` (the mean of each corpus), ``{of: subject}``,
    ``{of: training_fold}``, ``{of: scale_midpoint}``; or ``mean``, one mean over all corpora of the store."""

    @model_validator(mode="after")
    def _refuse_labels_without_effect(self) -> "LabelSettings":
        if self.classes:
            self._check_classes()
        elif bool(self.high) != (self.target == "condition"):
            raise ValueError(
                f"high: {self.high!r} with target: {self.target}; with target: condition give a condition as high, "
                "or several as classes, and with other targets remove it"
            )
        return self

    def _check_classes(self) -> None:
        if self.target != "condition" or self.high:
            raise ValueError(
                f"classes: {list(self.classes)} with target: {self.target} and high: {self.high!r}; classes need "
                "target: condition and no high"
            )
        if len(set(map(name_in_metric, self.classes))) < max(2, len(self.classes)) or "" in self.classes:
            raise ValueError(f"classes: {list(self.classes)} was given, expected at least two different conditions")

    def labels(
        self, index: pd.DataFrame, *, train: Int64[np.ndarray, " row"] | None = None, setting: str = "task"
    ) -> Float[np.ndarray, " segment"]:
        """Return 1 (high), 0 (low) or NaN (not rated) for each segment; with ``classes``, the number of its class.

        Args:
            index: The store's index, a row per segment.
            train: Rows of the training segments, for ``threshold: {of: training_fold}``. None: labels before the
                division into folds, for which that threshold is the mean of each corpus.
            setting: Dotted name of the section with these settings, for error messages.

        Raises:
            DataError: No recording is rated, all ratings are on one side of the threshold, or no segment has a
                condition that is named.
        """
        if self.classes:
            return label_classes(index, classes=self.classes, setting=setting)
        if self.target == "condition":
            return label_condition(index, high=self.high, setting=setting)
        return label_ratings(index, rating=self.target, threshold=self.threshold, train=train, setting=setting)


def name_in_metric(name: str) -> str:
    """Return the name of a class in the name of a metric: MLflow allows letters, digits and few other signs."""
    return re.sub(r"[^\w. -]", "_", name)


def rated_columns(index: pd.DataFrame) -> list[str]:
    """Return the columns of an index with at least one rating."""
    return [str(column) for column in index.filter(regex="^rating_").dropna(axis="columns", how="all")]


def conditions_of(index: pd.DataFrame) -> list[str]:
    """Return the conditions of an index, ascending, without the empty one."""
    return sorted(set(index["condition"].astype(str)) - {""}) if "condition" in index else []


def no_ratings(index: pd.DataFrame, *, target: str, setting: str = "task") -> str:
    """Return the refusal of a store without the target's ratings, with the settings that use what it has."""
    rated = [column.removeprefix("rating_") for column in rated_columns(index)]
    conditions = conditions_of(index)
    remedies = [f"it has ratings of {', '.join(rated)}: set {setting}.target to one of them"] if rated else []
    if len(conditions) > 1:
        remedies.append(
            f"it has the conditions {', '.join(map(repr, conditions))}: set {setting}.target: condition and "
            f"{setting}.high to one of them"
        )
    remedies += [
        f"stores of older versions have arousal and valence only: prepare {corpus} again in another folder"
        for corpus in sorted(set(index["corpus"]) & set(MORE_RATINGS))
        if target in MORE_RATINGS[corpus]
    ]
    return f"the store has no ratings of {target}; {'; '.join(remedies) or f'{setting}.target needs a rated corpus'}"


def label_ratings(
    index: pd.DataFrame,
    *,
    rating: str,
    threshold: float | Literal["mean"] | Threshold,
    train: Int64[np.ndarray, " row"] | None = None,
    setting: str = "task",
) -> Float[np.ndarray, " segment"]:
    """Return 1 for segments whose rating is above the threshold, 0 for other rated ones, NaN without a rating.

    Args:
        index: Index table of a store.
        rating: Name of the rating.
        threshold: As for `emotune.tasks.thresholds.thresholds`.
        train: Rows of the training segments; None before the division into folds.
        setting: Dotted name of the section with the settings of the labels, for error messages.

    Raises:
        DataError: No recording is rated, or all ratings are on one side of the threshold.
    """
    column = f"rating_{rating}"
    if column not in rated_columns(index):
        raise DataError(no_ratings(index, target=rating, setting=setting))
    ratings = index[column].to_numpy(dtype=float)
    limits = thresholds(index, rating=rating, threshold=threshold, train=train, setting=setting)
    labels = np.where(np.isnan(ratings), np.nan, (ratings > limits).astype(float))
    if len(np.unique(labels[~np.isnan(labels)])) < 2:
        known = np.unique(limits[~np.isnan(labels)])
        side = f"{known[0]:g}" if len(known) == 1 else f"its threshold ({known[0]:g} to {known[-1]:g})"
        raise DataError(
            f"every rating of {rating} lies on one side of {side}; set {setting}.threshold so that "
            f"ratings between {np.nanmin(ratings):g} and {np.nanmax(ratings):g} fall on both sides"
        )
    return labels


def label_condition(index: pd.DataFrame, *, high: str, setting: str = "task") -> Float[np.ndarray, " segment"]:
    """Return 1 for segments with the condition ``high``, 0 for those with another one, NaN for those with none.

    Raises:
        DataError: The store has no such condition, or no other one.
    """
    known = conditions_of(index)
    if high not in known or len(known) < 2:
        raise DataError(
            f"{setting}.high: {high!r} was given, but the conditions of the store are "
            f"{', '.join(map(repr, known)) or 'none'}; name one of at least two"
        )
    conditions = index["condition"].astype(str).to_numpy()
    return np.where(conditions == "", np.nan, (conditions == high).astype(float))


def label_classes(
    index: pd.DataFrame, *, classes: Sequence[str], setting: str = "task"
) -> Float[np.ndarray, " segment"]:
    """Return the position of each segment's condition among ``classes``; NaN for any other condition.

    Raises:
        DataError: The store has no segment of one of the classes.
    """
    known = conditions_of(index)
    missing = [name for name in classes if name not in known]
    if missing:
        raise DataError(
            f"{setting}.classes: {', '.join(map(repr, missing))} was given, but the conditions of the store are "
            f"{', '.join(map(repr, known)) or 'none'}; name only these"
        )
    numbers = {name: float(number) for number, name in enumerate(classes)}
    return np.array([numbers.get(condition, np.nan) for condition in index["condition"].astype(str)])
