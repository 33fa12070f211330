"""Means with confidence intervals, and paired tests."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from emotune.base import Settings
from emotune.tasks.scores import CONFIDENCE_LEVEL, interval_half_width


class Interval(Settings):
    """A mean and the half width of its 95 % confidence interval."""

    mean: float
    half_width: float | None
    """None for a single value."""

    @property
    def text(self) -> str:
        """Mean and half width with three decimals, for instance ``0.880 ±0.005``."""
        return f"{self.mean:.3f}" if self.half_width is None else f"{self.mean:.3f} ±{self.half_width:.3f}"


class Comparison(Settings):
    """A paired t-test: the mean difference (second minus first), its interval, ``t`` and the two-sided ``p``."""

    difference: Interval
    t: float | None
    p: float | None
    """None for fewer than two pairs, or if all differences are equal."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean and its t interval, ``mean ± t(0.975, n - 1) * s / sqrt(n)``.

    ``s`` is the standard deviation with ``n - 1`` in the denominator. The folds of a cross-validation
    share training data: the interval describes how much the folds differ, and is too narrow as an
    interval for another sample of people.

    Source:
        Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-D: for ten folds 0.7154 times the
        standard deviation.
    """
    return Interval(mean=float(np.mean(values)), half_width=interval_half_width(values))


def paired_t_test(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Return the paired t-test of two results over the same folds.

    Args:
        first: A value per fold.
        second: A value per fold, in the same order.
    """
    differences = np.subtract(second, first)
    interval = mean_interval(differences.tolist())
    if len(differences) < 2 or np.ptp(differences) == 0:
        return Comparison(difference=interval, t=None, p=None)
    t, p = stats.ttest_rel(second, first)
    return Comparison(difference=interval, t=float(t), p=float(p))


def corrected_t_test(first: Sequence[float], second: Sequence[float], *, test_ratio: float) -> Comparison:
    """Return the corrected resampled t-test of two results over the same folds of a cross-validation.

    Folds share training data, so that their differences d_1 ... d_k are correlated, and the plain paired test finds
    differences too often. With the mean d and the variance s^2 (``k - 1`` in the denominator) of the differences::

        t = d / sqrt((1 / k + n_test / n_train) s^2),    k - 1 degrees of freedom

    Args:
        first: A value per fold.
        second: A value per fold, in the same order.
        test_ratio: ``n_test / n_train``, for k folds 1 / (k - 1).

    Source:
        Nadeau and Bengio 2003, Machine Learning 52, 239-281, section 3.
    """
    differences = np.subtract(second, first)
    count, mean = len(differences), float(np.mean(differences))
    if count < 2:
        return Comparison(difference=Interval(mean=mean, half_width=None), t=None, p=None)
    error = float(np.sqrt((1 / count + test_ratio) * np.var(differences, ddof=1)))
    half_width = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, count - 1)) * error
    difference = Interval(mean=mean, half_width=half_width)
    if np.ptp(differences) == 0:
        return Comparison(difference=difference, t=None, p=None)
    t = mean / error
    return Comparison(difference=difference, t=t, p=2 * float(stats.t.sf(abs(t), count - 1)))
