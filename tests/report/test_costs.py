"""Cost and timeline add up to the times in the journal."""

import itertools

import pytest

from emotune.report.costs import cost_of, timeline_of
from emotune.search.records import Closed, Ended, EpochDone, Record, Resized, Retried, Started
from tests.report.conftest import Journal
from tests.support.journals import synthetic_search

SEARCHES = [
    {"configurations": 1, "concurrency": 1, "failing": 0.0},
    {"configurations": 8, "concurrency": 3, "failing": 0.3, "seed": 1},
    {"configurations": 8, "concurrency": 4, "failing": 0.2, "state": "interrupted"},
    {"configurations": 6, "concurrency": 2, "failing": 1.0, "state": None},
]


@pytest.fixture(scope="module", params=SEARCHES, ids=str)
def search(request: pytest.FixtureRequest) -> list[Record]:
    return synthetic_search(**request.param)


@pytest.fixture(params=["whole", "cut"])
def some_records(request: pytest.FixtureRequest, search: list[Record]) -> list[Record]:
    """A journal, and the same while the search runs."""
    return search if request.param == "whole" else search[: 2 * len(search) // 3]


def test_the_parts_of_the_cost_sum_to_the_seconds_of_the_journal(some_records: list[Record]) -> None:
    records = some_records
    cost = cost_of(records)
    recorded = sum(record.seconds for record in records if isinstance(record, Ended))
    assert cost.spent_s == pytest.approx(recorded)
    assert cost.used_s + cost.diverged_s + cost.lost_s == pytest.approx(recorded)
    done = {record.evaluation_id for record in records if isinstance(record, Ended) and record.status == "done"}
    epochs = sum(isinstance(record, EpochDone) and record.evaluation_id in done for record in records)
    assert cost.epochs == epochs
    assert cost.saved_s == pytest.approx(cost.full_s - cost.used_s)


def test_the_bars_of_a_worker_do_not_overlap_and_cover_the_evaluations(some_records: list[Record]) -> None:
    records = some_records
    timeline = timeline_of(records)
    lanes: dict[int, list[tuple[float, float]]] = {}
    for bar in timeline.bars:
        lanes.setdefault(bar.lane, []).append((bar.begin, bar.end))
    assert len(lanes) == timeline.lanes
    for bars in lanes.values():
        bars.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(bars))
    started = {record.evaluation.id for record in records if isinstance(record, Started)}
    assert {bar.evaluation_id for bar in timeline.bars} == started
    recorded = sum(record.seconds for record in records if isinstance(record, Ended))
    running = sum(bar.end - bar.begin for bar in timeline.bars if bar.status == "running")
    assert timeline.busy_s + timeline.failed_s == pytest.approx(recorded + running, abs=0.01)


def test_busy_and_idle_time_sum_to_the_slots_times_the_duration() -> None:
    records = synthetic_search(configurations=12, concurrency=3, failing=0.2)
    timeline = timeline_of(records)
    duration = records[-1].time - records[0].time
    assert timeline.busy_s + timeline.failed_s + timeline.idle_s == pytest.approx(3 * duration, abs=0.1)


def test_full_training_is_estimated_at_the_speed_of_each_configuration() -> None:
    journal = Journal()
    journal.evaluate(0, losses=[0.5])  # 3 s for 1 epoch; the largest budget is 2
    journal.evaluate(1, losses=[0.4])
    journal.evaluate(1, losses=[0.3], start=1)
    cost = cost_of(journal.records)
    assert (cost.spent_s, cost.full_s, cost.saved_s) == (9.0, 12.0, 3.0)
    assert (cost.epochs, cost.full_epochs) == (3, 4)


def test_a_retried_failure_is_lost_and_its_second_run_is_used() -> None:
    journal = Journal()
    journal.evaluate(0, losses=[None], error="the worker died")
    journal.records.append(Retried(time=10.0, evaluations=(0,), seen=1))
    journal.records.append(
        Ended(time=14.0, evaluation_id=0, config_id=0, status="done", objective=0.5, seconds=4.0),
    )
    cost = cost_of(journal.records)
    assert (cost.lost_s, cost.used_s, cost.spent_s) == (3.0, 4.0, 7.0)
    assert [(bar.begin, bar.end, bar.status) for bar in timeline_of(journal.records).bars][-1] == (10.0, 14.0, "done")


def test_time_without_a_driver_is_neither_busy_nor_idle() -> None:
    journal = Journal()
    journal.evaluate(0, losses=[0.5])
    end = journal.records.pop()
    assert isinstance(end, Ended)
    journal.records += [
        Closed(time=10.0, state="interrupted"),
        Resized(time=1000.0, concurrency=1, workers=2, seen=0),
        end.model_copy(update={"time": 1005.0}),
    ]
    timeline = timeline_of(journal.records)
    assert [(bar.begin, bar.end) for bar in timeline.bars] == [(1.0, 10.0), (1000.0, 1005.0)]
    assert timeline.busy_s + timeline.idle_s == pytest.approx(15.0)


def test_hours_are_of_gpus_where_epochs_were_measured_on_one() -> None:
    records = synthetic_search(configurations=3, base={"task": {"kind": "masked_values"}, "compute": {"threads": 3}})
    cost = cost_of(records)
    assert (cost.unit, cost.per_evaluation) == ("CPU", 3.0)
    on_gpu = [
        record.model_copy(update={"metrics": {**record.metrics, "system/gpu_memory_gib": 4.0}})
        if isinstance(record, EpochDone)
        else record
        for record in records
    ]
    cost = cost_of(on_gpu, trials_per_gpu=4)
    assert (cost.unit, cost.per_evaluation) == ("GPU", 0.25)
    assert cost.hours(3600.0) == 0.25
