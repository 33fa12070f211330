"""Scores are those of scikit-learn, also where a class does not occur; counts and sums add up."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from emotune.tasks.scores import bin_sums, classification_scores, expected_calibration_error, interval_half_width

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30)


@given(BITS)
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth, high = np.array(pairs).T
    counts = {
        "true_high": float((truth & high).sum()),
        "false_high": float((~truth & high).sum()),
        "true_low": float((~truth & ~high).sum()),
        "false_low": float((truth & ~high).sum()),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that do not occur
        expected = {
            "accuracy": accuracy_score(truth, high),
            "macro_f1": f1_score(truth, high, average="macro"),
            "balanced_accuracy": balanced_accuracy_score(truth, high),
        }
    assert classification_scores(counts) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(0, 40))
def test_the_calibration_error_does_not_depend_on_the_division_into_batches(
    segments: list[tuple[float, bool]], cut: int
) -> None:
    probabilities = torch.tensor([value for value, _ in segments], dtype=torch.float64)
    truth = torch.tensor([float(high) for _, high in segments])
    whole = expected_calibration_error(bin_sums(probabilities, truth))
    parts = [bin_sums(probabilities[part], truth[part]) for part in (slice(cut), slice(cut, None))]
    assert expected_calibration_error({name: parts[0][name] + parts[1][name] for name in parts[0]}) == pytest.approx(
        whole
    )
    assert 0 <= whole <= 1


def test_the_calibration_error_follows_from_the_calibration_curve_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probabilities = random.uniform(size=5000)
    truth = random.uniform(size=5000) < probabilities**2
    shares, means = calibration_curve(truth, probabilities, n_bins=10)
    sizes = np.histogram(probabilities, bins=10, range=(0, 1))[0] / 5000
    error = expected_calibration_error(bin_sums(torch.from_numpy(probabilities), torch.from_numpy(truth)))
    assert error == pytest.approx(float(sizes @ np.abs(shares - means)))
    assert interval_half_width([0.5]) is None
