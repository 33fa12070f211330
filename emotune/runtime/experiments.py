"""The workload of a search of experiments: segment stores, encoders, groups of workers, shared GPUs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ray import tune

from emotune.experiment import Experiment
from emotune.runtime.cluster.capacity import Capacity
from emotune.runtime.cluster.connect import connect_for_groups
from emotune.runtime.cluster.gpu_sharing import choose_trials_per_gpu
from emotune.runtime.cluster.resources import (
    available_resources,
    available_workers,
    check_available,
    count_slots,
    gpu_count,
)
from emotune.runtime.group import GroupTrainable
from emotune.runtime.options import RunOptions, TrialsPerGpu
from emotune.runtime.worker import EvaluationTrainable, Job
from emotune.runtime.workload import JobMaker, Workload
from emotune.search.records import Evaluation
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import Encoders, copy_encoders
from emotune.study.study import Study


@dataclass(frozen=True)
class ExperimentWorkload(Workload):
    """The evaluations of a study of experiments."""

    study: Study
    """The resolved study."""
    encoders: Encoders = field(default_factory=lambda: MappingProxyType({}))
    """Checkpoints of the pre-trained encoders, if the study starts from any."""

    @property
    def stores(self) -> dict[str, str]:
        """Fingerprints by path of the segment stores that every machine must be able to read."""
        base = self.study.base
        stores = ((base.store, base.fingerprint), (base.partner, base.partner_fingerprint))
        return {path: fingerprint for path, fingerprint in stores if path and fingerprint}

    def connect(self, options: RunOptions) -> Callable[[], Capacity]:
        """Connect to the cluster, and return a function that returns its present capacity."""
        return connect_for_search(
            self.study.base,
            trials=options.concurrency,
            workers=options.workers,
            trials_per_gpu=options.trials_per_gpu,
        )

    def job_maker(self, folder: SearchFolder, options: RunOptions) -> JobMaker:
        """Copy the encoders into the search's folder, and return the function that makes its jobs."""
        copies = copy_encoders(self.encoders, folder)

        def make(evaluation: Evaluation, common: Mapping[str, Any]) -> Job:
            experiment = self.study.base.with_values(evaluation.values)
            start = experiment.start
            return Job(
                **common,
                experiment=experiment,
                encoder=None if start is None else copies.get(start.which(experiment.folds)),
                measure_test=options.measure_test,
                workers=options.workers,
            )

        return make

    def trainable(self, options: RunOptions) -> type[tune.Trainable]:
        """Return the Tune class that trains a job: with one worker, or with a group."""
        return EvaluationTrainable if options.workers is None else GroupTrainable


def connect_for_search(
    base: Experiment, *, trials: int | None, workers: tuple[int, int] | None, trials_per_gpu: TrialsPerGpu
) -> Callable[[], Capacity]:
    """Connect to the cluster.

    Args:
        base: Experiment that all evaluations share.
        trials: Evaluations at a time, if that number is fixed.
        workers: Fewest and most workers of an evaluation; None: one worker, without a group.
        trials_per_gpu: Evaluations that share a GPU.

    Returns:
        A function that returns the present capacity, at the maximum that the cluster's autoscaler may reach.
    """
    compute = base.compute
    connect_for_groups(workers, compute=compute, trials=trials)
    if workers is not None:
        most = workers[1]
        return lambda: Capacity(max(1, available_workers(compute) // most), {})
    if compute.resources:
        check_available(compute.resources)
    sharing = choose_trials_per_gpu(trials_per_gpu, base)
    return lambda: find_capacity(base, trials_per_gpu=sharing)


def find_capacity(base: Experiment, *, trials_per_gpu: int) -> Capacity:
    """Return the capacity for evaluations with one worker: CPUs for its threads, or a CPU and a share of a GPU.

    Both with `Compute.resources`.
    """
    compute = base.compute
    machine = {"CPU": 1.0, "GPU": 1 / trials_per_gpu} if gpu_count(compute.device) else {"CPU": float(compute.threads)}
    needed = machine | compute.resources
    return Capacity(max(1, count_slots(needed, available=available_resources())), needed)
