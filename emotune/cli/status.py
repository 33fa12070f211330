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

    A running search for which `emotune stop` was given is listed as stopping; with --json it has `stop_requested`.

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
@click.option("--now", is_flag=True, help="Save checkpoints of the running evaluations and end them, as Ctrl-C does.")
@storage_option
def stop(name: str, *, now: bool, storage: str) -> None:
    """Stop the running search NAME after its running evaluations, or with --now at once.

    The request is a file in the folder of the search, which its driver reads every two seconds: it can be given on
    any machine that has the storage. No evaluation is started after it. `emotune resume NAME` resumes the search.

    \b
    Example:
      emotune stop first
      emotune stop first --now
      emotune stop first --now --storage s3://bucket/results
    """
    from emotune.cli.actions.status import stop_and_print

    stop_and_print(name, storage=storage, now=now)


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
