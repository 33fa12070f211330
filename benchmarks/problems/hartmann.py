"""Hartmann functions of three and six dimensions with misleading low fidelities.

Source:
    Mallik et al., "PriorBand", NeurIPS 2023 (arXiv:2306.12370), appendix on MF-Hartmann, and the
    settings good, bad and terrible of mf-prior-bench 1.10: fidelity z in [0, 1] is logarithmic in the
    epochs, the weights of the four bumps are lowered by ``bias * (1 - z)``, and half-normal noise of scale
    ``noise * (1 - z)`` is added. Constants after Dixon and Szegoe, 1978.
"""

from typing import NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace, Float

from benchmarks.problems.base import EPOCHS, Curve, Problem, Values, noise, progress
from emotune.randomness import derive_seed

WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])


class Bumps(NamedTuple):
    """Inverse widths and centres (in 1/10000) of the four bumps, and the minimum of the function."""

    scales: np.ndarray
    centres: np.ndarray
    best: float


THREE = Bumps(
    scales=np.array([[3.0, 10, 30], [0.1, 10, 35], [3.0, 10, 30], [0.1, 10, 35]]),
    centres=np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]),
    best=-3.86278,
)
SIX = Bumps(
    scales=np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    ),
    centres=np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    ),
    best=-3.32237,
)
PRESETS = {"good": (2.5, 2.0), "bad": (3.5, 4.0), "terrible": (4.0, 5.0)}
"""Bias and noise of each preset."""


def hartmann(point: np.ndarray, *, bumps: Bumps, weights: np.ndarray) -> np.ndarray:
    """Return the function at a point for one or several sets of weights, of shape (..., 4)."""
    heights = np.exp(-(bumps.scales * (point - 1e-4 * bumps.centres) ** 2).sum(axis=1))
    return -(weights @ heights)


def multi_fidelity_hartmann(bumps: Bumps, *, preset: str, name: str) -> Problem:
    """Return the problem of a preset."""
    bias, scale = PRESETS[preset]
    dimensions = bumps.scales.shape[1]
    missing = 1 - progress()

    def point(values: Values) -> np.ndarray:
        return np.array([values[f"x{number}"] for number in range(dimensions)])

    def curve(values: Values, seed: int) -> Curve:
        biased = hartmann(point(values), bumps=bumps, weights=WEIGHTS - bias * missing[:, None])
        error = np.abs(noise(values, seed=derive_seed(seed, name), count=EPOCHS))
        return biased + scale * missing * error

    return Problem(
        name=name,
        new_space=lambda: ConfigurationSpace([Float(f"x{number}", (0.0, 1.0)) for number in range(dimensions)]),
        curve=curve,
        truth=lambda values: float(hartmann(point(values), bumps=bumps, weights=WEIGHTS)),
        best=bumps.best,
    )
