"""Gaussian processes for a few hundred configurations, fitted anew at every decision."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs  # pyright: ignore[reportAttributeAccessIssue] (made at run time)

Rows = Float[np.ndarray, "row dimension"]
Vector = Float[np.ndarray, " row"]
Trend = Float[np.ndarray, "row column"]
Beliefs = Float[np.ndarray, "column 2"]
Matrix = Float[np.ndarray, "row other"]

LENGTHS = (0.1, 0.2, 0.35, 0.6, 1.0)
"""Length scales of the kernel, where 1 is the distance of opposite corners of the unit cube."""
ADDITIVE = (0.0, 0.3, 0.7, 0.95)
"""Share of the function that is a sum over the dimensions."""
NOISES = (1e-3, 1e-2, 0.05, 0.2, 0.6, 2.0)
"""Variance of the noise, relative to the function's."""
GRIDS = (LENGTHS, ADDITIVE, NOISES)
USUAL = (2, 1, 2)
"""Places in the grids where the fit begins; the prior is a normal one around them."""
PRIOR_SPREADS = (1.5, 2.0, 2.0)
MOST_FOR_HYPERPARAMETERS = 60
"""Observations that the hyperparameters are chosen on; more would cost time and change little."""
LEVEL_VARIANCE = 0.5
"""Prior variance of the mean, relative to the function's."""
PRIOR_COUNT = 2
"""So many observations the prior of the function's variance is worth."""


class Points(NamedTuple):
    """Configurations as a Gaussian process sees them; squared distances in ``places`` add up over dimensions."""

    places: Rows
    """Numbers by their place on [0, 1], choices as one-hot vectors; an inactive value is away from all others."""
    features: Rows
    """What the additive part is linear in: places and squares of numbers, choices."""
    dimensions: int

    def take(self, chosen: Int[np.ndarray, " chosen"]) -> "Points":
        """Return some of them."""
        return Points(self.places[chosen], self.features[chosen], self.dimensions)

    def joined(self, more: "Points") -> "Points":
        """Return these and some more."""
        places = np.concatenate([self.places, more.places])
        return Points(places, np.concatenate([self.features, more.features]), self.dimensions)


def embed(rows: Rows, *, choices: Int[np.ndarray, " dimension"]) -> Points:
    """Turn encoded configurations (NaN where inactive) into points.

    Args:
        rows: Configurations, as `emotune.search.encoding.Encoding` has them.
        choices: Number of choices by dimension; 0 for numbers in [0, 1].
    """
    active = ~np.isnan(rows)
    filled = np.where(active, rows, 0.0)
    numbers = choices == 0
    centred = np.where(active, filled - 0.5, 0.0)[:, numbers]
    squares = np.where(active[:, numbers], centred**2 - 1 / 12, 0.0)
    chosen = [(filled[:, [d]] == np.arange(choices[d])) & active[:, [d]] for d in np.flatnonzero(choices > 1)]
    one_hot = np.concatenate([np.empty((len(rows), 0)), *chosen], axis=1)
    places = np.concatenate([centred, 0.3 * active[:, numbers], 0.5 * one_hot], axis=1)
    dimensions = max(int((choices != 1).sum()), 1)
    # places and squares of a uniform number get variances of 1 and 1/4
    features = np.concatenate([math.sqrt(12) * centred, math.sqrt(45) * squares, one_hot], axis=1)
    return Points(places, features / math.sqrt(dimensions), dimensions)


class GaussianProcess:
    """A function that is smooth, partly a sum over dimensions, and follows other functions linearly.

    ``targets = trend @ coefficients + mean + function + noise``, where coefficients and mean are normal and
    integrated out. The function's kernel is a Matern 5/2 one with equal length scales, which grow with the
    root of the number of dimensions, mixed with a quadratic one in each dimension. The three
    hyperparameters are chosen on a grid, one after the other, by likelihood and prior.

    Args:
        points: Where was observed.
        targets: What was observed, roughly standardised.
        trend: Values of the other functions there, one column each.
        trend_prior: Mean and standard deviation of each column's coefficient.
        variance: Prior variance of the function.

    Source:
        Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, sections 2.2, 2.7 and 5.4;
        length scales after Hvarfner et al., "Vanilla Bayesian Optimization Performs Great in High
        Dimensions", ICML 2024 (arXiv:2402.02229).
    """

    def __init__(self, points: Points, targets: Vector, *, trend: Trend, trend_prior: Beliefs, variance: float) -> None:
        self._points = points
        self._trend = trend
        self._prior_mean, self._prior_spread = trend_prior.T
        self._variance = variance
        rest = targets - trend @ self._prior_mean
        length, additive, noise = self._choose(rest)
        self._hyperparameters = (length, additive, noise)
        self._factor = _factor(self._covariance(points, trend, _matern(points, points, length), additive), noise)
        self._rest = rest
        self._weights = dpotrs(self._factor, rest, lower=1)[0]
        self.scale = (float(rest @ self._weights) + PRIOR_COUNT * variance) / (len(rest) + PRIOR_COUNT)
        """Variance of the function."""
        self.noise = noise * self.scale
        """Variance of the noise."""
        self.coefficients = self._prior_mean + self._prior_spread**2 * (trend.T @ self._weights)
        """How the targets follow each column of the trend."""

    def predict(self, points: Points, *, trend: Trend) -> tuple[Vector, Vector]:
        """Return mean and variance of the noiseless function at some points."""
        length, additive, _ = self._hyperparameters
        shared = _matern(points, self._points, length)
        across = (1 - additive) * shared + additive * (points.features @ self._points.features.T)
        across += LEVEL_VARIANCE + (trend * self._prior_spread**2) @ self._trend.T
        mean = across @ self._weights + trend @ self._prior_mean
        explained = dtrtrs(self._factor, across.T, lower=1)[0]
        prior = 1 - additive + additive * (points.features**2).sum(axis=1) + LEVEL_VARIANCE
        prior += (trend**2) @ (self._prior_spread**2)
        return mean, np.maximum(prior - (explained**2).sum(axis=0), 1e-9) * self.scale

    def believing(self, points: Points, *, trend: Trend) -> "GaussianProcess":
        """Return the process as if what it expects at some more points had been observed there."""
        length, additive, noise = self._hyperparameters
        expected, _ = self.predict(points, trend=trend)
        grown = copy.copy(self)
        grown._points = self._points.joined(points)
        grown._trend = np.concatenate([self._trend, trend])
        grown._rest = np.concatenate([self._rest, expected - trend @ self._prior_mean])
        matern = _matern(grown._points, grown._points, length)
        grown._factor = _factor(self._covariance(grown._points, grown._trend, matern, additive), noise)
        grown._weights = dpotrs(grown._factor, grown._rest, lower=1)[0]
        return grown

    def _covariance(self, points: Points, trend: Trend, matern: Matrix, additive: float) -> Matrix:
        total = (1 - additive) * matern + additive * (points.features @ points.features.T)
        return total + (LEVEL_VARIANCE + (trend * self._prior_spread**2) @ trend.T)

    def _choose(self, rest: Vector) -> tuple[float, float, float]:
        """Choose the hyperparameters: climb along one grid after the other until none improves."""
        spread = np.linspace(0, len(rest) - 1, min(len(rest), MOST_FOR_HYPERPARAMETERS)).astype(int)
        points, trend = self._points.take(spread), self._trend[spread]
        materns = [_matern(points, points, length) for length in LENGTHS]
        known: dict[tuple[int, ...], float] = {}

        def score(place: tuple[int, ...]) -> float:
            if place not in known:
                covariance = self._covariance(points, trend, materns[place[0]], ADDITIVE[place[1]])
                likelihood = self._log_likelihood(rest[spread], _factor(covariance, NOISES[place[2]]))
                steps = zip(place, USUAL, PRIOR_SPREADS, strict=True)
                known[place] = likelihood - 0.5 * sum(((at - usual) / width) ** 2 for at, usual, width in steps)
            return known[place]

        place = climb(score, USUAL, sizes=tuple(map(len, GRIDS)))
        return LENGTHS[place[0]], ADDITIVE[place[1]], NOISES[place[2]]

    def _log_likelihood(self, rest: Vector, factor: Matrix) -> float:
        """Return the logarithm of the likelihood, with the function's variance at its best."""
        white = dtrtrs(factor, rest, lower=1)[0]
        scale = (float(white @ white) + PRIOR_COUNT * self._variance) / (len(rest) + PRIOR_COUNT)
        return -0.5 * (len(rest) + PRIOR_COUNT) * math.log(scale) - float(np.log(np.diag(factor)).sum())


def climb(
    score: Callable[[tuple[int, ...]], float], start: tuple[int, ...], *, sizes: tuple[int, ...]
) -> tuple[int, ...]:
    """Find a place of a grid that no step along one axis improves."""
    best = start
    improved = True
    while improved:
        improved = False
        for axis, step in [(axis, step) for axis in range(len(sizes)) for step in (1, -1)]:
            place = (*best[:axis], best[axis] + step, *best[axis + 1 :])
            while 0 <= place[axis] < sizes[axis] and score(place) > score(best):
                best, improved = place, True
                place = (*best[:axis], best[axis] + step, *best[axis + 1 :])
    return best


def _matern(points: Points, others: Points, length: float) -> Matrix:
    """Return the Matern 5/2 kernel."""
    a, b = points.places, others.places
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squares, 0) * (5 / points.dimensions)) / length
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def _factor(covariance: Matrix, noise: float) -> Matrix:
    """Return the lower Cholesky factor of a covariance with noise."""
    covariance = covariance.copy()
    covariance[np.diag_indices(len(covariance))] += noise
    factor, failed = dpotrf(covariance, lower=1, clean=1, overwrite_a=1)
    assert not failed
    return factor
