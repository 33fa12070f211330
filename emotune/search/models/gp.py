"""Gaussian process regression on some hundred configurations, fitted at every decision.

Symbols:
    n: number of observed configurations; d: number of dimensions (hyperparameters with more than one value).
    x: a configuration, as a row of `Points`.
    y: targets, of shape (n,); H: trend, the values of m other functions, of shape (n, m).
    beta: coefficients of the trend, normal with means b and standard deviations s, of shape (m,).
    r: residuals ``y - H b`` of the targets from the prior mean.
    a: share of the additive part of the kernel; ell: length scale, in units of the diagonal of the cube.
    K: prior covariance of the targets without noise, relative to the scale, of shape (n, n).
    L: lower Cholesky factor of ``K + noise * I``; alpha: ``(K + noise * I)^-1 r``.
    scale: variance of the function; noise: variance of the observations, relative to the scale.
"""

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
"""Grid of ell, where 1 is the distance of opposite corners of the unit cube."""
ADDITIVE_SHARES = (0.0, 0.3, 0.7, 0.95)
"""Grid of a, the share of the variance that is a sum over the dimensions."""
NOISES = (1e-3, 1e-2, 0.05, 0.2, 0.6, 2.0)
"""Grid of the noise, relative to the scale."""
GRIDS = (LENGTHS, ADDITIVE_SHARES, NOISES)
PRIOR_MODE = (2, 1, 2)
"""Indices in the grids at which the fit begins. The prior is normal in the index, with this mean."""
PRIOR_SPREADS = (1.5, 2.0, 2.0)
"""Standard deviations of the prior, in steps of the grids."""
MAX_FIT_OBSERVATIONS = 60
"""Observations that the hyperparameters are chosen from. More take time and change the choice little."""
MEAN_VARIANCE = 0.5
"""Prior variance of the constant mean, relative to the scale."""
PRIOR_COUNT = 2
"""Pseudo-count of the prior of the scale, in observations."""


class Points(NamedTuple):
    """Configurations as points of a Gaussian process."""

    positions: Rows
    """Coordinates of the Matern kernel: centred numbers, 0.3 for active and 0 for inactive ones, 0.5 for the choice."""
    features: Rows
    """Features of the additive kernel: positions and squares of numbers, one-hot vectors of choices."""
    dimensions: int

    def take(self, chosen: Int[np.ndarray, " chosen"]) -> "Points":
        """Return the points with some indices."""
        return Points(self.positions[chosen], self.features[chosen], self.dimensions)

    def joined(self, others: "Points") -> "Points":
        """Return these points and others."""
        positions = np.concatenate([self.positions, others.positions])
        return Points(positions, np.concatenate([self.features, others.features]), self.dimensions)


def embed(rows: Rows, *, choices: Int[np.ndarray, " dimension"]) -> Points:
    """Return encoded configurations as points.

    Args:
        rows: Configurations by `emotune.search.history.Encoding`, of shape (n, dimensions); NaN where inactive.
        choices: Number of choices by dimension; 0 for numbers in [0, 1].
    """
    active = ~np.isnan(rows)
    filled = np.where(active, rows, 0.0)
    numbers = choices == 0
    centred = np.where(active, filled - 0.5, 0.0)[:, numbers]
    squares = np.where(active[:, numbers], centred**2 - 1 / 12, 0.0)
    chosen = [(filled[:, [d]] == np.arange(choices[d])) & active[:, [d]] for d in np.flatnonzero(choices > 1)]
    one_hot = np.concatenate([np.empty((len(rows), 0)), *chosen], axis=1)
    positions = np.concatenate([centred, 0.3 * active[:, numbers], 0.5 * one_hot], axis=1)
    dimensions = max(int((choices != 1).sum()), 1)
    # position and square of a uniform number have variances of 1 and 1/4
    features = np.concatenate([math.sqrt(12) * centred, math.sqrt(45) * squares, one_hot], axis=1)
    return Points(positions, features / math.sqrt(dimensions), dimensions)


class GaussianProcess:
    """A Gaussian process with a linear trend, ``y = H beta + mean + f(x) + noise``.

    The coefficients beta and the mean are normal and integrated out. The covariance of f at two points is
    ``(1 - a) * matern(distance / ell) + a * features @ features'``: a Matern 5/2 kernel with one length scale, which
    grows with ``sqrt(d)``, and a quadratic kernel in each dimension. ell, a and the noise are chosen on grids by
    coordinate ascent of likelihood times prior; the scale is at its posterior mode.

    Args:
        points: Observed configurations.
        targets: Observations y of shape (n,), roughly standardised.
        trend: H of shape (n, m).
        trend_prior: Mean b and standard deviation s of each coefficient, of shape (m, 2).
        variance: Prior mean of the scale.

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
        residuals = targets - trend @ self._prior_mean
        length, additive, noise = self._choose(residuals)
        self._hyperparameters = (length, additive, noise)
        self._factor = _factor(self._covariance(points, trend, _matern(points, points, length), additive), noise)
        self._residuals = residuals
        self._alpha = dpotrs(self._factor, residuals, lower=1)[0]
        self.scale = (float(residuals @ self._alpha) + PRIOR_COUNT * variance) / (len(residuals) + PRIOR_COUNT)
        """Variance of the function."""
        self.noise = noise * self.scale
        """Variance of the noise."""
        self.coefficients = self._prior_mean + self._prior_spread**2 * (trend.T @ self._alpha)
        """Posterior mean of beta, of shape (m,)."""

    def predict(self, points: Points, *, trend: Trend) -> tuple[Vector, Vector]:
        """Return mean and variance of ``H beta + mean + f`` at some points, each of shape (points,)."""
        length, additive, _ = self._hyperparameters
        matern = _matern(points, self._points, length)
        across = (1 - additive) * matern + additive * (points.features @ self._points.features.T)
        across += MEAN_VARIANCE + (trend * self._prior_spread**2) @ self._trend.T
        mean = across @ self._alpha + trend @ self._prior_mean
        explained = dtrtrs(self._factor, across.T, lower=1)[0]
        prior = 1 - additive + additive * (points.features**2).sum(axis=1) + MEAN_VARIANCE
        prior += (trend**2) @ (self._prior_spread**2)
        return mean, np.maximum(prior - (explained**2).sum(axis=0), 1e-9) * self.scale

    def believing(self, points: Points, *, trend: Trend) -> "GaussianProcess":
        """Return the process as if its expectations at some points had been observed; the scale does not change."""
        length, additive, noise = self._hyperparameters
        expected, _ = self.predict(points, trend=trend)
        extended = copy.copy(self)
        extended._points = self._points.joined(points)
        extended._trend = np.concatenate([self._trend, trend])
        extended._residuals = np.concatenate([self._residuals, expected - trend @ self._prior_mean])
        matern = _matern(extended._points, extended._points, length)
        extended._factor = _factor(self._covariance(extended._points, extended._trend, matern, additive), noise)
        extended._alpha = dpotrs(extended._factor, extended._residuals, lower=1)[0]
        return extended

    def _covariance(self, points: Points, trend: Trend, matern: Matrix, additive: float) -> Matrix:
        total = (1 - additive) * matern + additive * (points.features @ points.features.T)
        return total + (MEAN_VARIANCE + (trend * self._prior_spread**2) @ trend.T)

    def _choose(self, residuals: Vector) -> tuple[float, float, float]:
        """Return ell, a and noise: coordinate ascent on the grids, from `PRIOR_MODE`."""
        chosen = np.linspace(0, len(residuals) - 1, min(len(residuals), MAX_FIT_OBSERVATIONS)).astype(int)
        points, trend = self._points.take(chosen), self._trend[chosen]
        materns = [_matern(points, points, length) for length in LENGTHS]
        scores: dict[tuple[int, ...], float] = {}

        def score(index: tuple[int, ...]) -> float:
            if index not in scores:
                covariance = self._covariance(points, trend, materns[index[0]], ADDITIVE_SHARES[index[1]])
                likelihood = self._log_likelihood(residuals[chosen], _factor(covariance, NOISES[index[2]]))
                steps = zip(index, PRIOR_MODE, PRIOR_SPREADS, strict=True)
                scores[index] = likelihood - 0.5 * sum(((at - mode) / width) ** 2 for at, mode, width in steps)
            return scores[index]

        best = climb(score, PRIOR_MODE, sizes=tuple(map(len, GRIDS)))
        return LENGTHS[best[0]], ADDITIVE_SHARES[best[1]], NOISES[best[2]]

    def _log_likelihood(self, residuals: Vector, factor: Matrix) -> float:
        """Return the logarithm of the likelihood up to a constant, with the scale at its posterior mode."""
        whitened = dtrtrs(factor, residuals, lower=1)[0]
        scale = (float(whitened @ whitened) + PRIOR_COUNT * self._variance) / (len(residuals) + PRIOR_COUNT)
        return -0.5 * (len(residuals) + PRIOR_COUNT) * math.log(scale) - float(np.log(np.diag(factor)).sum())


def climb(
    score: Callable[[tuple[int, ...]], float], start: tuple[int, ...], *, sizes: tuple[int, ...]
) -> tuple[int, ...]:
    """Return an index of a grid that no step along one axis improves, by coordinate ascent from ``start``."""
    best = start
    improved = True
    while improved:
        improved = False
        for axis, step in [(axis, step) for axis in range(len(sizes)) for step in (1, -1)]:
            index = (*best[:axis], best[axis] + step, *best[axis + 1 :])
            while 0 <= index[axis] < sizes[axis] and score(index) > score(best):
                best, improved = index, True
                index = (*best[:axis], best[axis] + step, *best[axis + 1 :])
    return best


def _matern(points: Points, others: Points, length: float) -> Matrix:
    """Return the Matern 5/2 kernel, ``(1 + t + t^2 / 3) exp(-t)`` with ``t = sqrt(5 / d) * distance / ell``."""
    a, b = points.positions, others.positions
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squares, 0) * (5 / points.dimensions)) / length
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def _factor(covariance: Matrix, noise: float) -> Matrix:
    """Return the lower Cholesky factor L of ``covariance + noise * I``."""
    covariance = covariance.copy()
    covariance[np.diag_indices(len(covariance))] += noise
    factor, failed = dpotrf(covariance, lower=1, clean=1, overwrite_a=1)
    assert not failed
    return factor
