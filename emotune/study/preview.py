"""The preview of a search: its evaluations by rung."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from emotune.search.optimizer import Optimizer
from emotune.search.records import Evaluation, Record
from emotune.study.definition import SearchDefinition
from emotune.study.results import evaluation_results


@dataclass(frozen=True)
class Rung:
    """Evaluations of one bracket that end at the same budget."""

    bracket: int
    epochs: int
    evaluations: int
    trained_epochs: int
    """Epochs that are trained for it, summed over its evaluations."""


def preview(study: SearchDefinition) -> list[Evaluation]:
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


def trained_epochs(evaluations: Sequence[Evaluation]) -> int:
    """Return the number of epochs that evaluations train."""
    return sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in evaluations)


def cost_of_epochs(evaluations: Sequence[Evaluation], *, cost: Callable[[dict[str, Any]], float]) -> float:
    """Return the cost of evaluations: their epochs, each times the cost of an epoch of its configuration."""
    return sum(
        ((evaluation.to_epoch - evaluation.from_epoch) * cost(evaluation.values) for evaluation in evaluations),
        start=0.0,
    )


def recorded_speed(records: Sequence[Record], *, cost: Callable[[dict[str, Any]], float]) -> float | None:
    """Return the seconds that a search took per unit of cost; None if no evaluation has a result."""
    done = [result for result in evaluation_results(records) if result.status == "done"]
    spent = sum((result.seconds or 0.0 for result in done), start=0.0)
    total = cost_of_epochs([result.evaluation for result in done], cost=cost)
    return spent / total if spent and total else None


def count_rungs(evaluations: Sequence[Evaluation]) -> list[Rung]:
    """Count evaluations and epochs by bracket and rung."""
    groups: dict[tuple[int, int], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.bracket, evaluation.to_epoch), []).append(evaluation)
    return [
        Rung(bracket, epochs, len(group), trained_epochs(group)) for (bracket, epochs), group in sorted(groups.items())
    ]
