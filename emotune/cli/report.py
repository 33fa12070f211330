"""``emotune report``, ``compare`` and ``sync``: results as a page, as a table, and in MLflow."""

from pathlib import Path
from typing import Any

import click

from emotune.cli.options import (
    OUTPUT_PATH,
    json_option,
    price_option,
    register_option,
    storage_option,
    tracking_option,
)


class Interval(click.ParamType):
    """A number of seconds, at least 1."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            seconds = float(value)
        except ValueError:
            self.fail(f"{value!r} was given, expected a number of seconds; give --watch after the names", param, ctx)
        if not 1 <= seconds <= MAX_WATCH_S:
            self.fail(f"{value} was given, expected 1 to {MAX_WATCH_S:.0f} s", param, ctx)
        return seconds


MAX_WATCH_S = 86_400.0
"""Longest time between two versions of a page (s)."""

WATCH_INTERVAL_S = 10.0
"""Time between two versions of a page that a running search has, without a number (s)."""


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--out",
    type=OUTPUT_PATH,
    help="File to write.  [default: report.html in the folder of NAME; report-NAME-NAME.html in the storage folder for "
    "several]",
)
@click.option(
    "--watch",
    type=Interval(),
    is_flag=False,
    flag_value=WATCH_INTERVAL_S,
    metavar="[SECONDS]",
    help="Write the page again every SECONDS (default 10) while the search runs; an open page refreshes itself.",
)
@click.option(
    "--signals/--no-signals",
    default=True,
    show_default=True,
    help="Draw six held-out segments with the prediction, if the store and the checkpoints are on this machine.",
)
@price_option
@storage_option
def report(
    names: tuple[str, ...],
    *,
    out: Path | None,
    watch: float | None,
    signals: bool,
    price_per_hour: float | None,
    storage: str,
) -> None:
    """Write one self-contained HTML page about the search or run NAME, or about several side by side.

    \b
    Example:
      emotune report first --out first.html
      emotune report first --watch
      emotune report first second
      emotune report first --price-per-hour 2.50
    """
    from emotune.cli.actions.report_page import ReportRequest, write_page

    request = ReportRequest(
        names=names, out=out, watch=watch, signals=signals, price_per_hour=price_per_hour, storage=storage
    )
    write_page(request)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@storage_option
@json_option
def compare(names: tuple[str, ...], *, storage: str, as_json: bool) -> None:
    """Compare the scores of several searches or runs: those of the last epoch of the best configuration.

    Cross-validations with the same folds are compared with the first by paired t-tests: over the folds, plain and
    corrected for the training data that folds share (Nadeau and Bengio), and over people, by segment and by trial.

    \b
    Example:
      emotune compare demo-pretrained demo-scratch
    """
    from emotune.cli.actions.report import print_comparison

    print_comparison(names, storage=storage, as_json=as_json)


@click.command()
@click.argument("name")
@storage_option
@tracking_option
@register_option
def sync(name: str, *, storage: str, tracking_uri: str | None, register: str | None) -> int:
    """Send to MLflow all records of the search or run NAME that it does not have, and the best encoder.

    Also adds the view of its pages to searches of older versions, and prints the link that opens it.

    \b
    Example:
      emotune sync first --tracking-uri http://tracking.lab:5000
    """
    from emotune.cli.actions.report import send_to_mlflow

    return send_to_mlflow(name, storage=storage, tracking_uri=tracking_uri, register_as=register)
