"""The number of workers of a group, on a cluster whose resources the tests set."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import ray
from ray._private.state import state as cluster_state

from emotune.experiment import Experiment
from emotune.runtime.cluster.group_size import GROWTH_INTERVAL_S, RELEASE_TIMEOUT_S, GroupSize
from emotune.runtime.cluster.resources import available_workers, worker_count, worker_resources
from emotune.runtime.worker import Job
from emotune.storage import LocalStorage
from emotune.training.execution import Compute


@dataclass
class FakeCluster:
    """The resources that Ray reports, and a clock that only sleeping and the test advance."""

    total: dict[str, float] = field(default_factory=lambda: {"CPU": 16.0})
    free: dict[str, float] = field(default_factory=lambda: {"CPU": 16.0})
    promised: dict[str, float] | None = None
    now: float = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    made = FakeCluster()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "available_resources", lambda: made.free)
        patch.setattr(ray, "cluster_resources", lambda: made.total)
        patch.setattr(cluster_state, "get_max_resources_from_cluster_config", lambda: made.promised)
        patch.setattr(time, "monotonic", lambda: made.now)
        patch.setattr(time, "sleep", made.sleep)
        yield made


def size(fewest: int, most: int, *, threads: int = 1) -> GroupSize:
    experiment = Experiment.model_validate({"compute": {"threads": threads}})
    return GroupSize(
        Job(
            evaluation_id=0,
            config_id=0,
            from_epoch=0,
            to_epoch=1,
            experiment=experiment,
            checkpoints=LocalStorage(Path("checkpoints")),
            workers=(fewest, most),
        )
    )


@pytest.mark.parametrize(
    ("free", "wished", "threads", "chosen"),
    [
        (16, (2, 8), 1, 8),
        (5, (2, 8), 1, 5),
        (5, (2, 8), 2, 2),
        (0, (2, 8), 1, 2),
        (16, (3, 3), 1, 3),
        (1, (3, 3), 1, 3),
    ],
)
def test_a_group_gets_the_free_workers_within_its_range(
    cluster: FakeCluster, free: int, wished: tuple[int, int], threads: int, chosen: int
) -> None:
    cluster.free = {"CPU": float(free)}
    assert size(*wished, threads=threads).choose() == chosen


def test_resources_that_are_being_released_are_waited_for(cluster: FakeCluster, monkeypatch) -> None:
    chooser, begun = size(1, 4), cluster.now

    def free() -> dict[str, float]:
        return {"CPU": 4.0 if cluster.now >= begun + 2 else 1.0}

    monkeypatch.setattr(ray, "available_resources", free)
    assert chooser.choose() == 4
    assert cluster.now - begun < RELEASE_TIMEOUT_S


def test_after_a_group_could_not_start_the_next_is_smaller_and_the_user_gets_a_message(cluster: FakeCluster) -> None:
    cluster.total = {"CPU": 3.0}
    chooser = size(2, 8)
    message = chooser.reduce(8)
    assert "waiting for 2 workers: the cluster has resources for 3 in all" in message
    assert chooser.choose() == 7
    chooser.reduce(2)
    assert chooser.choose() == 2
    assert chooser.choose() == 8, "the failed start counts once"


def test_a_small_group_checks_for_resources_at_intervals_that_double_without_success(cluster: FakeCluster) -> None:
    cluster.free = {"CPU": 1.0}
    chooser, waited = size(1, 4), []
    for _ in range(9):
        assert chooser.choose() == 1
        since = cluster.now
        while not chooser.could_grow(1):
            cluster.now += 1
        waited.append(cluster.now - since)
    first, longest = GROWTH_INTERVAL_S
    assert waited == pytest.approx([min(first * 2**number, longest) for number in range(9)], abs=1.1)
    cluster.free = {"CPU": 4.0}
    assert chooser.choose() == 4
    cluster.now += first
    assert chooser.could_grow(3), "successful growth resets the interval"


def test_a_group_does_not_grow_beyond_its_maximum_or_without_resources(cluster: FakeCluster) -> None:
    chooser = size(1, 4)
    cluster.now += 10 * GROWTH_INTERVAL_S[1]
    assert not chooser.could_grow(4)
    cluster.free = {"CPU": 0.5}
    assert not chooser.could_grow(2)


def test_a_worker_uses_a_gpu_if_there_are_any_and_a_cpu_per_thread_otherwise(cluster: FakeCluster) -> None:
    compute = Compute(threads=3)
    assert worker_resources(compute) == {"CPU": 3.0}
    assert worker_count({"CPU": 16.0}, compute=compute) == available_workers(compute) == 5
    cluster.total = {"CPU": 16.0, "GPU": 2.0}
    assert worker_resources(compute) == {"GPU": 1.0, "CPU": 1.0}
    assert worker_count({"CPU": 16.0}, compute=compute) == 0
    assert available_workers(compute) == 2
    cluster.promised = {"CPU": 64.0, "GPU": 8.0}
    assert available_workers(compute) == 8, "the autoscaler's promise counts"


def test_a_worker_uses_the_resources_of_the_settings_too(cluster: FakeCluster) -> None:
    cluster.total = {"CPU": 16.0, "GPU": 16.0}
    compute = Compute(resources={"accelerator_type:A100": 0.25})
    assert worker_resources(compute) == {"GPU": 1.0, "CPU": 1.0, "accelerator_type:A100": 0.25}
    free = {"CPU": 16.0, "GPU": 16.0, "accelerator_type:A100": 2.0}
    assert worker_count(free, compute=compute) == 8
