"""The model ``gain``: every evaluation is the one with the largest expected gain per epoch.

Symbols:
    f: loss of a configuration at the highest rung, without noise, under `emotune.search.models.surface.Surface`.
    f_min: lowest expected f of the configurations with a result at the highest rung.
    gap: f_min minus the expected f of a configuration.
    move_k: standard deviation of the change of the expected f by an observation at rung k.
    EI: expected gain ``E[max(gap + s * z, 0)]`` of a normal z with the standard deviation s.
"""

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Num
from scipy.special import erfcx, ndtr

from emotune.search.models.acquisition import Rows, RungsModel, Values, Vector, epochs_spent
from emotune.search.models.base import Choice
from emotune.search.models.candidates import NEAR, NEARER, WIDE, Neighbourhood, anywhere, nearby
from emotune.search.models.lattice import Lattice
from emotune.search.models.surface import Covariances, Surface
from emotune.search.space import legal_values

FIRST_EVALUATIONS = 5
"""Epochs, in evaluations of the last rung, before which the search is that of the model ``rungs``."""
LATE_RANDOM_SHARE = 0.25
"""Factor of the random share after that."""
WAITING = 12
"""Number of configurations of each rung whose promotion is considered: those with the lowest losses."""
SAME_RATE = 0.5
"""A new configuration begins at the highest rung whose rate is at least this share of the best one.

Rates of low rungs are too high where the process trusts these rungs too much. With 0.5 instead of 0.95 the final
regret is lower, see ``docs/decisions/expected-gain-per-epoch.md``.
"""
LEAST_IMPROVEMENT = 0.05
"""The EI of a new configuration is that of improving on f_min by more than this, in the unit of the losses.

Without it, the search repeats evaluations at a local minimum, see ``docs/decisions/expected-gain-per-epoch.md``.
"""
UNIFORM_CANDIDATES, NEIGHBOURS = 200, 60
"""Candidates that are drawn uniformly, and in each neighbourhood of the best configurations."""
WIDE_CENTRES, NEAR_CENTRES = 10, 5
"""Number of best configurations around which candidates are drawn, with a large and with small spreads."""
REFINEMENTS = tuple(Neighbourhood(0.4, spread) for spread in (0.1, 0.03, 0.01, 0.003))
"""Neighbourhoods of the best candidates, in which further candidates are drawn, one after the other."""
REFINED_CANDIDATES, REFINED_NEIGHBOURS = 3, 40
"""Number of best candidates that are refined, and of candidates that are drawn around them."""
MAX_PROPOSALS = 3
"""Number of proposals; the first one that was not decided before is used."""
NODES = 7
"""Nodes of the quadrature over the result of an evaluation."""
PRICE_ROUNDS = 4
"""Rounds of Dinkelbach's algorithm for the rate of a policy; the rate changes little after the third."""
LEAST_Z = -1e3
"""Least gap in standard deviations at which the logarithm of EI is computed."""

POSITIONS, WEIGHTS = np.polynomial.hermite_e.hermegauss(NODES)
WEIGHTS /= WEIGHTS.sum()


class GainModel(RungsModel):
    """Promotions and new configurations by expected gain per epoch.

    Until `FIRST_EVALUATIONS`, and in synchronous brackets, it is the model ``rungs``. Then each decision compares the
    rates of all evaluations that can start. The rate is the expected gain at the highest rung per epoch, if training
    stops at each rung at which going on does not pay. A new configuration is the one with the largest EI.

    Source:
        EI per cost: Snoek, Larochelle and Adams, "Practical Bayesian Optimization of Machine Learning Algorithms",
        NeurIPS 2012, section 3.2. Its extension to training in steps is ours; it is Weitzman's rule (Econometrica
        1979) for boxes that are opened in steps. Logarithm of EI: Ament et al., "Unexpected Improvements to Expected
        Improvement", NeurIPS 2023 (arXiv:2310.20708).
    """

    allocates = True
    considered = WAITING
    _rung_count: int | None = None
    _start = 0

    def choose(self, *, rung_budgets: tuple[int, ...], generator: np.random.Generator) -> Choice | None:
        """Return the next evaluation; None while the schedule decides."""
        if epochs_spent(self._history, rung_budgets=rung_budgets) < FIRST_EVALUATIONS * rung_budgets[-1]:
            return None
        self._rung_count = len(rung_budgets)
        promotion, rate = self._best_promotion(rung_budgets)
        values = next(iter(self._proposals(generator)), None)
        if values is None:
            return promotion
        new_rate, rung = self._new_rate(self._history.encoding.encode(values)[None], rung_budgets=rung_budgets)
        return promotion if promotion is not None and rate >= new_rate else Choice(None, rung)

    def adapted_share(self, share: float, *, random_fraction: float) -> float:
        """Return `LATE_RANDOM_SHARE` of the fraction once the model chooses."""
        return share if self._rung_count is None else min(share, random_fraction) * LATE_RANDOM_SHARE

    def propose(self, generator: np.random.Generator) -> Iterator[Values] | None:
        """Return legal configurations, the largest EI first; None while no rung has a process."""
        return super().propose(generator) if self._rung_count is None else iter(self._proposals(generator))

    @functools.cached_property
    def _surface(self) -> Surface:
        """The process as if each running evaluation had ended with its expected loss."""
        assert self._rung_count is not None
        surface = Surface(self._history, rung_count=self._rung_count)
        if not self._history.in_progress:
            return surface
        numbers, at = np.array(self._history.in_progress).T
        return surface.believing(numbers, at=at, rows=self._history.vectors()[numbers])

    @functools.cached_property
    def _lowest(self) -> float:
        """f_min; without results at the highest rung the median of the expected f."""
        assert self._rung_count is not None
        highest = self._surface.at == self._rung_count - 1
        if highest.any():
            numbers = self._surface.numbers[highest]
            return float(self._surface.mean(self._surface.rows[highest], numbers=numbers).min())
        return float(np.median(self._surface.mean(self._surface.rows, numbers=self._surface.numbers)))

    def _best_promotion(self, rung_budgets: Sequence[int]) -> tuple[Choice | None, float]:
        """Return the promotion with the highest rate, and its rate."""
        best, best_rate = None, -math.inf
        promotable = self._history.promotable
        for rung in self._history.rungs:
            if rung == len(rung_budgets) - 1:
                continue
            losses = {number: loss for number, loss in self._history.results(rung) if promotable.get(number) == rung}
            numbers = np.array(sorted(losses, key=lambda number: (losses[number], number))[:WAITING], dtype=int)
            if len(numbers):
                means, covariances = self._surface.predict(self._history.vectors()[numbers], numbers=numbers)
                moves = moves_of(covariances, noise=self._surface.noise, above=rung)
                found = rates(self._lowest - means[:, -1], moves=moves, costs=np.diff(rung_budgets[rung:]))
                first = int(found.argmax())
                if found[first] > best_rate:
                    best, best_rate = Choice(int(numbers[first]), rung + 1), float(found[first])
        return best, best_rate

    def _new_rate(self, row: Rows, *, rung_budgets: tuple[int, ...]) -> tuple[float, int]:
        """Return the rate of a new configuration, and the rung at which it begins."""
        means, covariances = self._surface.predict(row)
        found = []
        for rung in range(len(rung_budgets)):
            noise = self._surface.noise
            moves = moves_of(covariances, noise=noise, above=-1)
            first = np.sqrt((moves[:, : rung + 1] ** 2).sum(axis=1, keepdims=True))
            moves = np.concatenate([first, moves[:, rung + 1 :]], axis=1)
            costs = np.diff([0, *rung_budgets[rung:]])
            found.append(float(rates(self._lowest - means[:, -1], moves=moves, costs=costs)[0]))
        best = max(found)
        return best, max(rung for rung, rate in enumerate(found) if rate >= SAME_RATE * best)

    @functools.cached_property
    def _lattice(self) -> Lattice:
        return Lattice(self._space, encoding=self._history.encoding)

    def _proposals(self, generator: np.random.Generator) -> list[Values]:
        """Return up to `MAX_PROPOSALS` new and legal configurations; they are computed once."""
        if self._proposed is None:
            self._proposed = self._computed_proposals(generator)
        return self._proposed

    _proposed: list[Values] | None = None

    def _computed_proposals(self, generator: np.random.Generator) -> list[Values]:
        rows, values = self._candidates(generator)
        proposals: list[Values] = []
        for index in np.argsort(-values, kind="stable"):
            decoded = self._history.encoding.decode(np.nan_to_num(rows[index]))
            legal = legal_values(self._space, values=decoded)
            if legal is not None and not self._history.excludes(legal):
                proposals.append(legal)
            if len(proposals) == MAX_PROPOSALS:
                break
        return proposals

    def _candidates(self, generator: np.random.Generator) -> tuple[Rows, Vector]:
        """Return candidates, and the logarithm of the EI of each."""
        choices = self._history.encoding.choices
        numbers = np.unique(self._surface.numbers)
        known = self._history.vectors()[numbers]
        order = np.argsort(self._surface.mean(known, numbers=numbers), kind="stable")
        drawn = [anywhere(UNIFORM_CANDIDATES, choices=choices, generator=generator)]
        for where, count in ((WIDE, WIDE_CENTRES), (NEAR, NEAR_CENTRES), (NEARER, NEAR_CENTRES)):
            drawn.append(nearby(known[order[:count]], where, count=NEIGHBOURS, choices=choices, generator=generator))
        rows, values = self._valued(np.concatenate(drawn))
        for where in REFINEMENTS:
            best = rows[np.argsort(-values, kind="stable")[:REFINED_CANDIDATES]]
            drawn = nearby(best, where, count=REFINED_NEIGHBOURS, choices=choices, generator=generator)
            refined, refined_values = self._valued(drawn)
            rows, values = np.concatenate([rows, refined]), np.concatenate([values, refined_values])
        return rows, values

    def _valued(self, rows: Rows) -> tuple[Rows, Vector]:
        """Return the configurations of rows, and the logarithm of the EI above `LEAST_IMPROVEMENT` of each."""
        rows = self._lattice.configurations(rows)
        mean, variance = self._surface.predict_highest(rows)
        move = variance / np.sqrt(variance + self._surface.noise[-1])
        return rows, log_gain(self._lowest - LEAST_IMPROVEMENT - mean, spread=move)


def gain(gap: Float[np.ndarray, "..."], *, spread: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return EI, ``s * (z * Phi(z) + phi(z))`` with ``z = gap / s``."""
    z = gap / spread
    return spread * (z * ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))


def log_gain(gap: Vector, *, spread: Vector) -> Vector:
    """Return the logarithm of EI, also where EI is too small for a float.

    Source:
        Ament et al., NeurIPS 2023 (arXiv:2310.20708), equation 9.
    """
    z = np.maximum(gap / spread, LEAST_Z)
    near = np.maximum(z, -1)
    direct = np.log(near * ndtr(near) + np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi))
    far = np.minimum(z, -1)
    tail = np.log1p(far * math.sqrt(math.pi / 2) * erfcx(-far / math.sqrt(2)))
    return np.log(spread) + np.where(z > -1, direct, tail - 0.5 * far**2 - 0.5 * math.log(2 * math.pi))


def moves_of(
    covariances: Covariances, *, noise: Float[np.ndarray, " rung"], above: int
) -> Float[np.ndarray, "row stage"]:
    """Return move_k of the rungs k above one, observed one after the other.

    Args:
        covariances: Covariance of the noiseless losses at all rungs given the results, of shape (rows, rungs, rungs).
        noise: Variance of the noise of each rung.
        above: Highest rung with a result; -1 without any.
    """
    moves = []
    for rung in range(above + 1, covariances.shape[1]):
        column = covariances[:, :, rung]
        total = column[:, rung] + noise[rung]
        moves.append(np.abs(column[:, -1]) / np.sqrt(total))
        covariances = covariances - column[:, :, None] * column[:, None, :] / total[:, None, None]
    return np.maximum(np.stack(moves, axis=1), 1e-12)


def rates(gap: Vector, *, moves: Float[np.ndarray, "row stage"], costs: Num[np.ndarray, " stage"]) -> Vector:
    """Return the largest expected gain per epoch of each configuration, over all rules of when to stop.

    The rate p is the root of ``max E[gain - p * epochs] = 0`` over the rules. For a price p, the best rule is found
    backwards from the highest rung: go on where the expected gain is above p times the expected epochs.

    Args:
        gap: Expected gain without an evaluation, of shape (rows,); it may be negative.
        moves: Standard deviations of its changes by the next evaluations.
        costs: Epochs of the next evaluations.

    Source:
        Dinkelbach, "On Nonlinear Fractional Programming", Management Science 1967.
    """
    rate = gain(gap, spread=np.sqrt((moves**2).sum(axis=1))) / costs.sum()
    reached = gap
    for stage in range(len(costs) - 1):
        reached = reached[..., None] + _beside(moves[:, stage], reached)[..., None] * POSITIONS
    last = gain(reached, spread=_beside(moves[:, -1], reached))
    for _ in range(PRICE_ROUNDS):
        gained, epochs = last, np.full(last.shape, float(costs[-1]))
        for cost in costs[-2::-1]:
            goes_on = gained > _beside(rate, gained) * epochs
            gained = np.where(goes_on, gained, 0.0) @ WEIGHTS
            epochs = cost + np.where(goes_on, epochs, 0.0) @ WEIGHTS
        rate = np.maximum(rate, gained / epochs)
    return rate


def _beside(values: Vector, other: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return one value per row, in a shape that broadcasts to another array with the same rows."""
    return values.reshape(-1, *[1] * (other.ndim - 1))
