"""``emotune report``, ``compare`` and ``sync``: results as a page, as a table, and in MLflow."""

from pathlib import Path

import click

from emotune.cli.options import OUTPUT_PATH, json_option, register_option, storage_option, tracking_option


@click.command()
@click.argument("name")
@click.option("--out", type=OUTPUT_PATH, help="File to write.  [default: report.html in the folder of NAME]")
@storage_option
def report(name: str, *, out: Path | None, storage: str) -> None:
    """Write one self-contained HTML page about the search or run NAME.

    \b
    Example:
      emotune report first --out first.html
    """
    from emotune.cli.actions.report import write_page

    write_page(name, file=out, storage=storage)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@storage_option
@json_option
def compare(names: tuple[str, ...], *, storage: str, as_json: bool) -> None:
    """Compare the scores of several searches or runs: those of the last epoch of the best configuration.

    Cross-validations with the same folds are compared fold by fold, with a paired t-test against the first.

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
