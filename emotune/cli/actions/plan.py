"""The plan of a search, for ``--dry-run``."""

import click

from emotune.study.definition import SearchDefinition
from emotune.study.preview import count_rungs, preview


def print_plan(study: SearchDefinition) -> None:
    """Print brackets, rungs and epochs."""
    evaluations = preview(study)
    click.echo(f"{'bracket':>7} {'epochs':>7} {'evaluations':>11} {'trained epochs':>14}")
    for rung in count_rungs(evaluations):
        click.echo(f"{rung.bracket:>7} {rung.epochs:>7} {rung.evaluations:>11} {rung.trained_epochs:>14}")
    epochs = sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in evaluations)
    configurations = len({evaluation.config_id for evaluation in evaluations})
    click.echo(f"{configurations} configurations, {len(evaluations)} evaluations, {epochs} epochs in total")
    click.echo(f"rungs at {', '.join(map(str, study.budget.rungs))} epochs")
    if study.search_settings().schedule == "async":
        click.echo("the schedule is asynchronous: the number of evaluations per rung depends on the results")
