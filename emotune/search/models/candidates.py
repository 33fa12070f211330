"""Random configurations as encoded rows: uniform in the space, and in the neighbourhood of others."""

from typing import NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace
from jaxtyping import Float, Int

from emotune.search.history import Encoding
from emotune.search.records import Value
from emotune.search.space import active_values

Rows = Float[np.ndarray, "row dimension"]
Centres = Float[np.ndarray, "centre dimension"]
Choices = Int[np.ndarray, " dimension"]
Values = dict[str, Value]


class Neighbourhood(NamedTuple):
    """How configurations are varied."""

    share: float
    """Probability that a dimension is changed."""
    spread: float
    """Standard deviation of the change of a number on [0, 1]."""


WIDE = Neighbourhood(1.0, 0.15)
NEAR = Neighbourhood(0.3, 0.1)
NEARER = Neighbourhood(0.3, 0.03)
REFINED = (Neighbourhood(0.3, 0.05), Neighbourhood(0.3, 0.015))
KEPT_CHOICES = 0.7
"""Probability that a choice is kept if the share is 1."""


def anywhere(count: int, *, choices: Choices, generator: np.random.Generator) -> Rows:
    """Draw rows uniformly, with all dimensions active."""
    positions = generator.random((count, len(choices)))
    return np.where(choices == 0, positions, np.floor(positions * choices))


def nearby(
    centres: Centres, neighbourhood: Neighbourhood, *, count: int, choices: Choices, generator: np.random.Generator
) -> Rows:
    """Draw rows around random centres, with all dimensions active. Each differs from its centre in a dimension."""
    base = centres[generator.integers(len(centres), size=count)]
    uniform = anywhere(count, choices=choices, generator=generator)
    base = np.where(np.isnan(base), uniform, base)
    share = max(neighbourhood.share, 1.5 / max(len(choices), 1))
    changed = generator.random(base.shape) < np.where((choices > 0) & (share >= 1), 1 - KEPT_CHOICES, share)
    if len(choices):
        changed[np.arange(count), generator.integers(len(choices), size=count)] = True
    shifted = np.clip(base + neighbourhood.spread * generator.standard_normal(base.shape), 0, 1)
    return np.where(changed, np.where(choices == 0, shifted, uniform), base)


def as_values(rows: Rows, *, space: ConfigurationSpace, encoding: Encoding) -> list[Values]:
    """Return the configurations of rows, inactive values left out; some may be forbidden."""
    return [active_values(space, values=encoding.decode(row)) for row in rows]


def as_rows(values: list[Values], *, encoding: Encoding) -> Rows:
    """Return the rows of configurations, NaN where inactive."""
    return np.array([encoding.encode(configuration) for configuration in values]).reshape(
        len(values), len(encoding.names)
    )
