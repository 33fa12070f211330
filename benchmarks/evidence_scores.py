"""Scores of features by leaving one person out, with intervals over people and seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from emotune.data.folds import unit_keys
from emotune.tasks.ridge import fit_ridge, standardise
from emotune.tasks.scores import label_scores

HIGH = "arithmetic"
BEFORE_S, AFTER_S = 15.0, 10.0
"""Starts of the segments of 5 s that are averaged, before and after that of a segment (s): 30 s in all."""
DRAWS = 4000
"""Draws of a bootstrap."""


@dataclass(frozen=True, eq=False)
class Variant:
    """Features, and how they are averaged and centred.

    Attributes:
        name: Name of the features.
        arrays: Features of all segments, an array per seed.
        context: Whether the mean over 30 s of the recording takes the place of the 5 s.
        centred: Whether the person's own median is subtracted.
        fitted: Whether the features are logits, of which those above 0 are high.
    """

    name: str
    arrays: Sequence[np.ndarray]
    context: bool
    centred: bool
    fitted: bool = False


def person_scores(variant: Variant, *, index: pd.DataFrame) -> np.ndarray:
    """Return the macro F1 of each person (column) for each seed (row)."""
    people = np.unique(unit_keys(index, by="subject"), return_inverse=True)[1]
    labels = (index["condition"] == HIGH).to_numpy().astype(float)
    rows = []
    for features in variant.arrays:
        values = prepared(features, index=index, people=people, variant=variant)
        predicted = (
            (values[:, 0] > 0).astype(float) if variant.fitted else leave_one_out(values, labels=labels, people=people)
        )
        rows.append(
            [
                label_scores(predicted[people == person], truth=labels[people == person])["macro_f1"]
                for person in range(people.max() + 1)
            ]
        )
    return np.array(rows)


def prepared(features: np.ndarray, *, index: pd.DataFrame, people: np.ndarray, variant: Variant) -> np.ndarray:
    """Return the features of a variant, averaged and centred."""
    values = features.astype(float)
    if variant.context:
        values = averaged(values, index=index)
    return _centred(values, people=people) if variant.centred else values


def averaged(values: np.ndarray, *, index: pd.DataFrame) -> np.ndarray:
    """Return the mean over the segments of the same recording around each segment; missing values are left out."""
    recordings = unit_keys(index, by="trial")
    starts = index["start"].to_numpy()
    result = np.full_like(values, np.nan)
    for recording in np.unique(recordings):
        rows = np.flatnonzero(recordings == recording)
        distance = starts[rows][None] - starts[rows][:, None]
        near = ((distance >= -BEFORE_S) & (distance <= AFTER_S)).astype(float)
        known = np.isfinite(values[rows])
        counts = near @ known
        sums = near @ np.where(known, values[rows], 0.0)
        result[rows] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return result


def leave_one_out(values: np.ndarray, *, labels: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return the class of each segment by a ridge classification of the other people."""
    predicted = np.zeros(len(labels))
    for person in range(people.max() + 1):
        tested = people == person
        fitted, features = standardise(values[~tested], values[tested])
        others = np.unique(people[~tested], return_inverse=True)[1]
        predicted[tested] = fit_ridge(fitted, labels=labels[~tested], people=others).predict(features)
    return predicted


def explained_rows(variants: Sequence[Variant], *, rates: np.ndarray, index: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the share of the variance of the centred heart rate that centred features predict in people left out."""
    people = np.unique(unit_keys(index, by="subject"), return_inverse=True)[1]
    target = _centred(rates[:, None], people=people)[:, 0]
    for variant in variants:
        if variant.centred and not variant.context and variant.arrays[0].shape[1] > 1:
            values = (prepared(features, index=index, people=people, variant=variant) for features in variant.arrays)
            shares = [_explained(features, target=target, people=people) for features in values]
            yield [variant.name, ", ".join(f"{share:.2f}" for share in shares)]


def _explained(values: np.ndarray, *, target: np.ndarray, people: np.ndarray) -> float:
    known, predicted = np.isfinite(target), np.zeros(len(target))
    for person in range(people.max() + 1):
        tested = people == person
        fitted, features = standardise(values[~tested & known], values[tested])
        model = RidgeCV(np.logspace(-2, 4, 7)).fit(fitted, target[~tested & known])
        predicted[tested] = model.predict(features)
    errors = target[known] - predicted[known]
    return float(1 - np.square(errors).sum() / np.square(target[known] - target[known].mean()).sum())


def _centred(values: np.ndarray, *, people: np.ndarray) -> np.ndarray:
    return values - pd.DataFrame(values).groupby(people).transform("median").to_numpy()


@lru_cache(maxsize=4)
def _draws(people: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(people, size=(DRAWS, people)), random.integers(seeds, size=(DRAWS, seeds))


def interval(scores: np.ndarray) -> tuple[float, float, float]:
    """Return the mean, and the percentiles 2.5 and 97.5 of its bootstrap over people and seeds.

    People and seeds are drawn independently, with replacement.
    """
    people, seeds = _draws(scores.shape[1], scores.shape[0])
    means = np.array([scores[own_seeds].mean(axis=0)[own].mean() for own, own_seeds in zip(people, seeds, strict=True)])
    low, high = np.percentile(means, (2.5, 97.5))
    return float(scores.mean()), float(low), float(high)


def cell(scores: np.ndarray, *, signed: bool = False) -> str:
    """Return a mean with its interval as text."""
    mean, low, high = interval(scores)
    sign = "+" if signed else ""
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def score_rows(variants: Sequence[Variant], *, index: pd.DataFrame) -> Iterator[list[str]]:
    """Yield a row per name of features: its macro F1 in the four variants."""
    majority = np.zeros(len(index))
    yield ["more frequent label", cell(_majority(majority, index=index)), "", "", ""]
    for name in dict.fromkeys(variant.name for variant in variants):
        own = {(variant.context, variant.centred): variant for variant in variants if variant.name == name}
        order = ((False, False), (False, True), (True, False), (True, True))
        yield [name, *(cell(person_scores(own[key], index=index)) for key in order)]


def _majority(predicted: np.ndarray, *, index: pd.DataFrame) -> np.ndarray:
    return person_scores(Variant("", [predicted[:, None]], context=False, centred=False, fitted=True), index=index)


PAIRS = (
    ("ECG, pre-trained", "heart rate", True),
    ("ECG, pre-trained", "ECG, random weights", True),
    ("EEG, pre-trained", "EEG, random weights", True),
    ("fused, pre-trained", "ECG, pre-trained", True),
    ("fused, pre-trained", "heart rate", True),
    ("ECG network, pre-trained", "ECG network, from scratch", False),
    ("ECG network, pre-trained", "ECG, pre-trained", True),
)
"""Features that are compared, and whether both are centred."""


def comparison_rows(variants: Sequence[Variant], *, index: pd.DataFrame) -> Iterator[list[str]]:
    """Yield the differences of `PAIRS` with the same averaging, over the same people."""
    for context in (False, True):
        for first, second, centred in PAIRS:
            chosen = {
                variant.name: variant
                for variant in variants
                if (variant.context, variant.centred) == (context, centred)
            }
            if first in chosen and second in chosen:
                scores = [person_scores(chosen[name], index=index) for name in (first, second)]
                title = f"{first}, {30 if context else 5} s{', centred' if centred else ''}"
                yield [title, second, cell(scores[0] - scores[1], signed=True)]
