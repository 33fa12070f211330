"""The searcher ``neighbours``: configurations near the best one of the highest rung that has results."""

import math
from collections.abc import Iterator

import numpy as np
from ConfigSpace import Configuration
from ConfigSpace.util import get_one_exchange_neighbourhood

from emotune.search.models.base import Model
from emotune.search.records import Value
from emotune.search.space import values_of

NEIGHBOURS = 16
"""Neighbours that are offered per decision."""


class Neighbours(Model):
    """Changes one hyperparameter of the best configuration at a time."""

    def propose(self, generator: np.random.Generator) -> Iterator[dict[str, Value]] | None:
        """Return neighbours of the best configuration; None while there is no result."""
        results = [result for rung in self._history.rungs for result in self._history.results(rung)]
        if not any(math.isfinite(loss) for _, loss in results):
            return None
        best, _ = min(self._history.results(self._history.rungs[-1]), key=lambda result: (result[1], result[0]))
        incumbent = Configuration(self._space, values=self._history.configurations[best])
        seed = int(generator.integers(2**31))
        neighbours = get_one_exchange_neighbourhood(incumbent, seed=seed, num_neighbors=NEIGHBOURS)
        return (values_of(neighbour) for neighbour in neighbours)
