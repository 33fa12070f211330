"""``emotune predict``: what classifiers say of one recording."""

import itertools
from pathlib import Path

import click
from rich.table import Table

from emotune.cli.options import (
    console,
    default_tracking_uri,
    json_option,
    print_json,
    storage_option,
    tracking_option,
)
from emotune.cli.tables import facts_table, page, plain_table, reasons_table
from emotune.errors import SettingsError
from emotune.files import write_atomically
from emotune.prediction import Prediction, Predictor, find_predictor, write_picture
from emotune.prediction import predict as judge_file
from emotune.prediction.judge import label_of
from emotune.storage import open_storage

MOST_ROWS = 60
"""Segments shown to people; all are in the JSON document and the CSV table."""


@click.command()
@click.argument("models", metavar="MODEL[,MODEL]")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--fs", type=float, metavar="HZ", help="Samples per second, where FILE does not say (CSV).")
@json_option
@click.option("--csv", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write a table, a line per segment.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw signal and probabilities.")
@storage_option
@tracking_option
def predict(  # noqa: PLR0913 (the options of the contract)
    models: str,
    *,
    file: Path,
    fs: float | None,
    as_json: bool,
    csv: Path | None,
    plot: Path | None,
    storage: str,
    tracking_uri: str | None,
) -> None:
    """Tell of each segment of FILE how probable a high rating is, and whether it is high or low.

    MODEL is a fine-tuning, a cross-validation (the mean of its folds), a checkpoint folder or an
    MLflow run; several, with commas between them, answer side by side. FILE is a .npz, EDF, WFDB
    (.hea) or CSV recording. It is prepared as the training data were, but standardised over itself
    alone, since there is no more of the person: a recording of one state has nothing that the state
    could be told from by its amplitude.

    \b
    Example:
      emotune predict ours-arousal,ours-valence recording.edf --plot recording.png
    """
    root = open_storage(storage)
    uri = default_tracking_uri(tracking_uri, storage=root)
    judges = [find_predictor(name, storage=root, tracking_uri=uri) for name in _names(models)]
    prediction = judge_file(file, judges=judges, fs=fs)
    if csv is not None:
        _write_csv(prediction, file=csv)
    if plot is not None:
        write_picture(prediction, file=plot)
    if as_json:
        print_json(prediction.document())
    else:
        _show(prediction, judges=judges)


def _names(models: str) -> list[str]:
    names = [name.strip() for name in models.split(",")]
    if not all(names):
        raise SettingsError(f"{models!r} names no model at one place; give names with commas between them")
    return names


def _write_csv(prediction: Prediction, *, file: Path) -> None:
    try:
        write_atomically(file, prediction.table().to_csv(index=False).encode())
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}. Give another file.") from error


def _show(prediction: Prediction, *, judges: list[Predictor]) -> None:
    out = page()
    out.print(facts_table(_facts(prediction, judges=judges)))
    out.print()
    out.print(_table(prediction))
    if prediction.left_out:
        console().print(reasons_table(prediction.left_out))


def _facts(prediction: Prediction, *, judges: list[Predictor]) -> dict[str, str]:
    preparation = prediction.preparation
    what = f"{len(prediction.leads)} segments of {preparation.seconds:g} s {preparation.modality.upper()}"
    folds = {judge.target: len(judge.classifiers) for judge in judges}
    return {
        "file": f"{prediction.file}: {what}, {', '.join(prediction.names)}",
        "standardised": "over this file alone, where training data were over all of a person's recordings",
        **{
            f"{target} by": name + (f", the mean of {folds[target]} folds" if folds[target] > 1 else "")
            for target, name in prediction.models.items()
        },
    }


def _table(prediction: Prediction) -> Table:
    columns = [name for target in prediction.models for name in (f"high {target}", target)]
    table = plain_table("channel", "from", "to", *columns, numbers=("from", "to", *columns[::2]))
    segments = zip(prediction.leads, prediction.starts, prediction.ends, strict=True)
    for number, (lead, start, end) in enumerate(itertools.islice(segments, MOST_ROWS)):
        answers = {target: float(values[number]) for target, values in prediction.probabilities.items()}
        table.add_row(lead, f"{start:g}", f"{end:g}", *_cells(answers))
    if len(prediction.leads) > MOST_ROWS:
        table.add_row(f"{len(prediction.leads) - MOST_ROWS} more (all with --csv or --json)")
    table.add_row("mean", "", "", *_cells(prediction.means))
    return table


def _cells(probabilities: dict[str, float]) -> list[str]:
    return [cell for one in probabilities.values() for cell in (f"{one:.3f}", label_of(one))]
