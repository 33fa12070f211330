"""Promises of a search whose workers become more or fewer on the way: kills change nothing, and the rules hold."""

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emotune.errors import DamageError
from emotune.runtime.cluster.capacity import POLL_INTERVAL_S, SHRINK_DELAY_S, ElasticConcurrency
from emotune.search import Optimizer
from emotune.search.records import Ended, Record, Resized, Started
from emotune.search.stopping import Resize
from emotune.study.resume import optimizer_from_records
from tests.search.checker import seen_in_virtual_time, violations
from tests.search.searching import loss_of, mixed_space, run_to_the_end, table
from tests.support.properties import examples

searches = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["hyperband", "asha"]),
        "max_budget": st.just(9),
        "seed": st.integers(0, 9),
        "concurrency": st.integers(1, 4),
        "order": st.sampled_from(["strict", "free"]),
        "brackets": st.integers(1, 3),
    }
)
sizes = st.dictionaries(st.integers(0, 60), st.integers(1, 6), max_size=5)
ASKED_OR_NOT = {
    "kind": "asha",
    "max_budget": 9,
    "seed": 2,
    "concurrency": 2,
    "order": "strict",
    "brackets": 2,
}
"""A search that had been asked, for nothing, when it got other workers; the one that was killed had not."""


class Driver:
    """Searches with a journal in memory; after some steps there are other workers, and it is killed by chance."""

    def __init__(self, search: dict[str, Any], *, sizes: dict[int, int], chance: random.Random | None) -> None:
        self.search = search
        self.records: list[Record] = []
        self.optimizer = Optimizer(mixed_space(), **search)
        self._sizes = sizes
        self._chance = chance

    def write(self, record: Record) -> None:
        self.records.append(record)
        if self._chance and self._chance.random() < 0.2:
            self.optimizer = optimizer_from_records(mixed_space(), self.records, settings=self.search)
            state = self.optimizer.state()
            restored = Optimizer.from_state(mixed_space(), json.loads(json.dumps(state)))
            assert restored.state() == state
            assert restored.running() == self.optimizer.running()

    def run(self) -> "Driver":
        step = 0
        while not self.optimizer.finished:
            self.resize(self._sizes.get(step))
            self.step()
            step += 1
        return self

    def resize(self, workers: int | None) -> None:
        change = self.optimizer.resize(workers) if workers else None
        if change:
            self.write(Resized(time=0, concurrency=1, workers=change.workers, seen=change.seen))

    def step(self) -> None:
        evaluation = self.optimizer.ask()
        if evaluation is not None:
            self.write(Started(time=0, evaluation=evaluation))
            return
        first = self.optimizer.running()[-1]
        loss = loss_of(first, failures=5)
        good = loss is not None and abs(loss) < 1e9
        self.optimizer.tell(first.id, loss)
        end = {"status": "done" if good else "failed", "objective": loss if good else None, "seconds": 1}
        self.write(Ended(time=0, evaluation_id=first.id, config_id=first.config_id, **end))


def changes(optimizer: Optimizer) -> list[Resize]:
    return [Resize.model_validate(entry) for entry in optimizer.state()["resizes"]]


@examples(0.4)
@given(searches, sizes, st.randoms(use_true_random=False))
@example(ASKED_OR_NOT, {39: 6, 21: 5, 46: 6, 26: 6}, random.Random(331))
def test_killed_anywhere_it_ends_the_same_and_by_the_rules(
    search: dict[str, Any], sizes: dict[int, int], chance: random.Random
) -> None:
    undisturbed = Driver(search, sizes=sizes, chance=None).run().optimizer
    killed = Driver(search, sizes=sizes, chance=chance).run().optimizer
    assert killed.state() == undisturbed.state()
    if search["order"] == "strict":
        rows = killed.results()
        begun = Optimizer(mixed_space(), **search).settings
        seen = seen_in_virtual_time(begun, rows, changes=changes(killed))
        assert violations(begun, rows, finished=True, seen=seen) == []


def test_more_workers_are_asked_for_at_once_and_fewer_when_some_have_ended() -> None:
    optimizer = Optimizer(mixed_space(), kind="asha", concurrency=2, brackets=3)
    assert [optimizer.ask() is not None for _ in range(3)] == [True, True, False]
    optimizer.resize(4)
    assert [optimizer.ask() is not None for _ in range(3)] == [True, True, False]
    optimizer.resize(1)
    for _ in range(3):
        optimizer.tell(optimizer.running()[0].id, 1.0)
        assert optimizer.ask() is None
    optimizer.tell(optimizer.running()[0].id, 1.0)
    assert optimizer.ask() is not None


def test_as_many_as_there_are_is_no_change() -> None:
    optimizer = Optimizer(mixed_space(), kind="asha", concurrency=2, brackets=1)
    assert optimizer.resize(2) is None
    assert optimizer.state()["resizes"] == []


def test_a_change_that_does_not_follow_is_refused() -> None:
    search = {"kind": "asha", "concurrency": 3, "brackets": 2}
    driver = Driver(search | {"order": "strict"}, sizes={9: 5}, chance=None).run()
    state = driver.optimizer.state()
    (entry,) = state["resizes"]
    with pytest.raises(DamageError, match="does not follow"):
        Optimizer.from_state(mixed_space(), state | {"resizes": [entry | {"seen": 99}]})
    with pytest.raises(DamageError, match="does not follow"):
        Optimizer.from_state(mixed_space(), state | {"resizes": [entry | {"after": 0}]})


def test_a_search_that_has_grown_can_be_extended() -> None:
    optimizer = Optimizer(mixed_space(), kind="hyperband", max_budget=9, concurrency=2, brackets=1)
    run_to_the_end(optimizer)
    optimizer.extend(brackets=2)
    optimizer.resize(3)
    run_to_the_end(optimizer)
    restored = Optimizer.from_state(mixed_space(), json.loads(json.dumps(optimizer.state())))
    assert table(restored) == table(optimizer)
    assert restored.finished


def test_the_cluster_is_followed_up_at_once_and_down_when_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    now, there = [0.0], [4]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    concurrency = ElasticConcurrency(lambda: there[0], slots=4)

    def after(seconds: float, *, places: int) -> int:
        now[0] += seconds
        there[0] = places
        return concurrency.poll()

    assert after(POLL_INTERVAL_S / 2, places=6) == 4, "it is not looked at all the time"
    assert after(POLL_INTERVAL_S, places=6) == 6
    assert after(POLL_INTERVAL_S, places=2) == 6
    assert after(SHRINK_DELAY_S - 2 * POLL_INTERVAL_S, places=6) == 6, "back in time"
    assert after(POLL_INTERVAL_S, places=2) == 6
    assert after(SHRINK_DELAY_S + POLL_INTERVAL_S, places=2) == 2
