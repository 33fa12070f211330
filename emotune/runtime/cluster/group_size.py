"""Number of workers of a group: between the fewest and the most that a job allows, as the cluster has resources."""

import time

import ray

from emotune.runtime.cluster.resources import worker_count
from emotune.runtime.worker import Job

GROWTH_INTERVAL_S = (60.0, 3600.0)
"""Shortest and longest interval at which a group that is smaller than its maximum checks for free resources.

The interval doubles after each restart that did not give more workers."""

RELEASE_TIMEOUT_S = 5.0
"""Longest time for the cluster to release the resources of a group that has ended."""

POLL_INTERVAL_S = 0.2
"""Interval at which the free resources are read until they are released."""


class GroupSize:
    """Chooses the number of workers for the successive groups of a trial.

    Args:
        job: With the fewest and the most workers, and the resources of a worker.
    """

    def __init__(self, job: Job) -> None:
        assert job.workers is not None
        self._fewest, self._most = job.workers
        self._compute = job.experiment.compute
        self._limit = self._most
        self._size_before_growth = 0
        self._interval = GROWTH_INTERVAL_S[0]
        self._checked_at = time.monotonic()

    def choose(self) -> int:
        """Return the number of workers of the next group; the fewest if there are resources for less."""
        deadline = time.monotonic() + RELEASE_TIMEOUT_S
        while (free := self._free_workers()) < self._limit > self._fewest and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_S)
        size = max(self._fewest, min(self._limit, free))
        self._limit = self._most
        self._checked_at = time.monotonic()
        if size > self._size_before_growth:
            self._interval = GROWTH_INTERVAL_S[0]
        return size

    def _free_workers(self) -> int:
        return worker_count(ray.available_resources(), compute=self._compute)

    def could_grow(self, size: int) -> bool:
        """Return whether to restart a group of a size, because resources for another worker are free."""
        if size >= self._most or time.monotonic() - self._checked_at < self._interval:
            return False
        self._checked_at = time.monotonic()
        if self._free_workers() < 1:
            return False
        self._size_before_growth, self._interval = size, min(2 * self._interval, GROWTH_INTERVAL_S[1])
        return True

    def reduce(self, size: int) -> str:
        """Make the next group smaller, because one of a size could not start, and return a message for the user."""
        self._limit = max(self._fewest, size - 1)
        total = worker_count(ray.cluster_resources(), compute=self._compute)
        return (
            f"waiting for {self._fewest} workers: the cluster has resources for {total} in all. The run resumes when "
            "enough of them are free; or stop it and give fewer --workers"
        )
