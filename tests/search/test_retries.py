"""Promises of failed evaluations that are run again: the journal decides, and kills change nothing."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import DamageError, SettingsError
from emotune.runtime.coordinator import Coordinator
from emotune.search import Evaluation, Optimizer
from emotune.search.records import Ended, Record, Retried
from emotune.storage import LocalLog
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results, failures_to_retry
from emotune.study.resume import optimizer_from_records
from tests.search.searching import loss_of, mixed_space, run_to_the_end
from tests.search.test_kills import OPTIONS, SCHEDULES, Killed, Search, epochs, table, tear
from tests.support.properties import examples


@dataclasses.dataclass(frozen=True)
class Repaired(Search):
    """A search whose machine was repaired after some failures: what is run again has a result."""

    retried: frozenset[int] = frozenset()

    def carry_out(self, evaluation: Evaluation, coordinator: Coordinator) -> None:
        repaired = dataclasses.replace(self, failures=0) if evaluation.id in self.retried else self
        Search.carry_out(repaired, evaluation, coordinator)


def retry(path: Path, search: Search) -> frozenset[int]:
    """Record that the failures of a journal are run again, and return their numbers."""
    with Journal.open(LocalLog(path), owner="test") as journal:
        numbers = failures_to_retry(journal.records)
        if numbers:
            options = {**search.options, "cost": search.cost}
            optimizer = optimizer_from_records(search.space, journal.records, settings=options)
            change = optimizer.retry(numbers)
            journal.append(Retried(time=0, evaluations=change.evaluations, seen=change.seen))
            rebuilt = optimizer_from_records(search.space, journal.records, settings=options)
            assert rebuilt.state() == optimizer.state()
    return frozenset(numbers)


def drive_until_killed(search: Search, path: Path, *, records: int | None) -> Optimizer | None:
    try:
        return search.drive(path, records=records)
    except Killed:
        return None


def check_rebuilt(search: Search, path: Path, optimizer: Optimizer) -> None:
    """Check that journal and state lead to the same optimizer as the live search."""
    options = {**search.options, "cost": search.cost}
    rebuilt = optimizer_from_records(search.space, read_journal(LocalLog(path)), settings=options)
    assert rebuilt.state() == optimizer.state()
    assert rebuilt.finished
    state = json.loads(json.dumps(optimizer.state()))
    assert Optimizer.from_state(search.space, state, cost=search.cost).state() == state


@pytest.mark.parametrize("order", ["strict", "free"])
@pytest.mark.parametrize(("kind", "schedule", "model"), [*SCHEDULES[:2], SCHEDULES[-2]])
@examples(0.1)
@given(
    options=OPTIONS,
    limit=st.sampled_from([{"evaluations": 20}, {"brackets": 4}]),
    before=st.none() | st.integers(8, 60),
    seed=st.integers(0, 999),
)
def test_a_search_that_is_killed_after_a_retry_ends_like_an_undisturbed_one(  # noqa: PLR0917
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    schedule: str,
    model: str,
    order: str,
    options: dict[str, Any],
    limit: dict[str, Any],
    before: int | None,
    seed: int,
) -> None:
    options = options | limit | {"kind": kind, "schedule": schedule, "model": model, "order": order}
    search = Repaired(mixed_space(), options=options, failures=3, chance=random.Random(seed))
    whole, killed = (tmp_path_factory.mktemp("retries") / f"{name}.jsonl" for name in ("whole", "killed"))
    drive_until_killed(search, whole, records=before)
    search = dataclasses.replace(search, retried=retry(whole, search))
    killed.write_bytes(whole.read_bytes())
    first = len(killed.read_bytes())
    optimizer = search.drive(whole)
    while (again := drive_until_killed(search, killed, records=search.chance.randint(1, 4))) is None:
        if len(killed.read_bytes()) > first and search.chance.random() < 0.5:
            tear(killed, search.chance)
    expected, found = read_journal(LocalLog(whole)), read_journal(LocalLog(killed))
    assert table(found) == table(expected)
    assert epochs(found) == epochs(expected)
    for path, end in ((whole, optimizer), (killed, again)):
        check_rebuilt(search, path, end)
    results = {result.evaluation.id: result for result in evaluation_results(found)}
    assert all(results[number].status == "done" for number in search.retried)


def failed_search(**options: Any) -> Optimizer:
    """Return a finished search of one bracket whose first evaluations have failed."""
    search = {"kind": "hyperband", "max_budget": 9, "brackets": 1, "seed": 1, **options}
    optimizer = Optimizer(mixed_space(), **search)
    run_to_the_end(optimizer, loss=lambda evaluation: None if evaluation.id < 9 else loss_of(evaluation))
    return optimizer


def test_a_bracket_in_which_all_failed_is_compared_after_the_retry() -> None:
    optimizer = failed_search()
    assert [evaluation.to_epoch for evaluation, _ in optimizer.results()] == [1] * 9
    optimizer.retry(range(9))
    assert not optimizer.finished
    assert [evaluation.id for evaluation in optimizer.running()] == list(range(9))
    run_to_the_end(optimizer)
    assert [evaluation.to_epoch for evaluation, _ in optimizer.results()] == [1] * 9 + [3] * 3 + [9]
    promoted = sorted(range(9), key=lambda number: (optimizer.results()[number][1] or 0, number))[:3]
    assert [evaluation.config_id for evaluation, _ in optimizer.results()[9:12]] == promoted


def test_what_was_promoted_before_a_late_result_is_not_promoted_twice() -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, brackets=1, seed=1, concurrency=4)
    run_to_the_end(optimizer, loss=lambda evaluation: None if evaluation.id in {2, 9} else loss_of(evaluation))
    optimizer.retry([2, 9])
    run_to_the_end(optimizer, loss=lambda evaluation: -1.0)
    keys = [(evaluation.config_id, evaluation.to_epoch) for evaluation, _ in optimizer.results()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("numbers", [[0], [99], [9]])
def test_only_failed_evaluations_are_run_again(numbers: list[int]) -> None:
    optimizer = failed_search(brackets=2)
    optimizer.retry([0])
    with pytest.raises(SettingsError, match=rf"evaluation {numbers[0]} has not failed"):
        optimizer.retry(numbers)


def test_a_retry_that_does_not_follow_from_the_record_is_damage() -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, brackets=1, seed=1)
    with pytest.raises(DamageError, match="a recorded change does not follow"):
        optimizer_from_records(
            mixed_space(),
            [Retried(time=0, evaluations=(0,), seen=0)],
            settings={"kind": "hyperband", "max_budget": 9, "brackets": 1, "seed": 1},
        )
    assert not optimizer.finished


def test_evaluations_that_diverged_are_not_run_again() -> None:
    def end(number: int, status: str, kind: str | None) -> Record:
        objective = 1.0 if status == "done" else None
        numbers = {"evaluation_id": number, "config_id": number, "seconds": 1, "time": 0}
        return Ended(status=status, objective=objective, failure_kind=kind, error=kind, **numbers)  # pyright: ignore

    kinds = ("program_error", "out_of_memory", "diverged", None)
    records = [end(0, "done", None), *(end(number + 1, "failed", kind) for number, kind in enumerate(kinds))]
    assert failures_to_retry(records) == [1, 2, 4]
    assert failures_to_retry([*records, Retried(time=0, evaluations=(1, 4), seen=0)]) == [2]
