"""Partial dependence: it finds the best value of a setting, in the unit of the objective."""

import math

import numpy as np
import pytest

from emotune.report.axes import SettingAxis, setting_axes
from emotune.report.content import Source, page_content
from emotune.report.dependence import MIN_RESULTS, partial_dependence, unit_of
from emotune.search.models.multifidelity import standardised
from emotune.search.records import Evaluation, Value
from tests.support.journals import synthetic_search

SPACE = {
    "hyperparameters": [
        {"name": "lr", "type": "uniform_float", "lower": 1e-5, "upper": 1e-1, "log": True, "default_value": 1e-3},
        {"name": "layers", "type": "uniform_int", "lower": 1, "upper": 4, "default_value": 2},
        {"name": "kind", "type": "categorical", "choices": ["a", "b"], "default_value": "a"},
    ]
}
BEST_LR = 1e-3


def outcomes_of(*, count: int, sign: float) -> list[tuple[Evaluation, float | None]]:
    """Return results of ``sign * (2 + (log10 lr - log10 BEST_LR)**2)``, and 1 more for kind b; the last one failed."""
    generator = np.random.default_rng(0)
    outcomes: list[tuple[Evaluation, float | None]] = []
    for number in range(count):
        rate, kind = 10 ** generator.uniform(-5, -1), ("a", "b")[number % 2]
        values: dict[str, Value] = {"lr": float(rate), "layers": int(generator.integers(1, 5)), "kind": kind}
        loss = 2 + math.log10(rate / BEST_LR) ** 2 + (kind == "b")
        evaluation = Evaluation(
            id=number, config_id=number, bracket=0, rung=0, from_epoch=0, to_epoch=3, values=values, origin="random"
        )
        outcomes.append((evaluation, None if number == count - 1 else sign * loss))
    return outcomes


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_the_best_value_of_a_setting_is_found_in_the_unit_of_the_objective(mode: str, sign: float) -> None:
    outcomes = outcomes_of(count=60, sign=sign)
    axes: list[SettingAxis] = setting_axes({"space": SPACE}, [evaluation.values for evaluation, _ in outcomes])
    result = partial_dependence({"space": SPACE, "objective": {"mode": mode}}, axes, outcomes=outcomes)
    assert result is not None
    assert (result.epochs, result.results) == (3, 60)
    rate, layers, kind = result.settings
    means = sign * np.array(rate.mean)
    assert rate.values[int(np.argmin(means))] == pytest.approx(BEST_LR, rel=1.0)
    assert means.min() == pytest.approx(2.5, abs=0.4)
    assert (layers.values, kind.values) == ((1, 2, 3, 4), ("a", "b"))
    assert sign * (kind.mean[1] - kind.mean[0]) == pytest.approx(1.0, abs=0.5)
    for setting in result.settings:
        assert all(np.array(setting.low) <= np.array(setting.mean))
        assert all(np.array(setting.mean) <= np.array(setting.high))
    assert rate.positions == pytest.approx(np.linspace(0, 1, 21).tolist(), abs=1e-4), "the axis is logarithmic"


def test_few_results_and_equal_results_have_none() -> None:
    outcomes = outcomes_of(count=MIN_RESULTS - 1, sign=1.0)
    axes = setting_axes({"space": SPACE}, [evaluation.values for evaluation, _ in outcomes])
    assert partial_dependence({"space": SPACE}, axes, outcomes=outcomes) is None
    equal = [(evaluation, 1.0) for evaluation, _ in outcomes_of(count=30, sign=1.0)]
    assert partial_dependence({"space": SPACE}, axes, outcomes=equal) is None


def test_the_unit_of_a_process_is_inverted() -> None:
    losses = [*np.random.default_rng(1).lognormal(sigma=1.5, size=50).tolist(), math.inf]
    unit = unit_of(losses)
    assert unit is not None
    assert unit.loss(standardised(losses))[:-1] == pytest.approx(losses[:-1])


def test_a_conditional_setting_counts_where_it_is_present() -> None:
    """The page of a search with a condition and failures has every setting."""
    content = page_content(Source(synthetic_search(configurations=30, failing=0.1)))
    assert {item["name"] for item in content["dependence"]["settings"]} == {
        axis["name"] for axis in content["settings"]
    }
