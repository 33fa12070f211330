"""Promises of how many workers a group gets, on a cluster whose resources the tests set."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import ray
from ray._private.state import state as cluster_state

from emotune.experiment import Experiment
from emotune.runtime.cluster.group_size import GROWTH_SECONDS, SETTLING_SECONDS, Size, obtainable, room, share
from emotune.runtime.worker import Job
from emotune.storage import LocalStorage


@dataclass
class Made:
    """A cluster as Ray tells of it, and a clock that only sleeping and the test move."""

    total: dict[str, float] = field(default_factory=lambda: {"CPU": 16.0})
    free: dict[str, float] = field(default_factory=lambda: {"CPU": 16.0})
    promised: dict[str, float] | None = None
    now: float = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def cluster() -> Iterator[Made]:
    made = Made()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "available_resources", lambda: made.free)
        patch.setattr(ray, "cluster_resources", lambda: made.total)
        patch.setattr(cluster_state, "get_max_resources_from_cluster_config", lambda: made.promised)
        patch.setattr(time, "monotonic", lambda: made.now)
        patch.setattr(time, "sleep", made.sleep)
        yield made


def size(fewest: int, most: int, *, threads: int = 1) -> Size:
    experiment = Experiment.model_validate({"compute": {"threads": threads}})
    return Size(
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
def test_a_group_gets_what_there_is_within_what_was_wished(
    cluster: Made, free: int, wished: tuple[int, int], threads: int, chosen: int
) -> None:
    cluster.free = {"CPU": float(free)}
    assert size(*wished, threads=threads).choose() == chosen


def test_room_that_is_just_being_given_back_is_waited_for_a_moment(cluster: Made, monkeypatch) -> None:
    chooser, begun = size(1, 4), cluster.now

    def free() -> dict[str, float]:
        return {"CPU": 4.0 if cluster.now >= begun + 2 else 1.0}

    monkeypatch.setattr(ray, "available_resources", free)
    assert chooser.choose() == 4
    assert cluster.now - begun < SETTLING_SECONDS


def test_fewer_are_asked_for_after_there_was_no_room_and_people_are_told(cluster: Made) -> None:
    cluster.total = {"CPU": 3.0}
    chooser = size(2, 8)
    told = chooser.note_no_room(8)
    assert "waiting for 2 workers: the cluster has room for 3 in all" in told
    assert chooser.choose() == 7
    chooser.note_no_room(2)
    assert chooser.choose() == 2
    assert chooser.choose() == 8, "that there was no room counts once"


def test_a_small_group_looks_for_room_again_and_less_often_where_none_came(cluster: Made) -> None:
    cluster.free = {"CPU": 1.0}
    chooser, waited = size(1, 4), []
    for _ in range(9):
        assert chooser.choose() == 1
        since = cluster.now
        while not chooser.could_grow(1):
            cluster.now += 1
        waited.append(cluster.now - since)
    first, longest = GROWTH_SECONDS
    assert waited == pytest.approx([min(first * 2**number, longest) for number in range(9)], abs=1.1)
    cluster.free = {"CPU": 4.0}
    assert chooser.choose() == 4
    cluster.now += first
    assert chooser.could_grow(3), "growth that came resets the patience"


def test_a_group_does_not_grow_beyond_the_wish_or_without_room(cluster: Made) -> None:
    chooser = size(1, 4)
    cluster.now += 10 * GROWTH_SECONDS[1]
    assert not chooser.could_grow(4)
    cluster.free = {"CPU": 0.5}
    assert not chooser.could_grow(2)


def test_a_worker_takes_a_gpu_where_there_are_any_and_its_threads_otherwise(cluster: Made) -> None:
    assert share(3) == {"CPU": 3.0}
    assert room({"CPU": 16.0}, threads=3) == obtainable(3) == 5
    cluster.total = {"CPU": 16.0, "GPU": 2.0}
    assert share(3) == {"GPU": 1.0, "CPU": 1.0}
    assert room({"CPU": 16.0}, threads=3) == 0
    assert obtainable(3) == 2
    cluster.promised = {"CPU": 64.0, "GPU": 8.0}
    assert obtainable(3) == 8, "the autoscaler's promise counts"
