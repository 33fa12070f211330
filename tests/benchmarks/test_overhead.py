"""The sums of the overhead benchmark, its simulated workers and its timings."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.overhead_core import ask_and_tell_page, driver_memory, optimizer_at
from benchmarks.overhead_idle import SCHEDULES, Setting, page, simulate
from benchmarks.overhead_spans import Span, account, ladder_segment, merged
from emotune.storage import LocalLog
from emotune.study.journal import read_journal


def epoch(pid: int, key: str, start: float, end: float) -> Span:
    return Span(pid=pid, key=key, start=start, end=end, training=end - start)


def test_the_epochs_of_an_evaluation_in_one_process_are_joined() -> None:
    epochs = [epoch(1, "a", 2.0, 3.0), epoch(1, "a", 0.0, 1.0), epoch(2, "a", 5.0, 6.0)]
    assert merged(epochs) == [
        Span(pid=1, key="a", start=0.0, end=3.0, training=2.0),
        Span(pid=2, key="a", start=5.0, end=6.0, training=1.0),
    ]


def test_training_and_gaps_of_two_workers_are_summed() -> None:
    epochs = [epoch(1, "a", 0.0, 1.0), epoch(2, "b", 0.0, 3.0), epoch(1, "c", 1.5, 3.0), epoch(3, "d", 5.0, 6.0)]
    total = account(epochs, workers=2)
    assert total.wall == 6.0
    assert total.share == pytest.approx(6.5 / 12)
    assert total.warm == [0.5]
    assert total.cold == [2.0]


@given(st.lists(st.floats(0.1, 5.0), min_size=1, max_size=20), st.integers(1, 4))
def test_workers_that_never_wait_have_no_gaps(seconds: list[float], workers: int) -> None:
    free = [0.0] * workers
    epochs = []
    for number, length in enumerate(seconds):
        worker = int(np.argmin(free))
        epochs.append(epoch(worker, str(number), free[worker], free[worker] + length))
        free[worker] += length
    total = account(epochs, workers=workers)
    assert total.training == pytest.approx(sum(seconds))
    assert not total.cold
    assert max(total.warm, default=0.0) == pytest.approx(0.0)
    assert total.share <= 1 + 1e-9


@pytest.mark.parametrize(("number", "expected"), [(1, (0, 1)), (2, (1, 3)), (3, (1, 3)), (4, (3, 9)), (9, (3, 9))])
def test_an_epoch_lies_between_two_rungs(number: int, expected: tuple[int, int]) -> None:
    assert ladder_segment(number, (1, 3, 9)) == expected


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_workers_do_not_wait_if_durations_are_as_expected_or_the_order_is_free(schedule: str) -> None:
    for setting in (Setting("strict", schedule, 3, jitter=0.0), Setting("free", schedule, 3)):
        assert simulate(setting, seed=1).idle_before_the_end == pytest.approx(0.0, abs=0.02)


def test_deciding_ahead_reduces_idle_time_in_strict_order() -> None:
    alone, ahead = (simulate(Setting("strict", "sync", 4, ahead=ahead), seed=2) for ahead in (0, 4))
    assert alone.idle_before_the_end > 0.05
    assert ahead.idle_before_the_end < alone.idle_before_the_end / 2
    # another sample of the same size is trained, so that the work is similar
    assert ahead.work == pytest.approx(alone.work, rel=0.3)
    assert ahead.wall < alone.wall


def test_pages_have_a_row_for_each_case() -> None:
    assert len(page(seeds=2, workers=(2,), jitters=(0.3,)).splitlines()) == 2 + len(SCHEDULES) * 4
    assert len(ask_and_tell_page(models=("rungs",), sizes=(20, 40)).splitlines()) == 2 + 2


def test_a_timed_search_has_the_requested_number_of_results() -> None:
    optimizer, _ = optimizer_at(50, model="rungs")
    assert len(optimizer.results()) == 50
    evaluation = optimizer.ask()
    assert evaluation is not None
    assert evaluation.id == 50


def test_memory_is_recorded_at_the_requested_sizes(tmp_path: Path) -> None:
    mib = driver_memory([5, 20], folder=tmp_path)
    assert list(mib) == [5, 20]
    assert all(value > 10 for value in mib.values())
    ended = [record for record in read_journal(LocalLog(tmp_path / "journal.jsonl")) if record.kind == "ended"]
    assert len(ended) == 20
