"""Promises of the reliability of the rungs that is printed."""

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.search import Evaluation, Optimizer
from emotune.study.reliability import describe_reliability, rung_reliability
from tests.search.searching import MIXED, loss_of, mixed_space, run_to_the_end
from tests.work import count_calls

ONE_NUMBER = {"hyperparameters": [{"name": "x", "type": "uniform_float", "lower": 0, "upper": 1}]}
STUDY = {
    "searcher": {"kind": "bohb", "model": "rungs"},
    "objective": {"metric": "m", "mode": "min"},
    "space": ONE_NUMBER,
}


def outcomes(*, count: int, seed: int = 0, faithful: bool = True) -> list[tuple[Evaluation, float | None]]:
    """Configurations of which every third is promoted; the order of the rungs is equal or opposite."""
    chance = random.Random(seed)
    rungs: list[tuple[Evaluation, float | None]] = []
    for config in range(count):
        loss = chance.random()
        for rung in range(1 + (config % 3 == 0) + (config % 9 == 0)):
            about = {"config_id": config, "bracket": 0, "rung": rung, "origin": "random", "values": {"x": loss}}
            from_epoch, to_epoch = (0, 3, 9, 27)[rung : rung + 2]
            evaluation = Evaluation(id=len(rungs), from_epoch=from_epoch, to_epoch=to_epoch, **about)
            rungs.append((evaluation, loss if rung == 0 or faithful else 1 - loss))
    return rungs


@pytest.mark.parametrize("sign", [1, -1])
def test_the_weights_are_those_of_the_search(sign: int) -> None:
    optimizer = Optimizer(mixed_space(), max_budget=9, brackets=6, model="rungs", order="free")
    run_to_the_end(optimizer, loss=lambda evaluation: loss_of(evaluation, failures=7))
    results = [(evaluation, None if loss is None else sign * loss) for evaluation, loss in optimizer.results()]
    study = STUDY | {"space": MIXED, "objective": {"metric": "m", "mode": "min" if sign == 1 else "max"}}
    rungs = rung_reliability(study, outcomes=results)
    assert {rung.epochs: rung.weight for rung in rungs} == optimizer.weights()
    assert [rung.epochs for rung in rungs] == [1, 3, 9]
    assert sum(rung.results for rung in rungs) == len(results)


@given(st.sets(st.integers(0, 89), max_size=12))
def test_configurations_that_run_yet_do_not_count(running: set[int]) -> None:
    results = outcomes(count=90)
    ended = [(evaluation, loss) for evaluation, loss in results if evaluation.config_id not in running]
    rows = {number: row for row, number in enumerate(dict.fromkeys(evaluation.config_id for evaluation, _ in ended))}
    without_gaps = [
        (evaluation.model_copy(update={"config_id": rows[evaluation.config_id]}), loss) for evaluation, loss in ended
    ]
    assert rung_reliability(STUDY, outcomes=ended) == rung_reliability(STUDY, outcomes=without_gaps)


@pytest.mark.parametrize("searcher", [{"kind": "bohb", "model": "hpbandster"}, {"kind": "random"}, {"kind": "asha"}])
def test_another_model_has_no_weights(searcher: dict[str, Any]) -> None:
    rungs = rung_reliability(STUDY | {"searcher": searcher}, outcomes=outcomes(count=90))
    assert [rung.weight for rung in rungs] == [None, None, None]
    assert [rung.results for rung in rungs] == [90, 30, 10]
    assert describe_reliability(rungs) == []


def test_rungs_that_mislead_are_named_with_what_to_change() -> None:
    (line,) = describe_reliability(rung_reliability(STUDY, outcomes=outcomes(count=90)))
    assert re.fullmatch(r"reliability of the rungs: 3 epochs (1|0\.9\d*), 9 epochs (1|0\.9\d*), 27 epochs 1", line), (
        line
    )
    line, advice = describe_reliability(rung_reliability(STUDY, outcomes=outcomes(count=90, faithful=False)))
    assert re.match(r"reliability of the rungs: 3 epochs 0(\.0\d*)?,", line), line
    assert "3 epochs" in advice
    assert "larger budget.min" in advice
    few = rung_reliability(STUDY, outcomes=outcomes(count=15, faithful=False))
    assert len(describe_reliability(few)) == 1, "too few to say so"
    assert describe_reliability([]) == []


def work(*, count: int) -> int:
    """Count the calls that weigh the rungs of a number of configurations."""
    given = outcomes(count=count)
    return count_calls(lambda: rung_reliability(STUDY, outcomes=given))


def test_the_work_grows_no_faster_than_the_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluation, "model_copy", None)  # nothing is copied where no configuration is missing
    assert work(count=1400) < 3 * work(count=700)
