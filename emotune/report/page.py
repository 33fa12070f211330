"""One self-contained HTML page about a search, computed from its journal alone."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from emotune.durations import duration
from emotune.files import write_output
from emotune.report.figures import draw_incumbents, draw_learning_curves, draw_values
from emotune.report.journal_tables import held_out_scores, leaderboard, objective_of, rank_agreement, rung_weights
from emotune.report.template import PAGE
from emotune.search.records import Record
from emotune.search.stopping import in_words
from emotune.study.results import (
    EvaluationResult,
    evaluation_results,
    find_best,
    opened,
    present_concurrency,
    present_limits,
    search_state,
    shortfall,
)

MAX_ROWS = 200
"""Rows of a table that are shown at most."""


@dataclasses.dataclass(frozen=True)
class PageColumn:
    """The heading of a column."""

    title: str
    number: bool


@dataclasses.dataclass(frozen=True)
class PageTable:
    """A table of the page."""

    columns: list[PageColumn]
    rows: list[list[str]]
    left_out: int
    """Number of rows that are not shown."""


def render_report(records: Sequence[Record]) -> bytes:
    """Return the page about a search, as UTF-8.

    The page loads no other resource, follows the light or dark setting of the browser, and escapes all text of
    the journal.

    Args:
        records: The journal of the search.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(PAGE).render(_content(records)).encode("utf-8", "replace")


def write_report(records: Sequence[Record], out: Path) -> bool:
    """Write the page about a search to a file; returns whether it is a regular file (see `write_output`)."""
    return write_output(out, render_report(records))


def _content(records: Sequence[Record]) -> dict[str, Any]:
    first, objective, results = opened(records), objective_of(records), evaluation_results(records)
    best = find_best(results, mode=objective.mode)
    values = {} if best is None else best.values
    limits = present_limits(records)
    return {
        "name": first.name,
        "state": search_state(records, alive=False),
        "begun": _clock(first.time),
        "last": _clock(records[-1].time),
        "facts": _facts(records, results),
        "best": best,
        "warning": shortfall(records),
        "best_objective": "" if best is None else _cell(best.objective),
        "best_values": _table(pd.DataFrame(values.items(), columns=["setting", "value"])),
        "metric": objective.metric,
        "direction": "Lower" if objective.mode == "min" else "Higher",
        "scores": _table(held_out_scores(records)),
        "figures": _figures(records),
        "leaderboard": _table(leaderboard(records)),
        "agreement": _table(rank_agreement(records)),
        "rung_weights": _table(rung_weights(records)),
        "failures": _table(_failures(results)),
        "study": yaml.safe_dump(first.study, sort_keys=False, allow_unicode=True),
        "software": _table(pd.DataFrame(first.software.items(), columns=["package", "version"])),
        "digest": first.digest,
        "seed": first.seed,
        "concurrency": present_concurrency(records),
        "limits": in_words(**limits) if limits else "",
        "warm_start": ", ".join(first.warm_start),
    }


def _facts(records: Sequence[Record], results: Sequence[EvaluationResult]) -> list[tuple[str, str]]:
    ended = [result for result in results if result.status != "running"]
    epochs = sum(result.evaluation.to_epoch - result.evaluation.from_epoch for result in ended)
    return [
        ("configurations", str(len({result.evaluation.config_id for result in results}))),
        ("evaluations ended", str(len(ended))),
        ("failed evaluations", str(sum(result.status == "failed" for result in ended))),
        ("epochs trained", str(epochs)),
        ("total training time", duration(sum((result.seconds or 0.0 for result in ended), start=0.0))),
        ("from first to last record", duration(records[-1].time - records[0].time)),
    ]


def _figures(records: Sequence[Record]) -> list[tuple[str, str, Markup]]:
    """Return title, explanation and SVG of each figure that has data."""
    drawn = [
        (
            "Learning curves",
            "The objective after each epoch, one line per configuration.",
            draw_learning_curves(records),
        ),
        (
            "Progress",
            "The best result of the configurations trained longest, against the total of trained epochs.",
            draw_incumbents(records),
        ),
        (
            "Searched values",
            "One dot per configuration; a larger dot means more epochs.",
            draw_values(records),
        ),
    ]
    # The SVG needs no escaping: matplotlib escapes the names in it.
    return [(title, text, Markup(svg)) for title, text, svg in drawn if svg is not None]


def _failures(results: Sequence[EvaluationResult]) -> pd.DataFrame:
    failed = [result for result in results if result.status == "failed"]
    rows = [(result.evaluation.config_id, result.evaluation.to_epoch, result.error or "") for result in failed]
    return pd.DataFrame(rows, columns=["config", "to epoch", "error"])


def _table(frame: pd.DataFrame) -> PageTable:
    shown = frame.head(MAX_ROWS)
    return PageTable(
        columns=[PageColumn(str(name), pd.api.types.is_numeric_dtype(shown[name])) for name in shown.columns],
        rows=[[_cell(value) for value in row] for row in shown.astype(object).itertuples(index=False)],
        left_out=len(frame) - len(shown),
    )


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN, the missing value of pandas
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
