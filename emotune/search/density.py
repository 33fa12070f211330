"""A density over configurations with numbers, choices and inactive values."""

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp, ndtr, ndtri

Rows = Float[np.ndarray, "row dimension"]
Centres = Float[np.ndarray, "centre dimension"]


class Density:
    """A mixture of product kernels around observations, and one uniform component.

    Numbers have Gaussians cut to [0, 1], of a bandwidth that depends on the number of observations and
    dimensions only: ``0.2 * n ** (-1 / (d + 4))``. Choices stay what they are with probability
    ``1 - h + h / K``, where ``h = clip(1 / sqrt(n + 1), 0.1, 1)``. Where the observation is inactive, the
    density is uniform; where the configuration is inactive, the dimension does not count.

    Args:
        rows: The observations, NaN where inactive.
        choices: Number of choices by dimension; 0 for numbers in [0, 1].
    """

    def __init__(self, rows: Rows, *, choices: Int[np.ndarray, " dimension"]) -> None:
        count = len(rows)
        dimensions = int((choices != 1).sum())
        self._rows = rows
        self._choices = choices
        self._bandwidth = 0.2 * max(count, 1) ** (-1 / (dimensions + 4))
        self._mixing = float(np.clip(1 / math.sqrt(count + 1), 0.1, 1))

    def log(self, rows: Rows) -> Float[np.ndarray, " row"]:
        """Return the logarithm of the density at some configurations."""
        numbers = self._choices == 0
        kernels = self._log_numbers(rows[:, numbers], centres=self._rows[:, numbers])
        flat = np.zeros(len(rows))
        for dimension in np.flatnonzero(~numbers):
            kernels += self._log_choice(rows[:, dimension], dimension=int(dimension))
            flat -= np.where(np.isnan(rows[:, dimension]), 0, math.log(self._choices[dimension]))
        everything = np.concatenate([kernels, flat[:, None]], axis=1)
        return logsumexp(everything, axis=1) - math.log(len(self._rows) + 1)

    def draw(self, count: int, *, generator: np.random.Generator) -> Rows:
        """Draw configurations with all dimensions active."""
        uniform = self._uniform(count, generator=generator)
        component = generator.integers(len(self._rows) + 1, size=count)
        padded = np.vstack([self._rows, np.full(self._rows.shape[1], np.nan)])
        centres = padded[component]
        stays = generator.random(centres.shape) >= self._mixing
        near = self._near(np.nan_to_num(centres), generator=generator)
        kept = np.where(self._choices == 0, near, np.where(stays, centres, uniform))
        return np.where(np.isnan(centres), uniform, kept)

    def _log_numbers(self, rows: Rows, *, centres: Centres) -> Float[np.ndarray, "row centre"]:
        """Return the logarithm of the kernels' product over the dimensions that are numbers.

        The squared distance is written out, so that only matrix products have the size rows x centres.
        """
        active, here = ~np.isnan(rows), ~np.isnan(centres)
        x, c = np.nan_to_num(rows), np.nan_to_num(centres)
        squares = (x**2 * active) @ here.T + active @ (c**2 * here).T - 2 * x @ c.T
        high, low = (1 - c) / self._bandwidth, -c / self._bandwidth
        masses = np.log(ndtr(high) - ndtr(low)) + math.log(self._bandwidth * math.sqrt(2 * math.pi))
        return -0.5 * squares / self._bandwidth**2 - active @ (masses * here).T

    def _log_choice(self, values: Float[np.ndarray, " row"], *, dimension: int) -> Float[np.ndarray, "row centre"]:
        """Return the logarithm of the kernels of one dimension of choices."""
        centres = self._rows[:, dimension]
        levels = int(self._choices[dimension])
        other = self._mixing / levels
        kernel = np.where(values[:, None] == centres, math.log(1 - self._mixing + other), math.log(other))
        kernel = np.where(np.isnan(centres), -math.log(levels), kernel)
        return np.where(np.isnan(values)[:, None], 0.0, kernel)

    def _uniform(self, count: int, *, generator: np.random.Generator) -> Rows:
        places = generator.random((count, len(self._choices)))
        return np.where(self._choices == 0, places, np.floor(places * self._choices))

    def _near(self, centres: Rows, *, generator: np.random.Generator) -> Rows:
        """Draw from the Gaussians cut to [0, 1], by the inverse of their distribution."""
        low, high = ndtr(-centres / self._bandwidth), ndtr((1 - centres) / self._bandwidth)
        places = ndtri(low + generator.random(centres.shape) * (high - low))
        return np.clip(centres + self._bandwidth * places, 0, 1)
