"""The adapter to Ray Tune: workers are reused, no trial waits in vain, no evaluation is trained twice."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.search import Searcher

from emotune.runtime.coordinator import Coordinator
from emotune.runtime.crashes import crash_file
from emotune.runtime.step_report import StepReport
from emotune.runtime.trial import TrialState
from emotune.runtime.tune_adapter import CoordinatorSearcher, SearchStopper
from emotune.runtime.worker import Job
from emotune.search import Optimizer
from emotune.search.criteria import Criteria, StudyObjective
from emotune.search.records import Ended, Evaluation, Failure, Opened, Started
from emotune.storage import LocalLog, LocalStorage
from emotune.study.folder import StopRequest
from emotune.study.journal import Journal
from emotune.training.epoch_report import EpochReport
from tests.search.searching import mixed_space

CPUS = 16.0
LOST = Failure(kind="worker_lost", message="The actor died unexpectedly before finishing this task.")


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": CPUS})


def job_of(evaluation: Evaluation) -> Job:
    return Job.model_validate(
        {
            "evaluation_id": evaluation.id,
            "config_id": evaluation.config_id,
            "from_epoch": evaluation.from_epoch,
            "to_epoch": evaluation.to_epoch,
            "experiment": {},
            "checkpoints": LocalStorage(Path()),
        }
    )


class Cluster:
    """Tune as its searcher sees it: trials get workers, report and end, in any order."""

    def __init__(self, folder: Path, *, concurrency: int, **options: Any) -> None:
        self.journal = Journal.open(LocalLog(folder / "journal.jsonl"), owner="test")
        self.journal.append(Opened(time=0, name="t", study={}, digest="", seed=0, concurrency=concurrency, software={}))
        optimizer = Optimizer(mixed_space(), max_budget=9, seed=0, concurrency=concurrency, kind="hyperband", **options)
        objective = StudyObjective(metric="val/loss", mode="min")
        coordinator = Coordinator(optimizer, journal=self.journal, criteria=Criteria((objective,)))
        self.stop: StopRequest | None = None
        self.searcher = CoordinatorSearcher(
            coordinator, make_job=job_of, concurrency=concurrency, stop_request=lambda: self.stop
        )
        self.trials: dict[str, Job] = {}
        self.waiting: list[str] = []
        self._names = (f"trial-{number}" for number in range(10**6))

    def ask(self, *, warm: bool) -> bool:
        """Request a trial as Tune does; without a warm worker it waits for one."""
        name = next(self._names)
        suggestion = self.searcher.suggest(name)
        if not isinstance(suggestion, dict):
            return False
        self.trials[name] = Job.model_validate_json(suggestion["job"])
        if warm:
            self.searcher.on_worker_ready(name)
        else:
            self.waiting.append(name)
        return True

    def start(self, name: str) -> None:
        self.waiting.remove(name)
        self.searcher.on_worker_ready(name)

    def step(self, name: str) -> bool:
        """Let a trial finish, or idle if it has finished, and return whether it was ended.

        Its worker then trains the next evaluation, or that of a trial without a worker.
        """
        job = self.trials[name]
        reports = tuple(EpochReport(epoch, {"val/loss": 1 / epoch}) for epoch in range(1, job.to_epoch + 1))
        ended = self.searcher.process_report(name, StepReport(reports=reports, finished=True))
        if ended:
            del self.trials[name]
            if not self.ask(warm=True):
                assert self.waiting, "a worker was released without a trial for it"
                self.start(self.waiting[0])
        return ended

    def ended(self) -> list[int]:
        return [record.evaluation_id for record in self.journal.records if isinstance(record, Ended)]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, concurrency=2, brackets=2, order="free")
    with cluster.journal:
        assert cluster.ask(warm=False)
        assert cluster.ask(warm=False)
        assert not cluster.ask(warm=False)
        yield cluster


def test_a_finished_worker_is_kept_while_other_workers_start(two: Cluster) -> None:
    first, second = two.waiting
    two.start(first)
    assert not two.step(first)
    assert two.ended() == [0], "the result does not wait"
    assert not two.ask(warm=False), "the free worker gets the next evaluation, not a new one"
    two.start(second)
    assert two.step(first)


def test_on_a_full_cluster_a_starting_trial_gets_the_worker(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0})
    first, _ = two.waiting
    two.start(first)
    assert two.step(first)
    assert not two.waiting, "the trial without a worker has this one"


def test_a_start_is_waited_for_until_a_timeout(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.runtime.tune_adapter.START_TIMEOUT_S", 0.0)
    two.start(two.waiting[0])
    assert two.step(next(iter(two.trials)))


def test_the_death_of_an_idle_worker_is_no_failure_of_its_evaluation(two: Cluster) -> None:
    first, second = two.waiting
    two.start(first)
    two.step(first)
    two.searcher.on_worker_lost(first, LOST)
    del two.trials[first]
    assert two.ended() == [0]
    two.start(second)
    assert two.ask(warm=False), "its place is taken by a new worker"


def test_a_worker_that_failed_gets_no_other_evaluation(two: Cluster) -> None:
    """Its process raises in its next step, so its evaluation is tried again in a new one."""
    first, _ = two.waiting
    two.start(first)
    failure = Failure(kind="program_error", message="ValueError: boom")
    assert not two.searcher.process_report(first, StepReport(failure=failure, ends_worker=True))
    assert first not in two.searcher.trials
    two.searcher.on_worker_lost(first, LOST)
    del two.trials[first]
    assert two.ask(warm=False)
    assert [job.evaluation_id for job in two.trials.values()] == [1, 0]
    assert two.ended() == []


@pytest.mark.parametrize(("ended_by", "kind"), [("Segmentation fault", "program_error"), ("Bus error", "worker_lost")])
def test_a_crash_of_a_worker_is_an_error_of_the_program(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended_by: str, kind: str
) -> None:
    failures: list[Failure] = []
    monkeypatch.setattr(two.searcher, "_fail", lambda _, failure: failures.append(failure))
    first, _ = two.waiting
    two.start(first)
    file = crash_file(tmp_path, evaluation_id=0)
    file.write_text(f"Fatal Python error: {ended_by}\n\nCurrent thread 0x00007f (most recent call first):\n")
    trial = two.searcher.trials[first]
    trial.job = trial.job.model_copy(update={"crash_file": file})
    two.searcher.on_worker_lost(first, LOST)
    assert [failure.kind for failure in failures] == [kind]
    assert (ended_by in failures[0].message) == (kind == "program_error")


def test_a_diverged_evaluation_is_recorded_and_its_worker_is_reused(two: Cluster) -> None:
    for name in list(two.waiting):
        two.start(name)
    first = next(iter(two.trials))
    failure = Failure(kind="diverged", message="the loss is infinite")
    assert two.searcher.process_report(first, StepReport(failure=failure))
    ended = [record for record in two.journal.records if isinstance(record, Ended)]
    assert [(record.error, record.failure_kind) for record in ended] == [("the loss is infinite", "diverged")]
    assert two.ask(warm=True)


def test_a_machine_that_regains_access_gets_evaluations_again(two: Cluster) -> None:
    first, second = two.waiting
    two.start(first)
    two.start(second)
    assert not two.searcher.process_report(first, StepReport(inaccessible="node b cannot access the results"))
    assert two.searcher.trials[first].state is TrialState.INACCESSIBLE
    assert two.searcher.process_report(first, StepReport(finished=True)), "its worker gets the evaluation it had"
    started = [record for record in two.journal.records if isinstance(record, Started)]
    assert len(started) == 2
    del two.trials[first]
    assert two.ask(warm=True)
    assert [job.evaluation_id for job in two.trials.values()] == [1, 0]


def test_after_a_stop_request_no_evaluation_is_handed_out(two: Cluster) -> None:
    for name in list(two.waiting):
        two.start(name)
    two.stop = "stop"
    assert not two.ask(warm=False)
    for name in list(two.trials):
        assert not two.step(name)
    assert two.searcher.is_over
    assert two.searcher.suggest("late") == Searcher.FINISHED
    assert two.ended() == [0, 1]


def test_after_a_stop_request_a_worker_that_is_free_gets_no_evaluation(two: Cluster) -> None:
    stopper = SearchStopper(two.searcher)
    for name in list(two.waiting):
        two.start(name)
    two.stop = "stop"
    assert not stopper.stop_all(), "the running evaluations are run to their end"
    for name in list(two.trials):
        assert not two.step(name)
    assert (stopper.stop_all(), stopper.signal) == (True, None)
    assert len([record for record in two.journal.records if isinstance(record, Started)]) == 2


def test_a_request_to_stop_now_acts_as_ctrl_c_also_after_the_other_one(two: Cluster) -> None:
    stopper = SearchStopper(two.searcher)
    for request, result in (("stop", (False, None)), ("now", (True, signal.SIGINT))):
        two.stop = request
        assert (stopper.stop_all(), stopper.signal) == result
    assert two.ended() == []


@given(st.integers(1, 4), st.sampled_from(["strict", "free"]), st.integers(0, 10**6))
def test_any_order_of_starts_ends_and_deaths_ends_the_search(
    tmp_path_factory: pytest.TempPathFactory, concurrency: int, order: str, seed: int
) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("search"), concurrency=concurrency, brackets=2, order=order)
    choose = random.Random(seed)
    deaths = 3
    with cluster.journal:
        for _ in range(5000):
            if cluster.searcher.is_over:
                break
            while cluster.ask(warm=False):
                assert len(cluster.trials) <= concurrency
            name = choose.choice(list(cluster.trials))
            if name in cluster.waiting:
                cluster.start(name)
            elif deaths and choose.random() < 0.1:
                deaths -= 1
                del cluster.trials[name]
                cluster.searcher.on_worker_lost(name, LOST)
            else:
                cluster.step(name)
            assert len(cluster.trials) <= concurrency
        assert cluster.searcher.is_over
        assert sorted(cluster.ended()) == list(range(len(cluster.ended())))


@given(seed=st.integers(0, 2**32 - 1))
def test_workers_without_access_get_no_evaluations_and_no_failures(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """One of two machines has no access: its evaluations are trained by the other, and nothing fails."""
    draw = random.Random(seed)
    cluster = Cluster(tmp_path_factory.mktemp("inaccessible"), concurrency=2, brackets=1)
    inaccessible: set[str] = set()
    handed_back = 0
    for _ in range(2000):
        if cluster.searcher.is_over:
            break
        cluster.ask(warm=False)
        for name in [*cluster.waiting]:
            cluster.start(name)
            if len(inaccessible) < 7 and draw.random() < 0.5:
                inaccessible.add(name)
                handed_back += 1
        for name in [*cluster.trials]:
            if name not in inaccessible:
                cluster.step(name)
                continue
            report = StepReport(inaccessible="node b cannot access the results")
            assert not cluster.searcher.process_report(name, report)
    assert cluster.searcher.is_over
    ended = [record for record in cluster.journal.records if isinstance(record, Ended)]
    assert {record.status for record in ended} == {"done"}
    cluster.journal.close()
