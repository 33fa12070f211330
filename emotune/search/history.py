"""What a sampler may know when it proposes a configuration."""

import bisect
from collections.abc import Mapping, Sequence

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search.encoding import Encoding, Rows
from emotune.search.records import Evaluation, Value

Key = tuple[tuple[str, Value], ...]


def key_of(values: Mapping[str, Value]) -> Key:
    """Return what two configurations have in common exactly if they are equal."""
    return tuple(sorted(values.items()))


class History:
    """All configurations decided so far and the results that may be seen, in an order of their own.

    Results are kept by rung and in the order of the configurations' numbers, so that what is learnt
    from them does not depend on the order in which they came.

    Args:
        space: Where is searched.
        earlier: Configurations known to be good before the search began, the best first.
    """

    def __init__(self, space: ConfigurationSpace, *, earlier: Sequence[dict[str, Value]] = ()) -> None:
        self.earlier = tuple(earlier)
        self.encoding = Encoding(space)
        self._size = space.estimate_size()
        self._configurations: list[dict[str, Value]] = []
        self._keys: set[Key] = set()
        self._vectors = np.empty((0, len(self.encoding.names)))
        self._encoded = 0
        self._results: dict[int, list[tuple[int, float]]] = {}
        self._running: set[tuple[int, int]] = set()
        self.from_prior: set[int] = set()
        """Configurations that were the default, known to be good, or near one of these."""

    @property
    def configurations(self) -> list[dict[str, Value]]:
        """Values of all configurations, by number."""
        return self._configurations

    @property
    def running(self) -> list[int]:
        """Numbers of the configurations with an evaluation whose result may not be seen yet."""
        return sorted({config_id for config_id, _ in self._running})

    @property
    def rungs(self) -> list[int]:
        """The rungs that have results, the lowest first."""
        return sorted(self._results)

    def results(self, rung: int) -> list[tuple[int, float]]:
        """Return configuration and loss of each result of a rung, by number; failures have infinity."""
        return self._results[rung]

    def knows(self, values: Mapping[str, Value]) -> bool:
        """Tell whether a configuration with these values was decided before, unless all of them were."""
        return len(self._keys) < self._size and key_of(values) in self._keys

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
        """Take note that an evaluation was decided."""
        self._running.add((evaluation.config_id, evaluation.rung))
        if evaluation.config_id == len(self._configurations):
            self._configurations.append(evaluation.values)
            if evaluation.origin in {"default", "prior"}:
                self.from_prior.add(evaluation.config_id)
            self._keys.add(key_of(evaluation.values))

    def ended(self, evaluation: Evaluation, *, loss: float) -> None:
        """Take note of a result; a failure has the loss infinity."""
        self._running.discard((evaluation.config_id, evaluation.rung))
        bisect.insort(self._results.setdefault(evaluation.rung, []), (evaluation.config_id, loss))
