"""``emotune predict``: predict with each model, and print or write the probabilities."""

import functools
import itertools

from rich.table import Table

from emotune.cli.actions.consoles import console, message_console
from emotune.cli.actions.folders import tracking_uri_or_default
from emotune.cli.actions.predict_store import score_store
from emotune.cli.actions.tables import facts_table, plain_table, reasons_table
from emotune.cli.output import print_json
from emotune.cli.predict import PredictRequest
from emotune.data.store import ABOUT_FILE
from emotune.errors import SettingsError
from emotune.evaluation.prediction import Prediction, Predictor, find_predictor, predict
from emotune.evaluation.prediction_plot import write_plot
from emotune.files import check_output, write_output
from emotune.storage import open_storage
from emotune.tracking.encoders import find_network

MAX_ROWS = 60
"""Segments in the printed table; the JSON document and the CSV table contain all."""


def predict_and_print(request: PredictRequest) -> None:
    """Carry out ``emotune predict``."""
    if (request.file / ABOUT_FILE).is_file():
        score_store(request, predictors=_find_predictors(request))
        return
    prediction, predictors = predict_file(request)
    if request.as_json:
        print_json(prediction.document())
    else:
        _print(prediction, predictors=predictors)


def predict_file(request: PredictRequest) -> tuple[Prediction, list[Predictor]]:
    """Return the prediction of a recording, and the models; write the table and the picture that are asked for.

    Raises:
        SettingsError: There is no such model, or models do not fit together.
        DataError: The recording cannot be used.
    """
    predictors = _find_predictors(request)
    prediction = predict(request.file, predictors=predictors, fs=request.fs)
    if request.csv is not None:
        write_output(request.csv, prediction.table().to_csv(index=False).encode(), option="--csv")
    if request.plot is not None:
        write_plot(prediction, file=request.plot)
    return prediction, predictors


def _find_predictors(request: PredictRequest) -> list[Predictor]:
    """Return the models of a request, after its output files were checked."""
    root = open_storage(request.storage)
    uri = tracking_uri_or_default(request.tracking_uri, storage=root)
    find_checkpoint = functools.partial(find_network, tracking_uri=uri)
    for option, file in (("--csv", request.csv), ("--plot", request.plot)):
        if file is not None:
            check_output(file, option=option)
    return [find_predictor(name, storage=root, find_checkpoint=find_checkpoint) for name in _names(request.models)]


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
    if prediction.notes:
        message_console().print(reasons_table(prediction.notes, title="notes"))


def _facts(prediction: Prediction, *, predictors: list[Predictor]) -> dict[str, str]:
    preparation = prediction.preparation
    modality = preparation.modality.upper()
    named = "" if prediction.names == (modality,) else f" ({', '.join(prediction.names)})"
    facts = {
        "file": f"{prediction.file}: {len(prediction.leads)} segments of {preparation.seconds:g} s {modality}{named}",
        "standardised": "over this file alone; training data were standardised over all recordings of a person",
    }
    for predictor in predictors:
        facts[f"{predictor.target} by"] = _describe(predictor)
    return facts


def _describe(predictor: Predictor) -> str:
    """Return the name of a predictor, and the population that its probabilities refer to."""
    folds = len(predictor.classifiers)
    parts = [predictor.name + (f", the mean of {folds} folds" if folds > 1 else "")]
    if predictor.high_share is None:
        parts.append("probabilities as if both classes were equally frequent (written by an older version)")
    else:
        parts.append(f"{predictor.high_share:.0%} of the training segments are {predictor.class_names[1]}")
    if predictor.calibrations:
        before, after = (
            max(getattr(part, name) for part in predictor.calibrations) for name in ("error_before", "error")
        )
        segments = sum(part.segments for part in predictor.calibrations)
        if all(part.slope == 0 for part in predictor.calibrations):
            parts.append(
                f"no better than chance on {segments} validation segments: every probability is the share of "
                f"{predictor.class_names[1]} among them"
            )
            return "; ".join(parts)
        parts.append(
            f"calibrated on {segments} validation segments: expected calibration error on them {after:.3f}, "
            f"{before:.3f} without"
        )
    else:
        parts.append("not calibrated: there were no validation segments")
    return "; ".join(parts)


def _table(prediction: Prediction) -> Table:
    columns = [name for target in prediction.models for name in (_probability_title(prediction, target), target)]
    table = plain_table("channel", "from", "to", *columns, numbers=("from", "to", *columns[::2]))
    segments = zip(prediction.leads, prediction.starts, prediction.ends, strict=True)
    for number, (lead, start, end) in enumerate(itertools.islice(segments, MAX_ROWS)):
        probabilities = {target: float(values[number]) for target, values in prediction.probabilities.items()}
        table.add_row(lead, f"{start:g}", f"{end:g}", *_cells(prediction, probabilities))
    if len(prediction.leads) > MAX_ROWS:
        table.add_row(f"{len(prediction.leads) - MAX_ROWS} more (all with --csv or --json)")
    table.add_row("mean", "", "", *_cells(prediction, prediction.means))
    return table


def _probability_title(prediction: Prediction, target: str) -> str:
    high = prediction.class_names[target][1]
    return f"high {target}" if high == "high" else high


def _cells(prediction: Prediction, probabilities: dict[str, float]) -> list[str]:
    return [
        cell
        for target, probability in probabilities.items()
        for cell in (f"{probability:.3f}", prediction.label(target, probability))
    ]
