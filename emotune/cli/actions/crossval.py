"""``emotune crossval``: run all folds, and gather them in ``crossval.json`` of the run's folder."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from emotune.cli.actions.consoles import console
from emotune.cli.actions.experiment_run import find_encoders, open_store, read_experiment, run, store_of
from emotune.cli.actions.nested import TunedValues, tune_folds
from emotune.cli.actions.prepare import progress_bar
from emotune.cli.actions.run import Destination, put_aside
from emotune.cli.actions.tables import plain_table
from emotune.cli.crossval import DEFAULT_FOLDS, CrossValidationRequest
from emotune.cli.options import adapt_settings
from emotune.cli.output import print_json, print_message
from emotune.errors import EmotuneError, SettingsError
from emotune.evaluation.baselines import BaselineResults, baselines_of, run_baselines, titles_of, with_baselines
from emotune.evaluation.crossval import (
    CALIBRATION_ERROR,
    METRICS,
    CrossValidation,
    cross_validation_study,
    describe_gain,
    read_cross_validation,
    significance,
    unit_count,
)
from emotune.evaluation.encoder_overlap import check_encoders
from emotune.evaluation.held_out import PREDICTIONS_FILE, predictions_of, write_predictions
from emotune.experiment import Experiment
from emotune.runtime.options import RunOptions
from emotune.study.folder import SearchFolder
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal
from emotune.study.results import search_state
from emotune.study.study import Study
from emotune.training.checkpoints import read_state
from emotune.training.loop import TrainingData

RESULT_FILE = "crossval.json"
"""Name of the result in the folder of a cross-validation."""


def run_and_print(request: CrossValidationRequest) -> int:
    """Carry out ``emotune crossval``; returns the exit code."""
    code, result = cross_validate_experiment(request)
    if result is not None:
        print_result(result, as_json=request.as_json)
    return code


def cross_validate_experiment(request: CrossValidationRequest) -> tuple[int, CrossValidation | None]:
    """Run the cross-validation of an experiment file, or resume it.

    Returns:
        The exit code, and the result if all folds are done.

    Raises:
        SettingsError: A setting is impossible, or an encoder was trained on moments that are tested.
    """
    settings = {"partner": request.partner, **_encoder_settings(request.encoder, scratch=request.scratch)}
    settings |= adapt_settings(request.adapt)
    experiment = read_experiment(request.experiment, request=request, options=settings)
    if experiment.task.kind != "classify":
        raise SettingsError(
            f"{request.experiment}: task.kind is {experiment.task.kind!r}; a cross-validation needs "
            "task.kind 'classify'"
        )
    folds = _fold_count(experiment, request=request)
    destination = Destination.of(request, default_name=f"{request.experiment.stem}-{request.protocol}")
    tuned: TunedValues = []
    if request.tune is not None:
        code, values = tune_folds(experiment, destination, request=request, folds=folds)
        if values is None:
            return code, None
        tuned = values
    study = cross_validation_study(
        experiment, protocol=request.protocol, folds=folds, shuffled=request.shuffled, tuned=tuned
    )
    if request.fresh:
        put_aside(destination.folder)
    return cross_validate(study, destination, concurrency=request.concurrency, baselines=request.baselines)


def _fold_count(experiment: Experiment, *, request: CrossValidationRequest) -> int | None:
    if request.folds == "all":
        return unit_count(experiment, store_of(experiment), protocol=request.protocol)
    return request.folds or (None if request.protocol == "people" else DEFAULT_FOLDS)


def _encoder_settings(encoders: Sequence[str], *, scratch: bool) -> dict[str, str]:
    if len(encoders) > 2:
        raise SettingsError(f"--encoder was given {len(encoders)} times; give it once, or twice with --protocol paper")
    named = zip(("start.encoder", "start.second"), encoders, strict=False)
    return dict(named) | ({"start.weights": "scratch"} if scratch else {})


def cross_validate(
    study: Study,
    destination: Destination,
    *,
    concurrency: int | None,
    retry_failed: bool = False,
    baselines: bool = False,
) -> tuple[int, CrossValidation | None]:
    """Run a cross-validation, or resume it.

    Returns:
        The exit code, and the result if all folds are done. The result is also written to `RESULT_FILE`, and the
        predictions of the test segments to `PREDICTIONS_FILE`.

    Raises:
        SettingsError: With the papers' protocol, an encoder was trained on moments that are tested.
    """
    folder = destination.folder
    study, store = open_store(study, folder)
    training_data = {fold: study.base.in_fold(fold).select(store) for fold in study.base.folds.numbers}
    notes = _notes(study, destination, training_data=training_data)
    baselines = baselines or read_invocation(folder.storage).baselines
    if baselines:
        baselines_of(store)  # refused before hours of training
    options = RunOptions(
        concurrency=concurrency, purpose="fold", measure_test=True, retry_failed=retry_failed, baselines=baselines
    )
    code = run(study, destination, store=store, options=options)
    records = read_journal(folder.journal)
    if search_state(records, alive=False) != "finished":
        return code, None
    result = read_cross_validation(records, training_data=training_data, notes=notes)
    computed = _run_baselines(study, training_data, destination=destination) if baselines else None
    if computed is not None:
        result = result.model_copy(update={"baselines": computed.folds})
    folder.storage.write(RESULT_FILE, (result.model_dump_json(indent=1) + "\n").encode())
    _keep_predictions(folder, baselines=computed)
    return code, result


def _run_baselines(
    study: Study, training_data: Mapping[int, TrainingData], *, destination: Destination
) -> BaselineResults:
    classes, start = getattr(study.base.task, "classes", ()), study.base.start
    encoders = None
    if start is not None and start.weights == "pretrained":
        checkpoints = find_encoders(study, destination)
        encoders = {number: checkpoints[start.which(study.base.in_fold(number).folds)] for number in training_data}
    with progress_bar("baselines") as progress:
        return run_baselines(training_data, classes=classes, seed=study.base.seed, encoders=encoders, progress=progress)


def _keep_predictions(folder: SearchFolder, *, baselines: BaselineResults | None) -> None:
    """Write the table of out-of-fold predictions; if that fails, the result of the folds is complete all the same."""
    try:
        with progress_bar("predictions") as progress:
            table = predictions_of(folder, progress=progress)
        if baselines is not None:
            write_predictions(with_baselines(table, baselines.columns), folder=folder)
    except EmotuneError as error:
        print_message(
            f"{PREDICTIONS_FILE} was not written: {error}. `emotune scores {folder.name}` writes it when that is mended"
        )
        return
    print_message(f"scores by person and by trial: emotune scores {folder.name}")


def _notes(study: Study, destination: Destination, *, training_data: Mapping[int, TrainingData]) -> list[str]:
    """Return notes about what the encoders were trained on."""
    start = study.base.start
    if start is None or start.weights == "scratch":
        return []
    descriptions = {name: read_state(path)["about"] for name, path in find_encoders(study, destination).items()}
    return check_encoders(training_data, folds=study.base.folds, descriptions=descriptions)


def load_result(folder: SearchFolder) -> CrossValidation:
    """Return the result of a finished cross-validation.

    Raises:
        SettingsError: It is not a cross-validation, or not finished.
    """
    content = folder.storage.read(RESULT_FILE)
    if content is not None:
        return CrossValidation.model_validate_json(content)
    result = read_cross_validation(read_journal(folder.journal))
    raise SettingsError(
        f"the cross-validation {folder.name!r} is not finished: {len(result.folds)} of {result.count} folds are done; "
        f"resume it with `emotune resume {folder.name}`"
    )


def print_result(result: CrossValidation, *, as_json: bool) -> None:
    """Print the means and intervals of a cross-validation, and the notes."""
    if as_json:
        print_json(result.document())
        return
    table = plain_table(
        "",
        f"{result.target}, {result.count} fold{'s' if result.count > 1 else ''}",
        "majority label",
        "shuffled labels",
    )
    for metric in (*METRICS, CALIBRATION_ERROR):
        intervals = [result.interval(metric, of=series) for series in ("folds", "majority", "shuffled")]
        if any(intervals):
            title = "calibration error" if metric == CALIBRATION_ERROR else metric
            table.add_row(title, *("-" if interval is None else interval.text for interval in intervals))
    console().print(table)
    if result.baselines:
        console().print(_baselines_table(result))
    gain = describe_gain(result)
    for note in [*([] if gain is None else [gain]), *result.notes]:
        print_message(note)


def _baselines_table(result: CrossValidation) -> Table:
    """Return a table with the means of the baselines, and the macro F1 of the network minus theirs."""
    table = plain_table("baseline, same folds", *METRICS, "network minus it, macro F1")
    for name, title in titles_of().items():
        if name in result.baselines:
            means = [result.baseline_interval(name, metric).text for metric in METRICS]
            difference = result.minus_baseline(name, metric="macro_f1").difference
            table.add_row(title, *means, f"{difference.text}, {significance(difference)}")
    return table
