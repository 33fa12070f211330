"""Where new configurations come from."""

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search import hpbandster_model, rungs_model
from emotune.search.history import History
from emotune.search.records import Origin, Value
from emotune.search.space import values_of

log = logging.getLogger(__name__)

RANDOM_TRIES = 32
"""How often a configuration that was decided before is drawn again; then the space counts as exhausted."""

Values = dict[str, Value]
Propose = Callable[..., Iterator[Values] | None]
"""A model, as a function of ``(space, *, history, generator)``.

It returns legal proposals, the most promising first, or None as long as there are too few results.
"""

MODELS: dict[str, Propose] = {"hpbandster": hpbandster_model.propose, "rungs": rungs_model.propose}
RANDOM_FRACTIONS: dict[str, float] = {"hpbandster": 1 / 3, "rungs": 1 / 5}
"""Share of random configurations where the settings do not say one."""


class Proposal(NamedTuple):
    """A new configuration. ``fell_back``: there was a model, but no legal proposal came from it."""

    values: Values
    origin: Origin
    fell_back: bool = False


def sample(
    space: ConfigurationSpace,
    *,
    history: History,
    model: str,
    random_fraction: float,
    generator: np.random.Generator,
) -> Proposal:
    """Propose the next configuration.

    The first one is the space's default. Then a share is random, and the others come from the model as
    soon as there is one. Configurations that were decided before are avoided as long as that is possible.

    Args:
        space: Where to look; its random state is used up.
        history: All that may be known.
        model: Name of the model, one of `MODELS`, or ``none``.
        random_fraction: Share of random configurations although there is a model.
        generator: Source of all randomness: equal arguments give equal proposals.

    Returns:
        Legal values, and where they truly came from.
    """
    if not history.configurations:
        return Proposal(values_of(space.get_default_configuration()), "default")
    if model not in MODELS or generator.random() < random_fraction:
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    proposals = MODELS[model](space, history=history, generator=generator)
    if proposals is None:
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    legal = 0
    for legal, values in enumerate(proposals, start=1):  # noqa: B007 (counts)
        if not history.knows(values):
            return Proposal(values, "model")
    if legal == 0:
        log.warning("the model %s made no legal proposal; this configuration is random", model)
    return Proposal(_random_values(space, history=history, generator=generator), "random", legal == 0)


def _random_values(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Values:
    """Draw from the space's own distributions, if possible something new."""
    space.seed(int(generator.integers(2**32)))
    values = values_of(space.sample_configuration())
    for _ in range(RANDOM_TRIES):
        if not history.knows(values):
            break
        values = values_of(space.sample_configuration())
    return values
