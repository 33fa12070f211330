"""The coordinator: after a kill at any record, the history of the search is the same."""

import functools
import itertools
import random
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from emotune.errors import SearchFailedError
from emotune.runtime.coordinator import MAX_SIMILAR_FAILURES, Coordinator
from emotune.runtime.failures import RULES
from emotune.search.records import (
    RECORD,
    Closed,
    Ended,
    EpochDone,
    Evaluation,
    Failure,
    FailureKind,
    Opened,
    Record,
    Started,
)
from emotune.storage import LocalLog, Log
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results, find_best, shortfall, status_document
from emotune.study.resume import make_optimizer, software_changes
from emotune.study.study import Study

STUDY = Study.model_validate(
    {
        "base": {"model": {"channels": (4, 8), "kernels": (3, 3)}, "epochs": 50, "optim": {"warmup_epochs": 1}},
        "budget": {"min": 1, "max": 9},
        "space": {
            "hyperparameters": [
                {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 1e-1, "log": True},
                {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3},
            ]
        },
    }
)


class Killed(BaseException):
    """The process dies."""


def loss_of(evaluation: Evaluation, epoch: int) -> float:
    rate, layers = float(evaluation.values["optim.lr"]), float(evaluation.values["model.layers"])
    return float("nan") if rate > 0.02 else (rate - 0.01) ** 2 + 0.1 * layers + 1 / epoch


def drive(log: Log, *, die_at: int | None = None, concurrency: int = 1) -> list[Record]:
    """Run or resume a search; the driver dies right after it has written the record with a number."""

    def die(record: Record, number: int) -> None:
        if number == die_at and number >= known:
            raise Killed

    with Journal.open(log, owner="test") as journal:
        known = len(journal)
        if not journal.records:
            journal.append(opening(concurrency))
        optimizer = make_optimizer(STUDY, records=journal.records, concurrency=concurrency)
        coordinator = Coordinator(optimizer, journal=journal, criteria=STUDY.criteria, observers=[die])
        work(coordinator)
        return list(journal.records)


@functools.cache
def finished_journal() -> bytes:
    """Return the journal of a finished search, which is run once per session."""
    with tempfile.TemporaryDirectory() as folder:
        log = LocalLog(Path(folder) / "journal.jsonl")
        drive(log)
        return log.read()


def write_finished(journal: Path) -> list[Record]:
    """Write the journal of a finished search, and return its records."""
    journal.write_bytes(finished_journal())
    return read_journal(LocalLog(journal))


def opening(concurrency: int) -> Opened:
    study = STUDY.as_document()
    return Opened(time=0, name="t", study=study, digest=STUDY.digest(), seed=0, concurrency=concurrency, software={})


def work(coordinator: Coordinator) -> None:
    """Run evaluations, the last one handed out first, and report a configuration's earlier epochs again."""
    out: list[Evaluation] = []
    while not coordinator.finished:
        while (evaluation := coordinator.next_evaluation()) is not None:
            out.append(evaluation)
        done = out.pop()
        for epoch in range(1, done.to_epoch + 1):
            coordinator.report(done.id, epoch=epoch, metrics={"val/loss": loss_of(done, epoch)})
        coordinator.complete(done.id)


def table(records: list[Record]) -> list[tuple]:
    return [
        (result.evaluation.model_dump_json(), result.status, result.objective, result.error)
        for result in evaluation_results(records)
    ]


def epochs(records: list[Record]) -> list[tuple[int, int]]:
    return sorted((record.config_id, record.epoch) for record in records if isinstance(record, EpochDone))


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_a_search_killed_at_any_record_ends_with_the_same_history(tmp_path: Path, concurrency: int) -> None:
    undisturbed = drive(LocalLog(tmp_path / "undisturbed.jsonl"), concurrency=concurrency)
    expected = table(undisturbed)
    assert {status for _, status, *_ in expected} == {"done", "failed"}
    for number in [1, *random.Random(concurrency).sample(range(2, len(undisturbed)), 9)]:
        log = LocalLog(tmp_path / f"killed-{number}.jsonl")
        with pytest.raises(Killed):
            drive(log, die_at=number, concurrency=concurrency)
        records = drive(log, concurrency=concurrency)
        assert table(records) == expected
        assert epochs(records) == epochs(undisturbed)
        assert len(set(epochs(records))) == len(epochs(records))


def test_the_best_is_the_lowest_loss_of_the_highest_rung(tmp_path: Path) -> None:
    results = evaluation_results(write_finished(tmp_path / "j.jsonl"))
    best = find_best(results, mode="min")
    top = [result.objective for result in results if result.evaluation.to_epoch == 9 and result.objective is not None]
    assert best is not None
    assert (best.epochs, best.objective) == (9, min(top))
    worst = find_best(results, mode="max")
    assert worst is not None
    assert worst.objective == max(top)


def without_results_at(epochs: int, records: list[Record]) -> list[Record]:
    """Return the records as if all evaluations up to an epoch had failed."""
    ids = {result.evaluation.id for result in evaluation_results(records) if result.evaluation.to_epoch == epochs}
    failed = {"status": "failed", "objective": None, "error": "out of memory"}
    return [
        record.model_copy(update=failed) if isinstance(record, Ended) and record.evaluation_id in ids else record
        for record in records
    ]


def test_a_search_without_a_result_at_the_largest_budget_has_a_warning(tmp_path: Path) -> None:
    records = write_finished(tmp_path / "j.jsonl")
    closed = Closed(time=0, state="finished")
    assert shortfall([*records, closed]) is None
    fallen = without_results_at(9, records)
    assert shortfall(fallen) is None, "it has not ended"
    line = shortfall([*fallen, closed])
    assert line is not None
    assert line.startswith("no configuration has a result at 9 epochs, the best one only at 3: ")
    assert line.endswith("evaluations failed")
    assert status_document([*fallen, closed], alive=False)["warning"] == line
    short = [record for record in records if not (isinstance(record, Started) and record.evaluation.to_epoch == 9)]
    assert "it ended too early" in str(shortfall([*[record for record in short if not is_failure(record)], closed]))


def is_failure(record: Record) -> bool:
    return isinstance(record, Ended) and record.status == "failed"


def test_other_software_is_named_package_by_package() -> None:
    first = opening(1).model_copy(update={"software": {"ray": "2.60.0", "torch": "2.10.0"}})
    assert software_changes(first, now={"ray": "2.60.0", "torch": "2.10.0"}) is None
    line = software_changes(first, now={"ray": "2.60.0", "torch": "2.13.0"})
    assert line == (
        "the search 't' was started with other software, which may give other results: "
        "torch was 2.10.0 and is now 2.13.0"
    )


@pytest.mark.parametrize("jumps", [[288.0, -288.0], [0.0, -3600.0], [7200.0, -1e9]])
def test_a_wall_clock_that_jumps_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: list[float]
) -> None:
    undisturbed = drive(LocalLog(tmp_path / "undisturbed.jsonl"), concurrency=2)
    wall, steps = itertools.count(), itertools.cycle(jumps)
    monkeypatch.setattr(time, "time", lambda: 1e9 + next(wall) + next(steps))
    for number in range(5, len(undisturbed), 17):
        with pytest.raises(Killed):
            drive(LocalLog(tmp_path / "jumping.jsonl"), die_at=number, concurrency=2)
    records = drive(LocalLog(tmp_path / "jumping.jsonl"), concurrency=2)
    times = [record.time for record in records[1:]]
    assert times != sorted(times)
    assert table(records) == table(undisturbed)
    assert all(result.seconds is not None and 0 <= result.seconds < 60 for result in evaluation_results(records))
    assert find_best(evaluation_results(records), mode="min") == find_best(evaluation_results(undisturbed), mode="min")


@pytest.fixture
def open_coordinator(tmp_path: Path) -> Callable[[], Coordinator]:
    def make() -> Coordinator:
        journal = Journal.open(LocalLog(tmp_path / "j.jsonl"), owner="test")
        if not journal.records:
            journal.append(opening(1))
        optimizer = make_optimizer(STUDY, records=journal.records, concurrency=1)
        return Coordinator(optimizer, journal=journal, criteria=STUDY.criteria)

    return make


LOST = Failure(kind="worker_lost", message="boom")
RETRIED = [kind for kind, rule in RULES.items() if not (rule.stops_search or rule.is_result)]
STOPPING = [kind for kind, rule in RULES.items() if rule.stops_search]


@pytest.mark.parametrize("kind", RETRIED)
def test_a_failed_evaluation_is_retried_by_the_rule_of_its_kind_and_then_recorded(
    open_coordinator: Callable[[], Coordinator], kind: FailureKind
) -> None:
    coordinator, failure = open_coordinator(), Failure(kind=kind, message="boom")
    first = coordinator.next_evaluation()
    assert first is not None
    for _ in range(RULES[kind].retries):
        coordinator.fail(first.id, failure)
        assert coordinator.next_evaluation() == first
    coordinator.fail(first.id, failure)
    ended = coordinator._journal.records[-1]
    assert isinstance(ended, Ended)
    assert (ended.status, ended.error, ended.failure_kind) == ("failed", "boom", kind)
    second = coordinator.next_evaluation()
    assert second is not None
    assert second.id == 1
    assert coordinator.optimizer.results() == [(first, None)]


def test_a_diverged_evaluation_is_a_result_and_never_retried(open_coordinator: Callable[[], Coordinator]) -> None:
    coordinator = open_coordinator()
    for number in range(MAX_SIMILAR_FAILURES + 1):
        evaluation = coordinator.next_evaluation()
        assert evaluation is not None
        coordinator.fail(evaluation.id, Failure(kind="diverged", message="the loss is infinite"))
        assert len(coordinator.optimizer.results()) == number + 1
    ended = [record for record in coordinator._journal.records if isinstance(record, Ended)]
    assert {record.failure_kind for record in ended} == {"diverged"}


@pytest.mark.parametrize("progress", ["epochs", "a newer checkpoint", "the same checkpoint"])
def test_progress_resets_the_retries(open_coordinator: Callable[[], Coordinator], progress: str) -> None:
    coordinator = open_coordinator()
    first = coordinator.next_evaluation()
    assert first is not None
    steps = {"a newer checkpoint": 1}.get(progress, 0)
    retries = RULES["worker_lost"].retries
    for attempt in range(1, retries + 3):
        if progress == "epochs":
            coordinator.report(first.id, epoch=attempt, metrics={"val/loss": 1.0})
        else:
            coordinator.update_saved(first.id, saved=(0, attempt * steps))
        if progress == "the same checkpoint" and attempt > retries:
            with pytest.raises(SearchFailedError):
                coordinator.fail(first.id, LOST)
            return
        coordinator.fail(first.id, LOST)
        assert coordinator.next_evaluation() == first
    assert progress != "the same checkpoint"


def test_the_seconds_are_those_of_all_attempts_without_the_pauses(
    open_coordinator: Callable[[], Coordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, now = open_coordinator(), 10.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    evaluation = coordinator.next_evaluation()
    assert evaluation is not None
    now = 13.0
    coordinator.fail(evaluation.id, LOST)
    now = 1000.0
    assert coordinator.next_evaluation() == evaluation
    now = 1005.0
    seen: list[Record] = []
    coordinator._observers = [lambda record, number: seen.append(record)]
    coordinator.fail(evaluation.id, Failure(kind="diverged", message="too large"))
    assert [record.seconds for record in seen if isinstance(record, Ended)] == [8.0]


def fail_for_good(coordinator: Coordinator, *, message: str) -> None:
    for _ in range(RULES["program_error"].retries + 1):
        evaluation = coordinator.next_evaluation()
        assert evaluation is not None
        coordinator.fail(evaluation.id, Failure(kind="program_error", message=message))


def test_similar_failures_in_a_row_stop_the_search(open_coordinator: Callable[[], Coordinator]) -> None:
    coordinator = open_coordinator()
    for number in range(MAX_SIMILAR_FAILURES - 1):
        fail_for_good(coordinator, message=f"wrong shape {number}")
    with pytest.raises(SearchFailedError, match=r"5 evaluations in a row failed in the same way.*wrong shape 4"):
        fail_for_good(coordinator, message="wrong shape 4")


def test_different_failures_do_not_stop_the_search(open_coordinator: Callable[[], Coordinator]) -> None:
    coordinator = open_coordinator()
    for letter in "abcdefg":
        fail_for_good(coordinator, message=f"wrong {letter}")
    assert len(coordinator.optimizer.results()) == 7


@pytest.mark.parametrize("kind", STOPPING)
def test_a_failure_of_a_machine_stops_the_search_and_is_no_result(
    open_coordinator: Callable[[], Coordinator], kind: FailureKind
) -> None:
    coordinator = open_coordinator()
    failure = Failure(kind=kind, message="epoch-000001 could not be written")
    rule = RULES[kind]
    for _ in range(rule.retries):
        assert coordinator.next_evaluation() is not None
        coordinator.fail(0, failure)
        coordinator._paused_until = 0.0
    coordinator.next_evaluation()
    expected = f"epoch-000001 could not be written; nothing is lost, {rule.remedy} and start the same search again"
    with pytest.raises(SearchFailedError, match=f"^{re.escape(expected)}$"):
        coordinator.fail(0, failure)
    assert coordinator.optimizer.results() == []
    assert [record.kind for record in coordinator._journal.records] == ["opened", "started"]


def test_if_the_journal_is_gone_that_is_named_as_the_cause_of_a_fault(
    open_coordinator: Callable[[], Coordinator], tmp_path: Path
) -> None:
    coordinator = open_coordinator()
    assert coordinator.next_evaluation() is not None
    (tmp_path / "j.jsonl").rename(tmp_path / "elsewhere")
    with pytest.raises(SearchFailedError, match=r"j.jsonl: the file or its folder was renamed or deleted"):
        coordinator.fail(0, Failure(kind="disk_full", message="epoch-000001 could not be written"))


def test_no_evaluation_is_started_in_the_pause_after_a_fault_of_a_machine(
    open_coordinator: Callable[[], Coordinator], monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, now = open_coordinator(), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    evaluation = coordinator.next_evaluation()
    assert evaluation is not None
    for pause in (2.0, 4.0, 8.0):
        coordinator.fail(evaluation.id, Failure(kind="memory_pressure", message="low on memory"))
        now += pause - 0.1
        assert coordinator.next_evaluation() is None
        assert not coordinator.finished
        now += 0.2
        assert coordinator.next_evaluation() == evaluation


def test_evaluations_that_are_taken_back_keep_their_order(open_coordinator: Callable[[], Coordinator]) -> None:
    coordinator = open_coordinator()
    coordinator.resize(2)
    running = [coordinator.next_evaluation(), coordinator.next_evaluation()]
    assert None not in running
    coordinator.requeue_all()
    assert coordinator.in_progress == 0
    assert [coordinator.next_evaluation(), coordinator.next_evaluation()] == running


def test_records_of_an_earlier_version_have_the_same_bytes_and_the_same_status(tmp_path: Path) -> None:
    """An `Ended` record without ``failure_kind`` is read, written and shown as before."""
    line = (
        b'{"kind":"ended","time":3.0,"evaluation_id":0,"config_id":0,"status":"failed","objective":null,'
        b'"seconds":1.5,"error":"ValueError: boom"}'
    )
    old = RECORD.validate_json(line)
    assert isinstance(old, Ended)
    assert old.failure_kind is None
    assert RECORD.dump_json(old) == line
    records = write_finished(tmp_path / "j.jsonl")
    assert any(record.failure_kind == "diverged" for record in records if isinstance(record, Ended))
    earlier = [
        record.model_copy(update={"failure_kind": None}) if isinstance(record, Ended) else record for record in records
    ]
    read = [RECORD.validate_json(RECORD.dump_json(record)) for record in earlier]
    assert read == earlier
    assert not any(b"failure_kind" in RECORD.dump_json(record) for record in read)
    assert status_document(read, alive=False) == status_document(records, alive=False)


def test_a_missing_metric_is_named(open_coordinator: Callable[[], Coordinator]) -> None:
    coordinator = open_coordinator()
    evaluation = coordinator.next_evaluation()
    assert evaluation is not None
    with pytest.raises(SearchFailedError, match="'val/loss' is not reported; reported are train/loss, val/f1"):
        coordinator.report(evaluation.id, epoch=1, metrics={"val/f1": 1.0, "train/loss": 2.0})


def test_status_has_state_budget_and_mlflow_runs(tmp_path: Path) -> None:
    records = write_finished(tmp_path / "j.jsonl")
    document = status_document(records, alive=False, mlflow_runs={0: "abc"})
    assert document["state"] == "interrupted"
    assert document["budget"] == {"min": 1, "max": 9, "eta": 3, "brackets": None, "evaluations": None, "unit": "epochs"}
    assert document["evaluations"][0]["mlflow_run_id"] == "abc"
    assert status_document(records, alive=True)["state"] == "running"
    finished = [*records, Closed(time=0, state="finished")]
    assert status_document(finished, alive=False)["state"] == "finished"
