"""Axes have the scale of the search space, and ticks that a reader expects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.report.axes import ABSENT, SettingAxis, objective_axis, setting_axes
from emotune.search.records import Value
from tests.support.journals import SPACE


def axes_of(configurations: list[dict[str, Value]]) -> dict[str, SettingAxis]:
    return {axis.name: axis for axis in setting_axes({"space": SPACE}, configurations)}


def test_scales_are_those_of_the_space() -> None:
    axes = axes_of([])
    assert {name: axis.scale for name, axis in axes.items()} == {
        "optim.lr": "log",
        "model.layers": "integer",
        "model.heads": "categories",
        "model.dropout": "linear",
        "batch_size": "log integer",
        "optim.schedule": "categories",
        "optim.step_factor": "linear",
    }


def test_decades_of_a_logarithmic_axis_have_equal_distances() -> None:
    ticks = axes_of([])["optim.lr"].ticks
    assert [tick.label for tick in ticks] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert [tick.position for tick in ticks] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


def test_ticks_of_integers_are_integers() -> None:
    axes = axes_of([])
    assert [tick.label for tick in axes["model.layers"].ticks] == ["1", "2", "3", "4", "5", "6"]
    assert all(tick.label.isdecimal() for tick in axes["batch_size"].ticks)


def test_a_conditional_setting_has_a_position_for_its_absence() -> None:
    axis = axes_of([])["optim.step_factor"]
    assert axis.condition == "optim.schedule = step"
    assert axis.position(None) == ABSENT
    assert axis.ticks[0].label == "absent"
    assert not axes_of([])["optim.lr"].conditional


def test_equal_looking_categories_are_distinguished() -> None:
    space = {"hyperparameters": [{"name": "a", "type": "categorical", "choices": [True, 1, "1"]}]}
    (axis,) = setting_axes({"space": space}, [])
    assert [axis.position(value) for value in (True, 1, "1")] == [0, 0.5, 1]


def test_a_journal_without_a_space_gets_its_axes_from_the_values() -> None:
    axes = setting_axes({}, [{"x": 1, "y": 0.5, "z": "a", "constant": 3}, {"x": 4, "y": 0.7, "z": "b", "constant": 3}])
    assert {axis.name: axis.scale for axis in axes} == {"x": "integer", "y": "linear", "z": "categories"}


@given(low=st.floats(1e-12, 1e6), factor=st.floats(1.001, 1e9), share=st.floats(0, 1), log=st.booleans())
def test_positions_and_ticks_are_on_the_axis(low: float, factor: float, share: float, log: bool) -> None:
    item = {"name": "x", "type": "uniform_float", "lower": low, "upper": low * factor, "log": log}
    (axis,) = setting_axes({"space": {"hyperparameters": [item]}}, [])
    position = axis.position(low + share * (low * factor - low))
    assert position is not None
    assert 0 <= position <= 1
    positions = [tick.position for tick in axis.ticks]
    assert positions == sorted(positions)
    assert len(positions) >= 1
    assert all(-1e-4 <= tick <= 1 + 1e-4 for tick in positions)


def test_the_axis_of_the_objective_leaves_out_a_few_bad_results() -> None:
    axis = objective_axis("val/loss", [*[0.1 + number / 1000 for number in range(99)], 1e9], mode="min")
    assert axis is not None
    assert axis.high < 1
    assert objective_axis("val/loss", [0.5], mode="min") is None
