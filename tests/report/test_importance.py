"""PED-ANOVA agrees with closed forms, and finds what decides and what does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.report.axes import SettingAxis, setting_axes
from emotune.report.importance import MIN_RESULTS, SettingImportance, pearson_divergence, setting_importances
from emotune.search.records import Value

SPACE = {
    "hyperparameters": [
        {"name": "decides", "type": "uniform_float", "lower": 0.0, "upper": 1.0},
        {"name": "nothing", "type": "uniform_float", "lower": 0.0, "upper": 1.0},
        {"name": "scale", "type": "uniform_float", "lower": 1e-6, "upper": 1.0, "log": True},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"name": "child", "type": "uniform_int", "lower": 1, "upper": 8},
    ],
    "conditions": [{"type": "EQ", "child": "child", "parent": "kind", "value": "a"}],
}


def axes() -> list[SettingAxis]:
    return setting_axes({"space": SPACE}, [])


def draw(count: int) -> list[dict[str, Value]]:
    generator = np.random.default_rng(0)
    configurations: list[dict[str, Value]] = []
    for number in range(count):
        values: dict[str, Value] = {
            "decides": float(generator.random()),
            "nothing": float(generator.random()),
            "scale": float(10 ** generator.uniform(-6, 0)),
            "kind": "abcd"[number % 4],
        }
        configurations.append(values | ({"child": int(generator.integers(1, 9))} if values["kind"] == "a" else {}))
    return configurations


def by_name(items: list[SettingImportance]) -> dict[str, SettingImportance]:
    return {item.name: item for item in items}


def test_the_divergence_of_the_best_in_one_of_k_categories_is_k_minus_1() -> None:
    for categories in (2, 3, 5):
        kernels = np.repeat(np.eye(categories), 4, axis=0)
        assert pearson_divergence(kernels, best=np.arange(4)) == pytest.approx(categories - 1)


def test_the_divergence_of_an_unequal_pair_is_the_closed_form() -> None:
    # q = (3/4, 1/4), p = (1/2, 1/2): sum p^2 / q - 1 = 1/3 + 1 - 1
    kernels = np.repeat(np.eye(2), [6, 2], axis=0)
    assert pearson_divergence(kernels, best=np.array([0, 1, 6, 7])) == pytest.approx(1 / 3)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=30), st.randoms())
def test_the_divergence_is_never_negative_and_0_for_all_configurations(levels: list[int], random) -> None:
    kernels = np.eye(4)[levels]
    chosen = np.array(random.sample(range(len(levels)), 2))
    assert pearson_divergence(kernels, best=chosen) >= 0
    assert pearson_divergence(kernels, best=np.arange(len(levels))) == pytest.approx(0, abs=1e-12)


def test_a_category_that_decides_has_the_importance_of_the_closed_form() -> None:
    configurations = draw(40)
    losses = [0.0 if values["kind"] == "a" else 1.0 for values in configurations]
    importance = by_name(setting_importances(axes(), configurations, losses=losses))["kind"]
    assert importance.importance == pytest.approx(3)
    assert importance.importance > importance.noise


def test_a_number_that_decides_approaches_the_closed_form() -> None:
    # The best quarter is uniform on a quarter of the range: p/q = 4 there, and the divergence 4 - 1 without smoothing.
    configurations = draw(2000)
    items = by_name(
        setting_importances(axes(), configurations, losses=[float(values["decides"]) for values in configurations])
    )
    assert 2.0 < items["decides"].importance < 3.0
    assert items["nothing"].importance < 0.05
    assert next(iter(items)) == "decides"


def test_a_logarithmic_setting_is_compared_on_its_scale() -> None:
    configurations = draw(400)
    losses = [abs(np.log10(float(values["scale"])) + 5) for values in configurations]
    items = by_name(setting_importances(axes(), configurations, losses=losses))
    assert items["scale"].importance > 1 > items["decides"].importance


def test_a_conditional_setting_counts_with_its_absence() -> None:
    configurations = draw(80)
    losses = [float("child" not in values) for values in configurations]
    items = by_name(setting_importances(axes(), configurations, losses=losses))
    assert items["child"].importance > items["child"].noise
    assert items["child"].importance == pytest.approx(3, rel=0.1)


def test_failures_are_the_worst_results() -> None:
    configurations = draw(40)
    losses = [float("inf") if values["kind"] != "b" else 0.3 for values in configurations]
    items = by_name(setting_importances(axes(), configurations, losses=losses))
    assert items["kind"].importance == pytest.approx(3)


def test_few_results_have_no_importances() -> None:
    configurations = draw(MIN_RESULTS - 1)
    assert setting_importances(axes(), configurations, losses=[0.0] * len(configurations)) == []


def test_importances_are_reproducible() -> None:
    configurations = draw(30)
    losses = list(np.random.default_rng(1).random(30))
    assert setting_importances(axes(), configurations, losses=losses) == setting_importances(
        axes(), configurations, losses=losses
    )
