"""A multi-fidelity Gaussian process: one process per rung, whose trend is the processes of the rungs below.

Symbols:
    f_r(x): loss of configuration x at rung r, without noise.
    delta_r(x): the part of f_r that the rungs below do not explain, a `emotune.search.models.gp.GaussianProcess`.
    beta_rs: coefficient of rung s in rung r, with ``f_r(x) = sum_{s < r} beta_rs f_s(x) + delta_r(x)``.
    w_r: weight of rung r, the correlation of an observation there with f at the highest rung.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from emotune.search.history import History
from emotune.search.models.candidates import anywhere
from emotune.search.models.gp import GaussianProcess, Points, embed

Vector = Float[np.ndarray, " row"]
Numbers = Int[np.ndarray, " observation"]

MIN_RESULTS = 4
"""Results of a rung from which on it has a process."""
MAX_RESULTS = 120
"""Results of a rung that its process is fitted to: half of them the best, half the latest."""
SCALE_RESULTS = 20
"""First results of a rung, from which the unit of its losses is computed."""
RELATIVE_TOLERANCE = 1e-12
"""Differences of losses below this share of their standard deviation count as 0."""
MAX_UNIT_GROWTH = 10
"""Factor by which later results can enlarge the unit of the losses."""
NEXT_COEFFICIENT_PRIOR = (0.9, 0.4)
"""Prior mean and standard deviation of beta_rs for the next lower rung."""
LOWER_COEFFICIENT_PRIOR = (0.0, 0.3)
"""Prior mean and standard deviation of beta_rs for all lower rungs."""
DELTA_VARIANCE = 0.3
"""Prior variance of delta_r, except for the lowest rung."""
PRIOR_CORRELATION = 0.9
"""Correlation of neighbouring rungs without data."""
PRIOR_RELIABILITY = 0.95
"""Correlation of an observation with the noiseless function without data."""
PRIOR_COUNT = 2
"""Pseudo-count of the prior correlations, in results at higher rungs."""
PROBES = 120
"""Random configurations on which rungs are compared."""


class Prediction(NamedTuple):
    """Mean and variance of f_r at some points, each of shape (points,)."""

    mean: Vector
    variance: Vector
    carried: Vector
    """Part of the variance that comes from the next lower rung."""


class Level(NamedTuple):
    """A rung and its process."""

    rung: int
    process: GaussianProcess
    numbers: Numbers
    """Numbers of the configurations it was fitted to."""


class MultiFidelityGP:
    """One Gaussian process per rung, ``f_r(x) = sum_{s < r} beta_rs f_s(x) + delta_r(x)``.

    Where a low rung does not predict a higher one, its coefficient is near 0, and the higher one is predicted from
    the results at that rung alone.

    Args:
        history: Results that it is fitted to; rungs with fewer than `MIN_RESULTS` have no process.

    Source:
        Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations
        are available", Biometrika 2000, in the recursive form of Le Gratiet and Garnier, Int. J. Uncertainty
        Quantification 2014; all lower rungs instead of the next one only is ours.
    """

    def __init__(self, history: History) -> None:
        self._choices = history.encoding.choices
        self.levels: list[Level] = []
        for rung in history.rungs:
            results = history.results(rung)
            if len(results) >= MIN_RESULTS:
                losses = standardised([loss for _, loss in results])
                chosen = training_subset(losses)
                numbers = np.array([number for number, _ in results])[chosen]
                self._add(rung, numbers=numbers, losses=losses[chosen], rows=history.vectors()[numbers])

    def _add(self, rung: int, *, numbers: Numbers, losses: Vector, rows: Float[np.ndarray, "row dimension"]) -> None:
        below = len(self.levels)
        coefficient_prior = np.array(
            [LOWER_COEFFICIENT_PRIOR] * max(below - 1, 0) + [NEXT_COEFFICIENT_PRIOR] * min(below, 1)
        ).reshape(below, 2)
        points = self.points(rows)
        trend = _columns(self.predict(points), count=len(rows))
        variance = DELTA_VARIANCE if below else 1.0
        process = GaussianProcess(points, losses, trend=trend, trend_prior=coefficient_prior, variance=variance)
        self.levels.append(Level(rung, process, numbers))

    def believing(self, rows: Float[np.ndarray, "row dimension"]) -> "MultiFidelityGP":
        """Return the process as if some configurations had their expected losses at the highest rung."""
        extended = copy.copy(self)
        points = self.points(rows)
        trend = _columns(self.predict(points)[:-1], count=len(rows))
        *below, top = self.levels
        extended.levels = [*below, top._replace(process=top.process.believing(points, trend=trend))]
        return extended

    def points(self, rows: Float[np.ndarray, "row dimension"]) -> Points:
        """Return encoded configurations as points of the processes."""
        return embed(rows, choices=self._choices)

    def predict(self, points: Points) -> list[Prediction]:
        """Return a prediction for each rung that has a process, the lowest first."""
        predictions: list[Prediction] = []
        for level in self.levels:
            mean, variance = level.process.predict(points, trend=_columns(predictions, count=len(points.positions)))
            carried = np.zeros(len(mean))
            if predictions:
                # near observations of this rung, the variance of the rung below does not matter
                unknown = np.minimum(variance / level.process.scale, 1)
                carried = level.process.coefficients[-1] ** 2 * predictions[-1].variance * unknown
            predictions.append(Prediction(mean, variance + carried, carried))
        return predictions

    def numbers(self) -> list[int]:
        """Return the numbers of all configurations that it was fitted to, sorted."""
        return sorted({int(number) for level in self.levels for number in level.numbers})


def process_rung_weights(history: History, process: MultiFidelityGP) -> dict[int, float]:
    """Return the weight of each rung that has a process, from 0 to 1.

    The weight is the correlation, over random configurations, of a noisy observation at the rung with the function
    of the highest rung that has a process. It is averaged with its prior value, which counts `PRIOR_COUNT` results.

    Returns:
        Weights by rung; 1 for the highest of them.
    """
    generator = np.random.default_rng(0)
    rows = anywhere(PROBES, choices=history.encoding.choices, generator=generator)
    predicted = process.predict(process.points(rows))
    weights = {}
    for index, (level, prediction) in enumerate(zip(process.levels, predicted, strict=True)):
        if level is process.levels[-1]:
            weights[level.rung] = 1.0
            continue
        results_above = sum(len(history.results(rung)) for rung in history.rungs if rung > level.rung)
        count = min(results_above, len(history.results(level.rung)))
        measured = _correlation(prediction, predicted[-1])
        measured *= reliability(level.process, prediction)
        prior = PRIOR_RELIABILITY * PRIOR_CORRELATION ** (len(predicted) - 1 - index)
        weights[level.rung] = (count * measured + PRIOR_COUNT * prior) / (count + PRIOR_COUNT)
    return weights


def reliability(process: GaussianProcess, predicted: Prediction) -> float:
    """Return the correlation of a noisy observation with the noiseless function at the same point.

    It is ``sqrt(v / (v + noise))`` with the variance v of the function over the points.
    """
    variance = float(predicted.mean.var() + predicted.variance.mean())
    return math.sqrt(variance / (variance + process.noise))


def _correlation(low: Prediction, high: Prediction) -> float:
    """Return the correlation of two rungs over the probes, 0 if it is negative.

    The variance of the higher rung that is not carried from below counts as uncorrelated.
    """
    if low.mean.std() == 0 or high.mean.std() == 0:
        return 0.0
    known = float(high.mean.var() + high.carried.mean())
    share = known / (known + float((high.variance - high.carried).mean()))
    return max(0.0, float(np.corrcoef(low.mean, high.mean)[0, 1])) * math.sqrt(share)


def _columns(predicted: Sequence[Prediction], *, count: int) -> Float[np.ndarray, "row column"]:
    return np.array([prediction.mean for prediction in predicted]).reshape(len(predicted), count).T


def standardised(losses: Sequence[float]) -> Vector:
    """Shift and scale losses so that the best ones are a few units below 0.

    With median m and unit u, ``s = (loss - m) / u``; values above 1 become ``1 + log(s)``. Failures are 0.5 above the
    worst finite value before that.

    Args:
        losses: Results in the order of the configuration numbers; failures are infinite.
    """
    values = np.array(losses)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    middle, unit = _median_and_unit(values[finite])
    scaled = (values - middle) / unit
    scaled[~finite] = max(float(scaled[finite].max()), 1.0) + 0.5
    return np.where(scaled > 1, 1 + np.log(np.maximum(scaled, 1)), scaled)


def _median_and_unit(values: Vector) -> tuple[float, float]:
    """Return the median of the first values, and the unit of the scale.

    The unit is the distance from the median to the 0.16 quantile of the first values. If the model proposed nearly
    equal configurations, that distance is noise. So the unit grows to half the standard deviation of all but the
    worst tenth, by a factor of `MAX_UNIT_GROWTH` at most.
    """
    first = values[:SCALE_RESULTS]
    middle = float(np.median(first))
    narrow, spread = middle - float(np.quantile(first, 0.16)), float(values.std())
    narrow = narrow if narrow > RELATIVE_TOLERANCE * spread else spread or 1.0
    wide = float(np.sort(values)[: max(math.ceil(0.9 * len(values)), 1)].std()) / 2
    return middle, min(max(narrow, wide), MAX_UNIT_GROWTH * narrow)


def training_subset(losses: Vector) -> Numbers:
    """Return the sorted indices of at most `MAX_RESULTS` results: the best half and the latest half."""
    if len(losses) <= MAX_RESULTS:
        return np.arange(len(losses))
    best = np.argsort(losses, kind="stable")[: MAX_RESULTS // 2]
    others = np.setdiff1d(np.arange(len(losses)), best)
    return np.sort(np.concatenate([best, others[-(MAX_RESULTS - len(best)) :]]))


def all_rung_weights(history: History, process: MultiFidelityGP, *, rung_count: int) -> Mapping[int, float]:
    """Return the weight of each rung of a search, with prior values for rungs that have no process."""
    highest = rung_count - 1
    prior = {rung: PRIOR_RELIABILITY * PRIOR_CORRELATION ** (highest - rung) for rung in range(rung_count)}
    if not process.levels:
        return {**prior, highest: 1.0}
    known = process_rung_weights(history, process)
    top = process.levels[-1].rung
    beyond = PRIOR_CORRELATION ** (highest - top)
    return {rung: known.get(rung, prior[rung] / beyond) * beyond if rung < top else prior[rung] for rung in prior} | {
        highest: 1.0
    }
