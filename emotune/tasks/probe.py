"""Probe of a pre-training: how well a ridge classification on the encoder's embeddings predicts labels of other people.

The embedding of a segment is the mean of the representations of its samples, or the summary of a convolutional network.
The classification (`emotune.tasks.ridge`) is fitted on labelled training segments and predicts labelled validation
segments, whose people must be others. It has no part in the training: the encoder is the same with and without it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from pydantic import Field

from emotune.base import Settings
from emotune.data.folds import Fold, draw_evenly, unit_keys
from emotune.errors import DataError
from emotune.tasks.centring import centre_by_person
from emotune.tasks.labels import LabelSettings
from emotune.tasks.ridge import fit_ridge, standardise
from emotune.tasks.scores import label_scores
from emotune.tasks.thresholds import Threshold

PROBE_METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
"""Metrics of a probe; their prefix is ``probe/``."""

MIN_PEOPLE = 2
"""Labelled people that are needed to fit a probe, and to score it."""


class Probe(LabelSettings):
    """Labels by which a pre-training is scored; they have no part in the training."""

    threshold: float | Literal["mean"] | Threshold = Threshold(of="training_fold")
    """As ``task.threshold`` of a classification; by default the mean of each corpus over the people who train, so that
    no rating of a validation or test person is used."""

    centred: bool = False
    """Whether the mean embedding of each person is subtracted from the person's embeddings. The mean is that of all
    labelled segments of the person, without their labels: the probe then needs several segments of a new person."""

    segments: int | None = Field(default=1000, ge=2)
    """Largest number of labelled segments that fit the probe, and of those that score it, drawn evenly over the people;
    null: all. ``folds.segments`` does not limit them."""

    def select(self, index: pd.DataFrame, *, fold: Fold, by: str) -> "ProbeData":
        """Return the segments of the probe, with their labels.

        Args:
            index: The store's index.
            fold: All segments of the people who train and of those who validate. Test segments are not used.
            by: What the folds never split, for error messages.

        Raises:
            DataError: The labels cannot be computed, people are on both sides, or too few of them have labels.
        """
        labels = self.labels(index, train=fold.train, setting="task.probe")
        people = np.unique(unit_keys(index, by="subject"), return_inverse=True)[1]
        train, val = (self._drawn(rows[~np.isnan(labels[rows])], people=people) for rows in (fold.train, fold.val))
        both = len(np.intersect1d(people[train], people[val]))
        if both:
            raise DataError(
                f"task.probe: {both} people have training and validation segments with folds.by: {by}, but a probe is "
                "scored on people that it was not fitted on; give folds.by: subject"
            )
        for rows, side in ((train, "training"), (val, "validation")):
            _check_enough(labels[rows], people=people[rows], side=side)
        return ProbeData(train, val, labels, people, centred=self.centred)

    def _drawn(self, rows: Int64[np.ndarray, " row"], *, people: Int64[np.ndarray, " segment"]) -> np.ndarray:
        chosen = np.zeros(len(people), dtype=bool)
        chosen[rows] = True
        return draw_evenly(chosen, subject_of=people, count=self.segments, seed=0)


class ProbedSettings(Settings):
    """The setting of a pre-training task that can be scored by a probe."""

    probe: Probe | None = None
    """Labels by which the encoder is scored after each epoch, as ``probe/macro_f1``, ``probe/accuracy`` and
    ``probe/balanced_accuracy``: a ridge classification on its embeddings, fitted on training people and scored on
    validation people. It changes no weight. null: none."""

    def probe_settings(self) -> Probe | None:
        """Return the setting ``probe``."""
        return self.probe


def _check_enough(labels: Float[np.ndarray, " row"], *, people: Int64[np.ndarray, " row"], side: str) -> None:
    count, classes = len(np.unique(people)), len(np.unique(labels))
    if count < MIN_PEOPLE or classes < 2:
        raise DataError(
            f"task.probe: {len(labels)} {side} segments of {count} people have a label, of {classes} class"
            f"{'' if classes == 1 else 'es'}; expected at least {MIN_PEOPLE} people and 2 classes on each side. Use "
            "another folds.seed, a larger folds.validation or more labelled data, or remove task.probe"
        )


@dataclass(frozen=True, eq=False)
class ProbeData:
    """Segments and labels of a probe.

    Attributes:
        train: Rows of the labelled training segments.
        val: Rows of the labelled validation segments.
        labels: Label of each segment of the store; NaN: none.
        people: Number of each segment's person.
        centred: Whether the mean embedding of each person is subtracted.
    """

    train: Int64[np.ndarray, " train"]
    val: Int64[np.ndarray, " val"]
    labels: Float[np.ndarray, " segment"]
    people: Int64[np.ndarray, " segment"]
    centred: bool

    @property
    def rows(self) -> Int64[np.ndarray, " row"]:
        """Rows of all segments: those that fit, then those that are scored."""
        return np.concatenate([self.train, self.val])

    @property
    def text(self) -> str:
        """Numbers of segments and people, in a line."""
        sides = [
            f"{len(rows)} segments of {len(np.unique(self.people[rows]))} people" for rows in (self.train, self.val)
        ]
        return f"task.probe: fitted on {sides[0]}, scored on {sides[1]} with labels"

    def score(self, embeddings: Float[np.ndarray, "row width"]) -> dict[str, float]:
        """Return `PROBE_METRICS` of the validation segments; NaN if an embedding is not finite.

        Args:
            embeddings: Embeddings of `rows`.
        """
        if not np.isfinite(embeddings).all():
            return dict.fromkeys(PROBE_METRICS, float("nan"))
        people = np.unique(self.people[self.rows], return_inverse=True)[1]
        if self.centred:
            embeddings = centre_by_person(embeddings, people=people)
        count = len(self.train)
        fitted, predicted = standardise(embeddings[:count], embeddings[count:])
        own = np.unique(people[:count], return_inverse=True)[1]
        ridge = fit_ridge(fitted, labels=self.labels[self.train], people=own)
        return label_scores(ridge.predict(predicted), truth=self.labels[self.val])
