"""Promises of an extended search: it resumes from its end, and kills do not change it."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import DamageError, SettingsError
from emotune.search import Optimizer
from emotune.search.records import Ended, Extended, Record, Started
from emotune.search.stopping import Amount, extension, parse_amount
from emotune.study.resume import optimizer_from_records
from tests.search.checker import violations
from tests.search.searching import documents, loss_of, mixed_space, run_to_the_end, space_of, table
from tests.support.properties import examples

SMALL: dict[str, Any] = {"kind": "hyperband", "max_budget": 9, "brackets": 2}

searches = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["hyperband", "asha"]),
        "max_budget": st.sampled_from([3, 9]),
        "seed": st.integers(0, 9),
        "concurrency": st.integers(1, 3),
        "order": st.sampled_from(["strict", "free"]),
        "brackets": st.integers(1, 3),
    }
)
further = st.lists(st.tuples(st.none() | st.integers(1, 2), st.none() | st.integers(1, 9)).filter(any), max_size=3)


class Driver:
    """Searches with a journal in memory; whenever it is killed, all is rebuilt from that."""

    def __init__(self, document: dict[str, Any], *, search: dict[str, Any], chance: random.Random | None) -> None:
        self.space = space_of(document)
        self.search = search
        self.records: list[Record] = []
        self.optimizer = Optimizer(self.space, **search)
        self._chance = chance

    def write(self, record: Record) -> None:
        self.records.append(record)
        if self._chance and self._chance.random() < 0.2:
            self.optimizer = optimizer_from_records(self.space, self.records, settings=self.search)
            state = self.optimizer.state()
            restored = Optimizer.from_state(self.space, json.loads(json.dumps(state)))
            assert restored.state() == state
            assert restored.running() == self.optimizer.running()

    def run(self) -> None:
        while not self.optimizer.finished:
            evaluation = self.optimizer.ask()
            if evaluation is not None:
                self.write(Started(time=0, evaluation=evaluation))
                continue
            first = self.optimizer.running()[0]
            loss = loss_of(first, failures=5)
            good = loss is not None and abs(loss) < 1e9
            self.optimizer.tell(first.id, loss)
            end = {"status": "done" if good else "failed", "objective": loss if good else None, "seconds": 1}
            self.write(Ended(time=0, evaluation_id=first.id, config_id=first.config_id, **end))

    def extend(self, brackets: int | None, evaluations: int | None) -> None:
        if self.optimizer.settings.brackets is None and brackets is not None:
            return
        made = len(self.optimizer.results())
        more = [None if number is None else Amount(number, more=True) for number in (brackets, evaluations)]
        moved = extension(self.optimizer.settings, made=made, brackets=more[0], evaluations=more[1])
        self.optimizer.extend(**moved.limits)
        self.write(Extended(time=0, **moved.limits))
        self.run()


@examples(0.4)
@given(documents(), searches, further, st.randoms(use_true_random=False))
def test_killed_anywhere_an_extended_search_ends_the_same(
    document: dict[str, Any], search: dict[str, Any], further: list[tuple], chance: random.Random
) -> None:
    undisturbed, killed = (Driver(document, search=search, chance=one) for one in (None, chance))
    for driver in (undisturbed, killed):
        driver.run()
        for amounts in further:
            driver.extend(*amounts)
    assert table(killed.optimizer) == table(undisturbed.optimizer)
    assert killed.records == undisturbed.records
    assert violations(killed.optimizer.settings, killed.optimizer.results()) == []


@pytest.mark.parametrize("kind", ["hyperband", "asha"])
@pytest.mark.parametrize("order", ["strict", "free"])
def test_with_one_worker_it_is_the_search_that_was_longer_from_the_start(kind: str, order: str) -> None:
    search = {**SMALL, "kind": kind, "order": order}
    extended = Optimizer(mixed_space(), **search)
    longer = Optimizer(mixed_space(), **{**search, "brackets": 4})
    run_to_the_end(extended)
    assert extended.finished
    before = table(extended)
    extended.extend(brackets=4)
    assert not extended.finished
    run_to_the_end(extended)
    run_to_the_end(longer)
    assert table(extended) == table(longer)
    assert table(extended)[: len(before)] == before
    assert len(before) < len(table(extended))


def test_what_was_decided_before_saw_the_end_that_was_meant_then() -> None:
    search = {**SMALL, "concurrency": 3}
    extended = Optimizer(mixed_space(), **search)
    run_to_the_end(extended)
    extended.extend(brackets=3)
    run_to_the_end(extended)
    longer = Optimizer(mixed_space(), **{**search, "brackets": 3})
    run_to_the_end(longer)
    assert table(extended) != table(longer), "an idle worker would have begun the next bracket"
    assert violations(extended.settings, extended.results(), finished=True) == []
    assert Optimizer.from_state(mixed_space(), extended.state()).finished


def test_an_extension_that_is_none_is_refused_and_changes_nothing() -> None:
    optimizer = Optimizer(mixed_space(), **SMALL)
    with pytest.raises(SettingsError, match="not finished"):
        optimizer.extend(brackets=3)
    run_to_the_end(optimizer)
    state = optimizer.state()
    for limits in ({}, {"brackets": 2}, {"brackets": 0}, {"evaluations": 5}, {"brackets": 9, "evaluations": 3}):
        with pytest.raises(SettingsError, match=r"ended after 2 brackets; expected a limit above that"):
            optimizer.extend(**limits)
        assert optimizer.finished
        assert optimizer.state() == state


def test_an_extension_at_another_place_is_damage() -> None:
    optimizer = Optimizer(mixed_space(), **SMALL)
    run_to_the_end(optimizer)
    optimizer.extend(brackets=3)
    run_to_the_end(optimizer)
    state = optimizer.state()
    (entry,) = state["extensions"]
    for change in ({"after": entry["after"] - 1}, {"after": entry["after"] + 1}, {"after": 999}, {"brackets": 1}):
        with pytest.raises(DamageError):
            Optimizer.from_state(mixed_space(), state | {"extensions": [entry | change]})
    with pytest.raises(DamageError):
        Optimizer.from_state(mixed_space(), state | {"extensions": []})


def test_a_state_from_before_there_were_extensions_is_read() -> None:
    optimizer = Optimizer(mixed_space(), **SMALL)
    run_to_the_end(optimizer)
    state = optimizer.state()
    del state["extensions"]
    del state["settings"]["earlier"]
    assert Optimizer.from_state(mixed_space(), state).state() == optimizer.state()


def test_more_is_counted_from_what_there_is() -> None:
    ended = Optimizer(mixed_space(), **SMALL).settings
    both = extension(ended, made=20, brackets=Amount(2, more=True), evaluations=Amount(5, more=True))
    assert both.limits == {"brackets": 4, "evaluations": 25}
    assert extension(ended, made=20, evaluations=Amount(5, more=True)).limits == {"brackets": None, "evaluations": 25}
    by_evaluations = ended.model_copy(update={"brackets": None, "evaluations": 20})
    with pytest.raises(SettingsError, match=r"after 20 evaluations.*give --evaluations \+N"):
        extension(by_evaluations, made=20, brackets=Amount(1, more=True))


@given(st.integers(1, 10**6), st.booleans())
def test_amounts_are_numbers_with_or_without_a_plus(number: int, more: bool) -> None:
    assert parse_amount(f"{'+' * more}{number}") == Amount(number, more)


@pytest.mark.parametrize("text", ["", "0", "+0", "-1", "1.5", "++1", "1+", "three", "1" * 20, "\u0661"])
def test_anything_else_is_no_amount(text: str) -> None:
    with pytest.raises(SettingsError, match=r"\+N"):
        parse_amount(text)
