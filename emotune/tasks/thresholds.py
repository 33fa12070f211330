"""Thresholds between low and high ratings.

A rating above its threshold is high. Corpora rate on scales of their own, so a threshold is computed for each corpus
by default. With one mean over a pool of corpora, the label would mostly depend on the corpus.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-D: high is a rating above the average rating of
the only labelled corpus.
"""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64

from emotune.base import Settings
from emotune.errors import DataError

RECORDING = ["corpus", "subject", "session"]
"""Columns of the index that together identify a recording, which is rated once."""


class Threshold(Settings):
    """A threshold that is computed from the ratings or from their scale."""

    of: Literal["corpus", "subject", "training_fold", "scale_midpoint"] = "corpus"
    """``corpus``: mean over the rated recordings of each corpus. ``subject``: mean over the recordings of each subject.
    ``training_fold``: mean over the recordings of each corpus that have training segments in the fold, so that
    no rating of a test segment is used. ``scale_midpoint``: middle of the rating's scale."""

    def __str__(self) -> str:
        return f"{{of: {self.of}}}"


def thresholds(
    index: pd.DataFrame,
    *,
    rating: str,
    threshold: float | Literal["mean"] | Threshold,
    train: Int64[np.ndarray, " row"] | None = None,
    setting: str = "task",
) -> Float[np.ndarray, " segment"]:
    """Return the threshold of each segment.

    Means are over recordings, not over segments, so that a long recording has no more weight than a short one.

    Args:
        index: Index table of a store.
        rating: Name of the rating, for example ``arousal``.
        threshold: A number; ``mean``, one mean over all rated recordings; or the kind of computed threshold.
        train: Rows of the training segments, for ``training_fold``; None: all rows, before there are folds.
        setting: Dotted name of the section with the threshold, for error messages.

    Raises:
        DataError: A corpus has rated segments, but no rated training segment in the fold.
    """
    column = f"rating_{rating}"
    if isinstance(threshold, float | int):
        return np.full(len(index), float(threshold))
    recordings = index.drop_duplicates(RECORDING).dropna(subset=[column])
    if threshold == "mean":
        return np.full(len(index), float(recordings[column].to_numpy(dtype=float).mean()))
    match threshold.of:
        case "scale_midpoint":
            return _midpoints(index, rating=rating, setting=setting)
        case "subject":
            return _means(index, recordings, column=column, by=["corpus", "subject"])
        case "corpus":
            return _means(index, recordings, column=column, by=["corpus"])
    training = index if train is None else index.iloc[train]
    used = training.drop_duplicates(RECORDING).dropna(subset=[column])
    means = _means(index, used, column=column, by=["corpus"])
    without = index.loc[np.isnan(means) & index[column].notna().to_numpy(), "corpus"].unique()
    if len(without):
        raise DataError(
            f"{setting}.threshold: {{of: training_fold}} was given, but the fold has no rated training segment of "
            f"{', '.join(sorted(without))}; use another fold, or {{of: corpus}}"
        )
    return means


def _means(
    index: pd.DataFrame, recordings: pd.DataFrame, *, column: str, by: list[str]
) -> Float[np.ndarray, " segment"]:
    """Return the mean rating of each segment's group of recordings; NaN if the group has no rating."""
    groups = [tuple(row) for row in index[by].itertuples(index=False)]
    means = {
        tuple(part[by].iloc[0]): float(part[column].to_numpy(dtype=float).mean())
        for _, part in recordings.groupby(by, sort=False)
    }
    return np.array([means.get(group, np.nan) for group in groups])


def _midpoints(index: pd.DataFrame, *, rating: str, setting: str) -> Float[np.ndarray, " segment"]:
    ends = [f"lowest_{rating}", f"highest_{rating}"]
    missing = [end for end in ends if end not in index]
    if missing:
        raise DataError(
            f"{setting}.threshold: {{of: scale_midpoint}} was given, but the store has no scale of {rating}; "
            "prepare it again, or use {of: corpus}"
        )
    return index[ends].to_numpy(dtype=float).mean(axis=1)


def high_shares(index: pd.DataFrame, labels: Float[np.ndarray, " segment"]) -> dict[str, tuple[float, int]]:
    """Return the share of high labels (0 to 1) and the number of labelled segments of each corpus."""
    labelled = ~np.isnan(labels)
    groups = pd.Series(labels[labelled]).groupby(index["corpus"].to_numpy()[labelled], sort=True)
    return {str(corpus): (float(values.mean()), len(values)) for corpus, values in groups}
