"""One self-contained page about a search, made from its journal alone."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from emotune.files import write_atomically
from emotune.report.figures import draw_incumbents, draw_learning_curves, draw_values
from emotune.report.tables import held_out_scores, leaderboard, objective_of, rank_agreement, trusted_rungs
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

_MOST_ROWS = 200


@dataclasses.dataclass(frozen=True)
class Column:
    """Head of a column."""

    title: str
    number: bool


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as the page shows it."""

    columns: list[Column]
    rows: list[list[str]]
    left_out: int


def write_report(records: Sequence[Record], out: Path) -> None:
    """Write the page about a search, whole or not at all.

    It loads nothing from anywhere, follows the reader's light or dark setting, and escapes all that comes
    from the journal.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(PAGE).render(_content(records))
    write_atomically(out, page.encode("utf-8", "replace"))


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
        "trust": _table(trusted_rungs(records)),
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
    ended = [one for one in results if one.status != "running"]
    epochs = sum(one.evaluation.to_epoch - one.evaluation.from_epoch for one in ended)
    return [
        ("configurations", str(len({one.evaluation.config_id for one in results}))),
        ("evaluations ended", str(len(ended))),
        ("of them failed", str(sum(one.status == "failed" for one in ended))),
        ("epochs trained", str(epochs)),
        ("of work", _span(sum((one.seconds or 0.0 for one in ended), start=0.0))),
        ("from first to last record", _span(records[-1].time - records[0].time)),
    ]


def _figures(records: Sequence[Record]) -> list[tuple[str, str, Markup]]:
    """Return title, explanation and picture of what there is to see."""
    drawn = [
        (
            "Learning curves",
            "The objective after every epoch, one line per configuration.",
            draw_learning_curves(records),
        ),
        (
            "Progress",
            "The best result of those trained longest, as the search went on.",
            draw_incumbents(records),
        ),
        (
            "Searched values",
            "One dot per configuration; larger dots were trained longer.",
            draw_values(records),
        ),
    ]
    # Markup is right here: the pictures are matplotlib's, which escapes the names it writes.
    return [(title, text, Markup(svg)) for title, text, svg in drawn if svg is not None]


def _failures(results: Sequence[EvaluationResult]) -> pd.DataFrame:
    failed = [one for one in results if one.status == "failed"]
    rows = [(one.evaluation.config_id, one.evaluation.to_epoch, one.error or "") for one in failed]
    return pd.DataFrame(rows, columns=["config", "to epoch", "why"])


def _table(frame: pd.DataFrame) -> Table:
    shown = frame.head(_MOST_ROWS)
    return Table(
        columns=[Column(str(name), pd.api.types.is_numeric_dtype(shown[name])) for name in shown.columns],
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


def _span(seconds: float) -> str:
    """Return a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
