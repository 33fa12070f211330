"""The configurations nearest to the best one."""

import math

import pytest

from emotune.report.axes import SettingAxis
from emotune.report.content import Source, page_content
from emotune.report.neighbours import MAX_NEIGHBOURS, distance, nearest_configurations
from emotune.search.records import Value
from tests.support.journals import synthetic_search

LR = SettingAxis(name="lr", scale="log", low=1e-4, high=1e-2)
HEADS = SettingAxis(name="heads", scale="categories", low=0, high=2, levels=(1, 2, 4))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"lr": 1e-3, "heads": 2}, {"lr": 1e-3, "heads": 2}, 0.0),
        ({"lr": 1e-4, "heads": 2}, {"lr": 1e-3, "heads": 2}, math.sqrt(0.125)),
        ({"lr": 1e-3, "heads": 1}, {"lr": 1e-3, "heads": 4}, math.sqrt(0.5)),
        ({"lr": 1e-3, "heads": 1}, {"heads": 1}, math.sqrt(0.5)),
        ({"lr": 1e-4, "heads": 1}, {"lr": 1e-2, "heads": 2}, 1.0),
    ],
)
def test_the_distance_is_that_on_the_axes(first: dict[str, Value], second: dict[str, Value], expected: float) -> None:
    assert distance(first, second, axes=[LR, HEADS]) == pytest.approx(expected)
    assert distance(second, first, axes=[LR, HEADS]) == pytest.approx(expected)


def test_the_nearest_have_results_and_are_beside_the_best_after_as_many_epochs() -> None:
    content = page_content(Source(synthetic_search(configurations=30, failing=0.1)))
    rows = nearest_configurations(content)
    assert len(rows) == MAX_NEIGHBOURS
    distances = [row["distance"] for row in rows]
    assert distances == sorted(distances)
    best, rungs = content["best"]["config_id"], {rung["epochs"]: rung for rung in content["rungs"]}
    for row in rows:
        rung = rungs[row["epochs"]]
        assert row["config"] != best
        assert row["objective"] == rung["objective"][rung["config"].index(row["config"])]
        expected = rung["objective"][rung["config"].index(best)] if best in rung["config"] else None
        assert row["best"] == expected
        assert " → " in row["differs in"]


def test_without_a_result_there_are_no_neighbours() -> None:
    assert nearest_configurations(page_content(Source(synthetic_search(configurations=4, failing=1.0)))) == []
