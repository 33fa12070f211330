"""What the results of all rungs say about the rungs: one Gaussian process for each, standing on those below."""

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

LEAST_RESULTS = 4
"""A rung with fewer results has no process."""
MOST_RESULTS = 120
"""So many results of a rung are learnt from: half of them the best, half the latest."""
FIRST_RESULTS = 20
"""Losses are measured in a unit taken from so many first results."""
NEGLIGIBLE = 1e-12
"""Of the standard deviation: results that lie no further apart are equal."""

MOST_WIDENED = 10
FOLLOWS = (0.9, 0.4)
"""Prior mean and standard deviation of how a rung follows the one below it."""
FOLLOWS_LOWER = (0.0, 0.3)
"""The same for those further below."""
OWN_VARIANCE = 0.3
"""Prior variance of what a rung does not have from those below."""
USUAL_LINK = 0.9
"""Correlation of neighbouring rungs as long as nothing is known."""
USUAL_RELIABILITY = 0.95
"""Correlation of an observation with what it observes as long as nothing is known."""
USUAL_COUNT = 2
"""So many results on higher rungs the usual values are worth."""
PROBES = 120
"""Configurations on which rungs are compared."""


class Prediction(NamedTuple):
    """What is expected at some points on a rung, and its variance; low is good."""

    mean: Vector
    variance: Vector
    carried: Vector
    """Part of the variance that comes from the rung below."""


class Step(NamedTuple):
    """A rung and its process."""

    rung: int
    process: GaussianProcess
    numbers: Numbers
    """The configurations it was fitted to."""


class Ladder:
    """A Gaussian process for each rung that has results, each with those below it as its trend.

    Where a low rung says nothing about the higher ones, its coefficient goes to 0 and the higher one is
    learnt from its own results alone.

    Args:
        history: Results to learn from.

    Source:
        Kennedy and O'Hagan, "Predicting the output from a complex computer code when fast approximations
        are available", Biometrika 2000, in the recursive form of Le Gratiet and Garnier, Int. J. Uncertainty
        Quantification 2014; all lower rungs instead of the next one only is ours.
    """

    def __init__(self, history: History) -> None:
        self._choices = history.encoding.choices
        self.steps: list[Step] = []
        for rung in history.rungs:
            results = history.results(rung)
            if len(results) >= LEAST_RESULTS:
                losses = standardised([loss for _, loss in results])
                chosen = worth_learning(losses)
                numbers = np.array([number for number, _ in results])[chosen]
                self._add(rung, numbers=numbers, losses=losses[chosen], rows=history.vectors()[numbers])

    def _add(self, rung: int, *, numbers: Numbers, losses: Vector, rows: Float[np.ndarray, "row dimension"]) -> None:
        below = len(self.steps)
        prior = np.array([FOLLOWS_LOWER] * max(below - 1, 0) + [FOLLOWS] * min(below, 1)).reshape(below, 2)
        points = self.points(rows)
        trend = _columns(self.predict(points), count=len(rows))
        variance = OWN_VARIANCE if below else 1.0
        process = GaussianProcess(points, losses, trend=trend, trend_prior=prior, variance=variance)
        self.steps.append(Step(rung, process, numbers))

    def believing(self, rows: Float[np.ndarray, "row dimension"]) -> "Ladder":
        """Return the ladder as if what it expects of some configurations had been observed on its highest rung."""
        grown = copy.copy(self)
        points = self.points(rows)
        trend = _columns(self.predict(points)[:-1], count=len(rows))
        *below, top = self.steps
        grown.steps = [*below, top._replace(process=top.process.believing(points, trend=trend))]
        return grown

    def points(self, rows: Float[np.ndarray, "row dimension"]) -> Points:
        """Return configurations as the processes see them."""
        return embed(rows, choices=self._choices)

    def predict(self, points: Points) -> list[Prediction]:
        """Return what is expected on each of the rungs, the lowest first."""
        found: list[Prediction] = []
        for step in self.steps:
            mean, variance = step.process.predict(points, trend=_columns(found, count=len(points.places)))
            carried = np.zeros(len(mean))
            if found:
                # where this rung has been observed, it does not matter what is unknown of the one below
                unknown = np.minimum(variance / step.process.scale, 1)
                carried = step.process.coefficients[-1] ** 2 * found[-1].variance * unknown
            found.append(Prediction(mean, variance + carried, carried))
        return found

    def numbers(self) -> list[int]:
        """Return all configurations that were learnt from."""
        return sorted({int(number) for step in self.steps for number in step.numbers})


def trust(history: History, ladder: Ladder) -> dict[int, float]:
    """Return how well an observation on each rung tells what the highest one would be, from 0 to 1.

    It is the correlation over the space, as far as the processes know it, of a noisy observation there with
    the function of the highest rung that has a process. As long as few configurations have been seen on
    both, it stays near what is usual.

    Returns:
        A correlation for each rung that has a process, 1 for the highest of them.
    """
    generator = np.random.default_rng(0)
    rows = anywhere(PROBES, choices=history.encoding.choices, generator=generator)
    predicted = ladder.predict(ladder.points(rows))
    found = {}
    for place, (step, here) in enumerate(zip(ladder.steps, predicted, strict=True)):
        if step is ladder.steps[-1]:
            found[step.rung] = 1.0
            continue
        seen_above = sum(len(history.results(rung)) for rung in history.rungs if rung > step.rung)
        count = min(seen_above, len(history.results(step.rung)))
        measured = _correlation(here, predicted[-1])
        measured *= reliability(step.process, here)
        usual = USUAL_RELIABILITY * USUAL_LINK ** (len(predicted) - 1 - place)
        found[step.rung] = (count * measured + USUAL_COUNT * usual) / (count + USUAL_COUNT)
    return found


def reliability(process: GaussianProcess, predicted: Prediction) -> float:
    """Return the correlation of noisy observations with what they observe."""
    variance = float(predicted.mean.var() + predicted.variance.mean())
    return math.sqrt(variance / (variance + process.noise))


def _correlation(low: Prediction, high: Prediction) -> float:
    """Return the correlation of two rungs over the probes, 0 if it is negative.

    What is unknown of the higher rung beyond what it has from below counts as unrelated.
    """
    if low.mean.std() == 0 or high.mean.std() == 0:
        return 0.0
    known = float(high.mean.var() + high.carried.mean())
    share = known / (known + float((high.variance - high.carried).mean()))
    return max(0.0, float(np.corrcoef(low.mean, high.mean)[0, 1])) * math.sqrt(share)


def _columns(predicted: Sequence[Prediction], *, count: int) -> Float[np.ndarray, "row column"]:
    return np.array([each.mean for each in predicted]).reshape(len(predicted), count).T


def standardised(losses: Sequence[float]) -> Vector:
    """Shift and scale losses so that good ones are a few units below 0.

    What is worse than the median by more than one unit is compressed logarithmically; failures are a
    little worse than the worst.

    Args:
        losses: Results in the order of the configurations' numbers; failures are infinite.
    """
    values = np.array(losses)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(len(values))
    middle, unit = _usual(values[finite])
    scaled = (values - middle) / unit
    scaled[~finite] = max(float(scaled[finite].max()), 1.0) + 0.5
    return np.where(scaled > 1, 1 + np.log(np.maximum(scaled, 1)), scaled)


def _usual(values: Vector) -> tuple[float, float]:
    """Return the median of the first values, and their unit.

    The unit is the distance of the median from the best sixth. Where the model has sent nearly all of them to one
    place, that would be mere noise; so it grows up to `MOST_WIDENED` times, to half the standard deviation of
    all but the worst tenth.
    """
    first = values[:FIRST_RESULTS]
    middle = float(np.median(first))
    narrow, spread = middle - float(np.quantile(first, 0.16)), float(values.std())
    narrow = narrow if narrow > NEGLIGIBLE * spread else spread or 1.0
    wide = float(np.sort(values)[: max(math.ceil(0.9 * len(values)), 1)].std()) / 2
    return middle, min(max(narrow, wide), MOST_WIDENED * narrow)


def worth_learning(losses: Vector) -> Numbers:
    """Return the places of the results that are learnt from, in order."""
    if len(losses) <= MOST_RESULTS:
        return np.arange(len(losses))
    best = np.argsort(losses, kind="stable")[: MOST_RESULTS // 2]
    others = np.setdiff1d(np.arange(len(losses)), best)
    return np.sort(np.concatenate([best, others[-(MOST_RESULTS - len(best)) :]]))


def trust_in_all(history: History, ladder: Ladder, *, rung_count: int) -> Mapping[int, float]:
    """Return the trust in each rung of a search, also where nothing is known yet."""
    highest = rung_count - 1
    usual = {rung: USUAL_RELIABILITY * USUAL_LINK ** (highest - rung) for rung in range(rung_count)}
    if not ladder.steps:
        return {**usual, highest: 1.0}
    known = trust(history, ladder)
    top = ladder.steps[-1].rung
    beyond = USUAL_LINK ** (highest - top)
    return {rung: known.get(rung, usual[rung] / beyond) * beyond if rung < top else usual[rung] for rung in usual} | {
        highest: 1.0
    }
