"""PED-ANOVA: how much each setting separates the best configurations of a rung from all of them.

Source: Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces", IJCAI 2023 (arXiv:2304.10255). The importance of setting d is the Pearson divergence of its distribution
among the best configurations, p_d, from that among all of them, q_d::

    importance_d = E_q[(p_d(x) / q_d(x) - 1)^2] = sum over bins x of p_d(x)^2 / q_d(x) - 1

The paper's factor, the squared share of the best, is equal for all settings of a rung and is left out. All of a rung's
configurations are the reference q_d, so that a sampler's own preference does not count. Both distributions are sums of
the same kernels, and q_d is nowhere 0 where p_d is not. A conditional setting that is absent is one bin more.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from emotune.base import Settings
from emotune.randomness import stream
from emotune.report.axes import SettingAxis
from emotune.search.records import Value

BEST_SHARE = 0.25
"""Share of a rung's configurations that count as the best (the paper uses 0.1; a rung often has only tens)."""

MIN_RESULTS = 12
"""Configurations that a rung needs for importances."""

GRID_POINTS = 50
"""Bins of a numeric setting, as in the paper."""

PERMUTATIONS = 200
"""Random choices of the best configurations, from which the noise level is computed."""

NOISE_QUANTILE = 0.95
"""Quantile of the importances of random choices that is called the noise level."""


class SettingImportance(Settings):
    """Importance of a setting at a rung."""

    name: str
    importance: float
    """Pearson divergence, 0 without influence."""
    noise: float
    """The importance that 5 % of random choices of the best configurations exceed."""


def setting_importances(
    axes: Sequence[SettingAxis], configurations: Sequence[dict[str, Value]], *, losses: Sequence[float]
) -> list[SettingImportance]:
    """Return the importance of each setting at one rung, the largest first; empty with fewer than `MIN_RESULTS`.

    Args:
        axes: The settings.
        configurations: Values of the configurations that have a result at the rung.
        losses: Their losses, the lowest is the best; infinity for a failure.
    """
    count = len(losses)
    if count < MIN_RESULTS:
        return []
    best = np.argsort(np.asarray(losses), kind="stable")[: _best_count(count)]
    generator = stream(0, "importance")
    random = np.stack([generator.permutation(count)[: len(best)] for _ in range(PERMUTATIONS)])
    importances = []
    for axis in axes:
        kernels = _kernels(axis, [values.get(axis.name) for values in configurations])
        by_chance = [pearson_divergence(kernels, best=chosen) for chosen in random]
        importance = SettingImportance(
            name=axis.name,
            importance=pearson_divergence(kernels, best=best),
            noise=float(np.quantile(by_chance, NOISE_QUANTILE)),
        )
        importances.append(importance)
    return sorted(importances, key=lambda item: -item.importance)


def _best_count(count: int) -> int:
    return max(3, round(BEST_SHARE * count))


def pearson_divergence(kernels: Float[np.ndarray, "configuration bin"], *, best: np.ndarray) -> float:
    """Return ``sum p^2 / q - 1``, where p is the mean kernel of the best rows and q that of all rows.

    Args:
        kernels: A distribution over the bins for each configuration; rows sum to 1.
        best: Row numbers.
    """
    top, everything = kernels[best].mean(axis=0), kernels.mean(axis=0)
    filled = everything > 0
    return max(0.0, float((top[filled] ** 2 / everything[filled]).sum() - 1))


def _kernels(axis: SettingAxis, values: Sequence[Value | None]) -> Float[np.ndarray, "configuration bin"]:
    """Return a row per configuration: a Gaussian on the grid for a number, one bin for a category or an absence."""
    positions = [None if value is None else axis.position(value) for value in values]
    present = np.array([position is not None for position in positions])
    bins = len(axis.levels) if axis.scale == "categories" else GRID_POINTS
    kernels = np.zeros((len(values), bins + 1))
    kernels[~present, bins] = 1.0
    known = np.array([position for position in positions if position is not None])
    if not len(known):
        return kernels
    if axis.scale == "categories":
        numbers = np.rint(known * max(bins - 1, 1)).astype(int) if bins > 1 else np.zeros(len(known), dtype=int)
        kernels[np.flatnonzero(present), numbers] = 1.0
        return kernels
    # Scott's rule for as many points as the best configurations have, so that p and q are equally smooth.
    width = max(1.059 * float(known.std()) * _best_count(len(values)) ** -0.2, 1 / GRID_POINTS)
    grid = (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    rows = np.exp(-0.5 * ((grid[None, :] - known[:, None]) / width) ** 2)
    kernels[present, :bins] = rows / rows.sum(axis=1, keepdims=True)
    return kernels
