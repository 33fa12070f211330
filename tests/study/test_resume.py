"""Promises of resuming: the same command resumes, an extension happens once, a warm start is recorded."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emotune.errors import SettingsError, StudyChangedError
from emotune.runtime import driver, experiments
from emotune.runtime.cluster.capacity import Capacity
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.driver import run_study
from emotune.runtime.experiments import ExperimentWorkload
from emotune.runtime.options import RunOptions
from emotune.search.records import Closed, Extended, Record, Started
from emotune.search.stopping import Amount
from emotune.storage import LocalLog, LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.recorded import recorded_order
from emotune.study.results import opened, search_state, status_document
from emotune.study.resume import make_optimizer, with_recorded_defaults
from emotune.study.study import Study
from emotune.study.warm_start import MOST_EARLIER, with_earlier
from tests.runtime.test_coordinator import STUDY, Killed, epochs, opening, table, work

MORE = {"brackets": Amount(1, more=True)}


def without_ray(coordinator: Coordinator, *args: Any, **options: Any) -> None:
    work(coordinator)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Record]]:
    monkeypatch.setattr(experiments, "connect_for_search", lambda base, **options: lambda: Capacity(2, {}))
    monkeypatch.setattr(driver, "_search", without_ray)

    def call(study: Study = STUDY, *, name: str = "s", die_at: int | None = None, **options: Any) -> list[Record]:
        folder = SearchFolder.of(name, storage=LocalStorage(tmp_path))
        known = len(read_journal(folder.journal))

        def die(record: Record, number: int) -> None:
            if number == die_at and number >= known:
                raise Killed

        options = {"concurrency": 2, **options}
        return run_study(ExperimentWorkload(study), folder, options=RunOptions(**options), observers=[die])

    return call


def ending(study: Study, **limits: int | None) -> Study:
    return study.model_copy(update={"budget": study.budget.model_copy(update=limits)})


def test_a_finished_search_is_extended_and_then_the_same_study_goes_on(search: Callable[..., list[Record]]) -> None:
    before = table(search())
    records = search(amounts=MORE)
    assert table(records)[: len(before)] == before
    assert [record.brackets for record in records if isinstance(record, Extended)] == [4]
    assert len(table(records)) > len(before)
    assert status_document(records, alive=False)["budget"]["brackets"] == 4
    assert search_state(records, alive=False) == "finished"
    assert search() == records
    assert search(ending(STUDY, brackets=4)) == records, "the file may say what was asked for by hand"
    evaluations = search(amounts={"evaluations": Amount(5, more=True)})
    assert len(table(evaluations)) == len(table(records)) + 5
    assert status_document(evaluations, alive=False)["budget"]["brackets"] is None
    assert search() == evaluations


def test_killed_at_any_record_an_extension_happens_once(search: Callable[..., list[Record]]) -> None:
    first = len(search(name="whole"))
    whole = search(name="whole", amounts=MORE)
    for number in range(first, len(whole) - 1, 9):  # after the last record it is finished, and more is more
        search(name=f"at-{number}")
        with pytest.raises(Killed):
            search(name=f"at-{number}", amounts=MORE, die_at=number)
        records = search(name=f"at-{number}", amounts=MORE)
        assert table(records) == table(whole)
        assert sum(isinstance(record, Extended) for record in records) == 1


def test_an_unfinished_search_goes_on_first(
    search: Callable[..., list[Record]], caplog: pytest.LogCaptureFixture
) -> None:
    expected = table(search(name="whole"))
    with pytest.raises(Killed):
        search(die_at=20)
    with caplog.at_level(logging.WARNING):
        records = search(amounts=MORE)
    assert "not finished: it resumes without the extension" in caplog.text
    assert table(records) == expected
    assert not any(isinstance(record, Extended) for record in records)


def test_a_plain_number_is_what_there_is_or_refused(search: Callable[..., list[Record]]) -> None:
    records = search(ending(STUDY, brackets=2))
    assert search(amounts={"brackets": Amount(2, more=False)}) == records
    with pytest.raises(StudyChangedError, match=r"--brackets 3: .* ends after 2 brackets; .*--brackets \+N"):
        search(amounts={"brackets": Amount(3, more=False)})
    with pytest.raises(StudyChangedError, match=r"budget.brackets was 2 and is now null.*--brackets \+N"):
        search()
    by_evaluations = ending(STUDY, evaluations=6)
    search(by_evaluations, name="counted")
    with pytest.raises(SettingsError, match=r"give --evaluations \+N"):
        search(by_evaluations, name="counted", amounts=MORE)


def test_what_is_taken_from_earlier_searches_is_recorded(search: Callable[..., list[Record]], tmp_path: Path) -> None:
    sources = {"old": search(name="old")}
    study = with_earlier(STUDY, sources=sources)
    assert len(study.earlier) == MOST_EARLIER
    best = status_document(sources["old"], alive=False)["best"]
    assert study.earlier[0] == best["values"]
    with pytest.raises(Killed):
        search(study, warm_start=("old",), die_at=9)
    (tmp_path / "old" / "journal.jsonl").unlink()
    with pytest.raises(StudyChangedError, match=r"warm_start \['old'\] and is now given \['other'\]"):
        search(warm_start=("other",))
    records = search(warm_start=("old",))
    assert search() == records, "without the option, what was recorded counts"
    assert opened(records).warm_start == ("old",)
    assert json.loads(json.dumps(study.earlier)) == opened(records).study["earlier"]
    with pytest.raises(StudyChangedError, match="warm_start"):
        search(name="cold", warm_start=()) and search(name="cold", warm_start=("old",))
    with pytest.raises(StudyChangedError, match="earlier"):
        search(STUDY.model_copy(update={"earlier": ({"optim.lr": 0.02, "model.layers": 1},)}))


def test_the_best_of_all_earlier_searches_are_taken_longest_trained_first(
    search: Callable[..., list[Record]],
) -> None:
    sources = {"long": search(name="long"), "short": search(ending(STUDY, evaluations=8), name="short")}
    by_hand = STUDY.model_copy(update={"earlier": ({"optim.lr": 0.02, "model.layers": 1},)})
    taken = with_earlier(by_hand, sources=sources).earlier
    assert taken[0] == by_hand.earlier[0]
    assert len(taken) == MOST_EARLIER + 1
    results = [
        result for records in sources.values() for result in status_document(records, alive=False)["evaluations"]
    ]
    reached = [
        max((result["to_epoch"], -result["objective"]) for result in results if result["values"] == v)
        for v in taken[1:]
    ]
    assert reached == sorted(reached, reverse=True)
    assert [json.dumps(values) for values in taken].count(json.dumps(taken[1])) == 1


def test_what_does_not_fit_is_named(search: Callable[..., list[Record]]) -> None:
    sources = {"old": search(name="old")}
    narrow = STUDY.model_dump()
    narrow["space"]["hyperparameters"][0]["upper"] = 2e-4
    with pytest.raises(SettingsError, match=r"--warm-start old, configuration \d+: optim.lr = .* 0.0001 to 0.0002"):
        with_earlier(Study.model_validate(narrow), sources=sources)
    other = STUDY.model_copy(update={"objective": STUDY.objective.model_copy(update={"mode": "max"})})
    with pytest.raises(SettingsError, match=r"--warm-start old: its objective is val/loss \(min\)"):
        with_earlier(other, sources=sources)
    for nothing in ([], sources["old"][:2], [sources["old"][0], Closed(time=0, state="failed")]):
        with pytest.raises(SettingsError, match=r"--warm-start old: it has no (record|result) yet"):
            with_earlier(STUDY, sources={"old": nothing})


def test_failures_are_never_taken(search: Callable[..., list[Record]], tmp_path: Path) -> None:
    search(name="old")
    records = read_journal(LocalLog(tmp_path / "old" / "journal.jsonl"))
    best = with_earlier(STUDY, sources={"old": records}).earlier[0]
    numbers = [
        record.evaluation.id for record in records if isinstance(record, Started) and record.evaluation.values == best
    ]
    failed = [
        record.model_copy(update={"status": "failed", "objective": None})
        if record.kind == "ended" and record.evaluation_id == numbers[-1]
        else record
        for record in records
    ]
    assert best not in with_earlier(STUDY, sources={"old": failed}).earlier


@pytest.mark.parametrize(("concurrency", "order", "workers"), [(1, "strict", 1), (2, "strict", 3), (3, "free", 3)])
def test_the_order_is_chosen_at_the_start_and_kept(
    search: Callable[..., list[Record]], concurrency: int, order: str, workers: int
) -> None:
    with pytest.raises(Killed):
        search(concurrency=concurrency, die_at=9)
    records = search(concurrency=concurrency)
    first = opened(records)
    assert (recorded_order(first.study), first.workers) == (order, workers)
    assert search_state(records, alive=False) == "finished"
    assert epochs(records) == sorted(set(epochs(records)))
    other = "free" if order == "strict" else "strict"
    with pytest.raises(StudyChangedError, match=r"searcher\.order"):
        search(STUDY.model_copy(update={"searcher": {**STUDY.searcher, "order": other}}), concurrency=concurrency)
    named = STUDY.model_copy(update={"searcher": {**STUDY.searcher, "order": order}})
    assert search(named, concurrency=concurrency) == records


def test_a_search_of_an_older_version_keeps_its_order_and_its_virtual_workers() -> None:
    first = opening(4)
    assert first.workers is None
    settings = make_optimizer(STUDY, records=[first], concurrency=4).settings
    assert (settings.order, settings.concurrency) == ("strict", 8)
    study, lines = with_recorded_defaults(STUDY, [first])
    assert (study.searcher.get("order"), lines) == (None, [])
