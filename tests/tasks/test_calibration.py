"""Platt's calibration is that of scikit-learn, and logits without information give the share of the class."""

import numpy as np
import pytest
from sklearn.calibration import _SigmoidCalibration

from emotune.tasks.calibration import apply_sigmoid, fit_sigmoid


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, size=200)
    labels = (random.uniform(size=200) < apply_sigmoid(logits, slope=0.6, intercept=-1.0)).astype(float)
    slope, intercept = fit_sigmoid(logits, labels)
    expected = _SigmoidCalibration().fit(logits, labels).predict(logits)
    np.testing.assert_allclose(apply_sigmoid(logits, slope=slope, intercept=intercept), expected, atol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
def test_logits_without_information_become_the_share_of_high_labels(sign: int) -> None:
    labels = np.repeat([1.0, 0.0], [30, 270])
    logits = sign * np.where(labels == 1, -1.0, 1.0) + np.linspace(-1, 1, 300)
    slope, intercept = fit_sigmoid(logits * (1 if sign > 0 else 0), labels)
    assert slope == pytest.approx(0, abs=1e-6)
    assert apply_sigmoid(logits, slope=slope, intercept=intercept) == pytest.approx(0.1, abs=0.01)
