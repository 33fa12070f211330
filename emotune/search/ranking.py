"""The order of results: which configuration is best."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from emotune.search.records import Evaluation


class Result(NamedTuple):
    """An evaluation that ended with a finite objective."""

    evaluation: Evaluation
    objective: float
    """As the study names it, not negated."""


class Rank(NamedTuple):
    """Sort key of a result; the smallest rank is the best."""

    negative_epochs: int
    loss: float
    evaluation_id: int


def rank(result: Result, *, mode: str = "min") -> Rank:
    """Return the sort key of a result.

    Results after more epochs come first, because a loss after few epochs does not compare with a loss after many.
    Among those the lowest loss comes first, where ``loss = objective`` for ``mode="min"`` and ``-objective`` for
    ``mode="max"``. Equal losses are ordered by the id of the evaluation, the lowest first.
    """
    loss = result.objective if mode == "min" else -result.objective
    return Rank(-result.evaluation.to_epoch, loss, result.evaluation.id)


def best(results: Iterable[tuple[Evaluation, float | None]], *, mode: str = "min") -> Result | None:
    """Return the incumbent: the result with the smallest `rank`, or None without a finite objective.

    Args:
        results: Evaluations with their objectives, in any order. None, nan and infinities are failures.
        mode: ``min`` if low objectives are good, ``max`` if high ones are.
    """
    finite = [
        Result(evaluation, objective)
        for evaluation, objective in results
        if objective is not None and math.isfinite(objective)
    ]
    return min(finite, key=lambda result: rank(result, mode=mode), default=None)
