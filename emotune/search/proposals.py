"""New configurations: the default, those known to be good, then from the prior, at random, or from the model."""

import logging
from typing import NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search.history import History
from emotune.search.models.base import Model
from emotune.search.models.candidates import Neighbourhood, as_rows, as_values, nearby
from emotune.search.records import Origin, Value
from emotune.search.schedule import Plan
from emotune.search.settings import SearchSettings
from emotune.search.space import legal_values, values_of

log = logging.getLogger(__name__)

MAX_RANDOM_DRAWS = 32
"""Further draws if a random configuration was decided before. After these the space counts as exhausted."""

PRIOR_NEIGHBOURHOOD = Neighbourhood(0.5, 0.15)
PRIOR_HALF_LIFE = 8
"""Number of configurations after which the weight of the prior is halved, if its success does not change."""

PRIOR_WINS, PRIOR_COMPARISONS = 3, 4
"""Pseudo-counts: wins and comparisons of the prior before there are results."""

MAX_PRIOR_DRAWS = 8
"""Configurations that are drawn from the prior for one proposal; the first legal and new one is used."""

Values = dict[str, Value]


class Proposal(NamedTuple):
    """A new configuration."""

    values: Values
    origin: Origin
    rung: int = 0
    """Rung it begins at, if the model chooses it."""
    fell_back: bool = False
    """Whether it is random because the model made no legal proposal."""


def decide(
    plan: Plan,
    *,
    space: ConfigurationSpace,
    history: History,
    settings: SearchSettings,
    generator: np.random.Generator,
) -> tuple[Plan, Proposal]:
    """Return the next evaluation and its configuration.

    The plan of the schedule stands, unless the model chooses between promotions and new configurations.

    Args:
        plan: The plan of the schedule.
        space: The search space; its random state is changed.
        history: Configurations and results so far.
        settings: The model, and the fraction of random configurations.
        generator: Source of all randomness.
    """
    choice, model = None, None
    if settings.allocates and settings.model_class is not None and _given(space, history=history) is None:
        model = settings.model_class(space, history=history)
        choice = model.choose(rung_budgets=settings.rung_budgets, generator=generator)
    if choice is not None:
        plan = plan._replace(config_id=choice.config_id, rung=choice.rung)
    if plan.config_id is not None:
        return plan, Proposal(history.configurations[plan.config_id], "promotion")
    if choice is None or model is None:
        return plan, sample(space, history=history, settings=settings, generator=generator)
    proposal = _proposal(model, space, history=history, settings=settings, generator=generator)
    return plan, proposal._replace(rung=choice.rung)


def sample(
    space: ConfigurationSpace, *, history: History, settings: SearchSettings, generator: np.random.Generator
) -> Proposal:
    """Propose the next configuration.

    The first one is the space's default, the next ones are those known to be good. Each later one is drawn near the
    prior with probability `prior_weight`, else at random with probability `SearchSettings.random_share`, else it is
    the model's first proposal. Until the model has enough results, random configurations replace its proposals.
    Configurations that were decided before are not proposed again, until the space is exhausted.

    Args:
        space: The search space; its random state is changed.
        history: Configurations and results so far.
        settings: The model, and the fraction of random configurations.
        generator: Source of all randomness: equal arguments give equal proposals.

    Returns:
        Legal values, their origin, and the rung they begin at.
    """
    given = _given(space, history=history)
    if settings.model_class is None:
        return given or Proposal(_random_values(space, history=history, generator=generator), "random")
    model = settings.model_class(space, history=history)
    rung = 0
    if settings.chooses_start_rung:
        rung = model.start_rung(rung_budgets=settings.rung_budgets, eta=settings.eta, generator=generator)
    return (given or _proposal(model, space, history=history, settings=settings, generator=generator))._replace(
        rung=rung
    )


def _given(space: ConfigurationSpace, *, history: History) -> Proposal | None:
    """Return the default configuration, then those known to be good, then None."""
    number = len(history.configurations)
    if number == 0:
        return Proposal(values_of(space.get_default_configuration()), "default")
    earlier = history.earlier[number - 1 : number]
    return Proposal(earlier[0], "prior") if earlier and not history.excludes(earlier[0]) else None


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
    share = settings.random_share(len(history.configurations))
    if generator.random() < model.adapted_share(share, random_fraction=settings.random_fraction):
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    proposals = model.propose(generator)
    if proposals is None:
        return Proposal(_random_values(space, history=history, generator=generator), "random")
    legal = 0
    for legal, values in enumerate(proposals, start=1):  # noqa: B007 (counts)
        if not history.excludes(values):
            return Proposal(values, "model")
    if legal == 0:
        log.warning(
            "model %s: no legal proposal for configuration %d; it is random",
            settings.model,
            len(history.configurations),
        )
    values = _random_values(space, history=history, generator=generator)
    return Proposal(values, "random", fell_back=legal == 0)


def prior_values(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Values | None:
    """Return a new configuration near a centre of the prior with probability `prior_weight`, else None.

    The centres are the default configuration and those known to be good.

    Source:
        Mallik et al., "PriorBand", NeurIPS 2023 (arXiv:2306.12370), section 5, for sampling around a prior that is
        weighted by its success; the weight is ours.
    """
    if generator.random() >= prior_weight(history):
        return None
    centres = [values_of(space.get_default_configuration()), *history.earlier]
    encoding = history.encoding
    rows = nearby(
        as_rows(centres, encoding=encoding),
        PRIOR_NEIGHBOURHOOD,
        count=MAX_PRIOR_DRAWS,
        choices=encoding.choices,
        generator=generator,
    )
    for values in as_values(rows, space=space, encoding=encoding):
        legal = legal_values(space, values=values)
        if legal is not None and not history.excludes(legal):
            return legal
    return None


def prior_weight(history: History) -> float:
    """Return the probability that the next configuration comes from the prior.

    It is ``max(0, 2 p - 1) * h / (h + n)`` after n configurations, with ``h`` = `PRIOR_HALF_LIFE`. ``p`` is the share
    of comparisons that the prior won, with the pseudo-counts `PRIOR_WINS` and `PRIOR_COMPARISONS`.
    """
    wins, comparisons = prior_comparisons(history)
    success = 2 * (wins + PRIOR_WINS) / (comparisons + PRIOR_COMPARISONS) - 1
    return max(0.0, success) * PRIOR_HALF_LIFE / (PRIOR_HALF_LIFE + len(history.configurations))


def prior_comparisons(history: History) -> tuple[float, int]:
    """Return the wins of the prior's configurations against all others, and the number of comparisons.

    At each rung the median loss of the prior's configurations is compared with the loss of each other one. Equal
    losses are half a win.
    """
    wins, comparisons = 0.0, 0
    for rung in history.rungs:
        losses = [loss for number, loss in history.results(rung) if number in history.from_prior]
        others = np.array([loss for number, loss in history.results(rung) if number not in history.from_prior])
        if losses:
            median = float(np.median(losses))
            wins += float((others > median).sum()) + float((others == median).sum()) / 2
            comparisons += len(others)
    return wins, comparisons


def _random_values(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Values:
    """Draw from the distributions of the space: a new configuration if possible, else one that may be trained."""
    space.seed(int(generator.integers(2**32)))
    values = values_of(space.sample_configuration())
    decided_before = None
    for _ in range(MAX_RANDOM_DRAWS):
        if not history.excludes(values):
            break
        if history.admits(values):
            decided_before = values
        values = values_of(space.sample_configuration())
    return values if decided_before is None or history.admits(values) else decided_before
