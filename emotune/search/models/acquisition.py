"""The model ``rungs``: expected improvement at the highest rung, under a multi-fidelity Gaussian process.

Symbols:
    f_min: lowest expected loss of the configurations so far.
    mu, sigma: mean and standard deviation of the loss of a candidate at the highest rung that has a process.
    EI: expected improvement, ``sigma * (z * Phi(z) + phi(z))`` with ``z = (f_min - mu) / sigma``.
    w_r, b_r, c_r: weight of rung r, its budget in epochs, and the expected epochs of a configuration that begins there.
"""

import functools
import math
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from emotune.search.history import History
from emotune.search.models.base import Model
from emotune.search.models.candidates import NEAR, NEARER, REFINED, WIDE, anywhere, as_rows, as_values, nearby
from emotune.search.models.multifidelity import MultiFidelityGP, Prediction, all_rung_weights, process_rung_weights
from emotune.search.records import Value
from emotune.search.space import legal_values

UNIFORM_CANDIDATES = 100
"""Candidates that are drawn uniformly."""
NEIGHBOURS = 60
"""Candidates that are drawn in each neighbourhood of the best configurations."""
WIDE_CENTRES, NEAR_CENTRES = 10, 5
"""Number of best configurations around which candidates are drawn, with a large and with small spreads."""
REFINED_CANDIDATES = 3
"""Number of best candidates around which further candidates are drawn."""
ALL_RANDOM, FULL_MODEL = 10, 40
"""Configurations that are all random, and number from which on the random share is that of the settings.

Gaussian processes on few results propose most configurations in the same corners of the space.
"""

HORIZON_SHARE = 0.2
"""Planning horizon when the rung of a start is chosen, as a share of the epochs spent so far."""
HORIZON_BOUNDS = (1.0, 8.0)
"""Least and greatest planning horizon, in evaluations of the last rung."""
SOFTMAX_TEMPERATURE = 0.1
"""Temperature of the softmax over the values of the rungs, in standard deviations of the loss."""
SAMPLE_COUNTS = (1, 2, 3, 4, 6, 9, 12, 18, 27, 36, 54, 81, 200)
EXPECTED_MAXIMA = (0.0, 0.56, 0.85, 1.03, 1.27, 1.49, 1.63, 1.82, 2.0, 2.12, 2.3, 2.43, 2.75)
"""Expected maximum of `SAMPLE_COUNTS` standard normal numbers."""

Values = dict[str, Value]
Rows = Float[np.ndarray, "row dimension"]
Vector = Float[np.ndarray, " row"]


class RungsModel(Model):
    """Expected improvement at the highest rung that has a Gaussian process, learnt from all rungs.

    Source:
        Expected improvement: Jones et al., "Efficient Global Optimization", J. Global Optimization 1998.
        Learning from all rungs: Li et al., "MFES-HB", AAAI 2021 (arXiv:2012.03011). The processes are
        those of `emotune.search.models.multifidelity`. Running evaluations count as ended with their
        expected loss ("kriging believer"):
        Ginsbourger, Le Riche and Carraro, "Kriging Is Well-Suited to Parallelize Optimization", 2010.
    """

    chooses_start_rung = True
    patient_promotion = True
    uses_prior = True
    weighs_rungs = True

    @classmethod
    def random_share(cls, *, random_fraction: float, configurations: int) -> float:
        """Return 1 for the first `ALL_RANDOM` configurations, then fall linearly to the fraction at `FULL_MODEL`."""
        excess = min(max((FULL_MODEL - configurations) / (FULL_MODEL - ALL_RANDOM), 0.0), 1.0)
        return random_fraction + (1 - random_fraction) * excess

    @functools.cached_property
    def _process(self) -> MultiFidelityGP:
        return MultiFidelityGP(self._history)

    @functools.cached_property
    def _process_with_running(self) -> MultiFidelityGP:
        """The process as if each running evaluation had ended with its expected loss."""
        running = self._history.running
        return self._process.believing(self._history.vectors()[running]) if running else self._process

    def start_rung(self, *, rung_budgets: tuple[int, ...], eta: int, generator: np.random.Generator) -> int:
        """Draw the rung at which a new configuration begins, see `start_shares`."""
        weights = all_rung_weights(self._history, self._process, rung_count=len(rung_budgets))
        shares = start_shares(self._history, weights, rung_budgets=rung_budgets, eta=eta)
        return int(generator.choice(len(rung_budgets), p=shares))

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return legal configurations, the greatest expected improvement first; None while no rung has a process."""
        if not self._process.levels:
            return None
        known = self._history.vectors()[self._process.numbers()]
        expected = self._predicted(known).mean
        order = np.argsort(expected, kind="stable")
        choices = self._history.encoding.choices
        drawn = [anywhere(UNIFORM_CANDIDATES, choices=choices, generator=generator)]
        for where, count in ((WIDE, WIDE_CENTRES), (NEAR, NEAR_CENTRES), (NEARER, NEAR_CENTRES)):
            drawn.append(nearby(known[order[:count]], where, count=NEIGHBOURS, choices=choices, generator=generator))
        candidates, improvement = self._improvements(np.concatenate(drawn), best=float(expected.min()))
        first = as_rows(
            [candidates[index] for index in np.argsort(-improvement, kind="stable")[:REFINED_CANDIDATES]],
            encoding=self._history.encoding,
        )
        drawn = [nearby(first, where, count=NEIGHBOURS // 2, choices=choices, generator=generator) for where in REFINED]
        refined, refined_improvement = self._improvements(np.concatenate(drawn), best=float(expected.min()))
        candidates, improvement = candidates + refined, np.concatenate([improvement, refined_improvement])
        ranked = (candidates[index] for index in np.argsort(-improvement, kind="stable"))
        legal = (legal_values(self._space, values=values) for values in ranked)
        return (values for values in legal if values is not None)

    def _improvements(self, rows: Rows, *, best: float) -> tuple[list[Values], Vector]:
        """Return the configurations of rows, and the expected improvement of each on the loss ``best``."""
        values = as_values(rows, space=self._space, encoding=self._history.encoding)
        rows = as_rows(values, encoding=self._history.encoding)
        predicted = self._predicted(rows)
        spread = np.sqrt(predicted.variance)
        gap = (best - predicted.mean) / spread
        improvement = spread * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / math.sqrt(2 * math.pi))
        return values, improvement

    def _predicted(self, rows: Rows) -> Prediction:
        """Return the prediction at the highest rung that has a process, given the running evaluations."""
        return self._process_with_running.predict(self._process_with_running.points(rows))[-1]


def rung_weights(history: History) -> dict[int, float]:
    """Return the weight of each rung that has enough results, see `process_rung_weights`."""
    process = MultiFidelityGP(history)
    return process_rung_weights(history, process) if process.levels else {}


def start_shares(
    history: History, weights: Mapping[int, float], *, rung_budgets: tuple[int, ...], eta: int
) -> np.ndarray:
    """Return the probability of each rung that a new configuration begins there.

    The value of rung r is ``v_r = w_r * m(h / c_r)``: its weight times the expected maximum of as many standard
    normal numbers as configurations can begin there within the horizon of h epochs, at `epochs_per_start` ``c_r``.
    The probability is proportional to ``exp(v_r / T) / c_r``, so that the epochs are shared by a softmax of the values.

    Args:
        history: Configurations and results so far.
        weights: Correlation of each rung with the highest.
        rung_budgets: Epochs of the rungs.
        eta: One in ``eta`` configurations is promoted.

    Returns:
        Probabilities by rung, of shape (rungs,).

    Source:
        Choosing brackets by how well their rungs predict is Li et al., "Hyper-Tune", VLDB 2022
        (arXiv:2201.06834), section 4.2. Value and horizon are ours.
    """
    costs = np.array([epochs_per_start(rung, rung_budgets=rung_budgets, eta=eta) for rung in range(len(rung_budgets))])
    spent = epochs_spent(history, rung_budgets=rung_budgets) / rung_budgets[-1]
    horizon = min(max(HORIZON_SHARE * spent, HORIZON_BOUNDS[0]), HORIZON_BOUNDS[1])
    best = np.interp(np.log(horizon * rung_budgets[-1] / costs), np.log(SAMPLE_COUNTS), EXPECTED_MAXIMA)
    values = np.array([weights[rung] for rung in range(len(rung_budgets))]) * best
    shares = np.exp((values - values.max()) / SOFTMAX_TEMPERATURE) / costs
    return shares / shares.sum()


def epochs_per_start(rung: int, *, rung_budgets: tuple[int, ...], eta: int) -> float:
    """Return the expected epochs of a configuration that begins at a rung, promotions included.

    With budgets b it is ``b_r + sum_k (b_{r+k} - b_{r+k-1}) / eta**k``.
    """
    steps = enumerate(zip(rung_budgets[rung:], rung_budgets[rung + 1 :], strict=False), start=1)
    return rung_budgets[rung] + math.fsum((high - low) / eta**step for step, (low, high) in steps)


def epochs_spent(history: History, *, rung_budgets: tuple[int, ...]) -> int:
    """Return the epochs that were trained for all results."""
    epochs, below = 0, set()
    for rung in history.rungs:
        here = {number for number, _ in history.results(rung)}
        epochs += len(here) * rung_budgets[rung] - len(here & below) * (rung_budgets[rung - 1] if rung else 0)
        below = here
    return epochs
