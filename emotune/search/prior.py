"""The user's prior: what is near the default configuration, or near those known to be good, is tried more often."""

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search.history import History
from emotune.search.models.candidates import Neighbourhood, as_rows, as_values, nearby
from emotune.search.records import Value
from emotune.search.space import legal_values, values_of

AROUND = Neighbourhood(0.5, 0.15)
FADES = 8
"""After so many configurations the prior has half its weight, at an unchanged faith in it."""
WINS, COMPARISONS = 3, 4
"""What the prior is given in advance: so many wins in so many comparisons."""
TRIES = 8

Values = dict[str, Value]


def prior_values(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Values | None:
    """Return a new configuration near the prior's centres; None if it is the turn of something else.

    The centres are the default configuration and those known to be good. How often it is the prior's turn
    fades as evidence grows, and falls with every comparison that its configurations lose.

    Source:
        Mallik et al., "PriorBand", NeurIPS 2023 (arXiv:2306.12370), section 5, for sampling around a prior that is
        weighed by how it fares; the weight is ours.
    """
    if generator.random() >= weight(history):
        return None
    centres = [values_of(space.get_default_configuration()), *history.earlier]
    encoding = history.encoding
    rows = nearby(
        as_rows(centres, encoding=encoding), AROUND, count=TRIES, choices=encoding.choices, generator=generator
    )
    for values in as_values(rows, space=space, encoding=encoding):
        legal = legal_values(space, values=values)
        if legal is not None and not history.knows(legal):
            return legal
    return None


def weight(history: History) -> float:
    """Return the probability that the next configuration comes from the prior."""
    wins, comparisons = standing(history)
    faith = 2 * (wins + WINS) / (comparisons + COMPARISONS) - 1
    return max(0.0, faith) * FADES / (FADES + len(history.configurations))


def standing(history: History) -> tuple[float, int]:
    """Count how often a configuration of the prior beat another one on the same rung, and how often they met.

    On each rung the median of the prior's meets all others. A draw is half a win.
    """
    wins, comparisons = 0.0, 0
    for rung in history.rungs:
        ours = [loss for number, loss in history.results(rung) if number in history.from_prior]
        others = np.array([loss for number, loss in history.results(rung) if number not in history.from_prior])
        if ours:
            typical = float(np.median(ours))
            wins += float((others > typical).sum()) + float((others == typical).sum()) / 2
            comparisons += len(others)
    return wins, comparisons
