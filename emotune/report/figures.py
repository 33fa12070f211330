"""Figures of a search as SVG in the colours of the surrounding page."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emotune.report.journal_tables import incumbents, leaderboard, learning_curves, objective_of
from emotune.search.records import Record

_INK = "#010203"
"""Placeholder that is replaced by the page's text colour."""

_ACCENT = "#010204"
"""Placeholder that is replaced by the page's accent colour."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "legend.frameon": False,
}

MAX_PANELS = 9
"""Number of searched values that are drawn at most."""


def draw_learning_curves(records: Sequence[Record]) -> str | None:
    """Return the objective against the epoch per configuration, the best one in colour; None without data."""
    objective = objective_of(records)
    curves = learning_curves(records)
    curves = curves[curves["metric"] == objective.metric]
    if curves.empty:
        return None
    best = leaderboard(records)["config"].iloc[0]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(width=7.5, height=3.6)
        for number, curve in curves.groupby("config"):
            emphasis = {
                "color": _ACCENT,
                "linewidth": 2.2,
                "zorder": 3,
                "label": f"best: configuration {number}",
            }
            others = {"color": _INK, "linewidth": 0.9, "alpha": 0.35}
            axes.plot(curve["epoch"], curve["value"], marker=".", **(emphasis if number == best else others))
        axes.set(xlabel="epoch", ylabel=objective.metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if best in set(curves["config"]):
            axes.legend()
        return _svg(figure, salt="curves")


def draw_incumbents(records: Sequence[Record]) -> str | None:
    """Return the incumbent against all trained epochs, a dot where its epochs increase; None without data."""
    table = incumbents(records)
    if table.empty:
        return None
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(width=7.5, height=2.8)
        axes.step(table["trained"], table["objective"], where="post", color=_ACCENT, linewidth=2.2)
        increases = table[table["epochs"].diff().fillna(1) > 0]
        axes.plot(increases["trained"], increases["objective"], "o", color=_ACCENT)
        for epochs, trained, best in zip(
            increases["epochs"], increases["trained"], increases["objective"], strict=True
        ):
            axes.annotate(f"{epochs} epochs", (trained, best), xytext=(5, 5), textcoords="offset points")
        axes.margins(y=0.2)
        axes.set(xlabel="total epochs trained", ylabel=f"best {objective_of(records).metric}")
        return _svg(figure, salt="incumbents")


def draw_values(records: Sequence[Record]) -> str | None:
    """Return the objective against each searched number, larger dots for more epochs; None without data."""
    objective = objective_of(records)
    table = leaderboard(records).dropna(subset=["objective"])
    names = [
        name
        for name in list(table.columns)[7:]
        if pd.api.types.is_numeric_dtype(table[name])
        and not pd.api.types.is_bool_dtype(table[name])
        and len(set(table[name].dropna())) > 1
    ][:MAX_PANELS]
    if not names or len(table) < 3:
        return None
    rows = -(-len(names) // 3)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 2.5 * rows), layout="constrained")
        grid = figure.subplots(rows, 3, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, names, strict=False):
            _scatter(axes, table, name=name)
        for axes in grid[::3]:
            axes.set_ylabel(objective.metric)
        for axes in grid[len(names) :]:
            axes.set_axis_off()
        return _svg(figure, salt="values")


def _scatter(axes: Axes, table: pd.DataFrame, *, name: str) -> None:
    best = table["config"].iloc[0]
    table = table.dropna(subset=[name])  # configurations without this value
    values = table[name].astype(float)
    sizes = 14 + 60 * table["epochs"] / table["epochs"].max()
    axes.scatter(values, table["objective"], s=sizes, color=_INK, alpha=0.4, linewidths=0)
    is_best = table["config"] == best
    axes.scatter(values[is_best], table["objective"][is_best], s=sizes[is_best], color=_ACCENT, zorder=3)
    low, high = min(values), max(values)
    if low > 0 and high / low >= 30:
        axes.set_xscale("log")
    axes.set_xlabel(name)


def _figure(*, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, *, salt: str) -> str:
    """Return a figure as SVG for inclusion in a page: unique ids, no links, no fixed colours or size."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text))
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{salt}-", text)
    return text.replace(_INK, "currentColor").replace(_ACCENT, "var(--accent)")
