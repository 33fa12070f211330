"""A search as a figure of Matplotlib, for notebooks: learning curves, and the incumbent over the trained epochs."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emotune.report.journal_tables import incumbents, leaderboard, learning_curves, objective_of
from emotune.search.records import Record

MAX_CURVES = 200
"""Configurations whose learning curves are drawn, the best first."""


def draw_search(records: Sequence[Record]) -> Figure:
    """Return the figure of a search; without results, its axes are empty.

    Args:
        records: The journal.
    """
    objective = objective_of(records).metric
    figure = Figure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_curves(left, records, objective=objective)
    table = incumbents(records)
    right.step(table["trained"], table["objective"], where="post", color="tab:blue")
    right.set(xlabel="epochs trained in all", ylabel=objective, title="best configuration")
    return figure


def _draw_curves(axes: Axes, records: Sequence[Record], *, objective: str) -> None:
    frame = learning_curves(records)
    curves = {number: part for number, part in frame[frame["metric"] == objective].groupby("config")}
    numbers = [number for number in leaderboard(records)["config"] if number in curves][:MAX_CURVES]
    for place, number in reversed(list(enumerate(numbers))):
        curve = pd.DataFrame(curves[number])
        color, width = ("tab:blue", 2.0) if place == 0 else ("0.7", 0.8)
        axes.plot(curve["epoch"], curve["value"], color=color, linewidth=width, marker="." if len(curve) == 1 else "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=objective, title="learning curves, the best in blue")
