"""Where new configurations come from."""

import logging
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search.history import History
from emotune.search.models.acquisition import RungsModel
from emotune.search.models.hpbandster import HpBandSterModel
from emotune.search.prior import prior_values
from emotune.search.records import Origin, Value
from emotune.search.settings import SearchSettings
from emotune.search.space import values_of

log = logging.getLogger(__name__)

RANDOM_TRIES = 32
"""How often a configuration that was decided before is drawn again; then the space counts as exhausted."""

Values = dict[str, Value]


@runtime_checkable
class Model(Protocol):
    """What a model does, made of a space and a history for one decision."""

    def __init__(self, space: ConfigurationSpace, *, history: History) -> None: ...

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return legal configurations, the most promising first; None as long as there are too few results."""
        ...


MODELS: dict[str, type[Model]] = {"hpbandster": HpBandSterModel, "rungs": RungsModel}


class Proposal(NamedTuple):
    """A new configuration. ``fell_back``: there was a model, but no legal proposal came from it."""

    values: Values
    origin: Origin
    rung: int = 0
    """Rung it begins on, where that is not the schedule's decision."""
    fell_back: bool = False


def sample(
    space: ConfigurationSpace, *, history: History, settings: SearchSettings, generator: np.random.Generator
) -> Proposal:
    """Propose the next configuration.

    The first one is the space's default, then come those known to be good. Then it is sometimes the turn of
    the user's prior; of the others a share is random, and the rest comes from the model as soon as there is
    one. Configurations that were decided before are avoided as long as that is possible.

    Args:
        space: Where to look; its random state is used up.
        history: All that may be known.
        settings: The model, and the share of random configurations although there is a model.
        generator: Source of all randomness: equal arguments give equal proposals.

    Returns:
        Legal values, where they truly came from, and on which rung they begin.
    """
    given = _given(space, history=history)
    if settings.model not in MODELS:
        return given or Proposal(_random_values(space, history=history, generator=generator), "random")
    model = MODELS[settings.model](space, history=history)
    rung = 0
    if isinstance(model, RungsModel) and settings.chooses_start:
        rung = model.start_rung(ladder=settings.ladder, eta=settings.eta, generator=generator)
    return (given or _proposal(model, space, history=history, settings=settings, generator=generator))._replace(
        rung=rung
    )


def _given(space: ConfigurationSpace, *, history: History) -> Proposal | None:
    """Return the default configuration, then those known to be good, then nothing."""
    number = len(history.configurations)
    if number == 0:
        return Proposal(values_of(space.get_default_configuration()), "default")
    known = history.earlier[number - 1 : number]
    return Proposal(known[0], "prior") if known and not history.knows(known[0]) else None


def _proposal(
    model: Model,
    space: ConfigurationSpace,
    *,
    history: History,
    settings: SearchSettings,
    generator: np.random.Generator,
) -> Proposal:
    if settings.uses_prior:
        values = prior_values(space, history=history, generator=generator)
        if values is not None:
            return Proposal(values, "prior")
    if generator.random() < settings.random_share(len(history.configurations)):
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    proposals = model.propose(generator)
    if proposals is None:
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    legal = 0
    for legal, values in enumerate(proposals, start=1):  # noqa: B007 (counts)
        if not history.knows(values):
            return Proposal(values, "model")
    if legal == 0:
        log.warning("the model %s made no legal proposal; this configuration is random", settings.model)
    values = _random_values(space, history=history, generator=generator)
    return Proposal(values, "random", fell_back=legal == 0)


def _random_values(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Values:
    """Draw from the space's own distributions, if possible something new."""
    space.seed(int(generator.integers(2**32)))
    values = values_of(space.sample_configuration())
    for _ in range(RANDOM_TRIES):
        if not history.knows(values):
            break
        values = values_of(space.sample_configuration())
    return values
