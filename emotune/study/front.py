"""Lines about objectives, constraints and the Pareto front of a search, for the terminal and for files."""

from collections.abc import Mapping
from typing import Any

RULE = "the best configuration is the one of the front with the best first objective"
"""How one configuration is chosen among several objectives."""

NONE_FEASIBLE = "no result meets the constraints; the best configuration is that with the least violation"


def describe_front(document: Mapping[str, Any]) -> list[str]:
    """Return lines about the front and the constraints; none with one objective and no constraint.

    Args:
        document: The document of ``emotune status NAME --json``.
    """
    lines = []
    if "constraints" in document:
        limits = ", ".join(_limits(name, limit) for name, limit in document["constraints"].items())
        lines.append(f"constraints: {limits}; {document['feasible']} evaluations meet them")
        if document["best"] is not None and not document["feasible"]:
            lines.append(NONE_FEASIBLE)
    if document.get("front"):
        names = [objective["metric"] for objective in document["objectives"]]
        lines.append(f"Pareto front after {document['front'][0]['epochs']} epochs; {RULE}:")
        lines += [f"  configuration {entry['config_id']}: {_values(entry, names)}" for entry in document["front"]]
    return lines


def describe_best_rule(document: Mapping[str, Any]) -> str:
    """Return a sentence about how the best configuration was chosen; empty with one objective and no constraint."""
    if "constraints" in document and not document["feasible"]:
        return f" {NONE_FEASIBLE.capitalize()}."
    return f" {RULE.capitalize()}." if "objectives" in document else ""


def _values(entry: Mapping[str, Any], names: list[str]) -> str:
    return ", ".join(f"{name} {entry['measured'][name]:.6g}" for name in names)


def _limits(name: str, limit: Mapping[str, float]) -> str:
    words = {"min": "at least", "max": "at most"}
    return f"{name} {' and '.join(f'{words[end]} {value:g}' for end, value in limit.items())}"
