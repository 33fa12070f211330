"""How many workers a group has: as many as are wished for, as there is room for, and as the cluster will give."""

import time
from collections.abc import Mapping

import ray
from ray._private.state import state as cluster_state

from emotune.runtime.worker import Job

GROWTH_SECONDS = (60.0, 3600.0)
"""So long a group with fewer workers than wished works before it is looked for room for more: at first, and at most,
as the time doubles whenever more did not come."""


SETTLING_SECONDS = 5.0
"""So long it may take until the cluster counts as free what a group that has ended had taken."""

LOOK_SECONDS = 0.2
"""So often it is looked for that."""


class Size:
    """Chooses the number of workers of one group after the other.

    Args:
        job: The fewest and the most workers, and what each of them takes.
    """

    def __init__(self, job: Job) -> None:
        assert job.workers is not None
        self._fewest, self._most = job.workers
        self._threads = job.experiment.compute.threads
        self._limit = self._most
        self._grown_from = 0
        self._patience = GROWTH_SECONDS[0]
        self._looked = time.monotonic()

    def choose(self) -> int:
        """Return how many workers the next group shall have; at least the fewest, if they have to wait for room."""
        until = time.monotonic() + SETTLING_SECONDS
        while (there := self._free()) < self._limit > self._fewest and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        size = max(self._fewest, min(self._limit, there))
        self._limit = self._most
        self._looked = time.monotonic()
        if size > self._grown_from:
            self._patience = GROWTH_SECONDS[0]
        return size

    def _free(self) -> int:
        return room(ray.available_resources(), threads=self._threads)

    def could_grow(self, size: int) -> bool:
        """Tell whether to start a working group anew, as there is room for more; less often where that was in vain."""
        if size >= self._most or time.monotonic() - self._looked < self._patience:
            return False
        self._looked = time.monotonic()
        if self._free() < 1:
            return False
        self._grown_from, self._patience = size, min(2 * self._patience, GROWTH_SECONDS[1])
        return True

    def note_no_room(self, size: int) -> str:
        """Take note that there was no room for so many workers after all, and return what people should know."""
        self._limit = max(self._fewest, size - 1)
        there = room(ray.cluster_resources(), threads=self._threads)
        return (
            f"waiting for {self._fewest} workers: the cluster has room for {there} in all. The run goes on when enough "
            "of it is free; or stop it and give fewer --workers"
        )


def obtainable(threads: int) -> int:
    """Return how many workers the cluster has room for, or would have if it grew as its autoscaler may."""
    return room(obtainable_resources(), threads=threads)


def obtainable_resources() -> dict[str, float]:
    """Return the resources of the cluster, or what it would have if it grew as its autoscaler may, by name."""
    promised = cluster_state.get_max_resources_from_cluster_config() or {}
    there = ray.cluster_resources()
    return {name: max(there.get(name, 0.0), promised.get(name, 0.0)) for name in there.keys() | promised.keys()}


def has_gpus() -> bool:
    """Tell whether the cluster has GPUs, or may get some: then every worker of a group gets one."""
    return obtainable_resources().get("GPU", 0) >= 1


def share(threads: int) -> dict[str, float]:
    """Return what a worker of a group takes of the cluster: a GPU where there are any, and a CPU per thread."""
    return {"GPU": 1.0, "CPU": 1.0} if has_gpus() else {"CPU": float(threads)}


def room(resources: Mapping[str, float], *, threads: int) -> int:
    """Return how many workers resources suffice for, as if they were all on one node."""
    return min(int(resources.get(name, 0) // amount) for name, amount in share(threads).items())
