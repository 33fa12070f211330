"""``emotune compare`` and ``sync``."""

import math
from collections.abc import Mapping, Sequence

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.crossval import load_result
from emotune.cli.actions.folders import existing_records, mlflow_link, tracking_uri_or_default
from emotune.cli.actions.tables import plain_table
from emotune.cli.output import print_json, print_message
from emotune.errors import SettingsError
from emotune.evaluation.crossval import METRICS, CrossValidation, significance
from emotune.evaluation.statistics import Comparison, Interval
from emotune.search.records import Record
from emotune.storage import open_storage
from emotune.study.invocation import read_invocation
from emotune.study.recorded import kind_of
from emotune.study.results import last_metrics, opened, status_document
from emotune.tracking.connection_check import refuse_damaged_database
from emotune.tracking.encoders import publish_best
from emotune.tracking.mlflow import deliver_all


def print_comparison(names: Sequence[str], *, storage: str, as_json: bool) -> None:
    """Carry out ``emotune compare``."""
    runs = {name: existing_records(name, storage=storage) for name in names}
    if all(opened(records).purpose == "fold" for _, records in runs.values()):
        _compare_folds([load_result(folder) for folder, _ in runs.values()], as_json=as_json)
        return
    scores = {name: _scores(name, records=records) for name, (_, records) in runs.items()}
    if as_json:
        print_json(scores)
        return
    columns = list(scores.values())
    metrics = sorted({metric for column in columns for metric in column if metric.startswith(("val/", "test/"))})
    width = max(len(name) for name in names)
    left = max([24, *(len(metric) + 1 for metric in metrics)])
    click.echo(" " * left + "  ".join(f"{name:>{width}}" for name in names))
    for metric in metrics:
        values = [column.get(metric) for column in columns]
        cells = [f"{'-':>{width}}" if value is None else f"{value:>{width}.4f}" for value in values]
        click.echo(f"{metric:<{left}}" + "  ".join(cells))
    for note in describe_differences(scores):
        print_message(note)


def describe_differences(scores: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return a line for each run after the first, with the difference of their test accuracies.

    The half width of the interval is ``sqrt(w_1^2 + w_2^2)``, from those of both accuracies over the test subjects.
    It is rather too wide for runs on the same subjects, which are correlated. Runs without an interval are left out.
    """
    (first, reference), *others = scores.items()
    lines = []
    for name, column in others:
        accuracies = reference.get("test/accuracy"), column.get("test/accuracy")
        widths = [part.get("test/accuracy_half_width") for part in (reference, column)]
        if None in accuracies or None in widths:
            continue
        before, after = (float(value or 0.0) for value in accuracies)
        difference = Interval(mean=after - before, half_width=math.hypot(*(float(width or 0.0) for width in widths)))
        lines.append(
            f"test/accuracy of {name} minus that of {first}: {difference.text} (95 % interval over the test subjects), "
            f"{significance(difference)}"
        )
    return lines


def _compare_folds(results: list[CrossValidation], *, as_json: bool) -> None:
    first, *others = results
    tests = {other.name: {metric: first.compare(other, metric=metric) for metric in METRICS} for other in others}
    if as_json:
        documents = {
            name: {metric: test.model_dump() for metric, test in by_metric.items()} for name, by_metric in tests.items()
        }
        print_json(
            {
                "results": [result.document() for result in results],
                "against": first.name,
                "tests": documents,
            }
        )
        return
    table = plain_table("", *METRICS)
    for result in results:
        intervals = (result.interval(metric) for metric in METRICS)
        table.add_row(result.name, *("-" if interval is None else interval.text for interval in intervals))
        if result.name in tests:
            table.add_row(f"  minus {first.name}", *map(_difference, tests[result.name].values()))
    console().print(table)


def _difference(test: Comparison) -> str:
    return f"{test.difference.text}{'' if test.p is None else f', p = {test.p:.2g}'}, {significance(test.difference)}"


def _scores(name: str, *, records: Sequence[Record]) -> dict[str, float | None]:
    best = status_document(records, alive=False, with_rungs=False)["best"]
    if best is None:
        raise SettingsError(f"{name!r} has no result yet; wait until an evaluation has ended")
    return last_metrics(records, best["config_id"])


def send_to_mlflow(name: str, *, storage: str, tracking_uri: str | None, register_as: str | None) -> int:
    """Carry out ``emotune sync``; returns the exit code."""
    folder, records = existing_records(name, storage=storage)
    uri = tracking_uri_or_default(tracking_uri, storage=open_storage(storage))
    refuse_damaged_database(uri)
    purpose = opened(records).purpose
    if not deliver_all(records, tracking_uri=uri, folder=folder.storage, name=name, kind=purpose):
        click.echo("MLflow does not have all records yet; run the same command when the server responds", err=True)
        return 1
    click.echo(f"MLflow has all {len(records)} records of {name}: {mlflow_link(folder)}")
    if purpose != "fold" and kind_of(opened(records).study) == "experiment":
        register_as = register_as or read_invocation(folder.storage).register_as
        published = publish_best(folder, tracking_uri=uri, register_as=register_as)
        if published is not None:
            line = f"the best encoder is model {published.model_name} in run {published.run_id}"
            click.echo(f"{line}; {published.registration}" if published.registration else line)
    return 0
