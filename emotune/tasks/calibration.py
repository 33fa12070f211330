"""Platt's calibration: a classifier's logits become probabilities that agree with held-out labels.

Source: Platt, "Probabilistic outputs for support vector machines", 1999, as in scikit-learn's
``CalibratedClassifierCV(method="sigmoid")``.
"""

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit

from emotune.base import Settings


class Calibration(Settings):
    """A calibrated probability, ``s(slope * logit + intercept)`` with the logistic function s."""

    slope: float = Field(ge=0)
    intercept: float

    segments: int
    """Number of held-out segments that it was fitted to."""

    error_before: float
    """Expected calibration error on these segments without it (0 to 1)."""

    error: float
    """Expected calibration error on these segments with it (0 to 1)."""


def apply_sigmoid(
    logits: Float[np.ndarray, " segment"], *, slope: float, intercept: float
) -> Float[np.ndarray, " segment"]:
    """Return ``s(slope * logit + intercept)``."""
    return expit(slope * np.asarray(logits, dtype=np.float64) + intercept)


def fit_sigmoid(logits: Float[np.ndarray, " segment"], labels: Float[np.ndarray, " segment"]) -> tuple[float, float]:
    """Return the slope and the intercept with the largest likelihood of the labels.

    As in Platt's paper the n_1 high labels are replaced by (n_1 + 1) / (n_1 + 2) and the n_0 low ones by
    1 / (n_0 + 2), so that a few held-out segments give no probability of 0 or 1. A negative slope, which would
    exchange high and low, is replaced by 0: all segments then have the share of high labels as probability.

    Args:
        logits: Logits of the held-out segments.
        labels: Their labels, high (1) or low (0).
    """
    logits = np.asarray(logits, dtype=np.float64)
    high = float(labels.sum())
    low = len(labels) - high
    targets = np.where(labels > 0.5, (high + 1) / (high + 2), 1 / (low + 2))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scores = parameters[0] * logits + parameters[1]
        residuals = expit(scores) - targets
        value = np.sum(np.logaddexp(0, scores) - targets * scores)
        return float(value), np.array([residuals @ logits, residuals.sum()])

    prior = np.log((high + 1) / (low + 1))
    slope, intercept = minimize(loss, [0.0, prior], jac=True, method="L-BFGS-B", options={"gtol": 1e-8}).x
    if slope >= 0:
        return float(slope), float(intercept)
    share = float(targets.mean())
    return 0.0, float(np.log(share / (1 - share)))
