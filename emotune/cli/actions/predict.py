"""``emotune predict``: predict with each model, and print or write the probabilities."""

import functools
import itertools

from rich.table import Table

from emotune.cli.actions.consoles import console, message_console
from emotune.cli.actions.folders import tracking_uri_or_default
from emotune.cli.actions.predict_store import print_pretraining, score_store
from emotune.cli.actions.tables import facts_table, plain_table, reasons_table
from emotune.cli.output import print_json, print_message
from emotune.cli.predict import PredictRequest
from emotune.data.store import ABOUT_FILE
from emotune.errors import SettingsError
from emotune.evaluation.centred_recording import CentredRecording
from emotune.evaluation.fused_prediction import FusedPrediction, FusedPredictor, find_fused_predictor, predict_fused
from emotune.evaluation.prediction import FindCheckpoint, Prediction, Predictor, find_predictor, label_of, predict
from emotune.evaluation.prediction_plot import write_plot
from emotune.evaluation.pretraining_scores import find_pretraining
from emotune.files import check_output, write_output
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder
from emotune.tracking.encoders import find_network

MAX_ROWS = 60
"""Segments in the printed table; the JSON document and the CSV table contain all."""

STANDARDISED = "over this file alone; training data were standardised over all recordings of a person"


def predict_and_print(request: PredictRequest) -> None:
    """Carry out ``emotune predict``."""
    if (request.file / ABOUT_FILE).is_file():
        _score_store(request)
        return
    fused = _find_fused(request)
    if fused is not None:
        predict_with_fusion(request, predictor=fused)
        return
    prediction, predictors = predict_file(request)
    if request.as_json:
        print_json(prediction.document())
    else:
        _print(prediction, predictors=predictors)


def _score_store(request: PredictRequest) -> None:
    """Print the scores of classifiers, or of a pre-training, on a store."""
    names, storage = _names(request.models), open_storage(request.storage)
    find_checkpoint = _checkpoint_finder(request, storage=storage)
    alone = len(names) == 1
    pretraining = find_pretraining(names[0], storage=storage, find_checkpoint=find_checkpoint) if alone else None
    if pretraining is None:
        score_store(request, predictors=_find_predictors(request))
    else:
        print_pretraining(request, checkpoint=pretraining)


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


def _find_fused(request: PredictRequest) -> FusedPredictor | None:
    """Return the fusion that a request names; None if it names none.

    Raises:
        SettingsError: It names a fusion among several models.
    """
    names, root = _names(request.models), open_storage(request.storage)
    for name in names:
        predictor = find_fused_predictor(SearchFolder(root, name))
        if predictor is not None and len(names) > 1:
            raise SettingsError(f"{name} is a fusion of ECG and EEG; give it alone, without other models")
        if predictor is not None:
            return predictor
    return None


def predict_with_fusion(request: PredictRequest, *, predictor: FusedPredictor) -> None:
    """Predict a recording with both ECG and EEG, and print the probabilities of both and of their fusion.

    Raises:
        SettingsError: ``--plot`` was given; the picture shows the signals of one modality.
        DataError: The recording lacks a modality.
    """
    if request.plot is not None:
        raise SettingsError(f"--plot {request.plot}: it draws one modality, and {predictor.name} is a fusion of two")
    if request.csv is not None:
        check_output(request.csv, option="--csv")
    prediction = predict_fused(request.file, predictor=predictor, fs=request.fs)
    if request.csv is not None:
        write_output(request.csv, prediction.table().to_csv(index=False).encode(), option="--csv")
    if request.as_json:
        print_json(prediction.document())
    else:
        _print_fused(prediction)


def _print_fused(prediction: FusedPrediction) -> None:
    out, predictor = console(), prediction.predictor
    inputs = " and ".join(part.name for part in predictor.inputs.values())
    folds = len(predictor.classifiers)
    facts = {
        "file": f"{prediction.file}: {len(prediction.starts)} segments of {prediction.seconds:g} s with ECG and EEG",
        "standardised": STANDARDISED,
        f"{predictor.target} by": f"{predictor.name}, a fusion of {inputs}, the mean of {folds} folds",
        "probability": f"of {predictor.class_names[1]}",
    }
    out.print(facts_table(facts | _centring(prediction.centred)))
    out.print()
    names = list(prediction.probabilities)
    table = plain_table("from", "to", *names, predictor.target, numbers=("from", "to", *names))
    for row in itertools.islice(prediction.table().itertuples(index=False), MAX_ROWS):
        start, end, *values, label = row
        table.add_row(f"{start:g}", f"{end:g}", *(f"{value:.3f}" for value in values), str(label))
    if len(prediction.starts) > MAX_ROWS:
        table.add_row(f"{len(prediction.starts) - MAX_ROWS} more (all with --csv or --json)")
    means = [float(values.mean()) for values in prediction.probabilities.values()]
    label = label_of(means[-1:], names=predictor.class_names)
    table.add_row("mean", "", *(f"{mean:.3f}" for mean in means), label)
    out.print(table)
    _warn(prediction.centred)
    if prediction.left_out:
        message_console().print(reasons_table(prediction.left_out))


def _find_predictors(request: PredictRequest) -> list[Predictor]:
    """Return the models of a request, after its output files were checked."""
    root = open_storage(request.storage)
    find_checkpoint = _checkpoint_finder(request, storage=root)
    for option, file in (("--csv", request.csv), ("--plot", request.plot)):
        if file is not None:
            check_output(file, option=option)
    return [find_predictor(name, storage=root, find_checkpoint=find_checkpoint) for name in _names(request.models)]


def _checkpoint_finder(request: PredictRequest, *, storage: Storage) -> FindCheckpoint:
    uri = tracking_uri_or_default(request.tracking_uri, storage=storage)
    return functools.partial(find_network, tracking_uri=uri)


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
    _warn(prediction.centred)
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
        "standardised": (
            "each segment by itself, as the training data" if preparation.normalise == "segment" else STANDARDISED
        ),
    }
    for predictor in predictors:
        facts[f"{predictor.target} by"] = _describe(predictor)
    return facts | _centring(prediction.centred)


def _centring(centred: CentredRecording | None) -> dict[str, str]:
    return {} if centred is None else {f"centring of {' and '.join(centred.models)}": centred.text}


def _warn(centred: CentredRecording | None) -> None:
    if centred is not None and centred.warning is not None:
        print_message(centred.warning)


def _describe(predictor: Predictor) -> str:
    """Return the name of a predictor, and the population that its probabilities refer to."""
    folds = len(predictor.classifiers)
    parts = [predictor.name + (f", the mean of {folds} folds" if folds > 1 else "")]
    if predictor.shares is None:
        parts.append("probabilities as if both classes were equally frequent (written by an older version)")
    else:
        named = list(zip(predictor.class_names, predictor.shares, strict=True))
        shown = named if predictor.task.classes else named[1:]
        parts.append(
            f"{', '.join(f'{share:.0%}' for _, share in shown)} of the training segments are "
            f"{', '.join(name for name, _ in shown)}"
        )
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
    elif predictor.task.classes:
        parts.append("not calibrated: a calibration is for low and high only")
    else:
        parts.append("not calibrated: there were no validation segments")
    return "; ".join(parts)


def _table(prediction: Prediction) -> Table:
    titles = {target: _probability_titles(prediction, target) for target in prediction.models}
    columns = [name for target, names in titles.items() for name in (*names, target)]
    numbers = [name for names in titles.values() for name in names]
    table = plain_table("channel", "from", "to", *columns, numbers=("from", "to", *numbers))
    by_class = {target: [*prediction.by_class(target).values()] for target in prediction.models}
    segments = zip(prediction.leads, prediction.starts, prediction.ends, strict=True)
    for number, (lead, start, end) in enumerate(itertools.islice(segments, MAX_ROWS)):
        probabilities = {target: [float(part[number]) for part in parts] for target, parts in by_class.items()}
        table.add_row(lead, f"{start:g}", f"{end:g}", *_cells(prediction, probabilities))
    if len(prediction.leads) > MAX_ROWS:
        table.add_row(f"{len(prediction.leads) - MAX_ROWS} more (all with --csv or --json)")
    means = {target: [*prediction.means(target).values()] for target in prediction.models}
    table.add_row("mean", "", "", *_cells(prediction, means))
    return table


def _probability_titles(prediction: Prediction, target: str) -> list[str]:
    return [f"high {target}" if name == "high" else name for name in prediction.by_class(target)]


def _cells(prediction: Prediction, probabilities: dict[str, list[float]]) -> list[str]:
    return [
        cell
        for target, values in probabilities.items()
        for cell in (*(f"{value:.3f}" for value in values), prediction.label(target, values))
    ]
