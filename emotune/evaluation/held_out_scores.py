"""Scores of predictions of held-out segments: pooled, by person and by trial, and paired tests over people.

The input is a table with a row per segment and the columns `COLUMNS`. A trial has the segments of one session of a
person with one label. Notation: y is the label (1: high, 0: low), p the probability of the high class in data such as
the training segments (``probability``), q the same with the classes weighted as in the loss, by default equally
(``weighted_probability``). A segment is classified as high if q > 0.5, as in the scores of a training.

This module reads no files and computes no networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from emotune.base import Settings
from emotune.data.folds import unit_keys
from emotune.evaluation.statistics import Comparison, Interval, mean_interval, paired_t_test
from emotune.tasks.scores import CALIBRATION_BINS, classification_scores

COLUMNS = (
    "corpus",
    "subject",
    "session",
    "channel",
    "start",
    "fold",
    "label",
    "probability",
    "weighted_probability",
)
"""Columns of a table of predictions. ``start`` is in seconds from the start of the session."""

Level = Literal["segments", "vote", "mean"]
"""What is classified: each segment; a trial by the vote of its segments; or a trial by their mean q."""

LEVELS: tuple[Level, ...] = ("segments", "vote", "mean")

AUC = "auc"
"""Area under the ROC curve, which exists only where both labels occur."""

SCORES = ("accuracy", "macro_f1", "balanced_accuracy", AUC)
"""Names of the scores (0 to 1)."""

TRIAL = ["corpus", "subject", "session", "label"]


@dataclass(frozen=True, eq=False)
class Decisions:
    """Segments or trials with their labels and predictions."""

    person: np.ndarray
    """``CORPUS/SUBJECT``."""
    label: Bool[np.ndarray, " row"]
    """True: high."""
    high: Bool[np.ndarray, " row"]
    """True: classified as high."""
    score: Float[np.ndarray, " row"]
    """The larger, the more probably high: q, its mean, or the share of high segments."""
    probability: Float[np.ndarray, " row"]
    """p, or its mean."""

    def of(self, person: str) -> "Decisions":
        """Return those of one person."""
        own = self.person == person
        return Decisions(self.person[own], self.label[own], self.high[own], self.score[own], self.probability[own])


class PersonScores(Settings):
    """The scores of one person."""

    person: str
    """``CORPUS/SUBJECT``."""
    count: int
    """Segments or trials."""
    high_share: float
    """Share of high labels (0 to 1)."""
    scores: dict[str, float]
    """By name; without ``auc`` if the person has one label only."""


class CalibrationBin(Settings):
    """Segments or trials with similar p."""

    segments: int
    """Number of segments or trials."""
    probability: float
    """Mean p."""
    high_share: float
    """Share of high labels."""


class LevelScores(Settings):
    """The scores of all segments, or of all trials by one rule."""

    level: Level
    count: int
    """Segments or trials."""
    confusion: dict[str, int]
    """``true_high``, ``false_high``, ``true_low``, ``false_low``."""
    pooled: dict[str, float]
    """Scores over all people together; without ``auc`` if there is one label only."""
    over_people: dict[str, Interval]
    """Mean of each score over people, with the 95 % t interval; of ``auc`` over the people with both labels."""
    people: tuple[PersonScores, ...]
    ece: float | None
    """Expected calibration error of p; None for a vote."""

    def values(self, score: str) -> dict[str, float]:
        """Return a score by person, without people that have none."""
        return {part.person: part.scores[score] for part in self.people if score in part.scores}


class PeopleComparison(Settings):
    """A paired t-test over the people that two results have in common."""

    people: int
    """People in both results."""
    only_one: int
    """People in one result only, who are not compared."""
    test: Comparison


def decisions(table: pd.DataFrame, *, level: Level) -> Decisions:
    """Return the decisions about segments or trials.

    A trial is high by vote if more than half of its segments are; if exactly half are, the mean q decides.

    Args:
        table: A row per segment, with `COLUMNS`.
        level: What is classified.
    """
    frame = table.assign(high=table["weighted_probability"].to_numpy(dtype=float) > 0.5)
    if level != "segments":
        means = {"high": "mean", "weighted_probability": "mean", "probability": "mean"}
        frame = frame.groupby(TRIAL, sort=True, as_index=False).agg(means)
    weighted, share = (frame[name].to_numpy(dtype=float) for name in ("weighted_probability", "high"))
    by_vote = np.where(share == 0.5, weighted > 0.5, share > 0.5)
    return Decisions(
        person=unit_keys(frame, by="subject"),
        label=frame["label"].to_numpy(dtype=float) > 0.5,
        high=by_vote if level == "vote" else weighted > 0.5,
        score=share if level == "vote" else weighted,
        probability=frame["probability"].to_numpy(dtype=float),
    )


def level_scores(table: pd.DataFrame, *, level: Level) -> LevelScores:
    """Return the scores of segments or trials: pooled, by person, and over people.

    Args:
        table: A row per segment, with `COLUMNS`; not empty.
        level: What is classified.
    """
    every = decisions(table, level=level)
    people = tuple(_person(every, person=str(person)) for person in np.unique(every.person))
    return LevelScores(
        level=level,
        count=len(every.label),
        confusion=confusion(every),
        pooled=scores_of(every),
        over_people=intervals_over_people([part.scores for part in people]),
        people=people,
        ece=None if level == "vote" else calibration_error(every.probability, labels=every.label),
    )


def intervals_over_people(scores: Sequence[Mapping[str, float]]) -> dict[str, Interval]:
    """Return the mean of each of `SCORES` over people, with the 95 % t interval; without scores that no person has.

    Args:
        scores: The scores of each person, by name.
    """
    values = {name: [part[name] for part in scores if name in part] for name in SCORES}
    return {name: mean_interval(found) for name, found in values.items() if found}


def _person(every: Decisions, *, person: str) -> PersonScores:
    own = every.of(person)
    return PersonScores(person=person, count=len(own.label), high_share=float(own.label.mean()), scores=scores_of(own))


def confusion(part: Decisions) -> dict[str, int]:
    """Return the four counts of the confusion matrix."""
    return {
        "true_high": int((part.high & part.label).sum()),
        "false_high": int((part.high & ~part.label).sum()),
        "true_low": int((~part.high & ~part.label).sum()),
        "false_low": int((~part.high & part.label).sum()),
    }


def scores_of(part: Decisions) -> dict[str, float]:
    """Return `SCORES` of decisions; without ``auc`` if there is one label only."""
    scores = classification_scores({name: float(count) for name, count in confusion(part).items()})
    area = roc_auc(part.score, labels=part.label)
    return scores if area is None else {**scores, AUC: area}


def roc_auc(scores: Float[np.ndarray, " row"], *, labels: Bool[np.ndarray, " row"]) -> float | None:
    """Return the area under the ROC curve; None if there is one label only.

    It is the probability that a high row has a larger score than a low one; equal scores count one half::

        AUC = (R - n_1 (n_1 + 1) / 2) / (n_1 n_0),    R: sum of the ranks of the n_1 high rows

    Source: Hanley and McNeil 1982, Radiology 143, 29-36.
    """
    high = int(labels.sum())
    low = len(labels) - high
    if not high or not low:
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[labels].sum() - high * (high + 1) / 2) / (high * low))


def roc_curve(
    scores: Float[np.ndarray, " row"], *, labels: Bool[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Return the false and the true positive rate at each threshold, from (0, 0) to (1, 1).

    Points on the straight line between their neighbours are left out. Both labels must occur.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.append(0, np.cumsum(labels[order])[ends])
    false = np.append(0, np.cumsum(~labels[order])[ends])
    bends = np.diff(true[1:]) * np.diff(false[:-1]) != np.diff(true[:-1]) * np.diff(false[1:])
    kept = np.concatenate([[True], bends, [True]])
    return false[kept] / false[-1], true[kept] / true[-1]


def calibration_bins(
    probabilities: Float[np.ndarray, " row"], *, labels: Bool[np.ndarray, " row"]
) -> tuple[CalibrationBin, ...]:
    """Return the bins of equal width that have rows, in the order of p."""
    numbers = np.clip((probabilities * CALIBRATION_BINS).astype(int), 0, CALIBRATION_BINS - 1)
    return tuple(
        CalibrationBin(
            segments=int((numbers == number).sum()),
            probability=float(probabilities[numbers == number].mean()),
            high_share=float(labels[numbers == number].mean()),
        )
        for number in np.unique(numbers)
    )


def calibration_error(probabilities: Float[np.ndarray, " row"], *, labels: Bool[np.ndarray, " row"]) -> float:
    """Return the expected calibration error, as `emotune.tasks.scores.expected_calibration_error` defines it."""
    bins = calibration_bins(probabilities, labels=labels)
    return sum(part.segments * abs(part.probability - part.high_share) for part in bins) / len(labels)


@runtime_checkable
class ScoresByPerson(Protocol):
    """Scores of a level: of low and high, or of several classes."""

    def values(self, score: str) -> dict[str, float]:
        """Return a score by person, without people that have none."""
        ...


def compare_people(first: ScoresByPerson, second: ScoresByPerson, *, score: str) -> PeopleComparison | None:
    """Return the paired t-test of a score over people, second minus first.

    People are independent samples; folds share training data. None if no person is in both results.

    Args:
        first: Scores of one result.
        second: Scores of another one, at the same level.
        score: One of `SCORES`.
    """
    before, after = first.values(score), second.values(score)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None
    test = paired_t_test([before[person] for person in shared], [after[person] for person in shared])
    return PeopleComparison(people=len(shared), only_one=len(before.keys() ^ after.keys()), test=test)


def document_of(table: pd.DataFrame) -> dict[str, object]:
    """Return the scores of a table as plain JSON: each level, the ROC curve and the calibration of the segments."""
    segments = decisions(table, level="segments")
    both = 0 < segments.label.sum() < len(segments.label)
    false, true = roc_curve(segments.score, labels=segments.label) if both else (np.zeros(0), np.zeros(0))
    bins = calibration_bins(segments.probability, labels=segments.label)
    return {
        "levels": {level: level_scores(table, level=level).model_dump(mode="json") for level in LEVELS},
        "roc": {"false_positive_rate": false.tolist(), "true_positive_rate": true.tolist()},
        "calibration": [part.model_dump() for part in bins],
    }
