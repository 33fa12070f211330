"""Hyperparameters of the joint process `emotune.search.models.surface.Surface`, by maximum a posteriori.

Symbols:
    n: number of observations; d: number of dimensions with more than one value; R: number of rungs.
    theta: logarithms of the hyperparameters (logits of shares and correlations), of shape (d + 1 + 3 R,).
    K: prior covariance of the observations without noise, relative to the scale; C: covariance of the rungs.
    L: lower Cholesky factor of ``K + noise``; alpha: ``(K + noise)^-1 y``.
    G: derivative of the negative log likelihood with respect to K.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
from scipy.optimize import minimize

from emotune.search.models.gp import Points

Vector = Float[np.ndarray, " row"]
Matrix = Float[np.ndarray, "row other"]

LENGTH, LENGTH_SPREAD = 0.18, 0.5
"""Prior median of a length scale, in units of the diagonal of the unit cube, and spread of its logarithm.

With 0.25 the process is too certain of places without results, see ``docs/decisions/expected-gain-per-epoch.md``.
"""
SHARE_LOGIT, SHARE_SPREAD = -1.0, 1.5
"""Prior mean and spread of the logit of the additive share."""
RESIDUAL, RESIDUAL_SPREAD = 0.03, 1.0
"""Prior median of the variance that belongs to a configuration and to no neighbour, and spread of its logarithm."""
CORRELATION_LOGIT, CORRELATION_SPREAD = 2.0, 1.5
"""Prior mean and spread of the logit of the correlation of neighbouring rungs."""
AMPLITUDE_SPREAD = 0.4
"""Prior spread of the logarithm of a rung's standard deviation, whose median is 1."""
NOISE_LOWEST, NOISE_HIGHEST, NOISE_SPREAD = 0.5, 0.002, 2.0
"""Prior medians of the noise of the lowest and of the highest rung, and spread of their logarithms."""
SHARED_MEAN_VARIANCE, OWN_MEAN_VARIANCE = 0.25, 0.25
"""Prior variances of the constant that all rungs share, and of the constant of each rung, relative to the scale."""
PRIOR_COUNT = 2
"""Pseudo-count of the prior of the scale, whose mean is 1, in observations."""
MAX_ITERATIONS = 15
"""Iterations of L-BFGS from the prior mean. More take time and change predictions little."""
MAX_STEPS = 8.0
"""Bound on the distance of theta from its prior mean, in prior spreads; line searches beyond it would overflow."""
DIGITS = 2
"""Decimal places of theta, so that predictions do not depend on the last bits of a CPU's arithmetic."""


class Hyperparameters(NamedTuple):
    """The hyperparameters of the process."""

    lengths: Vector
    """Length scale of each dimension, of shape (d,)."""
    share: float
    """Share of the variance that is a sum over the dimensions."""
    residual: float
    """Variance that belongs to a configuration and to no neighbour."""
    correlations: Vector
    """Correlation of each rung with the next one, of shape (R - 1,)."""
    amplitudes: Vector
    """Standard deviation of each rung, of shape (R,)."""
    noise: Vector
    """Variance of the noise at each rung, relative to the scale, of shape (R,)."""

    @classmethod
    def at(cls, theta: Vector, *, dimensions: int, rungs: int) -> "Hyperparameters":
        """Return the hyperparameters of a vector."""
        d, r = dimensions, rungs
        return cls(
            lengths=np.exp(theta[:d]),
            share=1 / (1 + math.exp(-theta[d])),
            residual=math.exp(theta[d + 1]),
            correlations=1 / (1 + np.exp(-theta[d + 2 : d + 1 + r])),
            amplitudes=np.exp(theta[d + 1 + r : d + 1 + 2 * r]),
            noise=np.exp(theta[d + 1 + 2 * r :]),
        )

    def rung_covariance(self) -> Matrix:
        """Return C: ``a_r a_s`` times the product of the correlations between the rungs r and s."""
        logs = np.concatenate([[0.0], np.cumsum(np.log(self.correlations))])
        return np.exp(-np.abs(logs[:, None] - logs)) * np.outer(self.amplitudes, self.amplitudes)


def prior(dimensions: int, rungs: int) -> tuple[Vector, Vector]:
    """Return mean and standard deviation of the normal prior of theta."""
    d, r = dimensions, rungs
    noise = np.linspace(math.log(NOISE_LOWEST), math.log(NOISE_HIGHEST), r) if r > 1 else [math.log(NOISE_HIGHEST)]
    length = math.log(LENGTH * math.sqrt(max(d, 1)))
    means = [np.full(d, length), [SHARE_LOGIT, math.log(RESIDUAL)], np.full(r - 1, CORRELATION_LOGIT)]
    spreads = [np.full(d, LENGTH_SPREAD), [SHARE_SPREAD, RESIDUAL_SPREAD], np.full(r - 1, CORRELATION_SPREAD)]
    return (
        np.concatenate([*means, np.zeros(r), noise]),
        np.concatenate([*spreads, np.full(r, AMPLITUDE_SPREAD), np.full(r, NOISE_SPREAD)]),
    )


class Evidence:
    """The observations that hyperparameters are chosen from, with what does not depend on the hyperparameters.

    Args:
        points: Observed configurations.
        groups: Dimension of each column of their positions.
        numbers: Numbers of the configurations, of shape (n,).
        at: Rung of each observation, of shape (n,).
        targets: Observations y, of shape (n,), roughly standardised.
        rungs: R.
    """

    def __init__(
        self,
        points: Points,
        *,
        groups: Int[np.ndarray, " column"],
        numbers: Int[np.ndarray, " row"],
        at: Int[np.ndarray, " row"],
        targets: Vector,
        rungs: int,
    ) -> None:
        count = len(targets)
        self.rungs = rungs
        dimensions = np.unique(groups)
        self.dimensions = len(dimensions)
        self._squares = np.zeros((len(dimensions), count * count))
        for row, dimension in enumerate(dimensions):
            columns = points.positions[:, groups == dimension]
            self._squares[row] = ((columns[:, None] - columns) ** 2).sum(axis=2).ravel()
        self._additive = points.features @ points.features.T
        self._same = (numbers[:, None] == numbers).astype(float)
        self._means = SHARED_MEAN_VARIANCE + OWN_MEAN_VARIANCE * (at[:, None] == at)
        self._of_rung = (at[:, None] == np.arange(rungs)).astype(float)
        self._at = at
        self._targets = targets
        self._prior = prior(self.dimensions, rungs)

    def best(self) -> Hyperparameters:
        """Return the hyperparameters at the maximum of likelihood times prior, rounded to `DIGITS`."""
        mean, spread = self._prior

        def scaled(steps: Vector) -> tuple[float, Vector]:
            value, gradient = self.negative_log_posterior(mean + spread * steps)
            return value, gradient * spread

        limits = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS}
        bounds = [(-MAX_STEPS, MAX_STEPS)] * len(mean)
        steps = minimize(scaled, np.zeros(len(mean)), jac=True, method="L-BFGS-B", bounds=bounds, options=limits).x
        theta = np.round(mean + spread * steps, DIGITS)
        return Hyperparameters.at(theta, dimensions=self.dimensions, rungs=self.rungs)

    def negative_log_posterior(self, theta: Vector) -> tuple[float, Vector]:
        """Return the negative logarithm of likelihood times prior up to a constant, and its gradient.

        The scale is at its posterior mode.

        Source:
            Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 5.9.
        """
        at = Hyperparameters.at(theta, dimensions=self.dimensions, rungs=self.rungs)
        count = len(self._targets)
        squares = (at.lengths**-2.0) @ self._squares if self.dimensions else np.zeros(count * count)
        distance = np.sqrt(5 * squares).reshape(count, count)
        decay = np.exp(-distance)
        matern = (1 + distance + distance**2 / 3) * decay
        of_rungs = at.rung_covariance()[np.ix_(self._at, self._at)]
        signal = ((1 - at.share) * matern + at.share * self._additive + at.residual * self._same) * of_rungs
        covariance = signal + self._means
        covariance[np.diag_indices(count)] += at.noise[self._at]
        factor, failed = dpotrf(covariance, lower=1, clean=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        alpha = dpotrs(factor, self._targets, lower=1)[0]
        scale = (float(self._targets @ alpha) + PRIOR_COUNT) / (count + PRIOR_COUNT)
        value = 0.5 * (count + PRIOR_COUNT) * math.log(scale) + float(np.log(np.diag(factor)).sum())
        lower = dpotri(factor, lower=1)[0]
        slope = 0.5 * (lower + np.tril(lower, -1).T - np.outer(alpha, alpha) / scale)
        by_length = slope * of_rungs * ((1 - at.share) * (5 / 3) * (1 + distance) * decay)
        gradient = self._gradient(at, slope=slope, signal=signal, of_rungs=of_rungs, matern=matern)
        gradient[: self.dimensions] = (self._squares @ by_length.ravel()) * at.lengths**-2.0
        mean, spread = self._prior
        steps = (theta - mean) / spread
        return value + 0.5 * float(steps @ steps), gradient + steps / spread

    def _gradient(
        self, at: Hyperparameters, *, slope: Matrix, signal: Matrix, of_rungs: Matrix, matern: Matrix
    ) -> Float[np.ndarray, " parameter"]:
        """Return the gradient of the likelihood, without that of the length scales, which are 0."""
        d, r = self.dimensions, self.rungs
        gradient = np.zeros(d + 1 + 3 * r)
        weighted = slope * of_rungs
        gradient[d] = (weighted * (self._additive - matern)).sum() * at.share * (1 - at.share)
        gradient[d + 1] = (weighted * self._same).sum() * at.residual
        blocks = self._of_rung.T @ (slope * signal) @ self._of_rung
        for below in range(r - 1):
            gradient[d + 2 + below] = 2 * blocks[: below + 1, below + 1 :].sum() * (1 - at.correlations[below])
        gradient[d + 1 + r : d + 1 + 2 * r] = 2 * blocks.sum(axis=1)
        gradient[d + 1 + 2 * r :] = (np.diag(slope) @ self._of_rung) * at.noise
        return gradient
