"""How many evaluations run at a time: as many as were asked for, or as the cluster has room for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from emotune.experiment import Experiment
from emotune.runtime.cluster.gpu_sharing import Seats, TrialsPerGpu, find_seats, settle_trials
from emotune.runtime.cluster.group_size import obtainable
from emotune.runtime.tuner import connect_for
from emotune.search.records import Record
from emotune.study.results import opened, present_concurrency


@dataclass(frozen=True)
class Seating:
    """How many evaluations run at a time."""

    number: int
    takes: Mapping[str, float]
    """What one takes of the cluster's resources; empty for a group's trial."""
    elastic: bool
    """Whether the search decides for as many as there are now, rather than for as many as at its start."""
    places: Callable[[], int] | None
    """Tells for how many there is room, if their number follows the cluster."""


def connect_places(
    base: Experiment, *, trials: int | None, workers: tuple[int, int] | None, trials_per_gpu: TrialsPerGpu
) -> Callable[[], Seats]:
    """Connect to the cluster.

    Args:
        base: What all evaluations share.
        trials: Evaluations at a time, if that is fixed.
        workers: Fewest and most workers that share an evaluation; None: one, without a group.
        trials_per_gpu: Evaluations that share a GPU.

    Returns:
        What tells what the cluster offers, or would if it grew as it may.
    """
    threads = base.compute.threads
    connect_for(workers, threads=threads, trials=trials)
    if workers is not None:
        most = workers[1]
        return lambda: Seats(max(1, obtainable(threads) // most), {})
    number = settle_trials(trials_per_gpu, base)
    return lambda: find_seats(base, trials=number)


def choose_seating(records: Sequence[Record], concurrency: int | None, *, places: Callable[[], Seats]) -> Seating:
    """Choose how many evaluations run at a time.

    Args:
        records: The journal.
        concurrency: The number asked for by who starts or goes on with the search, if any.
        places: What the cluster offers.
    """
    there, elastic = places(), opened(records).elastic
    if concurrency is None and elastic:
        return Seating(there.number, there.takes, elastic=True, places=lambda: places().number)
    return Seating(concurrency or present_concurrency(records), there.takes, elastic=elastic, places=None)
