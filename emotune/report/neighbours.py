"""The configurations nearest to the best one: what differs, and the objective of both after as many epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from emotune.report.axes import SettingAxis
from emotune.search.records import Value

MAX_NEIGHBOURS = 5
"""Configurations in the table."""


def nearest_configurations(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each of the configurations nearest to the best one, the nearest first.

    Args:
        content: The content of a page.

    Returns:
        ``config``, ``distance`` (see `distance`), ``epochs`` and ``objective`` of its last result, ``best`` (the
        objective of the best configuration after as many epochs; None without a result there) and ``differs in``.
    """
    if content["best"] is None or not content["settings"]:
        return []
    number, reference = content["best"]["config_id"], content["best"]["values"]
    axes = [SettingAxis.model_validate(axis) for axis in content["settings"]]
    table = content["configurations"]
    of_best = {
        rung["epochs"]: objective
        for rung in content["rungs"]
        for config, objective in zip(rung["config"], rung["objective"], strict=True)
        if config == number
    }
    columns = zip(table["config"], table["values"], table["epochs"], table["objective"], strict=True)
    rows = [
        {
            "config": config,
            "distance": distance(values, reference, axes=axes),
            "epochs": epochs,
            "objective": objective,
            "best": of_best.get(epochs),
            "differs in": _differences(values, reference, axes=axes),
        }
        for config, values, epochs, objective in columns
        if config != number and objective is not None
    ]
    return sorted(rows, key=lambda row: (row["distance"], row["config"]))[:MAX_NEIGHBOURS]


def distance(first: Mapping[str, Value], second: Mapping[str, Value], *, axes: Sequence[SettingAxis]) -> float:
    """Return the root mean square, over the settings, of the difference on their axes (0 to 1).

    Categories that differ count as 1, and so does a setting that only one of the two has.
    """
    parts = [_difference(first.get(axis.name), second.get(axis.name), axis=axis) for axis in axes]
    return math.sqrt(sum(part * part for part in parts) / len(parts))


def _difference(first: Value | None, second: Value | None, *, axis: SettingAxis) -> float:
    if first == second:
        return 0.0
    places = (axis.position(first), axis.position(second))
    if first is None or second is None or None in places or axis.scale == "categories":
        return 1.0
    return abs((places[0] or 0.0) - (places[1] or 0.0))


def _differences(values: Mapping[str, Value], reference: Mapping[str, Value], *, axes: Sequence[SettingAxis]) -> str:
    """Return the settings that differ, with the value of the best configuration first."""
    names = [axis.name for axis in axes if values.get(axis.name) != reference.get(axis.name)]
    return ", ".join(f"{name} {_text(reference.get(name))} → {_text(values.get(name))}" for name in names)


def _text(value: Value | None) -> str:
    if value is None:
        return "absent"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
