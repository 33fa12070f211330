"""Promises about results with several losses and with constraints."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.several_objectives import run
from emotune.errors import SettingsError
from emotune.search import Optimizer
from emotune.search.criteria import Constraint, Criteria, StudyObjective
from emotune.search.pareto import Score, dominates, pareto_order
from emotune.search.ranking import Result, best, front, ordered
from emotune.search.records import Evaluation
from emotune.search.scoreboard import scalarise
from tests.search.checker import positions
from tests.search.searching import mixed_space, table

losses = st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-1e300, 1e300))
violations = st.one_of(st.just(0.0), st.sampled_from([0.5, 1.0]), st.floats(0, 1e300))


@st.composite
def scores(draw: st.DrawFn) -> dict[int, Score]:
    count = draw(st.integers(1, 3))
    vectors = st.tuples(*[losses] * count)
    return dict(enumerate(draw(st.lists(st.builds(Score, vectors, violations), max_size=14))))


def evaluation(number: int, *, epochs: int = 9) -> Evaluation:
    span: dict[str, Any] = {"bracket": 0, "rung": 0, "from_epoch": 0, "to_epoch": epochs, "origin": "random"}
    return Evaluation(id=number, config_id=number, values={}, **span)


@given(scores())
def test_the_front_is_complete_and_no_member_is_dominated(found: dict[int, Score]) -> None:
    members = pareto_order(found).front
    feasible = {number: score.losses for number, score in found.items() if not score.violation}
    for number, values in feasible.items():
        assert (number in members) == (not any(dominates(other, values) for other in feasible.values()))


@given(scores(), st.randoms(use_true_random=False))
def test_the_order_is_that_of_the_definition_in_any_sequence(found: dict[int, Score], chance: Any) -> None:
    expected = positions([evaluation(number) for number in found], scores=found)
    shuffled = list(found)
    chance.shuffle(shuffled)
    order = pareto_order({number: found[number] for number in shuffled}).numbers()
    assert order == sorted(expected, key=expected.__getitem__)


@given(scores(), st.randoms(use_true_random=False))
def test_the_sequence_of_the_objectives_does_not_change_the_ranks(found: dict[int, Score], chance: Any) -> None:
    columns = list(range(max((len(score.losses) for score in found.values()), default=0)))
    chance.shuffle(columns)
    moved = {n: Score(tuple(score.losses[column] for column in columns), score.violation) for n, score in found.items()}
    assert pareto_order(moved).numbers() == pareto_order(found).numbers()


@given(scores())
def test_an_infeasible_result_is_never_above_a_feasible_one(found: dict[int, Score]) -> None:
    order = [found[number].violation for number in pareto_order(found).numbers()]
    assert order == [*([0.0] * order.count(0.0)), *sorted(violation for violation in order if violation)]
    for weights in ([1.0], [0.3, 0.7], [0.2, 0.3, 0.5]):
        if found and len(weights) == len(found[0].losses):
            scalars = scalarise(found, weights=weights)
            feasible = [scalars[number] for number, score in found.items() if not score.violation]
            others = [scalars[number] for number, score in found.items() if score.violation]
            assert not feasible or all(other >= max(feasible) for other in others)


@given(scores(), st.lists(st.sampled_from([1, 3, 9]), min_size=14, max_size=14))
def test_the_best_is_a_member_of_the_front_or_violates_least(found: dict[int, Score], epochs: list[int]) -> None:
    results = {
        number: Result(evaluation(number, epochs=epochs[number]), score.losses[0], score)
        for number, score in found.items()
    }
    incumbent, members = best(results.values()), front(results.values())
    if not found:
        assert incumbent is None
        assert not members
        return
    assert incumbent is not None
    assert incumbent.score is not None
    if members:
        assert incumbent == members[0]
        assert incumbent.score.losses[0] == min(member.score.losses[0] for member in members if member.score)
        assert {member.evaluation.to_epoch for member in members} == {incumbent.evaluation.to_epoch}
    else:
        assert incumbent.score.violation == min(score.violation for score in found.values()) > 0
    order = ordered(results)
    assert sorted(order) == sorted(found)
    assert {results[number].evaluation.id for number in order[: len(members)]} == {m.evaluation.id for m in members}


def test_a_scalar_loss_prefers_what_the_weights_say() -> None:
    found = {0: Score((0.0, 9.0)), 1: Score((1.0, 0.0)), 2: Score((0.5, 3.0)), 3: Score((0.0, 0.0), 2.0)}
    first, second = scalarise(found, weights=[0.9, 0.1]), scalarise(found, weights=[0.1, 0.9])
    assert min(first, key=first.__getitem__) == 0
    assert min(second, key=second.__getitem__) == 1
    assert max(first, key=first.__getitem__) == max(second, key=second.__getitem__) == 3
    assert scalarise({0: Score((4.0,)), 1: Score((7.0,))}, weights=[1.0]) == {0: 4.0, 1: 7.0}


@given(st.floats(-1e9, 1e9))
def test_a_violation_is_the_share_of_the_limit(value: float) -> None:
    limit = Constraint(min=-1, max=4)
    assert (limit.violation(value) == 0) == (-1 <= value <= 4)
    criteria = Criteria((StudyObjective(mode="max"),), {"size": Constraint(max=4)})
    assert criteria.score({"val/loss": 2.0, "size": 6.0}) == Score((-2.0,), 0.5)


def two_losses(evaluation: Evaluation) -> Score:
    values = evaluation.values
    layers, span = float(values["model.layers"]), float(values["task.span"])
    return Score((1 / layers + 1 / evaluation.to_epoch, layers + span / 64), max(0.0, span - 60) / 60)


@pytest.mark.parametrize("kind", ["bohb", "asha", "hyperband", "random"])
def test_a_search_with_scores_is_restored_from_its_state(kind: str) -> None:
    optimizer = Optimizer(mixed_space(), 1, 9, seed=4, kind=kind, ranking="pareto", evaluations=24)
    while (asked := optimizer.ask()) is not None:
        optimizer.tell(asked.id, two_losses(asked) if asked.id % 7 else None)
    state = optimizer.state()
    assert state["settings"]["ranking"] == "pareto"
    assert state["evaluations"][1]["score"] is not None
    assert Optimizer.from_state(mixed_space(), state).state() == state


def test_a_loss_and_a_score_of_the_other_kind_are_refused() -> None:
    scored, plain = Optimizer(mixed_space(), ranking="pareto"), Optimizer(mixed_space())
    for optimizer in (scored, plain):
        optimizer.ask()
    with pytest.raises(SettingsError, match="expected a Score"):
        scored.tell(0, 1.0)
    with pytest.raises(SettingsError, match="expected one loss"):
        plain.tell(0, Score((1.0,)))
    scored.tell(0, Score((1.0, math.inf)))
    assert scored.results()[0][1] is None
    assert "score" not in table(plain)[0]
    assert "ranking" not in plain.state()["settings"]


def test_configurations_that_are_not_admitted_are_not_proposed() -> None:
    options: dict[str, Any] = {"admits": lambda values: values["model.layers"] <= 3, "evaluations": 30, "max_budget": 3}
    optimizer = Optimizer(mixed_space(), **options)
    while (asked := optimizer.ask()) is not None:
        assert int(asked.values["model.layers"]) <= 3
        optimizer.tell(asked.id, float(asked.id % 5))


def test_the_front_is_better_than_that_of_random_search() -> None:
    random = [run("zdt1", seed=seed, kind="random", budget=12) for seed in (0, 1)]
    asha = [run("zdt1", seed=seed, kind="asha", budget=12) for seed in (0, 1)]
    assert sum(shares[-1] for shares in asha) > sum(shares[-1] for shares in random)
