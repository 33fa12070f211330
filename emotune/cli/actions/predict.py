"""``emotune predict``: predict with each model, and print or write the probabilities."""

import functools
import itertools

from rich.table import Table

from emotune.cli.actions.folders import tracking_uri_or_default
from emotune.cli.actions.tables import console, facts_table, message_console, plain_table, reasons_table
from emotune.cli.output import print_json
from emotune.cli.predict import PredictRequest
from emotune.errors import SettingsError
from emotune.evaluation.prediction import Prediction, Predictor, find_predictor, label_of, predict
from emotune.evaluation.prediction_plot import write_plot
from emotune.files import check_output, write_output
from emotune.storage import open_storage
from emotune.tracking.encoders import find_encoder

MAX_ROWS = 60
"""Segments in the printed table; the JSON document and the CSV table contain all."""


def predict_and_print(request: PredictRequest) -> None:
    """Carry out ``emotune predict``."""
    root = open_storage(request.storage)
    uri = tracking_uri_or_default(request.tracking_uri, storage=root)
    find_checkpoint = functools.partial(find_encoder, tracking_uri=uri)
    for option, file in (("--csv", request.csv), ("--plot", request.plot)):
        if file is not None:
            check_output(file, option=option)
    predictors = [
        find_predictor(name, storage=root, find_checkpoint=find_checkpoint) for name in _names(request.models)
    ]
    prediction = predict(request.file, predictors=predictors, fs=request.fs)
    if request.csv is not None:
        write_output(request.csv, prediction.table().to_csv(index=False).encode(), option="--csv")
    if request.plot is not None:
        write_plot(prediction, file=request.plot)
    if request.as_json:
        print_json(prediction.document())
    else:
        _print(prediction, predictors=predictors)


def _names(models: str) -> list[str]:
    names = [name.strip() for name in models.split(",")]
    if not all(names):
        raise SettingsError(f"{models!r} contains an empty name; give names of models with commas between them")
    return names


def _print(prediction: Prediction, *, predictors: list[Predictor]) -> None:
    out = console()
    out.print(facts_table(_facts(prediction, predictors=predictors)))
    out.print()
    out.print(_table(prediction))
    if prediction.left_out:
        message_console().print(reasons_table(prediction.left_out))


def _facts(prediction: Prediction, *, predictors: list[Predictor]) -> dict[str, str]:
    preparation = prediction.preparation
    segments = f"{len(prediction.leads)} segments of {preparation.seconds:g} s {preparation.modality.upper()}"
    folds = {predictor.target: len(predictor.classifiers) for predictor in predictors}
    return {
        "file": f"{prediction.file}: {segments}, {', '.join(prediction.names)}",
        "standardised": "over this file alone; training data were standardised over all recordings of a person",
        **{
            f"{target} by": name + (f", the mean of {folds[target]} folds" if folds[target] > 1 else "")
            for target, name in prediction.models.items()
        },
    }


def _table(prediction: Prediction) -> Table:
    columns = [name for target in prediction.models for name in (f"high {target}", target)]
    table = plain_table("channel", "from", "to", *columns, numbers=("from", "to", *columns[::2]))
    segments = zip(prediction.leads, prediction.starts, prediction.ends, strict=True)
    for number, (lead, start, end) in enumerate(itertools.islice(segments, MAX_ROWS)):
        probabilities = {target: float(values[number]) for target, values in prediction.probabilities.items()}
        table.add_row(lead, f"{start:g}", f"{end:g}", *_cells(probabilities))
    if len(prediction.leads) > MAX_ROWS:
        table.add_row(f"{len(prediction.leads) - MAX_ROWS} more (all with --csv or --json)")
    table.add_row("mean", "", "", *_cells(prediction.means))
    return table


def _cells(probabilities: dict[str, float]) -> list[str]:
    return [cell for probability in probabilities.values() for cell in (f"{probability:.3f}", label_of(probability))]
