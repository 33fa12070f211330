"""``emotune reproduce``: all experiments behind a table of the papers."""

from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.options import (
    INPUT_PATH,
    WORKERS,
    RunRequest,
    folds_at_a_time_option,
    json_option,
    run_options,
    storage_option,
    tracking_option,
)

SCALES = ("smoke", "full")
"""Choices of ``--scale``: the names in `emotune.reproduce.recipes.SCALES`, which is slow to import."""


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest(RunRequest):
    """The options of ``emotune reproduce``."""

    table: str
    """Name of the table."""

    scale: str
    """Name of the scale."""

    stores: str
    """Folder of the segment stores."""

    raw: Path | None
    """Folder with the raw corpora, a sub-folder each."""

    incomplete: bool
    """Run without corpora and people that are missing."""

    shuffled: bool
    """Repeat each fold with shuffled labels."""

    dry_run: bool
    """Print the plan only."""


@click.command()
@click.argument("table")
@run_options(
    ReproduceRequest,
    click.option(
        "--scale",
        type=click.Choice(SCALES),
        default="full",
        show_default=True,
        help="Size of networks, data and runs; smoke is a rehearsal with tiny networks, on generated signals or, with "
        "--raw, on a part of the corpora.",
    ),
    click.option(
        "--raw",
        type=INPUT_PATH,
        metavar="FOLDER",
        help="Folder with the raw corpora, a sub-folder each; the stores that are missing are prepared from them.",
    ),
    click.option(
        "--incomplete",
        is_flag=True,
        help="Run without corpora and people of the papers that are missing; the table states what is missing.",
    ),
    click.option(
        "--stores",
        default="stores",
        show_default=True,
        help="Folder of the segment stores; the scale smoke creates its own stores there.",
    ),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Print corpora, stores, disk, cells, epochs, operations and GPU hours; start nothing.",
    ),
    click.option(
        "--workers",
        type=WORKERS,
        help="Workers that share each pre-training, as in `emotune pretrain`.  [default: 1]",
    ),
    click.option("--shuffled/--no-shuffled", default=True, help="Repeat each fold with shuffled labels."),
    storage_option,
    tracking_option,
    folds_at_a_time_option,
    json_option,
)
def reproduce(request: ReproduceRequest) -> int:
    """Run every experiment of TABLE, and write the table with the published numbers beside ours.

    TABLE is ecg-table-1, -2, -3, multimodal-table-1 to -4, or pretext. The stores it needs are pool-ecg-10s
    (and -20s, -40s), pool-eeg-10s, amigos-ecg-10s (-20s, -40s) and amigos-eeg-10s; --raw prepares them. Their
    composition is compared with that of the papers: a missing corpus, or one with files of fewer than 90 % of
    its people, is refused without --incomplete. The name of a run is derived from its settings: a finished run,
    also one of another table, is not repeated. After an interruption the same command resumes.

    \b
    Example:
      emotune reproduce multimodal-table-2 --scale smoke
      emotune reproduce ecg-table-1 --raw corpora --dry-run
      emotune reproduce ecg-table-1 --raw corpora --workers 2..8
    """
    from emotune.cli.actions.reproduce import reproduce_table

    return reproduce_table(request)
