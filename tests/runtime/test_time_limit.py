"""``--hours``: a search ends in order when its running time is used up, and resumes with more."""

from pathlib import Path

import pytest

from emotune.errors import SettingsError
from emotune.runtime import driver
from emotune.runtime.coordinator import Coordinator
from emotune.runtime.options import RunOptions
from emotune.search.records import Closed, EpochDone, Record, TimeLimit
from emotune.search.stopping import Amount, Hours, parse_hours
from emotune.storage import LocalLog
from emotune.study.journal import Journal
from emotune.study.results import (
    ended_by_time,
    evaluation_results,
    present_hours,
    running_seconds,
    search_state,
    shortfall,
    status_document,
)
from emotune.study.resume import make_optimizer
from tests.runtime.test_coordinator import STUDY, drive, opening, table, work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets; both clocks of the driver show it."""
    now = [1000.0]
    monkeypatch.setattr(driver.time, "time", lambda: now[0])
    monkeypatch.setattr(driver.time, "monotonic", lambda: now[0])
    return now


def run(log: LocalLog, clock: list[float], *, hours: Hours | None, epoch_s: float = 60.0) -> list[Record]:
    """Run or resume a search as the driver does, with epochs of a duration, and record its end."""

    def tick(record: Record, number: int) -> None:
        clock[0] += epoch_s if isinstance(record, EpochDone) and number >= known else 0.0

    with Journal.open(log, owner="test") as journal:
        if not journal.records:
            journal.append(opening(2).model_copy(update={"time": clock[0]}))
        driver._add_hours(journal, RunOptions(hours=hours))
        if search_state(journal.records, alive=False) == "finished":
            return list(journal.records)
        known = len(journal)
        optimizer = make_optimizer(STUDY, records=journal.records, concurrency=2)
        coordinator = Coordinator(
            optimizer,
            journal=journal,
            criteria=STUDY.criteria,
            observers=[tick],
            time_is_up=driver._time_limit(journal.records),
        )
        work(coordinator)
        driver._close(coordinator, None)
        return list(journal.records)


def test_it_ends_in_order_and_resumed_with_more_hours_the_table_is_that_without_a_limit(
    tmp_path: Path, clock: list[float]
) -> None:
    undisturbed = drive(LocalLog(tmp_path / "undisturbed.jsonl"), concurrency=2)
    log = LocalLog(tmp_path / "limited.jsonl")
    records = run(log, clock, hours=Hours(0.5, more=False))
    assert ended_by_time(records)
    assert search_state(records, alive=False) == "finished"
    assert records[-1] == Closed(time=clock[0], state="finished", reason="time limit of 0.5 h")
    results = evaluation_results(records)
    assert all(result.status != "running" for result in results), "begun evaluations are run to their end"
    expected = table(undisturbed)
    assert 0 < len(results) < len(expected)
    assert 1800 <= running_seconds(records) < 1800 + 2 * 9 * 60
    assert run(log, clock, hours=None) == records, "the limit is recorded"
    assert run(log, clock, hours=Hours(0.5, more=False)) == records
    clock[0] += 1e6  # no driver runs
    resumptions = 0
    while ended_by_time(records):
        before = running_seconds(records)
        records = run(log, clock, hours=Hours(0.25, more=True))
        assert running_seconds(records) > before
        assert running_seconds(records) < 1e5
        resumptions += 1
    assert resumptions > 1
    assert table(records) == expected
    assert run(log, clock, hours=Hours(9, more=True)) == records, "its other limits have ended it"
    document = status_document(records, alive=False)
    assert document["running_hours"]["limit"] == present_hours(records) == 0.5 + 0.25 * resumptions
    assert document["running_hours"]["used"] == pytest.approx(running_seconds(records) / 3600)


def test_a_killed_driver_counts_until_its_last_record(tmp_path: Path, clock: list[float]) -> None:
    log = LocalLog(tmp_path / "j.jsonl")
    records = run(log, clock, hours=Hours(0.5, more=False))
    killed = records[: len(records) // 2]
    used = killed[-1].time - records[0].time
    assert running_seconds(killed) == pytest.approx(used)
    later = TimeLimit(time=killed[-1].time + 9e5, hours=1, used_seconds=used)
    assert running_seconds([*killed, later]) == pytest.approx(used)
    epoch = next(record for record in records if isinstance(record, EpochDone))
    after = epoch.model_copy(update={"time": later.time + 60})
    assert running_seconds([*killed, later, after]) == pytest.approx(used + 60)
    closed = Closed(time=after.time, state="interrupted")
    much_later = after.model_copy(update={"time": after.time + 9e5})
    assert running_seconds([*killed, later, after, closed, much_later]) == pytest.approx(used + 60)


def test_brackets_do_not_extend_a_search_that_has_used_up_its_hours(tmp_path: Path, clock: list[float]) -> None:
    log = LocalLog(tmp_path / "j.jsonl")
    records = run(log, clock, hours=Hours(0.1, more=False))
    assert "give --hours +1" in str(shortfall(records))
    options = RunOptions(amounts={"brackets": Amount(1, more=True)})
    with Journal.open(log, owner="test") as journal:
        with pytest.raises(SettingsError, match=r"ended after its time limit of 0\.1 h.*give --hours \+H"):
            driver._extend(journal, STUDY, options)
        assert journal.records == records


@pytest.mark.parametrize(
    ("text", "hours"),
    [("12", Hours(12, more=False)), ("+0.5", Hours(0.5, more=True)), (".25", Hours(0.25, more=False))],
)
def test_hours_are_read(text: str, hours: Hours) -> None:
    assert parse_hours(text) == hours


@pytest.mark.parametrize("text", ["", "0", "+0", "-1", "1h", "nan", "inf", "1e3", "1,5"])
def test_other_texts_are_no_hours(text: str) -> None:
    with pytest.raises(SettingsError, match="expected hours above 0"):
        parse_hours(text)


def test_more_hours_add_to_the_limit_or_to_what_is_used() -> None:
    more = Hours(2, more=True)
    assert (more.limit(present=3.0, used=1.0), more.limit(present=None, used=1.0)) == (5.0, 3.0)
    assert Hours(2, more=False).limit(present=3.0, used=1.0) == 2.0
