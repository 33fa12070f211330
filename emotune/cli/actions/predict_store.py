"""``emotune predict MODEL STORE``: scores of classifiers on a labelled store, and of a pre-training on any store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emotune.cli.actions.consoles import console
from emotune.cli.actions.experiment_run import describe_shares
from emotune.cli.actions.prepare import progress_bar
from emotune.cli.actions.scores import print_table, scores_document
from emotune.cli.actions.tables import facts_table, plain_table
from emotune.cli.output import print_json, print_line, print_message
from emotune.cli.predict import PredictRequest
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.prediction import Predictor
from emotune.evaluation.pretraining_scores import score_pretraining
from emotune.evaluation.store_prediction import StorePrediction, predict_store
from emotune.files import check_output, write_output


def score_store(request: PredictRequest, *, predictors: Sequence[Predictor]) -> None:
    """Predict the segments of a store with each model, and print the scores or write the predictions.

    Raises:
        SettingsError: An option has no effect on a store, or a model does not fit it.
    """
    _check(request, predictors=predictors)
    store = SegmentStore.open(request.file)
    predictions: dict[str, StorePrediction] = {}
    for predictor in predictors:
        with progress_bar("predictions") as progress:
            predictions[predictor.target] = predict_store(predictor, store, progress=progress)
    if request.csv is not None:
        tables = [part.table.assign(target=target) for target, part in predictions.items()]
        write_output(request.csv, pd.concat(tables).to_csv(index=False).encode(), option="--csv")
    if request.as_json:
        print_json(_document(request, predictors=predictors, predictions=predictions))
        return
    for number, predictor in enumerate(predictors):
        if number:
            print_line()
        _print(predictor, predictions[predictor.target], store=store)


def print_pretraining(request: PredictRequest, *, checkpoint: Path) -> None:
    """Print the metrics of a pre-trained network on a store, by person, or write them.

    Raises:
        SettingsError: An option has no effect on a store, or the network does not fit it.
    """
    _check_options(request)
    if request.csv is not None:
        check_output(request.csv, option="--csv")
    store = SegmentStore.open(request.file)
    with progress_bar("metrics") as progress:
        scores = score_pretraining(request.models, checkpoint, store, progress=progress)
    if request.csv is not None:
        write_output(request.csv, scores.table.to_csv(index=False).encode(), option="--csv")
    if request.as_json:
        intervals = {metric: scores.interval(metric).model_dump() for metric in scores.metrics}
        people = scores.table.to_dict("records")
        about = {"store": str(request.file), "model": request.models, "notes": list(scores.notes)}
        print_json(about | {"metrics": intervals, "people": people})
        return
    facts = {"store": f"{store.path}: {scores.table['segments'].sum()} segments", "model": request.models}
    console().print(facts_table(facts))
    print_line()
    columns = ("segments", *scores.metrics)
    table = plain_table("person", *columns, numbers=columns)
    for person, segments, *values in scores.table.itertuples(index=False):
        table.add_row(str(person), str(segments), *(f"{value:.4f}" for value in values))
    intervals = [scores.interval(metric).text for metric in scores.metrics]
    table.add_row(f"mean of {len(scores.table)}", "", *intervals)
    console().print(table)
    for note in scores.notes:
        print_message(note)


def _check_options(request: PredictRequest) -> None:
    for option, value in (("--fs", request.fs), ("--plot", request.plot)):
        if value is not None:
            raise SettingsError(f"{option} was given, but {request.file} is a store; {option} is for a recording")


def _check(request: PredictRequest, *, predictors: Sequence[Predictor]) -> None:
    _check_options(request)
    targets = [predictor.target for predictor in predictors]
    repeated = [target for target in targets if targets.count(target) > 1]
    if repeated:
        raise SettingsError(f"several models predict {repeated[0]}; give one model at a time")


def _document(
    request: PredictRequest, *, predictors: Sequence[Predictor], predictions: dict[str, StorePrediction]
) -> dict[str, Any]:
    return {
        "store": str(request.file),
        "models": {predictor.target: predictor.name for predictor in predictors},
        "scores": {target: scores_document(part.table) for target, part in predictions.items()},
        "unlabelled": {target: part.unlabelled for target, part in predictions.items()},
        "notes": {target: list(part.notes) for target, part in predictions.items()},
    }


def _print(predictor: Predictor, prediction: StorePrediction, *, store: SegmentStore) -> None:
    table, task = prediction.table, predictor.task
    if task.classes:
        label = describe_shares(task, table["label"].to_numpy(dtype=float))
    else:
        high = task.high if task.target == "condition" else f"high {task.target}, task.threshold {task.threshold}"
        label = f"{high}: {table['label'].mean():.0%} of the segments"
    folds = len(predictor.classifiers)
    facts = {
        "store": f"{store.path}: {len(table)} labelled segments",
        "model": predictor.name + (f", the mean of {folds} folds" if folds > 1 else ""),
        "label": label,
    }
    if prediction.unlabelled:
        facts["left out"] = f"{prediction.unlabelled} segments without a label"
    console().print(facts_table(facts))
    print_line()
    print_table(table)
    for note in prediction.notes:
        print_message(note)
