"""The order of results: which configuration is best."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from emotune.search.pareto import Losses, Score, pareto_order
from emotune.search.records import Evaluation


class Result(NamedTuple):
    """An evaluation that ended with a finite objective."""

    evaluation: Evaluation
    objective: float
    """The (first) objective as the study names it, not negated."""
    score: Score | None = None
    """All losses and the violation of the constraints, if the study has more than one objective or constraints."""


class Rank(NamedTuple):
    """Sort key of a result; the smallest rank is the best."""

    violation: float
    negative_epochs: int
    losses: Losses
    evaluation_id: int


def rank(result: Result, *, mode: str = "min") -> Rank:
    """Return the sort key of a result.

    Results after more epochs come first, because a loss after few epochs does not compare with a loss after many.
    Among those the lowest loss comes first, where ``loss = objective`` for ``mode="min"`` and ``-objective`` for
    ``mode="max"``. Equal losses are ordered by the next objective, if there is one, then by the id of the evaluation,
    the lowest first. Results that violate the constraints come after all others, the least violation first.
    """
    loss = result.objective if mode == "min" else -result.objective
    losses, violation = result.score or Score((loss,))
    return Rank(violation, -result.evaluation.to_epoch, losses, result.evaluation.id)


def front(results: Iterable[Result]) -> list[Result]:
    """Return the Pareto front: the results with a score that no other dominates, the best of the first loss first.

    Of the results that meet the constraints, those after most epochs are compared. Without any, the front is empty.
    """
    feasible = [result for result in results if result.score is not None and not result.score.violation > 0]
    most = max((result.evaluation.to_epoch for result in feasible), default=0)
    compared = {
        result.evaluation.id: (result, result.score)
        for result in feasible
        if result.score is not None and result.evaluation.to_epoch == most
    }
    numbers = pareto_order({number: score for number, (_, score) in compared.items()}).front
    return sorted((compared[number][0] for number in numbers), key=rank)


def ordered(results: Mapping[int, Result], *, mode: str = "min") -> list[int]:
    """Return the keys of results from the best to the worst.

    With one objective it is the order of `rank`. With several, results that meet the constraints and have the same
    epochs are ordered by non-dominated front, see `emotune.search.pareto.ParetoOrder`.
    """
    ranks = {key: rank(result, mode=mode) for key, result in results.items()}
    groups: dict[tuple[float, int], dict[int, Score]] = {}
    for key, (violation, negative_epochs, losses, _) in ranks.items():
        groups.setdefault((violation, negative_epochs), {})[key] = Score(losses)
    if all(len(losses) == 1 for _, _, losses, _ in ranks.values()):
        return sorted(ranks, key=ranks.__getitem__)
    return [key for group in sorted(groups) for key in pareto_order(groups[group]).numbers()]


def best(results: Iterable[tuple[Evaluation, float | None] | Result], *, mode: str = "min") -> Result | None:
    """Return the incumbent: the result with the smallest `rank`, or None without a finite objective.

    Args:
        results: Evaluations with their objectives, in any order, and results. None, nan and infinities are failures.
        mode: ``min`` if low objectives are good, ``max`` if high ones are.
    """
    finite = [
        Result(evaluation, objective, *score)
        for evaluation, objective, *score in results
        if objective is not None and math.isfinite(objective)
    ]
    return min(finite, key=lambda result: rank(result, mode=mode), default=None)
