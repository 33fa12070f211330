"""Scores of predictions of several classes: pooled, by person, by trial and by class.

The input is a table with a row per segment: the columns of
`emotune.evaluation.held_out_scores.COLUMNS` up to the label, and for each class ``probability_CLASS`` and
``weighted_probability_CLASS``, in the order of the classes. ``label`` is the position of the segment's class. A trial
has the segments of one session of a person with one label. A segment is classified as the class with the largest
weighted probability. `emotune.evaluation.held_out_scores` has the scores of low and high.

This module reads no files and computes no networks.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from emotune.base import Settings
from emotune.data.folds import unit_keys
from emotune.evaluation.held_out_scores import AUC, LEVELS, TRIAL, Level, intervals_over_people, roc_auc
from emotune.evaluation.statistics import Interval
from emotune.tasks.scores import bin_sums_of, class_scores, confusion_scores, expected_calibration_error

PROBABILITY = "probability_"
"""Beginning of the columns with the probability of a class in data such as the training segments."""

WEIGHTED = "weighted_probability_"
"""Beginning of the columns with the probability of a class, with the classes weighted as in the loss."""


@dataclass(frozen=True, eq=False)
class ClassDecisions:
    """Segments or trials with their labels and predictions."""

    person: np.ndarray
    """``CORPUS/SUBJECT``."""
    label: Int64[np.ndarray, " row"]
    predicted: Int64[np.ndarray, " row"]
    score: Float[np.ndarray, "row label"]
    """The larger, the more probably the class: the weighted probability, its mean, or the share of the votes."""
    probability: Float[np.ndarray, "row label"]

    def of(self, person: str) -> "ClassDecisions":
        """Return those of one person."""
        own = self.person == person
        return ClassDecisions(
            self.person[own], self.label[own], self.predicted[own], self.score[own], self.probability[own]
        )


class ClassPersonScores(Settings):
    """The scores of one person."""

    person: str
    """``CORPUS/SUBJECT``."""
    count: int
    """Segments or trials."""
    shares: dict[str, float]
    """Share of each class among the labels (0 to 1)."""
    scores: dict[str, float]
    """By name; without ``auc`` if the person has one label only."""


class ClassLevelScores(Settings):
    """The scores of all segments, or of all trials by one rule."""

    level: Level
    count: int
    """Segments or trials."""
    confusion: dict[str, dict[str, int]]
    """Number of segments or trials by label and by predicted class."""
    pooled: dict[str, float]
    """Scores over all people together. ``auc`` is the mean over the classes of that of a class against the others."""
    over_people: dict[str, Interval]
    """Mean of each score over people, with the 95 % t interval."""
    by_class: dict[str, dict[str, float]]
    """Precision, recall, F1 and ``auc`` of each class, over all people together."""
    people: tuple[ClassPersonScores, ...]
    ece: float | None
    """Expected calibration error of the probability of the likeliest class; None for a vote."""

    def values(self, score: str) -> dict[str, float]:
        """Return a score by person, without people that have none."""
        return {part.person: part.scores[score] for part in self.people if score in part.scores}


def is_of_classes(table: pd.DataFrame) -> bool:
    """Return whether a table has predictions of several classes, not of low and high."""
    return bool(class_names(table))


def class_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the classes of a table, in the order of their labels; none for low and high."""
    return tuple(
        str(column).removeprefix(WEIGHTED)
        for column in table
        if str(column).startswith(WEIGHTED) and f"{PROBABILITY}{str(column).removeprefix(WEIGHTED)}" in table
    )


def class_decisions(table: pd.DataFrame, *, level: Level) -> ClassDecisions:
    """Return the decisions about segments or trials.

    A vote is won by the class with the most segments; of several, by the one with the largest mean weighted
    probability.

    Args:
        table: A row per segment, with the columns that the module describes.
        level: What is classified.
    """
    names = class_names(table)
    probabilities, weighted = ([f"{prefix}{name}" for name in names] for prefix in (PROBABILITY, WEIGHTED))
    votes = [f"vote_{number}" for number in range(len(names))]
    won = np.eye(len(names))[table[weighted].to_numpy(dtype=float).argmax(axis=1)]
    frame = pd.concat([table.reset_index(drop=True), pd.DataFrame(won, columns=votes)], axis=1)
    if level != "segments":
        means = dict.fromkeys([*probabilities, *weighted, *votes], "mean")
        frame = frame.groupby(TRIAL, sort=True, as_index=False).agg(means)
    values = frame[weighted].to_numpy(dtype=float)
    shares = frame[votes].to_numpy(dtype=float)
    most = np.isclose(shares, shares.max(axis=1, keepdims=True))
    return ClassDecisions(
        person=unit_keys(frame, by="subject"),
        label=frame["label"].to_numpy(dtype=np.int64),
        predicted=(np.where(most, values, -1.0) if level == "vote" else values).argmax(axis=1),
        score=shares if level == "vote" else values,
        probability=frame[probabilities].to_numpy(dtype=float),
    )


def class_level_scores(table: pd.DataFrame, *, level: Level) -> ClassLevelScores:
    """Return the scores of segments or trials: pooled, by class, by person, and over people.

    Args:
        table: A row per segment, with the columns that the module describes; not empty.
        level: What is classified.
    """
    names, every = class_names(table), class_decisions(table, level=level)
    matrix = confusion_matrix(every)
    people = tuple(_person(every, person=str(person), names=names) for person in np.unique(every.person))
    areas = _areas(every)
    return ClassLevelScores(
        level=level,
        count=len(every.label),
        confusion={
            label: dict(zip(names, map(int, row), strict=True)) for label, row in zip(names, matrix, strict=True)
        },
        pooled=_scores(every),
        over_people=intervals_over_people([part.scores for part in people]),
        by_class={
            name: scores if area is None else {**scores, AUC: area}
            for name, scores, area in zip(names, class_scores(matrix), areas, strict=True)
        },
        people=people,
        ece=None if level == "vote" else top_label_error(every.probability, labels=every.label),
    )


def confusion_matrix(part: ClassDecisions) -> Float[np.ndarray, "label predicted"]:
    """Return the number of rows by label (row) and predicted class (column)."""
    count = part.score.shape[1]
    cells = np.bincount(part.label * count + part.predicted, minlength=count**2)
    return cells.reshape(count, count).astype(float)


def top_label_error(probabilities: Float[np.ndarray, "row label"], *, labels: Int64[np.ndarray, " row"]) -> float:
    """Return the expected calibration error of the probability of the likeliest class.

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3.
    """
    right = probabilities.argmax(axis=1) == labels
    return expected_calibration_error(bin_sums_of(probabilities.max(axis=1), right.astype(float)))


def _scores(part: ClassDecisions) -> dict[str, float]:
    areas = [area for area in _areas(part) if area is not None]
    scores = confusion_scores(confusion_matrix(part))
    return {**scores, AUC: float(np.mean(areas))} if areas else scores


def _areas(part: ClassDecisions) -> list[float | None]:
    """Return for each class the area under the ROC curve of the class against the others; None without both."""
    return [roc_auc(part.score[:, number], labels=part.label == number) for number in range(part.score.shape[1])]


def _person(every: ClassDecisions, *, person: str, names: tuple[str, ...]) -> ClassPersonScores:
    own = every.of(person)
    counts = np.bincount(own.label, minlength=len(names)) / len(own.label)
    shares = dict(zip(names, map(float, counts), strict=True))
    return ClassPersonScores(person=person, count=len(own.label), shares=shares, scores=_scores(own))


def class_document(table: pd.DataFrame) -> dict[str, object]:
    """Return the scores of a table as plain JSON: the names of the classes, and the scores of each level."""
    levels = {level: class_level_scores(table, level=level).model_dump(mode="json") for level in LEVELS}
    return {"classes": list(class_names(table)), "levels": levels}
