"""Axes of the searched settings: where a value lies on a chart, and the ticks.

Every chart of the page draws a setting on the range 0 to 1 and takes positions and tick labels from here. The scale is
that of the search space: logarithmic where the space is, one position per integer or category, and a position below 0
for configurations in which a conditional setting is absent.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from emotune.base import Settings
from emotune.search.records import Value

ABSENT = -0.12
"""Position of configurations in which a conditional setting is absent."""

MAX_TICKS = 6
"""Ticks of a numeric axis at most."""

LOG_RATIO = 30
"""Ratio of the largest to the smallest objective from which its axis is logarithmic."""

MAX_LABELLED_CATEGORIES = 12
"""Categories that all have a tick; of more, every second, third, ... has one."""

Scale = Literal["linear", "log", "integer", "log integer", "categories"]


class Tick(Settings):
    """A tick of an axis."""

    position: float
    label: str


class SettingAxis(Settings):
    """The axis of one setting."""

    name: str
    scale: Scale
    low: float
    """Lower end of a numeric range; 0 for categories."""
    high: float
    """Upper end of a numeric range; the number of categories minus 1 for categories."""
    levels: tuple[Value, ...] = ()
    """The categories, in order."""
    conditional: bool = False
    """Whether configurations without the setting are expected."""
    condition: str = ""
    """When the setting is active, in words."""
    default: Value | None = None
    ticks: tuple[Tick, ...] = ()

    def position(self, value: Value | None) -> float | None:
        """Return where a value lies: 0 at the lower end, 1 at the upper end, `ABSENT` without a value.

        None: the value is on no axis, for example a text among numbers.
        """
        if value is None:
            return ABSENT
        if self.scale == "categories":
            place = _index(self.levels, value)
            return None if place is None else _share(float(place), low=0.0, high=float(len(self.levels) - 1))
        if isinstance(value, str) or not math.isfinite(value):
            return None
        if self.scale.startswith("log"):
            return _share(math.log(value), low=math.log(self.low), high=math.log(self.high)) if value > 0 else None
        return _share(float(value), low=self.low, high=self.high)


def setting_axes(study: Mapping[str, Any], configurations: Sequence[Mapping[str, Value]]) -> list[SettingAxis]:
    """Return the axes of the settings that vary, in the order of the space.

    Args:
        study: The study of the journal's first record. Settings that its space does not describe (a journal of an
            older version, another search's space) get their range from the values.
        configurations: The values of all configurations.
    """
    hyperparameters = {item["name"]: item for item in (study.get("space") or {}).get("hyperparameters", [])}
    names = dict.fromkeys([*hyperparameters, *(name for values in configurations for name in values)])
    conditions = _conditions(study)
    axes = []
    for name in names:
        values = [values[name] for values in configurations if name in values]
        axis = _axis(name, item=hyperparameters.get(name, {}), values=values)
        if axis is not None:
            condition = conditions.get(name, "")
            absent = len(values) < len(configurations) or bool(condition)
            changes = {
                "conditional": absent,
                "condition": condition,
                "default": hyperparameters.get(name, {}).get("default_value"),
                "ticks": _ticks(axis, absent=absent),
            }
            axes.append(axis.model_copy(update=changes))
    return axes


def objective_axis(name: str, values: Sequence[float], *, mode: str) -> SettingAxis | None:
    """Return the axis of the objective, logarithmic if its values span more than `LOG_RATIO`; None without two values.

    The worst 2 % of the values are outside, so that a few bad results do not press the others together.
    """
    ordered = sorted(values)
    cut = len(ordered) // 50
    shown = ordered[: len(ordered) - cut] if mode == "min" else ordered[cut:]
    if not shown or shown[0] == shown[-1]:
        return None
    log = shown[0] > 0 and shown[-1] / shown[0] >= LOG_RATIO
    axis = SettingAxis(name=name, scale="log" if log else "linear", low=shown[0], high=shown[-1])
    return axis.model_copy(update={"ticks": _ticks(axis, absent=False)})


def _conditions(study: Mapping[str, Any]) -> dict[str, str]:
    """Return the conditions of the space in words, by the name of the setting that they make active."""
    words: dict[str, list[str]] = {}
    for condition in (study.get("space") or {}).get("conditions") or []:
        if "child" in condition:
            words.setdefault(str(condition["child"]), []).append(_in_words(condition))
    return {child: " and ".join(parts) for child, parts in words.items()}


def _in_words(condition: Mapping[str, Any]) -> str:
    """Return a condition of ConfigSpace's serialised form in words."""
    kind = str(condition.get("type", ""))
    if "conditions" in condition or "components" in condition:
        parts = condition.get("conditions") or condition.get("components") or []
        return f" {kind.lower()} ".join(_in_words(part) for part in parts)
    signs = {"EQ": "=", "NEQ": "is not", "LT": "<", "GT": ">", "IN": "in"}
    value = condition.get("value", condition.get("values"))
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{condition.get('parent')} {signs.get(kind, kind)} {shown}"


def _axis(name: str, *, item: Mapping[str, Any], values: Sequence[Value]) -> SettingAxis | None:
    """Return the axis of a setting without its ticks; None if it can have one value only."""
    kind = str(item.get("type", ""))
    if kind.endswith(("_float", "_int")):
        scale = _scale(log=bool(item.get("log")), whole=kind.endswith("_int"))
        return SettingAxis(name=name, scale=scale, low=float(item["lower"]), high=float(item["upper"]))
    levels = item.get("choices") or item.get("sequence")
    if levels is None and values and all(_is_number(value) for value in values):
        whole = all(isinstance(value, int) for value in values)
        low, high = min(map(float, values)), max(map(float, values))
        return (
            None if low == high else SettingAxis(name=name, scale="integer" if whole else "linear", low=low, high=high)
        )
    levels = levels or sorted(set(values), key=repr)
    return (
        SettingAxis(name=name, scale="categories", low=0.0, high=float(len(levels) - 1), levels=tuple(levels))
        if len(levels) > 1
        else None
    )


def _scale(*, log: bool, whole: bool) -> Scale:
    if log:
        return "log integer" if whole else "log"
    return "integer" if whole else "linear"


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ticks(axis: SettingAxis, *, absent: bool) -> tuple[Tick, ...]:
    values = _tick_values(axis)
    ticks = [
        Tick(position=position, label=label_of(value))
        for value in values
        if (position := axis.position(value)) is not None
    ]
    return (*([Tick(position=ABSENT, label="absent")] if absent else []), *ticks)


def _tick_values(axis: SettingAxis) -> list[Value]:
    match axis.scale:
        case "categories":
            step = -(-len(axis.levels) // MAX_LABELLED_CATEGORIES)
            return list(axis.levels[::step])
        case "log":
            return _log_values(axis.low, high=axis.high)
        case "log integer":
            return list(dict.fromkeys(round(float(value)) for value in _log_values(axis.low, high=axis.high)))
        case "integer":
            step = max(1, math.ceil((axis.high - axis.low) / (MAX_TICKS - 1)))
            return list(range(int(axis.low), int(axis.high) + 1, step))
        case _:
            return _linear_values(axis.low, high=axis.high)


def _log_values(low: float, *, high: float) -> list[Value]:
    """Return the powers of 10 in a range, of a short range also their double and fivefold, or else both ends."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    step = -(-len(exponents) // MAX_TICKS)
    factors = (1, 2, 5) if len(exponents) <= 3 else (1,)
    values = [factor * 10.0**exponent for exponent in exponents[::step] for factor in factors]
    inside: list[Value] = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else [low, high]


def _linear_values(low: float, *, high: float) -> list[Value]:
    """Return round numbers in a range."""
    raw = (high - low) / (MAX_TICKS - 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def label_of(value: Value) -> str:
    """Return a value as text, numbers with three significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _index(levels: Sequence[Value], value: Value) -> int | None:
    """Return the index of a level of the same type: 1, 1.0 and True are different levels."""
    for number, level in enumerate(levels):
        if level == value and isinstance(level, bool) == isinstance(value, bool):
            return number
    return None


def _share(value: float, *, low: float, high: float) -> float:
    return round((value - low) / (high - low), 5) if high > low else 0.5
