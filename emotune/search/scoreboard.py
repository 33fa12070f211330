"""The scores of a search with several losses or with constraints: positions for schedules, one loss for models."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from emotune.search.pareto import ParetoOrder, Score
from emotune.search.records import Evaluation

Vector = Float[np.ndarray, " result"]


class Scoreboard:
    """The scores of a search: those that were told, and per rung those that decisions have seen."""

    def __init__(self) -> None:
        self.scores: dict[int, Score] = {}
        """Finite scores by evaluation."""
        self._seen: dict[int, dict[int, Score]] = {}
        self._orders: dict[int, ParetoOrder] = {}

    def record(self, evaluation_id: int, *, score: Score) -> float:
        """Keep the score of an evaluation; return its first loss, or infinity if it is a failure."""
        if not score.is_finite:
            return math.inf
        self.scores[evaluation_id] = score
        return score.losses[0]

    def positions_with(self, evaluation: Evaluation) -> dict[int, float]:
        """Add the recorded score of an evaluation to its rung; return the position of each configuration there."""
        rung, number = evaluation.rung, evaluation.config_id
        self._seen.setdefault(rung, {})[number] = self.scores[evaluation.id]
        order = self._orders.setdefault(rung, ParetoOrder())
        order.add(number, self.scores[evaluation.id])
        return {other: float(position) for position, other in enumerate(order.numbers())}

    def scalarised(self, generator: np.random.Generator) -> dict[int, dict[int, float]]:
        """Return one loss per rung and configuration, see `scalarise`, with random weights.

        The weights are uniform on the simplex, and the same at all rungs.
        """
        count = next((len(score.losses) for score in self.scores.values()), 1)
        weights = generator.dirichlet(np.ones(count)).tolist()
        return {rung: scalarise(scores, weights=weights) for rung, scores in self._seen.items()}


LOGARITHMIC_FACTOR = 30
"""Losses above 0 whose highest is more than this times the lowest are scaled by their logarithm, such as sizes."""

AUGMENTATION = 0.05
"""Factor rho of the sum in the augmented Tchebycheff function, as in ParEGO."""


def scalarise(scores: Mapping[int, Score], *, weights: Sequence[float]) -> dict[int, float]:
    """Return the augmented Tchebycheff function of each score, ``max_j w_j u_j + rho * sum_j w_j u_j``.

    ``u_j`` is loss j, from 0 to 1 over the results that meet the constraints. A single loss stays as it is.
    The loss of a result that violates the constraints is above those of all others, and grows with the logarithm of
    the violation.

    Args:
        scores: Scores of one rung, by configuration.
        weights: Non-negative weights of the losses.

    Source:
        Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 2006, equation 2.
    """
    feasible = {number: score.losses for number, score in scores.items() if not score.violation > 0}
    losses = {number: values[0] for number, values in feasible.items()}
    if len(weights) > 1 and feasible:
        columns = np.array(list(feasible.values())).T
        weighted = np.array([weight * _unit(column) for weight, column in zip(weights, columns, strict=True)])
        scalars = weighted.max(axis=0) + AUGMENTATION * weighted.sum(axis=0)
        losses = dict(zip(feasible, scalars.tolist(), strict=True))
    highest = max(losses.values(), default=0.0)
    spread = highest - min(losses.values(), default=0.0) or 1.0
    infeasible = {number: score.violation for number, score in scores.items() if score.violation > 0}
    return losses | {number: highest + spread * math.log1p(violation) for number, violation in infeasible.items()}


def _unit(column: Vector) -> Vector:
    """Return values scaled to [0, 1], by their logarithm if they span a large factor; 0 if all are equal."""
    lowest, highest = column.min(), column.max()
    if lowest > 0 and highest / LOGARITHMIC_FACTOR > lowest:
        return _unit(np.log(column) - np.log(lowest))
    spread = highest / 2 - lowest / 2  # halves: the difference of two floats can be infinite
    return (column / 2 - lowest / 2) / spread if spread > 0 else np.zeros(len(column))
