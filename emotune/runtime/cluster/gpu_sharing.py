"""Several evaluations on one GPU: how many, from a short probe.

A small network leaves most of a GPU idle, and several processes fill it together. How many are worth
while depends on the network and on the GPU, so it is measured with the processes and the shares of a
GPU that the search itself will have.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from emotune.data.batches import batch_count
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.runtime.cluster.group_size import obtainable_resources
from emotune.training.loop import evaluate, train_epoch

logger = logging.getLogger(__name__)

TrialsPerGpu = int | Literal["auto"]
"""Evaluations that share a GPU; ``auto``: as many as a probe finds worth while."""

COUNTS: tuple[int, ...] = (1, 2, 4, 8)
"""Numbers that are tried."""

GAIN = 1.1
"""A larger number is worth while if all together train so many times as many segments per second."""

MEMORY_LIMIT = 0.85
"""Share of a GPU's memory that a number may be expected to take; the rest is for larger configurations."""

PROBE_SECONDS = 5.0
"""Time for which each number is measured, beside the starts of its processes."""

MEASURED_SEGMENTS = 128
"""Validation segments that each process measures first, as that takes most memory."""


@dataclass(frozen=True)
class Packed:
    """What so many evaluations on one GPU came to."""

    trials: int
    segments_per_second: float
    """Of all together."""
    memory_share: float = 0.0
    """Share of the GPU's memory that was in use."""


def probe(measure: Callable[[int], Packed | None], *, counts: Sequence[int] = COUNTS) -> Iterator[Packed]:
    """Measure larger and larger numbers, as long as that may be worth while.

    It ends with a number that is not worth while, or before one whose memory is not expected to suffice.

    Args:
        measure: Measures a number of evaluations; None if they did not fit.
        counts: Numbers to try, rising.
    """
    before: Packed | None = None
    for trials in counts:
        if before is not None and before.memory_share * trials / before.trials > MEMORY_LIMIT:
            return
        packed = measure(trials)
        if packed is None:
            return
        yield packed
        if before is not None and not is_worth_while(packed, before):
            return
        before = packed


def is_worth_while(more: Packed, fewer: Packed) -> bool:
    """Tell whether more evaluations at a time are so much faster together that it is worth while."""
    return more.segments_per_second > GAIN * fewer.segments_per_second


def choose(measured: Sequence[Packed]) -> int:
    """Return the largest number that is worth while, going up from the smallest; 1 if nothing was measured."""
    chosen = 1
    for number, packed in enumerate(measured):
        if number and not is_worth_while(packed, measured[number - 1]):
            break
        chosen = packed.trials
    return chosen


def as_lines(measured: Sequence[Packed]) -> list[str]:
    """Return what was measured as a table of plain text."""
    head = f"{'trials per GPU':>14} {'segments/s':>10} {'of one':>7} {'memory':>7}"
    one = measured[0].segments_per_second if measured else 1.0
    return [
        head,
        *(
            f"{packed.trials:>14} {packed.segments_per_second:>10.4g} {packed.segments_per_second / one:>7.2f} "
            f"{packed.memory_share:>7.0%}"
            for packed in measured
        ),
    ]


def settle_trials(asked: TrialsPerGpu, base: Experiment) -> int:
    """Return how many evaluations share a GPU of the cluster; 1 where there is none.

    Args:
        asked: What a person asked for.
        base: What is trained in the probe.
    """
    if not gpus_for(base):
        return 1
    if asked != "auto":
        return asked
    measured = list(probe(lambda trials: measure_on_gpu(base, trials=trials)))
    chosen = choose(measured)
    logger.info("%s", "\n".join([f"{chosen} evaluations will share a GPU, as was measured:", *as_lines(measured)]))
    return chosen


@dataclass(frozen=True)
class Seats:
    """What the cluster offers evaluations."""

    number: int
    """How many there is room for at a time."""
    takes: dict[str, float]
    """What one takes of the cluster's resources; empty for a group's trial, whose workers take what they need."""


def gpus_for(base: Experiment) -> int:
    """Return how many GPUs evaluations may use: those of the cluster, and those it may get."""
    return 0 if base.compute.device == "cpu" else int(obtainable_resources().get("GPU", 0))


def find_seats(base: Experiment, *, trials: int) -> Seats:
    """Return what evaluations get, so many to a GPU: a CPU each, and where there are GPUs a share of one."""
    cpus, gpus = int(obtainable_resources().get("CPU", 1)), gpus_for(base)
    if not gpus:
        return Seats(max(1, cpus), {"CPU": 1.0})
    return Seats(max(1, min(cpus, gpus * trials)), {"CPU": 1.0, "GPU": 1 / trials})


def measure_on_gpu(base: Experiment, *, trials: int, seconds: float = PROBE_SECONDS) -> Packed | None:
    """Train the base experiment in several processes that share one GPU of the cluster.

    Args:
        base: What to train.
        trials: Number of processes.
        seconds: For how long to measure.

    Returns:
        What they came to, or None if no node has the CPUs for them, or the GPU not the memory.
    """
    if trials > cpus_per_gpu():
        return None
    group = placement_group([{"CPU": trials, "GPU": 1}])
    ray.get(group.ready())
    place = PlacementGroupSchedulingStrategy(group)
    actor = ray.remote(num_cpus=1, num_gpus=1 / trials)(Prober)
    probers: list[Any] = [
        actor.options(scheduling_strategy=place).remote(base.model_dump_json()) for _ in range(trials)
    ]
    try:
        ray.get([prober.prepare.remote() for prober in probers])
        speeds = ray.get([prober.train.remote(seconds) for prober in probers])
        shares = ray.get([prober.memory_share.remote() for prober in probers])
    except torch.OutOfMemoryError:
        return None
    finally:
        for prober in probers:
            ray.kill(prober)
        remove_placement_group(group)
    return Packed(trials=trials, segments_per_second=sum(speeds), memory_share=max(shares))


def cpus_per_gpu() -> int:
    """Return the most CPUs per GPU that a node has, at least 1."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max([1, *(int(node.get("CPU", 0) // node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1)])


class Prober:
    """One of the processes of a probe.

    Args:
        base: What to train, as JSON.
    """

    def __init__(self, base: str) -> None:
        self.experiment = Experiment.model_validate_json(base)
        torch.set_num_threads(self.experiment.compute.threads)
        store = SegmentStore.open(Path(self.experiment.store))
        self.training_data = self.experiment.training_data(store)
        self.state = self.experiment.begin_untrained(self.training_data)
        self.plan = self.experiment.training_plan()

    def prepare(self) -> None:
        """Measure once and make one step, so that nothing is done for the first time later."""
        measured = self.training_data.fold.val[:MEASURED_SEGMENTS]
        if len(measured):
            evaluate(self.state.objective, self.training_data, measured, prefix="val", execution=self.state.execution)
        train_epoch(self.state, self.training_data, self.plan, pause=lambda: True)

    def train(self, seconds: float) -> float:
        """Train for about so long, and return the segments per second."""
        begun = time.monotonic()
        before = self._steps()
        while time.monotonic() < begun + seconds:
            train_epoch(self.state, self.training_data, self.plan, pause=lambda: time.monotonic() >= begun + seconds)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        rows = len(self.training_data.fold.train)
        per_step = rows / batch_count(rows, self.plan.batch_size)
        return (self._steps() - before) * per_step / (time.monotonic() - begun)

    def memory_share(self) -> float:
        """Return the share of the GPU's memory that is in use by all processes; 0 without a GPU."""
        if not torch.cuda.is_available():
            return 0.0
        free, total = torch.cuda.mem_get_info()
        return 1 - free / total

    def _steps(self) -> int:
        epochs, steps = self.state.position
        return epochs * batch_count(len(self.training_data.fold.train), self.plan.batch_size) + steps
