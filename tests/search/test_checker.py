import math
import random
from typing import Any

import pytest

from emotune.search import Evaluation, Optimizer
from emotune.search.clock import VirtualClock
from emotune.search.schedule import HyperBand, Plan, Promotion, Stage
from emotune.search.stopping import Extension
from tests.search.checker import best_of, seen_in_virtual_time, violations
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


def searched(kind: str, *, workers: int, seed: int = 0) -> Optimizer:
    """Search with several workers of different speed, a sixth of the evaluations failing, in a random real order."""
    optimizer = Optimizer(mixed_space(), kind=kind, concurrency=workers, evaluations=60, seed=seed, cost=layers)
    chance = random.Random(seed)
    while not optimizer.finished:
        if optimizer.ask() is None:
            each = chance.choice(optimizer.running())
            optimizer.tell(each.id, loss_of(each, failures=6))
    return optimizer


def layers(values: dict[str, Any]) -> float:
    return float(values["model.layers"])


def derived_violations(optimizer: Optimizer) -> list[str]:
    rows = optimizer.results()
    seen = seen_in_virtual_time(optimizer.settings, rows, cost=lambda each: layers(each.values))
    return violations(optimizer.settings, rows, seen=seen)


@pytest.mark.parametrize("kind", ["hyperband", "asha", "random"])
@pytest.mark.parametrize("workers", [1, 2, 4, 7])
def test_every_decision_of_several_workers_follows_from_the_rules(kind: str, workers: int) -> None:
    assert derived_violations(searched(kind, workers=workers, seed=workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_that_was_extended_follows_from_the_end_that_was_meant_then(workers: int) -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, brackets=2, concurrency=workers)
    run_to_the_end(optimizer)
    before, after = optimizer.settings, len(optimizer.results())
    optimizer.extend(brackets=4)
    run_to_the_end(optimizer)
    rows, changes = optimizer.results(), [Extension(after=after, brackets=4, evaluations=None)]
    seen = seen_in_virtual_time(before, rows, changes=changes)
    assert violations(optimizer.settings, rows, seen=seen, finished=True) == []
    as_if_planned = seen_in_virtual_time(optimizer.settings, rows)
    assert bool(violations(optimizer.settings, rows, seen=as_if_planned)) == (workers > 1)


def eager_quota(self: Promotion, rung: int) -> int:
    stage = self._stages[rung]
    return -(-(len(stage.standings) + stage.failed) // self._eta) + self._stages[rung + 1].failed


def unforgiving_quota(self: Promotion, rung: int) -> int:
    stage = self._stages[rung]
    return (len(stage.standings) + stage.failed) // self._eta


def lowest_first(self: Promotion) -> Plan | None:
    for rung in range(len(self._stages) - 1):
        waiting = self._waiting[rung]
        if waiting and self._stages[rung].standings.index(waiting[0]) < self._quota(rung):
            return Plan(waiting[0][1], 0, rung + 1)
    return Plan(None, 0, 0)


def worst_first(self: Stage, config_id: int, *, loss: float) -> None:
    if math.isfinite(loss):
        self.standings.append((loss, config_id))
        self.standings.sort(reverse=True)
    else:
        self.failed += 1


def newest_bracket_first(self: HyperBand) -> Plan | None:
    plans = [plan for bracket in reversed(self._open.values()) if (plan := bracket.next_plan())]
    return plans[0] if plans else Plan(None, self._begun, 0)


def impatient(self: VirtualClock) -> bool:
    return len(self._ends) <= self.workers


@pytest.mark.parametrize(
    ("kind", "of", "name", "fault"),
    [
        ("asha", Promotion, "_quota", eager_quota),
        ("asha", Promotion, "_quota", unforgiving_quota),
        ("asha", Promotion, "next_plan", lowest_first),
        ("asha", VirtualClock, "can_start", property(impatient)),
        ("hyperband", Stage, "add", worst_first),
        ("hyperband", HyperBand, "next_plan", newest_bracket_first),
        ("hyperband", VirtualClock, "can_start", property(impatient)),
    ],
)
def test_a_fault_in_the_rules_is_found_with_several_workers(
    monkeypatch: pytest.MonkeyPatch, kind: str, of: type, name: str, fault: Any
) -> None:
    monkeypatch.setattr(of, name, fault)
    assert any(derived_violations(searched(kind, workers=3, seed=seed)) for seed in range(2))


@pytest.mark.parametrize("kind", ["asha", "hyperband"])
def test_a_decision_that_looked_ahead_is_found(kind: str) -> None:
    """Decisions with one worker see every result; with three workers some results come too late."""
    optimizer = Optimizer(mixed_space(), kind=kind, evaluations=60)
    run_to_the_end(optimizer)
    settings = optimizer.settings.model_copy(update={"concurrency": 3})
    rows: list[tuple[Evaluation, float | None]] = optimizer.results()
    assert violations(settings, rows, seen=seen_in_virtual_time(settings, rows)) != []
