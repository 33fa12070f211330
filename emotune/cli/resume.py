"""``emotune resume``: a search or run resumes with the study and the options that are recorded in its folder."""

from dataclasses import dataclass
from typing import Any

import click

from emotune.cli.options import (
    RunRequest,
    brackets_option,
    evaluations_option,
    hours_option,
    json_option,
    notify_option,
    retry_failed_option,
    run_options,
    storage_option,
    store_option,
    tracking_option,
)


@dataclass(frozen=True, kw_only=True)
class ResumeRequest(RunRequest):
    """The options of ``emotune resume``."""

    brackets: Any
    """`emotune.search.stopping.Amount` of brackets, or None."""

    evaluations: Any
    """`emotune.search.stopping.Amount` of evaluations, or None."""

    hours: Any
    """`emotune.search.stopping.Hours` of running time, or None."""

    retry_failed: bool
    """Run failed evaluations again."""


@click.command()
@click.argument("name", required=False)
@run_options(
    ResumeRequest,
    store_option("study"),
    click.option(
        "--concurrency", type=click.IntRange(1), help="Evaluations that run at the same time.  [default: as before]"
    ),
    brackets_option,
    evaluations_option,
    hours_option,
    notify_option,
    retry_failed_option,
    storage_option,
    tracking_option,
    json_option,
)
def resume(request: ResumeRequest) -> int:
    """Resume the search, run or cross-validation NAME with its recorded study and options.

    Without NAME, the only one that was interrupted is resumed. A finished search is extended by --brackets +N,
    --evaluations +N or --hours +H. The MLflow server is that of the last
    start, unless its URI contains a password or another one is given.

    \b
    Example:
      emotune resume first
      emotune resume first --retry-failed
      emotune resume first --evaluations +6
      emotune resume first --hours +2
    """
    from emotune.cli.actions.resume import resume_and_print

    return resume_and_print(request)
