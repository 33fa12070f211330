"""What is known when a configuration is proposed: all configurations, as rows of numbers, and their results."""

import bisect
import copy
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import Hyperparameter, IntegerHyperparameter, NumericalHyperparameter
from jaxtyping import Float

from emotune.search.records import Evaluation, Value
from emotune.search.space import ends, is_unordered, plain

Row = Float[np.ndarray, " dimension"]
Rows = Float[np.ndarray, "row dimension"]

Key = tuple[tuple[str, Value], ...]


def key_of(values: Mapping[str, Value]) -> Key:
    """Return a hashable key that is equal for equal configurations, and only for these."""
    return tuple(sorted(values.items()))


class History:
    """All configurations decided so far, and the results that a decision may depend on.

    Results are sorted by rung and configuration number, so that a model does not depend on the order in which
    they were received.

    Args:
        space: The search space.
        earlier: Configurations known to be good before the search, the best first.
        admits: Returns whether a configuration may be trained.
    """

    def __init__(
        self,
        space: ConfigurationSpace,
        *,
        earlier: Sequence[dict[str, Value]] = (),
        admits: Callable[[dict[str, Value]], bool] = lambda values: True,
    ) -> None:
        self.earlier = tuple(earlier)
        self.admits = admits
        self.encoding = Encoding(space)
        self._size = space.estimate_size()
        self._configurations: list[dict[str, Value]] = []
        self._keys: set[Key] = set()
        self._vectors = np.empty((0, len(self.encoding.names)))
        self._encoded = 0
        self._results: dict[int, list[tuple[int, float]]] = {}
        self._running: set[tuple[int, int]] = set()
        self.from_prior: set[int] = set()
        """Numbers of the configurations with origin ``default`` or ``prior``."""

    @property
    def configurations(self) -> list[dict[str, Value]]:
        """All configurations, by number."""
        return self._configurations

    @property
    def running(self) -> list[int]:
        """Numbers of the configurations with an evaluation that has no result here yet."""
        return sorted({config_id for config_id, _ in self._running})

    @property
    def in_progress(self) -> list[tuple[int, int]]:
        """Configuration number and rung of each evaluation that has no result here yet, sorted."""
        return sorted(self._running)

    @property
    def promotable(self) -> dict[int, int]:
        """Highest rung of each configuration whose last result is finite, by configuration number."""
        highest: dict[int, tuple[int, float]] = {}
        for rung in self.rungs:
            highest |= {number: (rung, loss) for number, loss in self._results[rung]}
        running = {number for number, _ in self._running}
        return {
            number: rung
            for number, (rung, loss) in sorted(highest.items())
            if math.isfinite(loss) and number not in running
        }

    def may_be_promoted(self, number: int, *, rung: int) -> bool:
        """Return whether a configuration has a finite result at a rung, and no evaluation at the next one."""
        return (
            math.isfinite(self._loss(number, rung=rung))
            and (number, rung + 1) not in self._running
            and math.isnan(self._loss(number, rung=rung + 1))
        )

    def _loss(self, number: int, *, rung: int) -> float:
        """Return the loss of a configuration at a rung, nan without a result."""
        results = self._results.get(rung, [])
        index = bisect.bisect_left(results, (number, -math.inf))
        return results[index][1] if index < len(results) and results[index][0] == number else math.nan

    @property
    def rungs(self) -> list[int]:
        """Rungs that have results, the lowest first."""
        return sorted(self._results)

    def results(self, rung: int) -> list[tuple[int, float]]:
        """Return configuration number and loss of each result of a rung, sorted; failures have the loss infinity."""
        return self._results[rung]

    def excludes(self, values: dict[str, Value]) -> bool:
        """Return whether the configuration may not be trained, or was decided before and not the whole space was."""
        return (len(self._keys) < self._size and key_of(values) in self._keys) or not self.admits(values)

    def with_losses(self, losses: Mapping[int, Mapping[int, float]]) -> "History":
        """Return the history with other losses by rung and configuration; those without one have failed."""
        self.vectors()  # encoded once, for all later copies
        changed = copy.copy(self)
        changed._results = {
            rung: [(number, losses.get(rung, {}).get(number, math.inf)) for number, _ in results]
            for rung, results in self._results.items()
        }
        return changed

    def vectors(self) -> Rows:
        """Return all configurations as rows, by number; inactive values are NaN."""
        count = len(self._configurations)
        if count > len(self._vectors):
            grown = np.empty((max(2 * len(self._vectors), count, 64), len(self.encoding.names)))
            grown[: self._encoded] = self._vectors[: self._encoded]
            self._vectors = grown
        for row in range(self._encoded, count):
            self._vectors[row] = self.encoding.encode(self._configurations[row])
        self._encoded = count
        return self._vectors[:count]

    def started(self, evaluation: Evaluation) -> None:
        """Record the decision for an evaluation."""
        self._running.add((evaluation.config_id, evaluation.rung))
        if evaluation.config_id == len(self._configurations):
            self._configurations.append(evaluation.values)
            if evaluation.origin in {"default", "prior"}:
                self.from_prior.add(evaluation.config_id)
            self._keys.add(key_of(evaluation.values))

    def withdraw(self, evaluation: Evaluation) -> None:
        """Remove a failure: the evaluation runs again."""
        results = self._results[evaluation.rung]
        results.remove((evaluation.config_id, math.inf))
        if not results:
            del self._results[evaluation.rung]
        self._running.add((evaluation.config_id, evaluation.rung))

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Record a result; a failure has the loss infinity."""
        self._running.discard((evaluation.config_id, evaluation.rung))
        bisect.insort(self._results.setdefault(evaluation.rung, []), (evaluation.config_id, loss))


class Encoding:
    """A bijection between configurations and rows of numbers. Inactive values are NaN."""

    def __init__(self, space: ConfigurationSpace) -> None:
        self.names = list(space)
        self.choices = np.array([len(ends(space[name])) if is_unordered(space[name]) else 0 for name in space])
        """Number of choices of each dimension; 0 for numbers and ordered values."""
        self._codes = [_code(space[name]) for name in space]

    def encode(self, values: Mapping[str, Value]) -> Row:
        """Return a configuration's row."""
        pairs = zip(self.names, self._codes, strict=True)
        return np.array([code.encode(values[name]) if name in values else math.nan for name, code in pairs])

    def value(self, column: int, *, position: float) -> Value:
        """Return the value of a dimension at a position of its column."""
        return self._codes[column].decode(position)

    def decode(self, row: Row) -> dict[str, Value]:
        """Return the configuration of a row, all of whose dimensions must be active."""
        triples = zip(self.names, self._codes, row.tolist(), strict=True)
        return {name: code.decode(position) for name, code, position in triples}


class RangeCode:
    """A range of numbers mapped to [0, 1], by their logarithm if the range is logarithmic.

    The integers ``lower .. upper`` divide [0, 1] into bins, and each is mapped to the middle of its bin.
    """

    def __init__(self, hyperparameter: NumericalHyperparameter) -> None:
        margin = 0.5 if isinstance(hyperparameter, IntegerHyperparameter) else 0.0
        self._is_integer = margin > 0
        self._log = bool(hyperparameter.log)
        self._ends = (plain(hyperparameter.lower), plain(hyperparameter.upper))
        self._low = self._scaled(self._ends[0] - margin)
        self._width = self._scaled(self._ends[1] + margin) - self._low

    def encode(self, value: Value) -> float:
        """Return the position of a value on [0, 1]."""
        return (self._scaled(float(value)) - self._low) / self._width

    def decode(self, position: float) -> Value:
        """Return the value at a position on [0, 1]."""
        scaled = self._low + position * self._width
        value = math.exp(scaled) if self._log else scaled
        bounded = min(max(value, self._ends[0]), self._ends[1])
        return min(max(round(value), self._ends[0]), self._ends[1]) if self._is_integer else bounded

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else value


class LevelCode:
    """A list of values: ordered ones mapped to the middle of their bin of [0, 1], others to their index."""

    def __init__(self, values: list[Value], *, ordered: bool) -> None:
        self._values = values
        self._ordered = ordered

    def encode(self, value: Value) -> float:
        """Return the index of a value, or its position on [0, 1]."""
        index = self._values.index(value)
        return (index + 0.5) / len(self._values) if self._ordered else float(index)

    def decode(self, position: float) -> Value:
        """Return the value at an index, or at a position on [0, 1]."""
        index = int(position * len(self._values)) if self._ordered else int(position)
        return self._values[min(index, len(self._values) - 1)]


def _code(hyperparameter: Hyperparameter) -> RangeCode | LevelCode:
    if isinstance(hyperparameter, NumericalHyperparameter):
        return RangeCode(hyperparameter)
    return LevelCode(ends(hyperparameter), ordered=not is_unordered(hyperparameter))
