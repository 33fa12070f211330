"""``emotune status``, ``stop`` and ``best``: searches as their journals record them."""

from pathlib import Path

import click

from emotune.cli.options import OUTPUT_PATH, json_option, storage_option


@click.command()
@click.argument("name", required=False)
@storage_option
@json_option
def status(name: str | None, *, storage: str, as_json: bool) -> None:
    """Print one line per search, or all evaluations of the search NAME.

    \b
    Example:
      emotune status
      emotune status first --json
    """
    from emotune.cli.actions.status import print_all, print_status

    if name is None:
        print_all(storage, as_json=as_json)
    else:
        print_status(name, storage=storage, as_json=as_json)


@click.command()
@click.argument("name")
@storage_option
def stop(name: str, *, storage: str) -> None:
    """Stop the running search NAME when its running evaluations have ended.

    \b
    Example:
      emotune stop first
    """
    from emotune.cli.actions.status import request_stop

    request_stop(name, storage=storage)


@click.command()
@click.argument("name")
@click.option("--out", required=True, type=OUTPUT_PATH, help="Experiment file to write.")
@storage_option
def best(name: str, *, out: Path, storage: str) -> None:
    """Write the best configuration of the search NAME as a complete experiment.

    \b
    Example:
      emotune best first --out experiment.yaml
    """
    from emotune.cli.actions.status import write_best

    write_best(name, file=out, storage=storage)
