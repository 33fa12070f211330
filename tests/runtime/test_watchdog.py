"""Promises of the watchdog: who hangs is found, and who is only slow is left alone."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotune.runtime.coordinator import Coordinator
from emotune.runtime.driver import make_optimizer
from emotune.runtime.tune_adapter import CoordinatorSearcher
from emotune.runtime.watchdog import BEFORE_ANY, EPOCHS, LONGEST_LOOK, Watchdog
from emotune.runtime.worker import Job
from emotune.search.records import Ended, Evaluation
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import Journal
from tests.runtime.test_coordinator import STUDY, opening


class Clock:
    now = 1e6

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(watchdog: Watchdog, clock: Clock, seconds: float) -> dict[str, float]:
    """Let time go by with a look every few seconds, and return who was found to hang."""
    found: dict[str, float] = {}
    for _ in range(round(seconds / 5)):
        clock.now += 5
        found |= watchdog.hanging()
    return found


def test_who_is_silent_for_its_patience_hangs_and_is_named_once(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    for trial in "01":
        watchdog.begin(trial, cost=1.0, patience=600.0)
    for _ in range(3):
        assert wait(watchdog, clock, 10) == {}
        watchdog.heard("0", epochs=5)
        watchdog.heard("1", epochs=5)
    while wait(watchdog, clock, 590) == {}:
        watchdog.heard("0", epochs=1)
    watchdog.heard("0", epochs=1)
    assert wait(watchdog, clock, 590) == {}, "the other one was named once"
    assert wait(watchdog, clock, 20) == {"0": 605}


@settings(deadline=None, max_examples=40)
@given(epoch=st.floats(100, 590), cost=st.floats(0.01, 10))
def test_slow_epochs_of_a_slow_search_do_not_hang(epoch: float, cost: float) -> None:
    clock = Clock()
    watchdog = Watchdog(clock)
    watchdog.begin("0", cost=1.0, patience=60.0)
    wait(watchdog, clock, epoch)
    watchdog.heard("0", epochs=1)
    watchdog.end("0")
    watchdog.begin("1", cost=cost, patience=60.0)
    limit = max(60, EPOCHS * epoch * cost)
    assert wait(watchdog, clock, 0.8 * limit) == {}
    assert list(wait(watchdog, clock, 0.4 * limit + 20)) == ["1"]


def test_while_nothing_is_known_it_waits_longer(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.begin("0", cost=1.0, patience=60.0)
    assert wait(watchdog, clock, 60 * BEFORE_ANY - 10) == {}
    assert list(wait(watchdog, clock, 20)) == ["0"]


def test_no_patience_is_for_ever_and_who_has_ended_does_not_hang(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.begin("0", cost=1.0, patience=0.0)
    watchdog.begin("1", cost=1.0, patience=60.0)
    watchdog.heard("1", epochs=1)
    watchdog.end("1")
    watchdog.heard("1", epochs=1)
    assert wait(watchdog, clock, 100_000) == {}


def test_a_driver_that_was_suspended_accuses_nobody(clock: Clock) -> None:
    watchdog = Watchdog(clock)
    watchdog.begin("0", cost=1.0, patience=60.0)
    clock.now += 1
    watchdog.heard("0", epochs=1)
    for _ in range(int(60 / LONGEST_LOOK)):
        clock.now += 10_000
        assert watchdog.hanging() == {}
    assert wait(watchdog, clock, 10) == {"0": pytest.approx(65)}


def test_an_evaluation_that_hangs_twice_has_failed_and_says_why(tmp_path: Path, clock: Clock) -> None:
    with Journal.open(LocalLog(tmp_path / "journal.jsonl"), owner="test") as journal:
        journal.append(opening(1))
        coordinator = Coordinator(
            make_optimizer(STUDY, records=journal.records, concurrency=1), journal=journal, aim=STUDY.objective
        )
        searcher = CoordinatorSearcher(coordinator, make_job=job_of, concurrency=1, stop_requested=lambda: False)
        searcher._watchdog = watchdog = Watchdog(clock)
        for trial in ("first", "second"):
            searcher.suggest(trial)
            searcher.started(trial)
            report = {"epoch": 1, "metrics": {"val/loss": 1.0}}
            searcher.take(trial, result={"reports": [report], "finished": False, "diverged": None})
            wait(watchdog, clock, 600)
            clock.now += 5
            assert searcher.hanging() == {trial}
            assert searcher.hanging() == set()
            searcher.fail(trial, "The actor died unexpectedly before finishing this task.")
        assert coordinator.optimizer.results() == [(coordinator.optimizer.results()[0][0], None)]
        assert isinstance(journal.records[-1], Ended)
        assert journal.records[-1].error == "hung: no epoch in 605 s"


def test_a_worker_that_hangs_while_it_has_nothing_to_do_is_found_too(tmp_path: Path, clock: Clock) -> None:
    with Journal.open(LocalLog(tmp_path / "journal.jsonl"), owner="test") as journal:
        journal.append(opening(2))
        coordinator = Coordinator(
            make_optimizer(STUDY, records=journal.records, concurrency=2), journal=journal, aim=STUDY.objective
        )
        searcher = CoordinatorSearcher(coordinator, make_job=job_of, concurrency=1, stop_requested=lambda: False)
        searcher._watchdog = Watchdog(clock)
        searcher.suggest("trial")
        searcher.started("trial")
        coordinator.stopping = True
        clock.now += 1
        report = {"epoch": 1, "metrics": {"val/loss": 1.0}}
        searcher.take("trial", result={"reports": [report], "finished": True, "diverged": None})
        for _ in range(200):
            clock.now += 5
            searcher.take("trial", result={"reports": [], "finished": True, "diverged": None})
            assert searcher.hanging() == set()
        for _ in range(121):
            clock.now += 5
            hanging = searcher.hanging()
        assert hanging == {"trial"}
        searcher.fail("trial", "The actor died unexpectedly before finishing this task.")
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
