"""``emotune reproduce``: all experiments behind a table of the papers."""

from dataclasses import dataclass

import click

from emotune.cli.options import (
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
        help="Size of networks, data and runs; smoke is a rehearsal on synthetic signals.",
    ),
    click.option(
        "--stores",
        default="stores",
        show_default=True,
        help="Folder of the segment stores; the scale smoke creates its own stores there.",
    ),
    click.option(
        "--dry-run", is_flag=True, help="Print cells, epochs, segments, operations and GPU hours; start nothing."
    ),
    storage_option,
    tracking_option,
    folds_at_a_time_option,
    json_option,
)
def reproduce(request: ReproduceRequest) -> int:
    """Run every experiment of TABLE, and write the table with the published numbers beside ours.

    TABLE is ecg-table-1, -2, -3, multimodal-table-1 to -4, or pretext. The scale full needs the stores
    pool-ecg-10s (and -20s, -40s), pool-eeg-10s, amigos-ecg-10s (-20s, -40s) and amigos-eeg-10s. The name
    of a run is derived from its settings: a finished run, also one of another table, is not repeated.
    After an interruption the same command resumes.

    \b
    Example:
      emotune reproduce multimodal-table-2 --scale smoke
      emotune reproduce ecg-table-1 --dry-run
    """
    from emotune.cli.actions.reproduce import reproduce_table

    return reproduce_table(request)
