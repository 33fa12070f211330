"""``emotune report``, ``compare`` and ``sync``: results for people, and for MLflow."""

from pathlib import Path

import click

from emotune.cli.crossval import document, load_result
from emotune.cli.options import (
    default_tracking_uri,
    find_folder,
    json_option,
    print_json,
    storage_option,
    tracking_option,
)
from emotune.cli.tables import page, plain_table
from emotune.encoders import publish_best
from emotune.errors import SettingsError
from emotune.evaluation.crossval import METRICS, CrossValidation
from emotune.evaluation.statistics import Comparison
from emotune.report.page import write_report
from emotune.storage import open_storage
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics, opened, status_document
from emotune.tracking.mlflow import deliver_all

REPORT_FILE = "report.html"


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: report.html in its folder]")
@storage_option
def report(name: str, *, out: Path | None, storage: str) -> None:
    """Write one self-contained HTML page about the search or run NAME.

    \b
    Example:
      emotune report first --out first.html
    """
    folder = find_folder(name, storage=storage)
    page = folder.path / REPORT_FILE if out is None else out
    if out is None:
        page.parent.mkdir(parents=True, exist_ok=True)
    if not page.parent.is_dir():
        raise SettingsError(f"--out: the folder {page.parent} does not exist; make it first")
    write_report(read_journal(folder.journal), page)
    if out is None:
        folder.storage.write(REPORT_FILE, page.read_bytes())
    click.echo(folder.storage / REPORT_FILE if out is None else page)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@storage_option
@json_option
def compare(names: tuple[str, ...], *, storage: str, as_json: bool) -> None:
    """Show the last scores of the best configurations of several searches or runs side by side.

    Cross-validations by the same folds are compared fold by fold, by a paired t-test with the first.

    \b
    Example:
      emotune compare demo-pretrained demo-scratch
    """
    folders = [find_folder(name, storage=storage) for name in names]
    if all(opened(read_journal(folder.journal)).purpose == "fold" for folder in folders):
        _compare_folds([load_result(folder) for folder in folders], as_json=as_json)
        return
    scores = {name: _scores(name, storage=storage) for name in names}
    if as_json:
        print_json(scores)
        return
    metrics = sorted({metric for one in scores.values() for metric in one if metric.startswith(("val/", "test/"))})
    width = max(len(name) for name in names)
    click.echo(" " * 24 + "  ".join(f"{name:>{width}}" for name in names))
    for metric in metrics:
        row = [one.get(metric) for one in scores.values()]
        cells = [f"{'-':>{width}}" if value is None else f"{value:>{width}.4f}" for value in row]
        click.echo(f"{metric:<24}" + "  ".join(cells))


def _compare_folds(results: list[CrossValidation], *, as_json: bool) -> None:
    first, *others = results
    tests = {other.name: {metric: first.compare(other, metric=metric) for metric in METRICS} for other in others}
    if as_json:
        found = {name: {metric: one.model_dump() for metric, one in many.items()} for name, many in tests.items()}
        print_json({"results": [document(one) for one in results], "against": first.name, "tests": found})
        return
    table = plain_table("", *METRICS)
    for one in results:
        cells = (one.interval(metric) for metric in METRICS)
        table.add_row(one.name, *("-" if cell is None else cell.text for cell in cells))
        if one.name in tests:
            table.add_row(f"  less {first.name}", *map(_in_words, tests[one.name].values()))
    page().print(table)


def _in_words(test: Comparison) -> str:
    return test.difference.text + ("" if test.p is None else f", p = {test.p:.2g}")


def _scores(name: str, *, storage: str) -> dict[str, float | None]:
    records = read_journal(find_folder(name, storage=storage).journal)
    best = status_document(records, alive=False)["best"] if records else None
    if best is None:
        raise SettingsError(f"{name!r} has no result yet: let it finish")
    return last_metrics(records, best["config_id"])


@click.command()
@click.argument("name")
@storage_option
@tracking_option
def sync(name: str, *, storage: str, tracking_uri: str | None) -> int:
    """Deliver to MLflow what it has missed of the search or run NAME, and log the best encoder.

    \b
    Example:
      emotune sync first --tracking-uri http://tracking.lab:5000
    """
    folder = find_folder(name, storage=storage)
    uri = default_tracking_uri(tracking_uri, storage=open_storage(storage))
    records = read_journal(folder.journal)
    purpose = opened(records).purpose
    if not deliver_all(records, tracking_uri=uri, folder=folder.storage, name=name, kind=purpose):
        click.echo("MLflow does not have everything yet; try again when it can be reached", err=True)
        return 1
    run = publish_best(folder, tracking_uri=uri)
    click.echo(f"MLflow has all {len(records)} records of {name}; the best encoder is in run {run}")
    return 0
