"""Rows that are configurations: numbers at the middle of their bins, NaN where inactive, computed for many at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter
from ConfigSpace.types import NotSet
from jaxtyping import Bool, Float

from emotune.search.history import Encoding, RangeCode
from emotune.search.space import ends

Rows = Float[np.ndarray, "row dimension"]
Edges = Float[np.ndarray, " edge"]
Middles = Float[np.ndarray, " bin"]

MAX_BINS = 2000
"""Values of an integer up to which it is moved to the middle of its bin; larger ranges count as continuous."""


class Dependence(NamedTuple):
    """A dimension that is active under conditions."""

    column: int
    parents: tuple[int, ...]
    conditions: Sequence[Any]


class Lattice:
    """The configurations of a space among all rows.

    Args:
        space: The search space.
        encoding: The encoding of its configurations.
    """

    def __init__(self, space: ConfigurationSpace, *, encoding: Encoding) -> None:
        columns = {name: column for column, name in enumerate(encoding.names)}
        self._encoding = encoding
        self._bins = {columns[name]: bins for name in space if (bins := _bins(space[name])) is not None}
        self._dependences = [
            _dependence(name, conditions=space.parent_conditions_of[name], columns=columns)
            for name in space  # parents come before their children
            if space.parent_conditions_of[name]
        ]

    def configurations(self, rows: Rows) -> Rows:
        """Return the configurations nearest to rows all of whose dimensions are active; some may be forbidden."""
        rows = rows.copy()
        for column, (edges, middles) in self._bins.items():
            rows[:, column] = middles[np.searchsorted(edges, rows[:, column], side="right")]
        for dependence in self._dependences:
            rows[~self._active(rows, dependence), dependence.column] = np.nan
        return rows

    def _active(self, rows: Rows, dependence: Dependence) -> Bool[np.ndarray, " row"]:
        """Return whether a dimension is active in each row; conditions are checked once for equal parents."""
        parents = np.nan_to_num(rows[:, dependence.parents], nan=-1.0)
        keys, inverse = np.unique(parents, axis=0, return_inverse=True)
        active = np.empty(len(keys), dtype=bool)
        for number, key in enumerate(keys.tolist()):
            values: dict[str, Any] = dict.fromkeys(self._encoding.names, NotSet)
            for column, position in zip(dependence.parents, key, strict=True):
                if position >= 0:
                    values[self._encoding.names[column]] = self._encoding.value(column, position=position)
            active[number] = all(condition.satisfied_by_value(values) for condition in dependence.conditions)
        return active[inverse.ravel()]


def _dependence(name: str, *, conditions: Sequence[Any], columns: Mapping[str, int]) -> Dependence:
    parents = {columns[parent] for condition in conditions for parent in _parents(condition)}
    return Dependence(columns[name], tuple(sorted(parents)), conditions)


def _parents(condition: Any) -> set[str]:
    """Return the names that a condition, or a conjunction of conditions, depends on."""
    if hasattr(condition, "components"):
        return set().union(*(_parents(component) for component in condition.components))
    return {condition.parent.name}


def _bins(hyperparameter: Hyperparameter) -> tuple[Edges, Middles] | None:
    """Return the inner edges and the middles of the bins of [0, 1]; None without an order, or without bins."""
    if isinstance(hyperparameter, OrdinalHyperparameter):
        count = len(hyperparameter.sequence)
        return np.arange(1, count) / count, (np.arange(count) + 0.5) / count
    if not isinstance(hyperparameter, IntegerHyperparameter):
        return None
    low, high = (int(end) for end in ends(hyperparameter))
    if high - low >= MAX_BINS:
        return None
    code = RangeCode(hyperparameter)
    values = range(low, high + 1)
    return np.array([code.encode(value + 0.5) for value in values[:-1]]), np.array([code.encode(v) for v in values])
