import math
from typing import Any

import pytest

from emotune.search import Optimizer
from emotune.search.checker import best_of, violations
from tests.search.searching import loss_of, mixed_space, run_to_the_end


@pytest.fixture(params=["hyperband", "asha"])
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    optimizer = Optimizer(mixed_space(), kind=request.param, brackets=4)
    run_to_the_end(optimizer, loss=lambda each: loss_of(each, failures=5))
    return optimizer


def test_a_right_history_has_no_violations(optimizer: Optimizer) -> None:
    rows = optimizer.results()
    assert violations(optimizer.settings, rows, finished=True, best=best_of(rows)) == []
    top = [(loss, each.config_id) for each, loss in rows if each.to_epoch == 27 and loss is not None]
    assert best_of(rows) == min(top)[1]


@pytest.mark.parametrize(
    "change",
    [
        {"to_epoch": 5},
        {"from_epoch": 2},
        {"rung": 2},
        {"values": {"a": 1}},
        {"config_id": 10**6},
        {"id": 10**6},
        {"bracket": 7},
    ],
    ids=str,
)
def test_a_changed_evaluation_is_found(optimizer: Optimizer, change: dict[str, Any]) -> None:
    rows = optimizer.results()
    number = next(number for number, (each, _) in enumerate(rows) if each.origin == "promotion")
    each, loss = rows[number]
    rows[number] = (each.model_copy(update=change), loss)
    assert violations(optimizer.settings, rows, finished=True) != []


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, 1e9])
def test_a_promotion_of_the_wrong_one_is_found(optimizer: Optimizer, loss: float | None) -> None:
    rows = optimizer.results()
    promoted = next(each.config_id for each, _ in rows if each.origin == "promotion")
    number = next(number for number, (each, _) in enumerate(rows) if each.config_id == promoted)
    rows[number] = (rows[number][0], loss)
    assert violations(optimizer.settings, rows) != []


def test_a_missing_or_doubled_evaluation_and_a_wrong_best_are_found(optimizer: Optimizer) -> None:
    rows = optimizer.results()
    assert violations(optimizer.settings, rows[:-2] + rows[-1:]) != []
    assert violations(optimizer.settings, [*rows, rows[0]]) != []
    assert violations(optimizer.settings, rows, best=10**6) != []
    assert violations(optimizer.settings, [], best=None) == []


def test_an_empty_place_is_found() -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", brackets=1, max_budget=9)
    run_to_the_end(optimizer)
    rows = optimizer.results()[:-1]
    assert violations(optimizer.settings, rows) == []
    assert violations(optimizer.settings, rows, finished=True) != []
