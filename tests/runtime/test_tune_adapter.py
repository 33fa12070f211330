"""Promises of the adapter to Ray Tune: workers stay warm, nobody waits in vain, nothing is carried out twice."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.search import Searcher

from emotune.runtime.coordinator import Coordinator
from emotune.runtime.tune_adapter import CoordinatorSearcher
from emotune.runtime.worker import Job
from emotune.search import Optimizer
from emotune.search.records import Ended, Evaluation, Opened
from emotune.storage import LocalLog, LocalStorage
from emotune.study.journal import Journal
from emotune.study.study import StudyObjective
from tests.search.searching import mixed_space

CPUS = 16.0


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
    """What Tune does with a searcher: trials that get workers, report and end, in any order."""

    def __init__(self, folder: Path, *, concurrency: int, **options: Any) -> None:
        self.journal = Journal.open(LocalLog(folder / "journal.jsonl"), owner="test")
        self.journal.append(Opened(time=0, name="t", study={}, digest="", seed=0, concurrency=concurrency, software={}))
        optimizer = Optimizer(mixed_space(), max_budget=9, seed=0, concurrency=concurrency, kind="hyperband", **options)
        coordinator = Coordinator(optimizer, journal=self.journal, aim=StudyObjective(metric="val/loss", mode="min"))
        self.stop = False
        self.searcher = CoordinatorSearcher(
            coordinator, make_job=job_of, concurrency=concurrency, stop_requested=lambda: self.stop
        )
        self.trials: dict[str, Job] = {}
        self.waiting: list[str] = []
        self._names = (f"trial-{number}" for number in range(10**6))

    def ask(self, *, warm: bool) -> bool:
        """Ask for a trial as Tune does; a cold one waits for a worker."""
        name = next(self._names)
        found = self.searcher.suggest(name)
        if not isinstance(found, dict):
            return False
        self.trials[name] = Job.model_validate_json(found["job"])
        if warm:
            self.searcher.started(name)
        else:
            self.waiting.append(name)
        return True

    def start(self, name: str) -> None:
        self.waiting.remove(name)
        self.searcher.started(name)

    def step(self, name: str) -> bool:
        """Let a trial finish, or idle if it has; tell whether it was ended.

        Its worker goes on with the next evaluation, or with a trial that has no worker.
        """
        job = self.trials[name]
        reports = [{"epoch": epoch, "metrics": {"val/loss": 1 / epoch}} for epoch in range(1, job.to_epoch + 1)]
        ended = self.searcher.take(name, result={"reports": reports, "diverged": None, "finished": True})
        if ended:
            del self.trials[name]
            if not self.ask(warm=True):
                assert self.waiting, "a worker was let go, and there was nothing for it"
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


def test_a_finished_worker_waits_for_those_that_start(two: Cluster) -> None:
    first, second = two.waiting
    two.start(first)
    assert not two.step(first)
    assert two.ended() == [0], "the result does not wait"
    assert not two.ask(warm=False), "the free worker gets the next evaluation, not a new one"
    two.start(second)
    assert two.step(first)


def test_on_a_full_cluster_it_does_not_wait(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 1.0})
    first, _ = two.waiting
    two.start(first)
    assert two.step(first)
    assert not two.waiting, "who had no worker has this one"


def test_it_waits_for_a_start_only_so_long(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.runtime.tune_adapter.START_SECONDS", 0.0)
    two.start(two.waiting[0])
    assert two.step(next(iter(two.trials)))


def test_what_an_idle_worker_was_told_is_no_failure_when_it_dies(two: Cluster) -> None:
    first, second = two.waiting
    two.start(first)
    two.step(first)
    two.searcher.fail(first, "The actor died because its node has died.")
    del two.trials[first]
    assert two.ended() == [0]
    two.start(second)
    assert two.ask(warm=False), "its place is taken by a new worker"


def test_a_stop_that_is_asked_for_hands_out_nothing_more(two: Cluster) -> None:
    for name in list(two.waiting):
        two.start(name)
    two.stop = True
    assert not two.ask(warm=False)
    for name in list(two.trials):
        assert not two.step(name)
    assert two.searcher.over
    assert two.searcher.suggest("late") == Searcher.FINISHED
    assert two.ended() == [0, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.sampled_from(["strict", "free"]), st.integers(0, 10**6))
def test_any_order_of_starts_ends_and_deaths_ends_the_search(
    tmp_path_factory: pytest.TempPathFactory, concurrency: int, order: str, seed: int
) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("search"), concurrency=concurrency, brackets=2, order=order)
    choose = random.Random(seed)
    deaths = 3
    with cluster.journal:
        for _ in range(5000):
            if cluster.searcher.over:
                break
            while cluster.ask(warm=False):
                assert len(cluster.trials) <= concurrency
            name = choose.choice(list(cluster.trials))
            if name in cluster.waiting:
                cluster.start(name)
            elif deaths and choose.random() < 0.1:
                deaths -= 1
                del cluster.trials[name]
                cluster.searcher.fail(name, "The actor died because its node has died.")
            else:
                cluster.step(name)
            assert len(cluster.trials) <= concurrency
        assert cluster.searcher.over
        assert sorted(cluster.ended()) == list(range(len(cluster.ended())))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_workers_that_do_not_see_the_results_get_nothing_and_cost_no_attempt(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Of two machines one is blind: what it was given is carried out by the other, and nothing fails."""
    draw = random.Random(seed)
    cluster = Cluster(tmp_path_factory.mktemp("blind"), concurrency=2, brackets=1)
    blind: set[str] = set()
    handed_back = 0
    for _ in range(2000):
        if cluster.searcher.over:
            break
        cluster.ask(warm=False)
        for name in [*cluster.waiting]:
            cluster.start(name)
            if len(blind) < 7 and draw.random() < 0.5:
                blind.add(name)
                handed_back += 1
        for name in [*cluster.trials]:
            if name not in blind:
                cluster.step(name)
                continue
            result = {"reports": [], "diverged": None, "finished": False, "blind": "node b does not see it"}
            assert not cluster.searcher.take(name, result=result)
    assert cluster.searcher.over
    ended = [record for record in cluster.journal.records if isinstance(record, Ended)]
    assert {record.status for record in ended} == {"done"}
    cluster.journal.close()
