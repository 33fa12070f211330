"""The watchdog: a trial that is silent for too long hangs, a slow one does not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.runtime.coordinator import Coordinator
from emotune.runtime.step_report import StepReport
from emotune.runtime.tune_adapter import CoordinatorSearcher
from emotune.runtime.watchdog import FIRST_EPOCH_FACTOR, MAX_POLL_S, SILENT_EPOCHS, Watchdog
from emotune.runtime.worker import Job
from emotune.search.records import Ended, Evaluation, Failure
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import Journal
from emotune.study.resume import make_optimizer
from emotune.training.epoch_report import EpochReport
from tests.runtime.test_coordinator import STUDY, opening

EPOCH = (EpochReport(1, {"val/loss": 1.0}),)
DIED = Failure(kind="worker_lost", message="The actor died unexpectedly before finishing this task.")


class Clock:
    now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(watchdog: Watchdog, clock: Clock, seconds: float) -> dict[str, float]:
    """Advance the clock with a poll every 5 s, and return the trials that were found to hang."""
    found: dict[str, float] = {}
    for _ in range(round(seconds / 5)):
        clock.now += 5
        found |= watchdog.find_hung()
    return found


def test_a_trial_that_is_silent_beyond_its_limit_hangs_and_is_returned_once(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    for trial in "01":
        watchdog.watch(trial, cost=1.0, silence_limit=600.0)
    for _ in range(3):
        assert wait(watchdog, clock, 10) == {}
        watchdog.record_report("0", epochs=5)
        watchdog.record_report("1", epochs=5)
    while wait(watchdog, clock, 590) == {}:
        watchdog.record_report("0", epochs=1)
    watchdog.record_report("0", epochs=1)
    assert wait(watchdog, clock, 590) == {}, "the other trial was returned once"
    assert wait(watchdog, clock, 20) == {"0": 605}


@given(epoch=st.floats(100, 590), cost=st.floats(0.01, 10))
def test_slow_epochs_of_a_slow_search_do_not_hang(epoch: float, cost: float) -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.watch("0", cost=1.0, silence_limit=60.0)
    wait(watchdog, clock, epoch)
    watchdog.record_report("0", epochs=1)
    watchdog.unwatch("0")
    watchdog.watch("1", cost=cost, silence_limit=60.0)
    limit = max(60, SILENT_EPOCHS * epoch * cost)
    assert wait(watchdog, clock, 0.8 * limit) == {}
    assert list(wait(watchdog, clock, 0.4 * limit + 20)) == ["1"]


def test_the_limit_is_longer_before_the_first_epoch(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.watch("0", cost=1.0, silence_limit=60.0)
    assert wait(watchdog, clock, 60 * FIRST_EPOCH_FACTOR - 10) == {}
    assert list(wait(watchdog, clock, 20)) == ["0"]


def test_without_a_limit_and_after_its_end_no_trial_hangs(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.watch("0", cost=1.0, silence_limit=0.0)
    watchdog.watch("1", cost=1.0, silence_limit=60.0)
    watchdog.record_report("1", epochs=1)
    watchdog.unwatch("1")
    watchdog.record_report("1", epochs=1)
    assert wait(watchdog, clock, 100_000) == {}


def test_no_trial_hangs_because_the_driver_was_suspended(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.watch("0", cost=1.0, silence_limit=60.0)
    clock.now += 1
    watchdog.record_report("0", epochs=1)
    for _ in range(int(60 / MAX_POLL_S)):
        clock.now += 10_000
        assert watchdog.find_hung() == {}
    assert wait(watchdog, clock, 10) == {"0": pytest.approx(65)}


def test_an_evaluation_that_hangs_twice_has_failed_with_the_reason(tmp_path: Path, clock: Clock) -> None:
    with Journal.open(LocalLog(tmp_path / "journal.jsonl"), owner="test") as journal:
        journal.append(opening(1))
        coordinator = Coordinator(
            make_optimizer(STUDY, records=journal.records, concurrency=1), journal=journal, criteria=STUDY.criteria
        )
        searcher = CoordinatorSearcher(coordinator, make_job=job_of, concurrency=1, stop_request=lambda: None)
        searcher._watchdog = watchdog = Watchdog(clock)
        for trial in ("first", "second"):
            searcher.suggest(trial)
            searcher.on_worker_ready(trial)
            searcher.process_report(trial, StepReport(reports=EPOCH))
            wait(watchdog, clock, 600)
            clock.now += 5
            assert searcher.mark_hung() == {trial}
            assert searcher.mark_hung() == set()
            searcher.on_worker_lost(trial, DIED)
        assert coordinator.optimizer.results() == [(coordinator.optimizer.results()[0][0], None)]
        assert isinstance(journal.records[-1], Ended)
        assert (journal.records[-1].failure_kind, journal.records[-1].error) == ("hung", "hung: no epoch in 10 min 5 s")


def test_an_idle_worker_that_hangs_is_killed(tmp_path: Path, clock: Clock) -> None:
    with Journal.open(LocalLog(tmp_path / "journal.jsonl"), owner="test") as journal:
        journal.append(opening(2))
        coordinator = Coordinator(
            make_optimizer(STUDY, records=journal.records, concurrency=2), journal=journal, criteria=STUDY.criteria
        )
        searcher = CoordinatorSearcher(coordinator, make_job=job_of, concurrency=1, stop_request=lambda: None)
        searcher._watchdog = Watchdog(clock)
        searcher.suggest("trial")
        searcher.on_worker_ready("trial")
        coordinator.stopping = True
        clock.now += 1
        searcher.process_report("trial", StepReport(reports=EPOCH, finished=True))
        for _ in range(200):
            clock.now += 5
            searcher.process_report("trial", StepReport(finished=True))
            assert searcher.mark_hung() == set()
        for _ in range(120):
            clock.now += 5
            assert searcher.mark_hung() == set()
        clock.now += 5
        assert searcher.mark_hung() == {"trial"}
        searcher.on_worker_lost("trial", DIED)
        assert [loss for _, loss in coordinator.optimizer.results()] == [1.0]


def job_of(evaluation: Evaluation) -> Job:
    return Job(
        evaluation_id=evaluation.id,
        config_id=evaluation.config_id,
        from_epoch=evaluation.from_epoch,
        to_epoch=evaluation.to_epoch,
        experiment=STUDY.base.with_values(evaluation.values),
        checkpoints=LocalStorage(Path("nowhere")),
    )
