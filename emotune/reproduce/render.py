"""A table as Markdown, CSV and LaTeX, with the published numbers beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from emotune.evaluation.crossval import CrossValidation
from emotune.evaluation.statistics import Interval
from emotune.reproduce.published import PRETEXT_PUBLISHED, TARGETS, Table, Target

METRICS = {"accuracy": "accuracy", "macro_f1": "F1"}
Baseline = Literal["majority", "shuffled"]
Results = Mapping[tuple[str, Target], CrossValidation]
"""Our cross-validations by row and target."""


@dataclass(frozen=True)
class Place:
    """A column of a table: a target and a metric."""

    target: Target
    metric: str

    @property
    def title(self) -> str:
        """What stands above it."""
        return f"{self.target} {METRICS[self.metric]}"


PLACES = tuple(Place(target, metric) for target in TARGETS for metric in METRICS)


def frame_of(table: Table, results: Results) -> pd.DataFrame:
    """Return the table: for each row and place ours and the published number, then what chance gives.

    Cells that are not there yet, or were not published, are empty.
    """
    rows = []
    for row in table.rows:
        cells = {"": row.name}
        for place in PLACES:
            mine = results.get((row.name, place.target))
            cells[place.title] = _text(mine.interval(place.metric) if mine is not None else None)
            cells[f"{place.title}, published"] = _published(row.published.get((place.target, place.metric)))
        rows.append(cells)
    chance: tuple[tuple[str, Baseline], ...] = (
        ("always the more frequent label", "majority"),
        ("shuffled labels", "shuffled"),
    )
    for title, of in chance:
        cells = {"": title}
        for place in PLACES:
            found = [one for (_, target), one in results.items() if target == place.target]
            values = [one.interval(place.metric, of=of) for one in found]
            known = [value for value in values if value is not None]
            cells[place.title] = _text(known[-1] if known else None)
        rows.append(cells)
    return pd.DataFrame(rows).fillna("")


def pretext_frame(metrics: Mapping[str, float | None]) -> pd.DataFrame:
    """Return the recognition of transformations: our accuracies on held-out people, and published ones."""
    ours = {
        name.removeprefix("test/"): f"{value:.4f}"
        for name, value in metrics.items()
        if name.startswith("test/") and value is not None and "loss" not in name
    }
    rows = [{"": name, "ours": value, "published": ""} for name, value in sorted(ours.items())]
    rows += [
        {"": f"accuracy, {name}", "ours": "", "published": f"{one:.4f}"} for name, one in PRETEXT_PUBLISHED.items()
    ]
    return pd.DataFrame(rows)


def _text(value: Interval | None) -> str:
    return "" if value is None else value.text


def _published(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return ""
    mean, half_width = value
    return f"{mean:.3g}" if half_width is None else f"{mean:.2f} ±{half_width:.4f}"


def as_markdown(frame: pd.DataFrame, *, title: str, notes: Sequence[str]) -> str:
    """Return a Markdown page."""
    lines = [f"# {title}", "", _line(frame.columns), _line("---" for _ in frame.columns)]
    lines += [_line(row) for row in frame.to_numpy().tolist()]
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def as_latex(frame: pd.DataFrame, *, title: str) -> str:
    """Return a LaTeX table (needs the package booktabs)."""
    body = [_row(frame.columns), r"\midrule", *(_row(row) for row in frame.to_numpy().tolist())]
    columns = "l" + "c" * (len(frame.columns) - 1)
    head = [r"\begin{table}", rf"\caption{{{_escape(title)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(cells: Iterable[Any]) -> str:
    return " & ".join(_escape(str(cell)) for cell in cells) + r" \\"


def _escape(text: str) -> str:
    for sign in "&%_#":
        text = text.replace(sign, "\\" + sign)
    return text.replace("±", r"$\pm$")
