"""The benchmark problem: a search space with a known answer."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.randomness import derive_seed, stream

EPOCHS = 27
"""Epochs of a full evaluation of every problem."""
LADDER = (1, 3, 9, 27)
"""Epochs at which configurations are compared; each of them gives an observation."""
REFERENCE_DRAWS = 1001
"""Number of random configurations; their median truth has a normalised regret of 1."""

Values = dict[str, Any]
Curve = np.ndarray
"""Loss after each epoch, of shape (27,); nan from the epoch in which the training diverged."""


def unit_cost(values: Values) -> float:
    """Return 1: the epochs of all configurations have the same duration."""
    del values
    return 1.0


@dataclass(frozen=True, eq=False)
class Problem:
    """A minimisation problem with a known answer.

    Attributes:
        name: Its name in tables.
        new_space: Returns the search space; its default configuration has no meaning.
        curve: Losses observed after each epoch, for values and the seed of the noise.
        truth: Noiseless value of a full evaluation; infinite if it diverges.
        best: The lowest known truth.
        cost: Duration of an epoch, relative to that of a typical configuration.
        held_out: Whether the problem must not be used for tuning.
    """

    name: str
    new_space: Callable[[], ConfigurationSpace]
    curve: Callable[[Values, int], Curve]
    truth: Callable[[Values], float]
    best: float
    cost: Callable[[Values], float] = unit_cost
    held_out: bool = False

    @functools.cached_property
    def median(self) -> float:
        """Truth of a median random configuration."""
        return float(np.median([self.truth(values) for values in self.draw(REFERENCE_DRAWS, seed=0)]))

    def draw(self, count: int, *, seed: int) -> list[Values]:
        """Draw random configurations."""
        space = self.new_space()
        space.seed(derive_seed(seed, "draw") % 2**32)
        # single draws, because ConfigSpace returns no list for a count of 1
        return [dict(space.sample_configuration()) for _ in range(count)]

    def regret(self, values: Values) -> float:
        """Return the normalised regret: 0 for the best known configuration, 1 for a median random one, at most 2."""
        share = (self.truth(values) - self.best) / (self.median - self.best)
        return float(np.clip(share, 0.0, 2.0))


def noise(values: Values, *, seed: int, count: int) -> np.ndarray:
    """Draw standard normal numbers that are a function of the values and the seed."""
    names = (part for name in sorted(values) for part in (name, repr(values[name])))
    return stream(seed, *names).standard_normal(count)


def progress() -> np.ndarray:
    """Return log(epoch) / log(27) for each epoch, from 0 to 1."""
    return np.log(np.arange(1, EPOCHS + 1)) / np.log(EPOCHS)
