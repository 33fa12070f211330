"""The preview of a search: its evaluations by rung, and an estimate of their hours."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.search.optimizer import Optimizer
from emotune.search.records import Evaluation
from emotune.study.study import Study
from emotune.training.checkpoints import GENERATIONS
from emotune.training.loop import TrainingPlan, evaluate, train_epoch

PROBE_SEGMENTS = 96
"""Training segments, and validation segments, of the epoch whose time is measured."""


NUMBERS_PER_PARAMETER = 3
"""Numbers of 4 bytes in a checkpoint per parameter: the weight, and two moments of the optimiser."""


@dataclass(frozen=True)
class Rung:
    """Evaluations of one bracket that end at the same budget."""

    bracket: int
    epochs: int
    evaluations: int
    trained_epochs: int
    """Epochs that are trained for it, summed over its evaluations."""


def preview(study: Study) -> list[Evaluation]:
    """Return the evaluations of a search with made-up losses and random configurations.

    In a synchronous search their number on each rung is that of the real search. In an asynchronous search it depends
    on the results; without a limit of evaluations, the sum of epochs is that of the real search.
    """
    settings = study.search_settings()
    kind: str = settings.kind
    options: dict[str, Any] = {"schedule": settings.schedule}
    if settings.model_class is not None and not settings.uses_prior:
        kind, options = {"sync": "hyperband", "async": "asha"}[settings.schedule], {}  # no model has to be fitted
    optimizer = Optimizer(
        study.configuration_space(),
        study.budget.min,
        study.budget.max,
        study.budget.eta,
        seed=study.seed,
        kind=kind,
        random_fraction=1.0,
        evaluations=study.budget.evaluations,
        brackets=study.budget.bracket_limit,
        **options,
    )
    evaluations = []
    while (evaluation := optimizer.ask()) is not None:
        evaluations.append(evaluation)
        optimizer.tell(evaluation.id, float(evaluation.config_id))
    return evaluations


def count_rungs(evaluations: Sequence[Evaluation]) -> list[Rung]:
    """Count evaluations and epochs by bracket and rung."""
    groups: dict[tuple[int, int], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.bracket, evaluation.to_epoch), []).append(evaluation)
    return [
        Rung(bracket, epochs, len(group), sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in group))
        for (bracket, epochs), group in sorted(groups.items())
    ]


def probe_seconds(study: Study, *, store: SegmentStore) -> float:
    """Return the seconds of an epoch of the base experiment on this machine, scaled from one on few segments."""
    torch.set_num_threads(study.base.compute.threads)
    training_data = study.base.training_data(store)
    state = study.base.begin_untrained(training_data)
    small = training_data.shortened(PROBE_SEGMENTS)
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
    shares = (
        len(training_data.fold.train) / len(small.fold.train),
        len(training_data.fold.val) / max(1, len(small.fold.val)),
    )
    return trained * shares[0] + measured * shares[1]


def checkpoint_bytes(base: Experiment, *, channels: int) -> int:
    """Return the size of the checkpoints of the base experiment's encoder: weights and optimiser, two generations.

    Args:
        base: The experiment.
        channels: Channels of its signals.
    """
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in base.model.build(channels=channels).parameters())
    return GENERATIONS * NUMBERS_PER_PARAMETER * 4 * parameters


def estimate_hours(
    study: Study, evaluations: Sequence[Evaluation], *, seconds_per_epoch: float, store: SegmentStore
) -> float:
    """Return the estimated hours of one worker: time is proportional to a configuration's floating-point operations."""
    channels, samples = store.signal.shape[1:]

    def flops(values: dict[str, Any]) -> float:
        return study.base.with_values(values).model.flops(channels=channels, samples=samples)

    base = study.base.model.flops(channels=channels, samples=samples)
    epochs = sum(
        (evaluation.to_epoch - evaluation.from_epoch) * flops(evaluation.values) / base for evaluation in evaluations
    )
    return epochs * seconds_per_epoch / 3600
