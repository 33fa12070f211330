"""What a search will do, before it does it: its evaluations, and how long they take."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from emotune.data.store import SegmentStore
from emotune.search.optimizer import Optimizer
from emotune.search.records import Evaluation
from emotune.study.study import Study
from emotune.training.loop import TrainingPlan, evaluate, train_epoch

PROBE_SEGMENTS = 96
"""Training segments of the probe, and validation segments too."""


@dataclass(frozen=True)
class Rung:
    """Evaluations of one bracket that end at the same budget."""

    bracket: int
    epochs: int
    evaluations: int
    trained_epochs: int
    """Epochs that are trained for it, all evaluations together."""


def preview(study: Study) -> list[Evaluation]:
    """Play the search with made-up losses and random configurations.

    In a synchronous search the numbers are those of the real one. In an asynchronous one the results decide how
    many evaluations there are on each rung; without a limit of evaluations, the epochs in total are the real
    ones, to the end of the last evaluation.
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
        Rung(bracket, epochs, len(group), sum(one.to_epoch - one.from_epoch for one in group))
        for (bracket, epochs), group in sorted(groups.items())
    ]


def probe_seconds(study: Study, *, store: SegmentStore) -> float:
    """Measure how long one epoch of the base experiment lasts here, from a short one on few segments."""
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


def estimate_hours(
    study: Study, evaluations: Sequence[Evaluation], *, seconds_per_epoch: float, store: SegmentStore
) -> float:
    """Estimate the hours of one worker, taking a configuration's time to go with its floating-point operations."""
    channels, samples = store.signal.shape[1:]

    def flops(values: dict[str, Any]) -> float:
        return study.base.with_values(values).model.flops(channels=channels, samples=samples)

    base = study.base.model.flops(channels=channels, samples=samples)
    epochs = sum((one.to_epoch - one.from_epoch) * flops(one.values) / base for one in evaluations)
    return epochs * seconds_per_epoch / 3600
