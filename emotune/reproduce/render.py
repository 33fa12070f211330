"""A table as Markdown, CSV and LaTeX, with the published numbers beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from emotune.evaluation.crossval import CrossValidation
from emotune.evaluation.statistics import Interval
from emotune.reproduce.published import PRETEXT_PUBLISHED, TARGETS, PaperTable, Target

METRICS = {"accuracy": "accuracy", "macro_f1": "F1"}
Baseline = Literal["majority", "shuffled"]
Results = Mapping[tuple[str, Target], CrossValidation]
"""Our cross-validations, by row and target."""


@dataclass(frozen=True)
class TableColumn:
    """A pair of columns of a table, ours and published: target and metric."""

    target: Target
    metric: str

    @property
    def title(self) -> str:
        """Heading of the column."""
        return f"{self.target} {METRICS[self.metric]}"


COLUMNS = tuple(TableColumn(target, metric) for target in TARGETS for metric in METRICS)


def frame_of(table: PaperTable, results: Results) -> pd.DataFrame:
    """Return the table with our and the published number of each column, and the baselines in the last rows.

    Missing results, and numbers that were not published, are empty.
    """
    rows = []
    for row in table.rows:
        cells = {"": row.name}
        for column in COLUMNS:
            ours = results.get((row.name, column.target))
            cells[column.title] = _text(ours.interval(column.metric) if ours is not None else None)
            cells[f"{column.title}, published"] = _published(row.published.get((column.target, column.metric)))
        rows.append(cells)
    baselines: tuple[tuple[str, Baseline], ...] = (
        ("always the more frequent label", "majority"),
        ("shuffled labels", "shuffled"),
    )
    for title, of in baselines:
        cells = {"": title}
        for column in COLUMNS:
            intervals = [
                result.interval(column.metric, of=of)
                for (_, target), result in results.items()
                if target == column.target
            ]
            available = [interval for interval in intervals if interval is not None]
            cells[column.title] = _text(available[-1] if available else None)
        rows.append(cells)
    return pd.DataFrame(rows).fillna("")


def pretext_frame(metrics: Mapping[str, float | None]) -> pd.DataFrame:
    """Return the table of transformation recognition: our accuracies on test subjects, and the published ones."""
    ours = {
        name.removeprefix("test/"): f"{value:.4f}"
        for name, value in metrics.items()
        if name.startswith("test/") and value is not None and "loss" not in name
    }
    rows = [{"": name, "ours": value, "published": ""} for name, value in sorted(ours.items())]
    rows += [
        {"": f"accuracy, {name}", "ours": "", "published": f"{value:.4f}"} for name, value in PRETEXT_PUBLISHED.items()
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
    """Return a table as a Markdown page."""
    lines = [f"# {title}", "", _line(frame.columns), _line("---" for _ in frame.columns)]
    lines += [_line(row) for row in frame.to_numpy().tolist()]
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def as_latex(frame: pd.DataFrame, *, title: str) -> str:
    """Return a table as LaTeX (requires the package booktabs)."""
    body = [_row(frame.columns), r"\midrule", *(_row(row) for row in frame.to_numpy().tolist())]
    columns = "l" + "c" * (len(frame.columns) - 1)
    head = [r"\begin{table}", rf"\caption{{{_escape(title)}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _row(cells: Iterable[Any]) -> str:
    return " & ".join(_escape(str(cell)) for cell in cells) + r" \\"


def _escape(text: str) -> str:
    for character in "&%_#":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$")
