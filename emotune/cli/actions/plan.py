"""The plan of a search, for ``--dry-run``: evaluations and epochs, and what they take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import click

from emotune.cli.actions.pace import describe_length
from emotune.cli.output import size
from emotune.durations import HOUR_S, duration
from emotune.report.costs import cost_of, price
from emotune.study.definition import SearchDefinition
from emotune.study.folder import SearchFolder
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal
from emotune.study.preview import cost_of_epochs, count_rungs, preview, recorded_speed, trained_epochs


@dataclass(frozen=True)
class Speed:
    """The duration of an epoch, and where it comes from."""

    seconds: float
    """Duration of an epoch of cost 1 (s)."""

    basis: str
    """Where it comes from, for the output."""

    unit: Literal["GPU", "CPU"]
    """What an evaluation occupies."""

    per_evaluation: float
    """Number of GPUs or CPUs of an evaluation."""


def print_plan(study: SearchDefinition) -> None:
    """Print brackets, rungs and epochs."""
    evaluations = preview(study)
    click.echo(f"{'bracket':>7} {'epochs':>7} {'evaluations':>11} {'trained epochs':>14}")
    for rung in count_rungs(evaluations):
        click.echo(f"{rung.bracket:>7} {rung.epochs:>7} {rung.evaluations:>11} {rung.trained_epochs:>14}")
    epochs = trained_epochs(evaluations)
    configurations = len({evaluation.config_id for evaluation in evaluations})
    click.echo(f"{configurations} configurations, {len(evaluations)} evaluations, {epochs} epochs in total")
    click.echo(f"rungs at {', '.join(map(str, study.budget.rungs))} epochs")
    if study.search_settings().schedule == "async":
        click.echo("the schedule is asynchronous: the number of evaluations per rung depends on the results")


def speed_of_search(folder: SearchFolder, *, cost: Callable[[dict[str, Any]], float]) -> Speed | None:
    """Return the speed of a search by its results; None if it has none.

    Args:
        folder: Folder of the search.
        cost: Cost of an epoch of a configuration.
    """
    records = read_journal(folder.journal) if folder.begun else []
    seconds = recorded_speed(records, cost=cost) if records else None
    if seconds is None:
        return None
    shared = read_invocation(folder.storage).trials_per_gpu
    spent = cost_of(records, trials_per_gpu=shared if isinstance(shared, int) else 1)
    basis = f"mean of {spent.epochs} epochs of the search {folder.name!r}"
    return Speed(seconds, basis, unit=spent.unit, per_evaluation=spent.per_evaluation)


def print_hours(
    study: SearchDefinition,
    speed: Speed,
    *,
    cost: Callable[[dict[str, Any]], float],
    concurrency: int,
    price_per_hour: float | None,
) -> None:
    """Print the time, the GPU- or CPU-hours and the price of a search.

    Args:
        study: The study.
        speed: The duration of an epoch of cost 1.
        cost: Cost of an epoch of a configuration.
        concurrency: Evaluations at a time.
        price_per_hour: Price of a GPU- or CPU-hour; None: no price is printed.
    """
    seconds = cost_of_epochs(preview(study), cost=cost) * speed.seconds
    whole = seconds / concurrency
    click.echo(
        f"about {duration(seconds)} of one worker, {duration(whole)} with a concurrency of {concurrency}: one epoch of "
        f"the base experiment takes {duration(speed.seconds)} ({speed.basis})"
    )
    hours = seconds * speed.per_evaluation / HOUR_S
    line = f"{hours:.3g} {speed.unit}-hours, at {speed.per_evaluation:g} {speed.unit} per evaluation"
    if price_per_hour is not None:
        line += f"; price: {price(hours, per_hour=price_per_hour)} at {price_per_hour:g} per {speed.unit}-hour"
    click.echo(line)
    if (warning := describe_length(whole)) is not None:
        click.echo(warning)


def print_disk(study: SearchDefinition, *, checkpoint_bytes: int, kept: int | None) -> None:
    """Print the disk that the checkpoints of a search take.

    Args:
        study: The study.
        checkpoint_bytes: Checkpoints of a configuration.
        kept: Configurations whose checkpoints stay at the end; None: all.
    """
    configurations = len({evaluation.config_id for evaluation in preview(study)})
    line = f"disk: at most {size(configurations * checkpoint_bytes)} of checkpoints"
    if kept is not None and kept < configurations:
        line += f"; about {size(kept * checkpoint_bytes)} at the end with --keep best:{kept}"
    click.echo(line)
