import numpy as np
import pytest
from scipy import stats

from emotune.cli.actions.report import describe_differences
from emotune.evaluation.statistics import mean_interval, paired_t_test

FOLDS = [0.81, 0.79, 0.85, 0.80, 0.83, 0.78, 0.82, 0.84, 0.80, 0.86]


def test_the_interval_is_the_papers() -> None:
    interval = mean_interval(FOLDS)
    assert interval.mean == pytest.approx(np.mean(FOLDS))
    assert interval.half_width == pytest.approx(0.71536 * np.std(FOLDS, ddof=1), rel=1e-5)


def test_one_fold_has_no_interval() -> None:
    assert mean_interval([0.5]).half_width is None
    assert mean_interval([0.5]).text == "0.500"


def test_the_paired_test_is_the_t_test_of_the_differences() -> None:
    better = [value + 0.01 + 0.002 * number for number, value in enumerate(FOLDS)]
    comparison = paired_t_test(FOLDS, better)
    expected = stats.ttest_1samp(np.subtract(better, FOLDS), 0)
    assert (comparison.t, comparison.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert comparison.difference.mean == pytest.approx(0.019)
    assert paired_t_test(better, FOLDS).difference.mean == pytest.approx(-0.019)


@pytest.mark.parametrize("second", [FOLDS, [value + 0.125 for value in [0.5, 0.25, 1.0]]])
def test_equal_differences_have_no_test(second: list[float]) -> None:
    first = FOLDS if second is FOLDS else [0.5, 0.25, 1.0]
    assert paired_t_test(first, second).p is None


@pytest.mark.parametrize(("second", "verdict"), [(0.9, "beyond noise"), (0.64, "within noise")])
def test_the_difference_of_two_runs_is_compared_with_the_intervals_of_both(second: float, verdict: str) -> None:
    scores = {
        "a": {"test/accuracy": 0.6, "test/accuracy_half_width": 0.03},
        "b": {"test/accuracy": second, "test/accuracy_half_width": 0.04},
        "c": {"test/accuracy": second},
    }
    (line,) = describe_differences(scores)
    assert line == (
        f"test/accuracy of b minus that of a: {second - 0.6:.3f} ±0.050 (95 % interval over the test subjects), "
        f"{verdict}"
    )
