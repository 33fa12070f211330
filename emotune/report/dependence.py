"""Partial dependence: what the model of the search expects if one setting is changed and the others stay.

For a setting d with the value v, and observed configurations x_1 ... x_n::

    mean(v) = 1/n * sum_i f(x_i with x_id = v)        interval: mean(v) ± 2 * sqrt(1/n * sum_i variance_i)

f is the process of the highest rung of `emotune.search.models.multifidelity.MultiFidelityGP`, fitted to the results of
all rungs as a decision of the model ``rungs`` is. The interval is an upper bound: it takes the errors at the
configurations as equal. Configurations in which the setting is absent do not count.

Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 2001, section 8.2.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from emotune.base import Settings
from emotune.report.axes import SettingAxis
from emotune.search.records import Evaluation, Value

if TYPE_CHECKING:  # imports ConfigSpace, which pages of single runs do not need
    from emotune.search.history import Encoding

Rows = Float[np.ndarray, "row dimension"]
Vector = Float[np.ndarray, " row"]
ByValue = Float[np.ndarray, " value"]

MIN_RESULTS = 12
"""Results of all rungs that a page with partial dependence needs."""

GRID_POINTS = 21
"""Values of a numeric setting."""

MAX_CONFIGURATIONS = 100
"""Configurations that an expectation is averaged over: evenly spaced ones of a longer search."""

HALF_WIDTH = 2.0
"""Half width of the interval, in standard deviations."""

MAX_VALUE = 20.0
"""Value of a process above which a loss is not distinguished: its exponential would be infinite."""


class SettingDependence(Settings):
    """The expected objective by the value of a setting."""

    name: str
    values: tuple[Value, ...]
    positions: tuple[float, ...]
    """Positions of the values on the axis of the setting."""
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


class Dependence(Settings):
    """The dependence of the objective on each setting."""

    epochs: int
    """Epochs of the rung whose results are expected."""
    results: int
    """Results of all rungs that the model learns from."""
    settings: tuple[SettingDependence, ...]


class Unit(NamedTuple):
    """The unit of the losses in a process, see `emotune.search.models.multifidelity.standardised`."""

    middle: float
    """Loss at 0."""
    size: float
    """Difference of the losses at 1 and 0."""

    def loss(self, values: Vector) -> Vector:
        """Return losses for values of the process: linear up to 1, exponential above."""
        return self.middle + self.size * np.where(values > 1, np.exp(np.minimum(values, MAX_VALUE) - 1), values)


def partial_dependence(
    study: Mapping[str, Any], axes: Sequence[SettingAxis], *, outcomes: Sequence[tuple[Evaluation, float | None]]
) -> Dependence | None:
    """Return the partial dependence of the objective on each setting; None with too few results or without a space.

    Args:
        study: The study in the journal's first record.
        axes: The settings.
        outcomes: The evaluations that have ended, each with its objective; None for a failure.
    """
    if len(outcomes) < MIN_RESULTS or not (study.get("space") or {}).get("hyperparameters"):
        return None
    from emotune.search.models.multifidelity import MultiFidelityGP
    from emotune.study.reliability import history_of

    history = history_of(study, outcomes=outcomes)
    process = MultiFidelityGP(history)
    rung = process.levels[-1].rung if process.levels else None
    unit = None if rung is None else unit_of([loss for _, loss in history.results(rung)])
    if unit is None:
        return None
    sign = 1.0 if study.get("objective", {}).get("mode", "min") == "min" else -1.0
    rows = history.vectors()
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_CONFIGURATIONS)).astype(int)]

    def expect(changed: Rows) -> tuple[Vector, Vector]:
        predicted = process.predict(process.points(changed))[-1]
        return predicted.mean, predicted.variance

    settings = []
    for axis in axes:
        column = history.encoding.names.index(axis.name) if axis.name in history.encoding.names else None
        present = rows[:0] if column is None else rows[~np.isnan(rows[:, column])]
        if column is not None and len(present):
            grid = _grid(history.encoding, column)
            means, widths = _expectations(present, column=column, codes=list(grid.values()), expect=expect)
            settings.append(_in_objective(axis, list(grid), means=means, widths=widths, unit=unit, sign=sign))
    epochs = next(evaluation.to_epoch for evaluation, _ in outcomes if evaluation.rung == rung)
    return Dependence(epochs=epochs, results=len(outcomes), settings=tuple(settings))


def unit_of(losses: Sequence[float]) -> Unit | None:
    """Return the unit in which a process has the losses of its rung; None if they are equal."""
    from emotune.search.models.multifidelity import standardised

    known = [(value, loss) for value, loss in zip(standardised(losses), losses, strict=True) if math.isfinite(loss)]
    linear = sorted(pair for pair in known if pair[0] <= 1)
    if len(linear) < 2 or linear[0][0] == linear[-1][0]:
        return None
    (first, low), (last, high) = linear[0], linear[-1]
    size = (high - low) / (last - first)
    return Unit(low - size * first, size)


def _grid(encoding: "Encoding", column: int) -> dict[Value, float]:
    """Return the values of a setting, each with its code: all choices, or evenly spaced numbers.

    The code of an integer is the mean of the codes that mean it.
    """
    choices = int(encoding.choices[column])
    codes = np.arange(choices, dtype=float) if choices else np.linspace(0.0, 1.0, GRID_POINTS)
    by_value: dict[Value, list[float]] = {}
    for code in codes.tolist():
        by_value.setdefault(encoding.value(column, position=code), []).append(code)
    return {value: float(np.mean(same)) for value, same in by_value.items()}


def _expectations(
    rows: Rows, *, column: int, codes: Sequence[float], expect: Callable[[Rows], tuple[Vector, Vector]]
) -> tuple[ByValue, ByValue]:
    """Return mean and half width at each value of a setting, in the unit of the process."""
    changed = np.tile(rows, (len(codes), 1))
    changed[:, column] = np.repeat(codes, len(rows))
    mean, variance = (part.reshape(len(codes), len(rows)).mean(axis=1) for part in expect(changed))
    return mean, HALF_WIDTH * np.sqrt(variance)


def _in_objective(
    axis: SettingAxis, values: Sequence[Value], *, means: ByValue, widths: ByValue, unit: Unit, sign: float
) -> SettingDependence:
    """Return the dependence in the unit of the objective, which is ``sign`` times the loss."""
    ends = sign * unit.loss(means - widths), sign * unit.loss(means + widths)
    low, high = ends if sign > 0 else ends[::-1]
    return SettingDependence(
        name=axis.name,
        values=tuple(values),
        positions=tuple(axis.position(value) or 0.0 for value in values),
        mean=tuple((sign * unit.loss(means)).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )
