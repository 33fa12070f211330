"""Removal of checkpoints that no later evaluation needs.

A configuration keeps its checkpoints while it may be promoted, also after an extension by one bracket, while it is
among the best K, and while its failure may be run again. If a removed checkpoint is needed after all, because a search
is extended further, the worker trains the configuration again from epoch 0, with the same result.
"""

import logging
import time
from collections.abc import Collection, Sequence

from emotune.errors import StorageError, StorageRefusedError
from emotune.runtime.coordinator import Coordinator
from emotune.search.ranking import Result, rank
from emotune.search.records import Evaluation, Record, Removed, Started
from emotune.storage.generations import MANIFEST
from emotune.study.folder import SearchFolder
from emotune.study.results import failures_to_retry

logger = logging.getLogger(__name__)

REMOVAL_INTERVAL_S = 10.0
"""Least time between two removals, which may be requests to a server."""


class Retention:
    """Removes the checkpoints of a search that are not needed any more.

    Args:
        folder: The search's folder.
        keep: Number of the best configurations that keep their checkpoints; None: all do.
    """

    def __init__(self, folder: SearchFolder, *, keep: int | None) -> None:
        self._folder = folder
        self._keep = keep
        self._removed_at = float("-inf")
        self._gone: set[int] = set()
        self._read = 0

    def remove_when_due(self, coordinator: Coordinator) -> None:
        """Remove checkpoints, unless the last removal was less than `REMOVAL_INTERVAL_S` ago."""
        if time.monotonic() - self._removed_at >= REMOVAL_INTERVAL_S:
            self.remove(coordinator)

    def remove(self, coordinator: Coordinator) -> None:
        """Remove the checkpoints of configurations that are out of the race, and record how much room they took.

        If the storage cannot be reached, the next call tries again.
        """
        if self._keep is None:
            return
        self._removed_at = time.monotonic()
        self._update_gone(coordinator.records)
        needed = self._needed(coordinator)
        numbers = sorted(coordinator.optimizer.out_of_race() - needed - self._gone)
        removed, size = [], 0
        for number in numbers:
            try:
                room = self._clear(number)
            except (StorageError, StorageRefusedError, OSError) as error:  # StorageAwayError is an OSError
                logger.warning("the checkpoints of configuration %d were not removed: %s", number, error)
                break
            removed += [number] if room else []
            size += room
            self._gone.add(number)
        if removed:
            coordinator.record_removed(removed, size=size)

    def _update_gone(self, records: Sequence[Record]) -> None:
        """Process the records since the last call: a configuration that runs again has checkpoints again."""
        for record in records[self._read :]:
            if isinstance(record, Removed):
                self._gone.update(record.configurations)
            elif isinstance(record, Started):
                self._gone.discard(record.evaluation.config_id)
        self._read = len(records)

    def _needed(self, coordinator: Coordinator) -> set[int]:
        """Return the configurations that keep their checkpoints although they are out of the race."""
        started = {evaluation.id: evaluation.config_id for evaluation, _ in coordinator.optimizer.results()}
        failed = {started[number] for number in failures_to_retry(coordinator.records) if number in started}
        return failed | best_configurations(coordinator.optimizer.results(), count=self._keep or 0)

    def _clear(self, number: int) -> int:
        """Remove the checkpoints of a configuration, each with its manifest first; return their bytes."""
        root = self._folder.checkpoints(number)
        size = root.size()
        if size:
            for name in root.folders():
                (root / name).clear(last=MANIFEST)
            root.clear(last=MANIFEST)
        return size


def best_configurations(results: Collection[tuple[Evaluation, float | None]], *, count: int) -> set[int]:
    """Return the numbers of the best configurations, in the order of `emotune.search.ranking.rank`.

    Args:
        results: Evaluations with their losses; None for a failure.
        count: How many configurations.
    """
    finite = [Result(evaluation, loss) for evaluation, loss in results if loss is not None]
    ordered = dict.fromkeys(result.evaluation.config_id for result in sorted(finite, key=rank))
    return set(list(ordered)[:count])
