"""A table as Markdown, CSV and LaTeX, with the published numbers beside ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from emotune.evaluation.crossval import CrossValidation
from emotune.evaluation.statistics import Interval
from emotune.reproduce.published import PRETEXT_PUBLISHED, TARGETS, PaperRow, PaperTable, PublishedTest, Target

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

    Missing results, and numbers that were not published, are empty. A table with tests has the columns ``p``, with our
    p-values of the macro F1 (`difference_frame` has all), and ``p, published``.
    """
    rows = [_row_of(row, table=table, results=results) for row in table.rows]
    baselines: tuple[tuple[str, Baseline], ...] = (
        ("always the more frequent label", "majority"),
        ("shuffled labels", "shuffled"),
    )
    for title, of in baselines:
        if not any(getattr(result, of) for result in results.values()):
            continue
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


def _row_of(row: PaperRow, *, table: PaperTable, results: Results) -> dict[str, str]:
    cells = {"": row.name}
    if any(other.subject_independent is not None for other in table.rows):
        cells["Subj. ind."] = {True: "yes", False: "no", None: ""}[row.subject_independent]
    if any(other.segment for other in table.rows):
        cells["segment size"] = row.segment
    for column in COLUMNS:
        ours = results.get((row.name, column.target))
        cells[column.title] = _text(ours.interval(column.metric) if ours is not None else None)
        cells[f"{column.title}, published"] = _published(row.published.get((column.target, column.metric)))
    for test in table.tests:
        if test.row == row.name:
            values = {target: _p_value(test, target=target, metric="macro_f1", results=results) for target in TARGETS}
            texts = [f"{target} {_p_text(p)}" for target, p in values.items() if p is not None]
            against = f" (against {test.against})" if len(table.tests) > 1 else ""
            earlier = f"{cells['p']}; " if "p" in cells else ""
            cells["p"] = f"{earlier}{', '.join(texts)}{against}" if texts else earlier
            cells["p, published"] = "; ".join(filter(None, (cells.get("p, published"), test.p)))
    return cells


def _p_value(test: PublishedTest, *, target: Target, metric: str, results: Results) -> float | None:
    pair = [results.get((row, target)) for row in (test.against, test.row)]
    if pair[0] is None or pair[1] is None:
        return None
    return pair[0].compare(pair[1], metric=metric).p


def difference_frame(table: PaperTable, results: Results) -> pd.DataFrame:
    """Return the tests between rows: a row per test, target and metric, with the difference and two p-values.

    ``p`` is that of the paired t-test over the folds, as in the papers; ``p, corrected`` of the corrected t-test
    (`emotune.evaluation.statistics.corrected_t_test`), for training data that folds share.
    """
    rows = []
    for test in table.tests:
        for column in COLUMNS:
            first, second = (results.get((row, column.target)) for row in (test.against, test.row))
            if first is None or second is None:
                continue
            paired, corrected = (first.compare(second, metric=column.metric, corrected=how) for how in (False, True))
            rows.append(
                {
                    "": f"{test.row} - {test.against}",
                    "column": column.title,
                    "difference": _text(paired.difference),
                    "p": _p_text(paired.p),
                    "p, corrected": _p_text(corrected.p),
                    "p, published": test.p,
                }
            )
    return pd.DataFrame(rows)


def _p_text(p: float | None) -> str:
    return "" if p is None else f"{p:.1e}" if p < 0.001 else f"{p:.3f}".removeprefix("0")


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


def paper_number(mean: float, half_width: float | None = None) -> str:
    """Return a number as the papers print it.

    Example:
        >>> paper_number(0.88, 0.0054), paper_number(0.81, 0.0107), paper_number(0.551), paper_number(-0.02, 0.1)
        ('.88 ± 5.4e-3', '.81 ± 10.7e-3', '.551', '-.02 ± 1.0e-1')
    """
    digits = 3 if half_width is None and round(mean, 2) != round(mean, 3) else 2
    text = f"{mean:.{digits}f}".replace("0.", ".", 1) if abs(mean) < 1 else f"{mean:.{digits}f}"
    return text if half_width is None else f"{text} ± {_scientific(half_width)}"


def _scientific(value: float) -> str:
    """Return a half width with two significant digits; one with three decimals and a digit more keeps its 1e-3."""
    if value == 0:
        return "0"
    if 0.01 < value < 0.02 and round(value, 4) == value != round(value, 3):
        return f"{value * 1e3:.1f}e-3"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _text(value: Interval | None) -> str:
    return "" if value is None else paper_number(value.mean, value.half_width)


def _published(value: tuple[float, float | None] | None) -> str:
    return "" if value is None else paper_number(*value)


def as_markdown(frame: pd.DataFrame, *, title: str, notes: Sequence[str], tests: pd.DataFrame | None = None) -> str:
    """Return a table as a Markdown page, with the tests between rows below it."""
    lines = [f"# {title}", "", *_markdown_table(frame), ""]
    if tests is not None and len(tests):
        lines += ["## Differences", "", *_markdown_table(tests), ""]
    return "\n".join([*lines, *(f"{note}\n" for note in notes)])


def _markdown_table(frame: pd.DataFrame) -> list[str]:
    head = [_line(frame.columns), _line("---" for _ in frame.columns)]
    return head + [_line(row) for row in frame.to_numpy().tolist()]


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
