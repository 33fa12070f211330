"""Ridge classification in closed form, with the penalty chosen on people who were left out.

Segments with features x_i, classes c_i and one-hot targets y_i have the weights w_i = n / (k n_c), so that each of k
classes has the same total weight. With features and targets centred by their weighted means,

    B(a) = (X' W X + a n I)^-1 X' W Y,

and a segment is given the class with the largest output. The penalty a is the one of `PENALTIES` with the smallest
weighted squared error of people who were left out: the people are divided into `INNER_FOLDS` parts, and each part is
predicted from the others. Nothing is random.

Source: Hoerl and Kennard 1970, Technometrics 12, 55-67.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

Features = Float[np.ndarray, "segment feature"]

PENALTIES = tuple(10.0**power for power in range(-5, 4))
"""Penalties that are compared, per segment and for standardised features."""

INNER_FOLDS = 5
"""Parts of the people among which the penalty is chosen."""


@dataclass(frozen=True, eq=False)
class RidgeClassifier:
    """Coefficients of a ridge classification.

    Attributes:
        penalty: The chosen penalty.
        slopes: A coefficient per feature and class.
        intercepts: A coefficient per class.
    """

    penalty: float
    slopes: Float[np.ndarray, "feature label"]
    intercepts: Float[np.ndarray, " label"]

    def predict(self, features: Features) -> Float[np.ndarray, " segment"]:
        """Return the number of the class with the largest output."""
        return (features @ self.slopes + self.intercepts).argmax(axis=1).astype(float)


def fit_ridge(
    features: Features, *, labels: Float[np.ndarray, " segment"], people: Int64[np.ndarray, " segment"]
) -> RidgeClassifier:
    """Fit a ridge classification, and choose its penalty.

    Args:
        features: Standardised features.
        labels: Class of each segment: 0, 1, 2 and so on.
        people: Number of each segment's person, from 0.
    """
    targets = np.eye(1 + int(labels.max()))[labels.astype(int)]
    counts = targets.sum(axis=0)
    weights = len(labels) / (np.count_nonzero(counts) * counts[labels.astype(int)])
    parts = people % min(INNER_FOLDS, int(people.max()) + 1)
    errors = np.zeros(len(PENALTIES))
    for part in np.unique(parts):
        left_out = parts == part
        fits = _solve(features[~left_out], targets=targets[~left_out], weights=weights[~left_out])
        for number, (slopes, intercepts) in enumerate(fits):
            squares = np.square(features[left_out] @ slopes + intercepts - targets[left_out]).sum(axis=1)
            errors[number] += weights[left_out] @ squares
    best = int(errors.argmin())
    slopes, intercepts = _solve(features, targets=targets, weights=weights)[best]
    return RidgeClassifier(PENALTIES[best], slopes, intercepts)


def _solve(
    features: Features, *, targets: Float[np.ndarray, "segment label"], weights: Float[np.ndarray, " segment"]
) -> list[tuple[Float[np.ndarray, "feature label"], Float[np.ndarray, " label"]]]:
    """Return slopes and intercepts for each of `PENALTIES`, from one eigendecomposition."""
    shares = weights / weights.sum()
    centre, mean = shares @ features, shares @ targets
    centred = features - centre
    values, vectors = np.linalg.eigh(centred.T @ (weights[:, None] * centred))
    moments = vectors.T @ (centred.T @ (weights[:, None] * (targets - mean)))
    fits = []
    for penalty in PENALTIES:
        slopes = vectors @ (moments / (values.clip(min=0) + penalty * len(features))[:, None])
        fits.append((slopes, mean - centre @ slopes))
    return fits


def standardise(
    fitted: Float[np.ndarray, "train feature"], predicted: Float[np.ndarray, "test feature"]
) -> tuple[Float[np.ndarray, "train feature"], Float[np.ndarray, "test feature"]]:
    """Return features with the mean 0 and the variance 1 over the training segments.

    A missing value gets the median of the training segments, or 0 if none of them has the feature.
    """
    known = np.isfinite(fitted)
    present = np.where(known.any(axis=0), 1.0, 0.0)
    medians = np.zeros(fitted.shape[1])
    for column in np.flatnonzero(present):
        medians[column] = np.median(fitted[known[:, column], column])
    fitted, predicted = (np.where(np.isfinite(values), values, medians) for values in (fitted, predicted))
    mean, deviation = fitted.mean(axis=0), fitted.std(axis=0)
    scale = present / np.where(deviation > 0, deviation, 1.0)
    return (fitted - mean) * scale, (predicted - mean) * scale
