"""Configurations as points of the unit cube, for models."""

import math
from collections.abc import Mapping

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter, NumericalHyperparameter
from jaxtyping import Float

from emotune.search.records import Value
from emotune.search.space import ends, is_unordered, plain

Row = Float[np.ndarray, " dimension"]
Rows = Float[np.ndarray, "row dimension"]


class Stretch:
    """A range of numbers on [0, 1]: logarithmic if it is so, whole numbers at the middle of their bin."""

    def __init__(self, hyperparameter: NumericalHyperparameter) -> None:
        margin = 0.5 if isinstance(hyperparameter, IntegerHyperparameter) else 0.0
        self._whole = margin > 0
        self._log = bool(hyperparameter.log)
        self._ends = (plain(hyperparameter.lower), plain(hyperparameter.upper))
        self._low = self._scaled(self._ends[0] - margin)
        self._width = self._scaled(self._ends[1] + margin) - self._low

    def encode(self, value: Value) -> float:
        """Return where a value is on [0, 1]."""
        return (self._scaled(float(value)) - self._low) / self._width

    def decode(self, place: float) -> Value:
        """Return the value at a place on [0, 1]."""
        scaled = self._low + place * self._width
        value = math.exp(scaled) if self._log else scaled
        bounded = min(max(value, self._ends[0]), self._ends[1])
        return min(max(round(value), self._ends[0]), self._ends[1]) if self._whole else bounded

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else value


class Levels:
    """Values in a list: ordered ones at the middle of their bin of [0, 1], others by index."""

    def __init__(self, values: list[Value], *, ordered: bool) -> None:
        self._values = values
        self._ordered = ordered

    def encode(self, value: Value) -> float:
        """Return the index of a value, or where it is on [0, 1]."""
        index = self._values.index(value)
        return (index + 0.5) / len(self._values) if self._ordered else float(index)

    def decode(self, place: float) -> Value:
        """Return the value at an index, or at a place on [0, 1]."""
        index = int(place * len(self._values)) if self._ordered else int(place)
        return self._values[min(index, len(self._values) - 1)]


class Encoding:
    """The way from configurations to rows of numbers and back. Inactive values are NaN."""

    def __init__(self, space: ConfigurationSpace) -> None:
        self.names = list(space)
        self.choices = np.array([len(ends(space[name])) if is_unordered(space[name]) else 0 for name in space])
        """Number of choices of each dimension; 0 for numbers and ordered values."""
        self._codes = [_code(space[name]) for name in space]

    def encode(self, values: Mapping[str, Value]) -> Row:
        """Return a configuration's row."""
        pairs = zip(self.names, self._codes, strict=True)
        return np.array([code.encode(values[name]) if name in values else math.nan for name, code in pairs])

    def decode(self, row: Row) -> dict[str, Value]:
        """Return the configuration of a row, all of whose dimensions must be active."""
        triples = zip(self.names, self._codes, row.tolist(), strict=True)
        return {name: code.decode(place) for name, code, place in triples}


def _code(hyperparameter: Hyperparameter) -> Stretch | Levels:
    if isinstance(hyperparameter, NumericalHyperparameter):
        return Stretch(hyperparameter)
    return Levels(ends(hyperparameter), ordered=not is_unordered(hyperparameter))
