"""Estimates of a search: the time of an epoch on this machine, the cost of its configurations, and the disk."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.storage.generations import GENERATIONS
from emotune.study.preview import preview, trained_epochs
from emotune.study.study import Study
from emotune.tasks.centring import segments_of_people
from emotune.training.centring import with_person_means
from emotune.training.loop import TrainingPlan, evaluate, train_epoch

PROBE_SEGMENTS = 96
"""Training segments, and validation segments, of the epoch whose time is measured."""

NUMBERS_PER_PARAMETER = 3
"""Numbers of 4 bytes in a checkpoint per parameter: the weight, and two moments of the optimiser."""


def probe_seconds(study: Study, *, store: SegmentStore) -> float:
    """Return the seconds of an epoch of the base experiment on this machine, scaled from one on few segments.

    Each evaluation computes the means of people once if the task subtracts them. An epoch has its share of that time.
    """
    torch.set_num_threads(study.base.compute.threads)
    training_data = study.base.training_data(store)
    state = study.base.begin_untrained(training_data)
    short = training_data.shortened(PROBE_SEGMENTS)
    measured_rows = np.concatenate([short.fold.train, short.fold.val])
    started = time.monotonic()
    small = with_person_means(short, state.objective, rows=measured_rows, execution=state.execution)
    centred = time.monotonic() - started
    plan = TrainingPlan(
        optim=study.base.optim, epochs=study.base.epochs, batch_size=min(study.base.batch_size, 32), seed=0
    )
    train_epoch(state, small.shortened(8), plan)
    started = time.monotonic()
    train_epoch(state, small.without_validation(), plan)
    trained = time.monotonic() - started
    started = time.monotonic()
    evaluate(state.objective, small, small.fold.val, prefix="val", execution=state.execution)
    measured = time.monotonic() - started
    probed = 0 if training_data.probe is None else len(training_data.probe.rows)
    shares = (
        len(training_data.fold.train) / len(small.fold.train),
        (len(training_data.fold.val) + probed) / max(1, len(small.fold.val)),
    )
    seconds = trained * shares[0] + measured * shares[1]
    if small.person_means is None:
        return seconds
    number, evaluations = small.person_means.number, preview(study)
    own, measured_own = (segments_of_people(number, rows=rows) for rows in (training_data.fold.rows, measured_rows))
    return seconds + centred * len(own) / len(measured_own) * len(evaluations) / trained_epochs(evaluations)


def checkpoint_bytes(base: Experiment, *, channels: int) -> int:
    """Return the size of the checkpoints of the base experiment's encoder: weights and optimiser, two generations.

    Args:
        base: The experiment.
        channels: Channels of its signals.
    """
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in base.model.build(channels=channels).parameters())
    return GENERATIONS * NUMBERS_PER_PARAMETER * 4 * parameters


def relative_cost(study: Study, *, store: SegmentStore) -> Callable[[dict[str, Any]], float]:
    """Return a function of a configuration: its floating-point operations over those of the base experiment.

    An estimate takes the duration of an epoch as proportional to it.
    """
    channels, samples = store.signal.shape[1:]
    base = study.base.model.flops(channels=channels, samples=samples)

    def cost(values: dict[str, Any]) -> float:
        return study.base.with_values(values).model.flops(channels=channels, samples=samples) / base

    return cost


def has_same_data(study: Study, recorded: Study, *, store: SegmentStore) -> bool:
    """Return whether a recorded study trains the same kind of network for the same task on the same segments."""
    before, now = recorded.base, study.base
    kinds = [(base.folds, base.task.kind, base.model.kind) for base in (before, now)]
    return before.fingerprint == store.fingerprint and kinds[0] == kinds[1]
