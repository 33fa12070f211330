"""Number of evaluations that share a GPU, measured by a short probe.

A small network leaves most of a GPU idle, and several processes use it together. How many of them raise the
throughput depends on the network and on the GPU. The probe measures it with the processes and the shares of a GPU
that the search itself will use.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from emotune.data.batches import batch_count
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.runtime.cluster.resources import cpus_per_gpu, gpu_count
from emotune.runtime.options import TrialsPerGpu
from emotune.training.centring import with_person_means
from emotune.training.loop import evaluate, train_epoch

logger = logging.getLogger(__name__)

COUNTS: tuple[int, ...] = (1, 2, 4, 8)
"""Numbers of evaluations that are measured, in this order."""

MIN_SPEEDUP = 1.1
"""Smallest ratio of joint throughputs (segments/s) for which the larger number is preferred."""

MAX_MEMORY_SHARE = 0.85
"""Largest share of a GPU's memory that the probe may be expected to use; the search has larger configurations."""

PROBE_DURATION_S = 5.0
"""Time for which each number is measured, without the start of its processes."""

PROBE_SEGMENTS = 128
"""Validation segments that each process evaluates first, because evaluation needs most memory."""


@dataclass(frozen=True)
class SharingMeasurement:
    """Throughput and memory of a number of evaluations on one GPU."""

    trials: int
    segments_per_second: float
    """Joint throughput of all evaluations."""
    memory_share: float = 0.0
    """Share of the GPU's memory that was in use."""


def probe(
    measure: Callable[[int], SharingMeasurement | None], *, counts: Sequence[int] = COUNTS
) -> Iterator[SharingMeasurement]:
    """Measure increasing numbers of evaluations until one brings no gain.

    The probe also ends before a number whose memory use is expected to exceed `MAX_MEMORY_SHARE`.

    Args:
        measure: Measures a number of evaluations; returns None if they did not fit.
        counts: Numbers to measure, increasing.
    """
    previous: SharingMeasurement | None = None
    for trials in counts:
        if previous is not None and previous.memory_share * trials / previous.trials > MAX_MEMORY_SHARE:
            return
        measurement = measure(trials)
        if measurement is None:
            return
        yield measurement
        if previous is not None and not is_faster(measurement, previous):
            return
        previous = measurement


def is_faster(larger: SharingMeasurement, smaller: SharingMeasurement) -> bool:
    """Return whether the larger number raises the joint throughput by more than a factor of `MIN_SPEEDUP`."""
    return larger.segments_per_second > MIN_SPEEDUP * smaller.segments_per_second


def choose(measurements: Sequence[SharingMeasurement]) -> int:
    """Return the largest number up to which every step was faster; 1 without measurements."""
    chosen = 1
    for number, measurement in enumerate(measurements):
        if number and not is_faster(measurement, measurements[number - 1]):
            break
        chosen = measurement.trials
    return chosen


def as_lines(measurements: Sequence[SharingMeasurement]) -> list[str]:
    """Return the measurements as a table of plain text."""
    header = f"{'trials per GPU':>14} {'segments/s':>10} {'of one':>7} {'memory':>7}"
    single = measurements[0].segments_per_second if measurements else 1.0
    return [
        header,
        *(
            f"{row.trials:>14} {row.segments_per_second:>10.4g} {row.segments_per_second / single:>7.2f} "
            f"{row.memory_share:>7.0%}"
            for row in measurements
        ),
    ]


def choose_trials_per_gpu(option: TrialsPerGpu, base: Experiment) -> int:
    """Return how many evaluations share a GPU of the cluster; 1 without GPUs.

    Args:
        option: The number given by the user, or ``auto``.
        base: Experiment that the probe trains.
    """
    if not gpu_count(base.compute.device):
        return 1
    if option != "auto":
        return option
    measurements = list(probe(lambda trials: measure_on_gpu(base, trials=trials)))
    chosen = choose(measurements)
    logger.info("%s", "\n".join([f"{chosen} evaluations will share a GPU, as measured:", *as_lines(measurements)]))
    return chosen


def measure_on_gpu(base: Experiment, *, trials: int, seconds: float = PROBE_DURATION_S) -> SharingMeasurement | None:
    """Train the base experiment in several processes that share one GPU of the cluster.

    Args:
        base: Experiment to train.
        trials: Number of processes.
        seconds: Duration of the measurement.

    Returns:
        The measurement, or None if no node has enough CPUs, or the GPU not enough memory.
    """
    if trials > cpus_per_gpu():
        return None
    group = placement_group([{"CPU": trials, "GPU": 1}])
    ray.get(group.ready())
    strategy = PlacementGroupSchedulingStrategy(group)
    actor = ray.remote(num_cpus=1, num_gpus=1 / trials)(ProbeWorker)
    workers: list[Any] = [
        actor.options(scheduling_strategy=strategy).remote(base.model_dump_json()) for _ in range(trials)
    ]
    try:
        ray.get([worker.prepare.remote() for worker in workers])
        speeds = ray.get([worker.train.remote(seconds) for worker in workers])
        shares = ray.get([worker.memory_share.remote() for worker in workers])
    except torch.OutOfMemoryError:
        return None
    finally:
        for worker in workers:
            ray.kill(worker)
        remove_placement_group(group)
    return SharingMeasurement(trials=trials, segments_per_second=sum(speeds), memory_share=max(shares))


class ProbeWorker:
    """One process of a probe.

    Args:
        base: Experiment to train, as JSON.
    """

    def __init__(self, base: str) -> None:
        self.experiment = Experiment.model_validate_json(base)
        torch.set_num_threads(self.experiment.compute.threads)
        store = SegmentStore.open(Path(self.experiment.store))
        training_data = self.experiment.training_data(store)
        self.state = self.experiment.begin_untrained(training_data)
        self.training_data = with_person_means(training_data, self.state.objective, execution=self.state.execution)
        self.plan = self.experiment.training_plan()

    def prepare(self) -> None:
        """Evaluate once and make one step, so that the measurement contains no first-time work."""
        rows = self.training_data.fold.val[:PROBE_SEGMENTS]
        if len(rows):
            evaluate(self.state.objective, self.training_data, rows, prefix="val", execution=self.state.execution)
        train_epoch(self.state, self.training_data, self.plan, pause=lambda: True)

    def train(self, seconds: float) -> float:
        """Train for a number of seconds, and return the throughput in segments per second."""
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
