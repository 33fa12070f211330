"""Means with confidence intervals, and tests between paired results."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from emotune.base import Settings

LEVEL = 0.95


class Interval(Settings):
    """A mean and half the width of its confidence interval (95 %)."""

    mean: float
    half_width: float | None
    """None if there is a single value."""

    @property
    def text(self) -> str:
        """Return it as in the papers' tables, for instance ``.88 ±5.4e-3``."""
        return f"{self.mean:.3f}" if self.half_width is None else f"{self.mean:.3f} ±{self.half_width:.3f}"


class Comparison(Settings):
    """A paired t-test: the mean difference (second minus first), its interval and the two-sided probability."""

    difference: Interval
    t: float | None
    p: float | None
    """None if there are fewer than two pairs, or all differ by the same amount."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean and its t interval with ``len(values) - 1`` degrees of freedom.

    The standard deviation is that with ``n - 1`` in the denominator. The folds of a cross-validation
    share training data, so the interval tells how much the folds differ, and is too narrow for what
    another sample of people would give.

    Source:
        Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-D: for ten folds 0.7154 times the
        standard deviation.
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return Interval(mean=mean, half_width=None)
    factor = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) / math.sqrt(count)
    return Interval(mean=mean, half_width=factor * float(np.std(values, ddof=1)))


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two results fold by fold.

    Args:
        first: A value per fold.
        second: The other's value of the same folds.
    """
    differences = np.subtract(second, first)
    interval = mean_interval(differences.tolist())
    if len(differences) < 2 or np.ptp(differences) == 0:
        return Comparison(difference=interval, t=None, p=None)
    t, p = stats.ttest_rel(second, first)
    return Comparison(difference=interval, t=float(t), p=float(p))
