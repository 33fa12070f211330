"""One Gaussian process over configurations and rungs, with a length scale per hyperparameter.

Symbols:
    x, r: a configuration and a rung; i: number of the configuration.
    f(x, r): loss of x at rung r without noise; an observation is ``y = f(x, r) + noise_r``.
    C: covariance of the rungs; R: number of rungs; n: number of observations.
"""

import copy

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs  # pyright: ignore[reportAttributeAccessIssue] (made at run time)

from emotune.search.history import History
from emotune.search.models.gp import Points, embed
from emotune.search.models.hyperparameters import (
    OWN_MEAN_VARIANCE,
    PRIOR_COUNT,
    SHARED_MEAN_VARIANCE,
    Evidence,
    Hyperparameters,
    Matrix,
    Vector,
)
from emotune.search.models.multifidelity import standardised

Rows = Float[np.ndarray, "row dimension"]
Numbers = Int[np.ndarray, " row"]
Covariances = Float[np.ndarray, "row rung other"]

MAX_OBSERVATIONS = 200
"""Observations that the process is conditioned on: at each rung half of them the best, half the latest."""
MAX_FIT_OBSERVATIONS = 64
"""Observations that the hyperparameters are chosen from."""
JITTER = 1e-8
"""Least noise, relative to the scale, with which the covariance has a Cholesky factor."""
MIN_VARIANCE = 1e-9
"""Least variance of a prediction, relative to the scale."""


class Surface:
    """A Gaussian process over configurations and rungs.

    The covariance of ``f(x, r)`` and ``f(x', s)`` is
    ``C_rs * ((1 - a) * matern(x, x') + a * features @ features' + b * [i = i'])`` and that of two constants, one of
    which all rungs share: a Matern 5/2 kernel with a length scale per hyperparameter, a quadratic kernel in each
    dimension, and a part that belongs to the configuration. C is that of a first-order autoregression over the rungs.
    Where rungs disagree, their correlation is low, and a rung is predicted from its own results.

    Args:
        history: The results it is fitted to.
        rung_count: R.

    Source:
        Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations are
        available", Biometrika 2000, equation 1, with the same kernel at all rungs; length scales after Hvarfner et
        al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024 (arXiv:2402.02229).
    """

    def __init__(self, history: History, *, rung_count: int) -> None:
        self._rung_count = rung_count
        self._choices = history.encoding.choices
        self._groups = _groups(self._choices)
        self._dimensions = np.unique(self._groups)
        self.numbers, self.at, self._targets = _observations(history)
        self.rows = history.vectors()[self.numbers]
        self._points = embed(self.rows, choices=self._choices)
        self.hyperparameters = self._chosen()
        self._condition()
        scale = (float(self._targets @ self._alpha) + PRIOR_COUNT) / (len(self._targets) + PRIOR_COUNT)
        self._scale = scale
        self.noise = self.hyperparameters.noise * scale
        """Variance of the noise of each rung, of shape (R,)."""

    def believing(self, numbers: Numbers, *, at: Numbers, rows: Rows) -> "Surface":
        """Return the process as if some evaluations had ended as expected; hyperparameters and scale stay the same."""
        extended = copy.copy(self)
        means, _ = self.predict(rows, numbers=numbers)
        extended._targets = np.concatenate([self._targets, means[np.arange(len(numbers)), at]])
        extended.numbers = np.concatenate([self.numbers, numbers])
        extended.at = np.concatenate([self.at, at])
        extended.rows = np.concatenate([self.rows, rows])
        extended._points = self._points.joined(embed(rows, choices=self._choices))
        extended._condition()
        return extended

    def mean(self, rows: Rows, *, numbers: Numbers | None = None) -> Vector:
        """Return the mean at the highest rung, of shape (rows,); see `predict`."""
        kernel, _ = self._kernel_to(rows, numbers=numbers)
        return self._to_highest(kernel) @ self._alpha

    def predict_highest(self, rows: Rows, *, numbers: Numbers | None = None) -> tuple[Vector, Vector]:
        """Return mean and variance of f at the highest rung, each of shape (rows,); see `predict`."""
        kernel, own = self._kernel_to(rows, numbers=numbers)
        across = self._to_highest(kernel)
        explained = dtrtrs(self._factor, across.T, lower=1)[0]
        total = own * self._rungs[-1, -1] + SHARED_MEAN_VARIANCE + OWN_MEAN_VARIANCE - (explained**2).sum(axis=0)
        return across @ self._alpha, np.maximum(total, MIN_VARIANCE) * self._scale

    def predict(
        self, rows: Rows, *, numbers: Numbers | None = None
    ) -> tuple[Float[np.ndarray, "row rung"], Covariances]:
        """Return mean and covariance of f at all rungs.

        Args:
            rows: Encoded configurations.
            numbers: Their numbers; None for new configurations, whose own part is left out.

        Returns:
            Means of shape (rows, R), and covariances of shape (rows, R, R).
        """
        kernel, own = self._kernel_to(rows, numbers=numbers)
        rungs = np.arange(self._rung_count)
        across = kernel[:, None, :] * self._rungs[:, self.at] + SHARED_MEAN_VARIANCE
        across += OWN_MEAN_VARIANCE * (rungs[:, None] == self.at)
        flat = across.reshape(len(rows) * len(rungs), len(self.at))
        explained = dtrtrs(self._factor, flat.T, lower=1)[0].T.reshape(across.shape)
        total = own[:, None, None] * self._rungs + SHARED_MEAN_VARIANCE + OWN_MEAN_VARIANCE * np.eye(len(rungs))
        return across @ self._alpha, (total - explained @ explained.transpose(0, 2, 1)) * self._scale

    def _chosen(self) -> Hyperparameters:
        chosen = _fit_subset(self.at, targets=self._targets)
        evidence = Evidence(
            self._points.take(chosen),
            groups=self._groups,
            numbers=self.numbers[chosen],
            at=self.at[chosen],
            targets=self._targets[chosen],
            rungs=self._rung_count,
        )
        return evidence.best()

    def _condition(self) -> None:
        """Compute the Cholesky factor of the covariance of the observations, and alpha."""
        at, chosen = self.at, self.hyperparameters
        self._rungs = chosen.rung_covariance()
        same = self.numbers[:, None] == self.numbers
        covariance = (self._kernel(self._points) + chosen.residual * same) * self._rungs[np.ix_(at, at)]
        covariance += SHARED_MEAN_VARIANCE + OWN_MEAN_VARIANCE * (at[:, None] == at)
        covariance[np.diag_indices(len(at))] += chosen.noise[at] + JITTER
        self._factor, failed = dpotrf(covariance, lower=1, clean=1)
        assert not failed
        self._alpha = dpotrs(self._factor, self._targets, lower=1)[0]

    def _kernel_to(self, rows: Rows, *, numbers: Numbers | None) -> tuple[Matrix, Vector]:
        """Return the kernel of rows and observations, and that of each row with itself, without C."""
        points = embed(rows, choices=self._choices)
        share, residual = self.hyperparameters.share, self.hyperparameters.residual
        kernel = self._kernel(points)
        own = 1 - share + share * (points.features**2).sum(axis=1)
        if numbers is None:
            return kernel, own
        return kernel + residual * (numbers[:, None] == self.numbers), own + residual

    def _kernel(self, points: Points) -> Matrix:
        share = self.hyperparameters.share
        a, b = self._scaled(points), self._scaled(self._points)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        distance = np.sqrt(5 * np.maximum(squares, 0))
        matern = (1 + distance + distance**2 / 3) * np.exp(-distance)
        return (1 - share) * matern + share * (points.features @ self._points.features.T)

    def _scaled(self, points: Points) -> Matrix:
        lengths = self.hyperparameters.lengths[np.searchsorted(self._dimensions, self._groups)]
        return points.positions / lengths

    def _to_highest(self, kernel: Matrix) -> Matrix:
        highest = self._rung_count - 1
        return kernel * self._rungs[highest, self.at] + SHARED_MEAN_VARIANCE + OWN_MEAN_VARIANCE * (self.at == highest)


def _groups(choices: Int[np.ndarray, " dimension"]) -> Int[np.ndarray, " column"]:
    """Return the dimension of each column of `emotune.search.models.gp.Points.positions`."""
    numbers = np.flatnonzero(choices == 0)
    return np.concatenate([numbers, numbers, *(np.full(choices[d], d) for d in np.flatnonzero(choices > 1))])


def _observations(history: History) -> tuple[Numbers, Numbers, Vector]:
    """Return configuration, rung and standardised loss of at most `MAX_OBSERVATIONS` results, by rung."""
    counts = {rung: len(history.results(rung)) for rung in history.rungs}
    parts: list[tuple[Numbers, Numbers, Vector]] = []
    for rung, kept in _allotted(counts, limit=MAX_OBSERVATIONS).items():
        losses = standardised([loss for _, loss in history.results(rung)])
        numbers = np.array([number for number, _ in history.results(rung)])
        best = np.argsort(losses, kind="stable")[: kept // 2] if kept < len(losses) else np.arange(len(losses))
        others = np.setdiff1d(np.arange(len(losses)), best)
        chosen = np.sort(np.concatenate([best, others[len(others) - (kept - len(best)) :]]))
        parts.append((numbers[chosen], np.full(len(chosen), rung), losses[chosen]))
    numbers, at, targets = (np.concatenate(column) for column in zip(*reversed(parts), strict=True))
    return numbers, at, targets


def _allotted(counts: dict[int, int], *, limit: int) -> dict[int, int]:
    """Return how many results of each rung are used, the highest rung first: half of what is left, or all there are."""
    allotted: dict[int, int] = {}
    for rung in sorted(counts, reverse=True):
        below = sum(count for other, count in counts.items() if other < rung)
        allotted[rung] = min(counts[rung], max(limit - below, limit // 2 if below else limit))
        limit -= allotted[rung]
    return allotted


def _fit_subset(at: Numbers, *, targets: Vector) -> Int[np.ndarray, " chosen"]:
    """Return the sorted indices of `MAX_FIT_OBSERVATIONS` observations: half of each rung's the best, half spread."""
    counts = {int(rung): int((at == rung).sum()) for rung in np.unique(at)}
    parts: list[Numbers] = []
    for rung, kept in _allotted(counts, limit=MAX_FIT_OBSERVATIONS).items():
        here = np.flatnonzero(at == rung)
        if kept < len(here):
            best = here[np.argsort(targets[here], kind="stable")[: kept // 2]]
            others = np.setdiff1d(here, best)
            spread = others[np.linspace(0, len(others) - 1, kept - len(best)).astype(int)]
            here = np.concatenate([best, spread])
        parts.append(here)
    return np.sort(np.concatenate(parts))
