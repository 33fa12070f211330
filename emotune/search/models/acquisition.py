"""A model that learns from all rungs at once, each as far as it tells what the highest one would be."""

import functools
import math
from collections.abc import Iterator

import numpy as np
from ConfigSpace import ConfigurationSpace
from jaxtyping import Float
from scipy.special import ndtr

from emotune.search.history import History
from emotune.search.models.candidates import NEAR, NEARER, REFINED, WIDE, anywhere, as_rows, as_values, nearby
from emotune.search.models.multifidelity import Ladder, Prediction, trust, trust_in_all
from emotune.search.models.start_rung import start_shares
from emotune.search.records import Value
from emotune.search.space import legal_values

ANYWHERE = 100
AROUND = 60
GOOD, BEST = 10, 5
"""So many of the configurations that are expected to be best have neighbours looked at; the best ones more closely."""
REFINE = 3
"""So many candidates have their own neighbours looked at."""

Values = dict[str, Value]
Rows = Float[np.ndarray, "row dimension"]
Vector = Float[np.ndarray, " row"]


class RungsModel:
    """Gaussian processes, one per rung, and the expected improvement on the highest rung that has one.

    Args:
        space: Where to look.
        history: All that may be known.

    Source:
        Expected improvement: Jones et al., "Efficient Global Optimization", J. Global Optimization 1998.
        Learning from all rungs: Li et al., "MFES-HB", AAAI 2021 (arXiv:2012.03011). The processes are
        those of `emotune.search.models.multifidelity`. What runs counts as ended as expected ("kriging believer"):
        Ginsbourger, Le Riche and Carraro, "Kriging Is Well-Suited to Parallelize Optimization", 2010.
    """

    def __init__(self, space: ConfigurationSpace, *, history: History) -> None:
        self._space = space
        self._history = history

    @functools.cached_property
    def _ladder(self) -> Ladder:
        return Ladder(self._history)

    @functools.cached_property
    def _imagined(self) -> Ladder:
        """What will be known when all that runs has ended, if it ends as expected."""
        running = self._history.running
        return self._ladder.believing(self._history.vectors()[running]) if running else self._ladder

    def start_rung(self, *, ladder: tuple[int, ...], eta: int, generator: np.random.Generator) -> int:
        """Choose the rung on which a new configuration begins."""
        trusted = trust_in_all(self._history, self._ladder, rung_count=len(ladder))
        shares = start_shares(self._history, trusted, ladder=ladder, eta=eta)
        return int(generator.choice(len(ladder), p=shares))

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return legal configurations, the most promising first; None while no rung has enough results."""
        if not self._ladder.steps:
            return None
        known = self._history.vectors()[self._ladder.numbers()]
        expected = self._predicted(known).mean
        order = np.argsort(expected, kind="stable")
        choices = self._history.encoding.choices
        drawn = [anywhere(ANYWHERE, choices=choices, generator=generator)]
        for where, count in ((WIDE, GOOD), (NEAR, BEST), (NEARER, BEST)):
            drawn.append(nearby(known[order[:count]], where, count=AROUND, choices=choices, generator=generator))
        candidates, promise = self._judged(np.concatenate(drawn), best=float(expected.min()))
        first = as_rows(
            [candidates[place] for place in np.argsort(-promise, kind="stable")[:REFINE]],
            encoding=self._history.encoding,
        )
        drawn = [nearby(first, where, count=AROUND // 2, choices=choices, generator=generator) for where in REFINED]
        refined, more = self._judged(np.concatenate(drawn), best=float(expected.min()))
        candidates, promise = candidates + refined, np.concatenate([promise, more])
        ranked = (candidates[place] for place in np.argsort(-promise, kind="stable"))
        legal = (legal_values(self._space, values=values) for values in ranked)
        return (values for values in legal if values is not None)

    def _judged(self, rows: Rows, *, best: float) -> tuple[list[Values], Vector]:
        """Return the configurations of rows, and how promising each is."""
        values = as_values(rows, space=self._space, encoding=self._history.encoding)
        rows = as_rows(values, encoding=self._history.encoding)
        predicted = self._predicted(rows)
        spread = np.sqrt(predicted.variance)
        gap = (best - predicted.mean) / spread
        improvement = spread * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / math.sqrt(2 * math.pi))
        return values, improvement

    def _predicted(self, rows: Rows) -> Prediction:
        """Return what is expected on the highest rung that has a process, once all that runs has ended."""
        return self._imagined.predict(self._imagined.points(rows))[-1]


def rung_weights(history: History) -> dict[int, float]:
    """Return how far each rung tells what the highest would be, for rungs that have enough results."""
    ladder = Ladder(history)
    return trust(history, ladder) if ladder.steps else {}
