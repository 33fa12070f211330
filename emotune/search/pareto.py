"""The order of results with several losses: non-dominated fronts, and constraints.

A result dominates another one if no loss of it is higher and at least one is lower. Front 0 of a set are the results
that no other dominates, front k those that are dominated only by results of earlier fronts.

Source:
    Fronts and crowding distance: Deb, Pratap, Agarwal and Meyarivan, "A Fast and Elitist Multiobjective Genetic
    Algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 2002; constraints: section VI. Insertion into
    sorted fronts: Li, Deb, Zhang and Zhang, "Efficient Nondomination Level Update Method for Steady-State
    Evolutionary Multiobjective Optimization", IEEE Transactions on Cybernetics 2017.
"""

import bisect
import math
from collections.abc import Mapping
from typing import NamedTuple

Losses = tuple[float, ...]


class Score(NamedTuple):
    """The result of an evaluation with several losses or with constraints."""

    losses: Losses
    """All are minimised."""
    violation: float = 0.0
    """Total violation of the constraints; 0: all are met."""

    @property
    def is_finite(self) -> bool:
        """Whether it is a result, not a failure."""
        return all(map(math.isfinite, (*self.losses, self.violation)))


def dominates(losses: Losses, other: Losses) -> bool:
    """Return whether no loss is higher than its counterpart, and at least one is lower."""
    return losses != other and all(mine <= its for mine, its in zip(losses, other, strict=True))


class ParetoOrder:
    """Results from the best to the worst; a function of the set of results, not of the order in which they came.

    Results that meet the constraints come first, by front. Within a front, the largest crowding distance comes first,
    then the lowest number. The others follow, the least violation first.
    """

    def __init__(self) -> None:
        self._fronts: list[dict[int, Losses]] = []
        self._ordered: list[list[int] | None] = []
        self._infeasible: list[tuple[float, int]] = []

    def add(self, number: int, score: Score) -> None:
        """Add a result; its number is new."""
        if score.violation > 0:
            bisect.insort(self._infeasible, (score.violation, number))
            return
        added, level = {number: score.losses}, self._level(score.losses)
        while added:
            if level == len(self._fronts):
                self._fronts.append({})
                self._ordered.append(None)
            front = self._fronts[level]
            pushed = {
                other: losses
                for other, losses in front.items()
                if any(dominates(new, losses) for new in added.values())
            }
            self._fronts[level] = {other: losses for other, losses in front.items() if other not in pushed} | added
            self._ordered[level] = None
            added, level = pushed, level + 1

    def numbers(self) -> list[int]:
        """Return the numbers of all results, the best first."""
        for level, front in enumerate(self._fronts):
            if self._ordered[level] is None:
                self._ordered[level] = _by_crowding(front)
        feasible = [number for ordered in self._ordered for number in ordered or ()]
        return [*feasible, *(number for _, number in self._infeasible)]

    @property
    def front(self) -> list[int]:
        """Numbers of the results of front 0 that meet the constraints, in ascending order."""
        return sorted(self._fronts[0]) if self._fronts else []

    def _level(self, losses: Losses) -> int:
        """Return the first front none of whose results dominates a result; dominated fronts come before the others."""
        return bisect.bisect_left(
            self._fronts, x=1, key=lambda front: 1 - any(dominates(other, losses) for other in front.values())
        )


def pareto_order(scores: Mapping[int, Score]) -> ParetoOrder:
    """Return the order of results by number."""
    order = ParetoOrder()
    for number, score in scores.items():
        order.add(number, score)
    return order


def _by_crowding(front: Mapping[int, Losses]) -> list[int]:
    """Return the numbers of a front's results, the largest crowding distance first.

    The distance is the sum, over the losses, of the gap between a result's two neighbours as a share of the range.
    That of the lowest and the highest is infinite.
    """
    gaps: dict[int, list[float]] = {number: [] for number in front}
    for column in zip(*front.values(), strict=True):
        values = sorted(zip(column, front, strict=True))
        spread = values[-1][0] / 2 - values[0][0] / 2  # halves: the difference of two floats can be infinite
        for _, number in (values[0], values[-1]):
            gaps[number].append(math.inf)
        for (below, _), (_, number), (above, _) in zip(values, values[1:], values[2:], strict=False):
            gaps[number].append((above / 2 - below / 2) / spread if spread else 0.0)
    # fsum: the order of the losses does not change the last bit
    return sorted(front, key=lambda number: (-math.fsum(gaps[number]), number))
