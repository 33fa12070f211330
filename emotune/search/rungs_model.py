"""A density model that learns from all rungs at once, each as far as it agrees with the rungs above it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ConfigSpace import ConfigurationSpace

from emotune.search.density import Density
from emotune.search.history import History
from emotune.search.records import Value
from emotune.search.space import active_values, legal_values

LEAST_RESULTS = 10
"""A rung with fewer results has no densities."""
ENOUGH_RESULTS = 20
"""From here on a rung has its full weight."""
GOOD_SHARE = 0.15
LEAST_GOOD, MOST_GOOD = 4, 25
CANDIDATES = 32
MOST_COMPARED = 500
"""Configurations that two rungs are compared on: the latest; more would cost time and tell little more."""

Values = dict[str, Value]


class Pair(NamedTuple):
    """The densities of what did well at a rung and of the rest."""

    good: Density
    bad: Density
    weight: float


def propose(space: ConfigurationSpace, *, history: History, generator: np.random.Generator) -> Iterator[Values] | None:
    """Propose configurations that look good at the rungs and unlike what did badly.

    Candidates are drawn from the densities of the good results, shared out by the rungs' weights, and
    ranked by the weighted sum of ``log good - log bad``.

    Returns:
        Legal candidates, the best first, or None while no rung has `LEAST_RESULTS` results.

    Source:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011, section 4; bandwidths
        that do not depend on the data after Watanabe, arXiv:2304.11127; rungs weighted by agreement after
        Li et al., "Hyper-Tune", VLDB 2022 (arXiv:2201.06834), with a simpler weight.
    """
    weights = rung_weights(history)
    if not weights:
        return None
    pairs = [_densities(history, rung=rung, weight=weight) for rung, weight in weights.items() if weight > 0]
    shares = np.array([pair.weight for pair in pairs])
    counts = generator.multinomial(CANDIDATES, shares / shares.sum())
    drawn = [pair.good.draw(int(count), generator=generator) for pair, count in zip(pairs, counts, strict=True)]
    decoded = (history.encoding.decode(row) for row in np.concatenate(drawn))
    candidates = [active_values(space, values=values) for values in decoded]
    checked = (legal_values(space, values=v) for v in _ranked(candidates, history=history, pairs=pairs))
    return (values for values in checked if values is not None)


def rung_weights(history: History) -> dict[int, float]:
    """Return how much each rung counts, for rungs with at least `LEAST_RESULTS` results.

    The weight of a rung is its agreement with all higher rungs, 0 if they disagree, times
    ``min(1, n / ENOUGH_RESULTS)``. The agreement is that of Kendall, on the configurations that both rungs
    have, shrunk towards 0 by one pair of each kind. For the highest of these rungs it is 1.
    """
    known = [rung for rung in history.rungs if len(history.results(rung)) >= LEAST_RESULTS]
    weights = {}
    for rung in known:
        agreement = 1.0 if rung == known[-1] else _agreement(history, rung=rung)
        weights[rung] = max(0.0, agreement) * min(1.0, len(history.results(rung)) / ENOUGH_RESULTS)
    return weights


def _agreement(history: History, *, rung: int) -> float:
    """Return how far the order of a rung is that of the higher rungs, between -1 and 1."""
    own = dict(history.results(rung))
    balance = pairs = 0
    for higher in history.rungs:
        if higher <= rung:
            continue
        shared = [(own[number], loss) for number, loss in history.results(higher) if number in own]
        low, high = np.array(shared[-MOST_COMPARED:]).reshape(-1, 2).T
        # comparisons, not differences: failures are infinite
        order = np.sign((low[:, None] > low).astype(int) - (low[:, None] < low))
        order = order * ((high[:, None] > high).astype(int) - (high[:, None] < high))
        balance += int(order.sum()) // 2
        pairs += int(np.abs(order).sum()) // 2
    return balance / (pairs + 2)


def _densities(history: History, *, rung: int, weight: float) -> Pair:
    """Build the densities of a rung. Running configurations without a result there count as bad."""
    results = sorted(history.results(rung), key=lambda result: (result[1], result[0]))
    numbers = [number for number, _ in results]
    good = min(max(math.ceil(GOOD_SHARE * len(numbers)), LEAST_GOOD), MOST_GOOD)
    running = sorted(set(history.running) - set(numbers))
    rows = history.vectors()
    choices = history.encoding.choices
    return Pair(
        Density(rows[numbers[:good]], choices=choices),
        Density(rows[numbers[good:] + running], choices=choices),
        weight,
    )


def _ranked(candidates: list[Values], *, history: History, pairs: list[Pair]) -> list[Values]:
    """Sort candidates, the most promising first."""
    rows = np.stack([history.encoding.encode(values) for values in candidates])
    scores = sum(pair.weight * (pair.good.log(rows) - pair.bad.log(rows)) for pair in pairs)
    return [candidates[place] for place in np.argsort(-np.asarray(scores), kind="stable")]
