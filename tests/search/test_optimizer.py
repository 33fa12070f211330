import json
import random
from typing import Any

import numpy as np
import pytest
from ConfigSpace import Configuration, ConfigurationSpace
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import DamageError, SettingsError, StudyChangedError
from emotune.search import Optimizer
from emotune.search.criteria import Criteria, StudyObjective
from emotune.search.records import Ended, Record, Started
from emotune.search.space import copy_of
from emotune.study.resume import optimizer_from_records
from tests.search.checker import violations
from tests.search.searching import documents, loss_of, mixed_space, run_to_the_end, space_of, table

searches = st.fixed_dictionaries(
    {
        "min_budget": st.integers(1, 3),
        "max_budget": st.sampled_from([3, 9, 20]),
        "eta": st.integers(2, 4),
        "seed": st.integers(0, 99),
        "concurrency": st.integers(1, 5),
        "evaluations": st.integers(1, 40),
        "order": st.sampled_from(["strict", "free"]),
    }
) | st.fixed_dictionaries({"kind": st.just("asha"), "concurrency": st.integers(1, 4), "evaluations": st.just(40)})


def at_random(optimizer: Optimizer, chance: random.Random, *, failures: int) -> None:
    """Ask and tell in a random order until nothing is left."""
    while not optimizer.finished:
        if chance.random() < 0.5 or not optimizer.running():
            evaluation = optimizer.ask()
            assert evaluation is None or len(optimizer.running()) <= optimizer.settings.concurrency
            if evaluation is not None or chance.random() < 0.5:
                continue
        each = chance.choice(optimizer.running())
        optimizer.tell(each.id, loss_of(each, failures=failures))


@given(documents(), searches, st.integers(0, 4), st.randoms(use_true_random=False))
def test_every_search_is_legal(
    document: dict[str, Any], search: dict[str, Any], failures: int, chance: random.Random
) -> None:
    space = space_of(document)
    optimizer = Optimizer(space, **{"kind": "hyperband", **search})
    at_random(optimizer, chance, failures=failures)
    assert violations(optimizer.settings, optimizer.results()) == []
    for evaluation, _ in optimizer.results():
        assert json.loads(json.dumps(evaluation.values)) == evaluation.values
        assert all(type(value) in {int, float, str, bool} for value in evaluation.values.values())
        Configuration(space, values=evaluation.values).check_valid_configuration()


@pytest.mark.parametrize("kind", ["hyperband", "asha"])
@pytest.mark.parametrize("concurrency", [1, 2, 5])
@pytest.mark.parametrize("failures", [0, 3])
def test_strict_order_gives_one_table_whatever_the_real_order(kind: str, concurrency: int, failures: int) -> None:
    def searched(chance: random.Random) -> list[dict[str, Any]]:
        optimizer = Optimizer(
            mixed_space(),
            kind=kind,
            concurrency=concurrency,
            evaluations=70,
            cost=lambda values: 1.0 + float(values["model.layers"]),
        )
        at_random(optimizer, chance, failures=failures)
        return table(optimizer)

    tables = [searched(random.Random(seed)) for seed in range(4)]
    assert all(other == tables[0] for other in tables)


def test_strict_order_uses_all_virtual_workers_and_waits_only_for_what_has_ended_by_then() -> None:
    optimizer = Optimizer(mixed_space(), kind="random", max_budget=9, concurrency=3)
    first = [optimizer.ask() for _ in range(3)]
    assert all(first)
    assert optimizer.ask() is None
    assert first[0] is not None
    assert first[2] is not None
    optimizer.tell(first[2].id, 1.0)
    assert optimizer.ask() is None, "all three end at the same virtual time"
    optimizer.tell(first[0].id, 1.0)
    assert optimizer.ask() is None
    optimizer.tell(1, 1.0)
    assert optimizer.ask() is not None


def test_strict_and_free_order_are_equal_for_one_worker() -> None:
    made = [
        Optimizer(mixed_space(), kind=kind, evaluations=60, order=order)
        for kind in ("hyperband", "asha")
        for order in ("strict", "free")
    ]
    for optimizer in made:
        run_to_the_end(optimizer)
    assert table(made[0]) == table(made[1])
    assert table(made[2]) == table(made[3])


@pytest.mark.parametrize("model", ["hpbandster", "rungs"])
def test_a_search_killed_anywhere_resumes_like_an_undisturbed_one(model: str) -> None:
    search = {"max_budget": 9, "evaluations": 60, "concurrency": 3, "model": model, "seed": 5}
    whole = Optimizer(mixed_space(), **search)
    run_to_the_end(whole, loss=lambda each: loss_of(each, failures=6))
    killed = Optimizer(mixed_space(), **search)
    chance = random.Random(1)
    while not killed.finished:
        if killed.ask() is None:
            each = chance.choice(killed.running())
            killed.tell(each.id, loss_of(each, failures=6))
        if chance.random() < 0.3:
            killed = Optimizer.from_state(mixed_space(), json.loads(json.dumps(killed.state())))
    assert table(killed) == table(whole)
    assert {row["origin"] for row in table(whole)} - {"prior"} == {"default", "random", "model", "promotion"}


@given(documents(), searches, st.integers(0, 4), st.randoms(use_true_random=False))
def test_a_restored_search_is_equal(
    document: dict[str, Any], search: dict[str, Any], failures: int, chance: random.Random
) -> None:
    space = space_of(document)
    optimizer = Optimizer(space, **{"kind": "hyperband", **search})
    for _ in range(chance.randrange(60)):
        if optimizer.ask() is None and optimizer.running():
            each = chance.choice(optimizer.running())
            optimizer.tell(each.id, loss_of(each, failures=failures))
    state = optimizer.state()
    restored = Optimizer.from_state(space, json.loads(json.dumps(state)))
    assert restored.state() == state
    assert restored.running() == optimizer.running()
    assert restored.ask() == optimizer.ask()


def as_records(optimizer: Optimizer, *, sign: float) -> list[Record]:
    found: list[Record] = []
    for evaluation, loss in optimizer.results():
        status = "failed" if loss is None else "done"
        objective = None if loss is None else sign * loss
        found.append(Started(time=0, evaluation=evaluation))
        found.append(
            Ended(
                time=1,
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                status=status,
                objective=objective,
                seconds=1,
            )
        )
    return found + [Started(time=2, evaluation=evaluation) for evaluation in optimizer.running()]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
@pytest.mark.parametrize("order", ["strict", "free"])
def test_a_search_is_rebuilt_from_its_journal(mode: Any, sign: float, order: str) -> None:
    search = {"kind": "hyperband", "concurrency": 4, "order": order}
    optimizer = Optimizer(mixed_space(), **search)
    for _ in range(200):
        if optimizer.ask() is None:
            each = optimizer.running()[-1]
            optimizer.tell(each.id, loss_of(each, failures=4))
    records = as_records(optimizer, sign=sign)
    criteria = Criteria((StudyObjective(mode=mode),))
    rebuilt = optimizer_from_records(mixed_space(), records, criteria=criteria, settings=search)
    assert rebuilt.state() == optimizer.state()
    twice = optimizer_from_records(mixed_space(), [*records, *records], criteria=criteria, settings=search)
    assert twice.state() == optimizer.state()
    with pytest.raises(DamageError):
        optimizer_from_records(mixed_space(), records[1:], criteria=criteria, settings=search)


def test_a_changed_record_is_refused() -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", evaluations=60)
    run_to_the_end(optimizer)
    promoted = next(row for row in table(optimizer) if row["origin"] == "promotion")
    first = next(row["id"] for row in table(optimizer) if row["config_id"] == promoted["config_id"])
    for change in ({"loss": 99.0}, {"values": {}}, {"rung": 2}, {"status": "running", "loss": None}):
        state = optimizer.state()
        state["evaluations"][first] = state["evaluations"][first] | change
        with pytest.raises(DamageError):
            Optimizer.from_state(mixed_space(), state)
    with pytest.raises(DamageError):
        Optimizer.from_state(mixed_space(), optimizer.state() | {"version": 9})
    with pytest.raises(StudyChangedError):
        Optimizer.from_state(ConfigurationSpace({"a": (0.0, 1.0)}), optimizer.state())


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), float("-inf"), np.float32("nan")])
def test_a_loss_that_is_not_finite_is_a_failure_and_is_never_promoted(bad: Any) -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, brackets=3)
    run_to_the_end(optimizer, loss=lambda each: bad if each.config_id % 2 else loss_of(each))
    assert all((loss is None) == bool(each.config_id % 2) for each, loss in optimizer.results())
    assert all(each.config_id % 2 == 0 for each, _ in optimizer.results() if each.origin == "promotion")
    assert violations(optimizer.settings, optimizer.results(), finished=True) == []


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_failure_after_a_promotion_is_replaced_by_the_next_best(concurrency: int) -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, brackets=1, concurrency=concurrency)
    order = [3, 1, 4, 0, 5, 8, 2, 6, 7]
    run_to_the_end(
        optimizer,
        loss=lambda each: None if each.rung == 1 and each.config_id in order[:3] else order.index(each.config_id),
    )
    by_rung = {r: [e.config_id for e, _ in optimizer.results() if e.rung == r] for r in range(3)}
    assert by_rung[1] == order[:6], "three places, and three that failed"
    assert by_rung[2] == [order[3]]
    assert violations(optimizer.settings, optimizer.results(), finished=True) == []


def test_if_everything_fails_the_search_still_ends() -> None:
    for kind in ("bohb", "hyperband", "asha", "random"):
        optimizer = Optimizer(mixed_space(), kind=kind, brackets=4, concurrency=2)
        run_to_the_end(optimizer, loss=lambda _: None)
        assert all(evaluation.origin != "promotion" for evaluation, _ in optimizer.results())


def test_limits() -> None:
    by_brackets = Optimizer(mixed_space(), kind="hyperband", brackets=4)
    run_to_the_end(by_brackets)
    assert len(by_brackets.results()) == 40 + 13 + 8 + 4
    early = Optimizer(mixed_space(), kind="asha", brackets=4)
    run_to_the_end(early)
    trained = [sum(e.to_epoch - e.from_epoch for e, _ in each.results()) for each in (by_brackets, early)]
    assert 0 <= trained[1] - trained[0] < 27, "as many epochs, to the end of the last evaluation"
    endless = Optimizer(mixed_space(), kind="hyperband", concurrency=200)
    assert all(endless.ask() for _ in range(200))


def test_a_result_is_accepted_once_and_for_a_running_evaluation_only() -> None:
    optimizer = Optimizer(mixed_space())
    for unknown in (0, -1):
        with pytest.raises(SettingsError):
            optimizer.tell(unknown, 1.0)
    assert optimizer.ask() is not None
    optimizer.tell(0, 1)
    with pytest.raises(SettingsError):
        optimizer.tell(0, 1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "bohp"}, "Did you mean 'bohb'"),
        ({"modell": "rungs"}, "Did you mean 'model'"),
        ({"model": "gp"}, "model"),
        ({"kind": "asha", "model": "rungs"}, "asha"),
        ({"kind": "hyperband", "random_fraction": 0.2}, "random_fraction"),
        ({"kind": "random", "schedule": "sync"}, "schedule"),
        ({"concurrency": 0}, "concurrency"),
        ({"min_budget": 30}, "budget"),
        ({"order": "loose"}, "order"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Optimizer(mixed_space(), **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_space_and_the_global_generator_are_left_alone() -> None:
    space = mixed_space()
    twin = copy_of(space)
    space.seed(1)
    twin.seed(1)
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    run_to_the_end(Optimizer(space, max_budget=3, evaluations=40))
    assert str(before) == str(np.random.get_state())  # noqa: NPY002
    assert space.sample_configuration() == twin.sample_configuration()
