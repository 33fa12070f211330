"""Run a study of experiments: its store, its encoders, and the encoder in MLflow at the end."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotune.cli.actions.display import Display, RunDisplay, SearchDisplay
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.run import Destination, run_workload
from emotune.cli.options import RunRequest
from emotune.cli.output import print_message
from emotune.data.split_summary import summarise_split
from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.errors import SettingsError, StorageError
from emotune.evaluation.encoder_overlap import check_encoders
from emotune.experiment import Experiment
from emotune.runtime.experiments import ExperimentWorkload
from emotune.runtime.options import RunOptions
from emotune.study.bundled import describe_choice, find_experiment
from emotune.study.estimate import checkpoint_bytes
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import Encoders, copied_encoders
from emotune.study.journal import read_journal
from emotune.study.resolve import resolve_study
from emotune.study.resume import with_recorded_defaults
from emotune.study.study import Study
from emotune.tasks import Classify
from emotune.tasks.centring import describe_means
from emotune.tasks.thresholds import high_shares
from emotune.tracking.encoders import find_encoder, publish_best
from emotune.tracking.store import OUTAGES, one_line
from emotune.training.checkpoints import read_state
from emotune.training.loop import TrainingData

MAX_SHARE_DIFFERENCE = 0.3
"""Difference of the shares of high labels between two corpora (0 to 1) above which a warning is printed."""


def run(study: Study, destination: Destination, *, store: SegmentStore, options: RunOptions) -> int:
    """Run a study, or resume it, and print its progress and a summary.

    Args:
        study: The study, as `open_store` returns it.
        destination: Where the run is recorded.
        store: The study's segment store.
        options: How the study is run.

    Returns:
        The exit code of `run_workload`.
    """
    encoders = find_encoders(study, destination)
    max_workers = None if options.workers is None else options.workers[1]
    settled = resolve_study(study, store=store, encoders=encoders, max_workers=max_workers)
    # a cross-validation counts what is on both sides of all its folds; a second driver is refused in a line
    if options.purpose != "fold" and not destination.folder.driver_alive:
        for line in describe_split(study.base, store=store, encoders=encoders):
            print_message(line)
    return run_workload(
        ExperimentWorkload(settled, encoders),
        destination,
        display=_display(settled, name=destination.name, purpose=options.purpose, store=store),
        options=options,
        publish=lambda: _publish_encoder(destination),
    )


def _display(study: Study, *, name: str, purpose: str, store: SegmentStore) -> Display:
    if purpose in {"pretrain", "finetune"}:
        return RunDisplay(study, name=name)
    size = checkpoint_bytes(study.base, channels=store.signal.shape[1]) if purpose == "configuration" else 0
    return SearchDisplay(study, name=name, checkpoint_bytes=size or None)


def with_store(study: Study) -> Study:
    """Return a study with the store that EMOTUNE_STORE names, if the study names none."""
    store = study.base.store or os.environ.get("EMOTUNE_STORE")
    if not store:
        return study
    return study.model_copy(update={"base": study.base.model_copy(update={"store": str(store_path(store))})})


def _as_started(study: Study, folder: SearchFolder) -> Study:
    """Return a study with the defaults that its search was started with, and print those that have changed since."""
    records = read_journal(folder.journal) if folder.begun else []
    study, lines = with_recorded_defaults(study, records)
    for line in lines:
        print_message(line)
    return study


def open_store(study: Study, folder: SearchFolder) -> tuple[Study, SegmentStore]:
    """Return a study with its store's path filled in, and the opened store; print its labels or those of its probe.

    A study whose run has started gets the defaults of its start. All that can be known from the store's index is
    checked here, before encoders are loaded and Ray is started.

    Raises:
        SettingsError: The study names no store, or the store does not fit the modality, the model or the folds.
        DataError: The store cannot be read, or has no labels for the task.
    """
    study = with_store(_as_started(study, folder))
    store = store_of(study.base)
    training_data = study.base.select(store)
    if training_data.labels is not None and isinstance(study.base.task, Classify):
        print_message(describe_labels(study.base.task, training_data))
        if study.base.task.centre == "person":
            print_message("\n".join(describe_means(store.index, rows=training_data.fold.rows)))
    if training_data.probe is not None:
        print_message(training_data.probe.text)
    return study, store


def store_of(experiment: Experiment) -> SegmentStore:
    """Open the store of an experiment, or the one that EMOTUNE_STORE names.

    Raises:
        SettingsError: Neither names a store.
        DataError: It cannot be read.
    """
    store = experiment.store or os.environ.get("EMOTUNE_STORE")
    if not store:
        raise SettingsError(
            "no segment store was given; give --store, set EMOTUNE_STORE, or set store in the experiment "
            "(base.store in a study)"
        )
    return SegmentStore.open(store_path(store))


def describe_split(experiment: Experiment, *, store: SegmentStore, encoders: Encoders) -> list[str]:
    """Return lines with the parts of the data, people on both sides, and test people that an encoder has seen."""
    training_data = experiment.select(store)
    folds = experiment.folds
    division = summarise_split(store, training_data.fold, by=folds.by, calibration_minutes=folds.calibration_minutes)
    lines = [division.text] if division.warning is None else [division.text, division.warning]
    start = experiment.start
    if start is None or start.weights == "scratch" or division.unit == "moment" or not len(training_data.fold.test):
        return lines
    descriptions = {name: read_state(path)["about"] for name, path in encoders.items()}
    return lines + check_encoders({0: training_data}, folds=experiment.folds, descriptions=descriptions)


def describe_labels(task: Classify, training_data: TrainingData) -> str:
    """Return lines with the threshold and the share of high labels of each corpus, and a warning if they differ.

    With several classes it is one line with the share of each.
    """
    rows, labels = training_data.fold.rows, training_data.labels
    assert labels is not None
    if task.classes:
        unused = int(len(labels) - len(rows))
        return f"{describe_shares(task, labels[rows])}" + (f"; {unused} segments are not used" if unused else "")
    shares = high_shares(training_data.store.index.iloc[rows], labels[rows])
    label = task.high if task.target == "condition" else f"high {task.target}, task.threshold {task.threshold}"
    parts = [f"{share:.0%} of {count} segments of {corpus}" for corpus, (share, count) in shares.items()]
    lines = [f"{label}: {', '.join(parts)}"]
    values = [share for share, _ in shares.values()]
    if max(values) - min(values) > MAX_SHARE_DIFFERENCE:
        lines.append(
            f"warning: the shares differ by more than {MAX_SHARE_DIFFERENCE:g}, so that a model can predict the label "
            "by recognising the corpus; use a threshold per corpus or subject (task.threshold: {of: corpus}, "
            "{of: subject}), or one corpus"
        )
    return "\n".join(lines)


def describe_shares(task: Classify, labels: np.ndarray) -> str:
    """Return a line with the share of each of several classes among labels."""
    shares = [f"{name} {np.mean(labels == number):.0%}" for number, name in enumerate(task.classes)]
    return f"{', '.join(shares)} of {len(labels)} segments"


def read_experiment(path: Path, *, request: RunRequest, options: Mapping[str, object]) -> Experiment:
    """Read an experiment, with its settings replaced by the options of a command.

    Args:
        path: The experiment file, or the name of an example of emotune.
        request: The options; ``store``, ``precision`` and ``assignments`` are used.
        options: Values of other options by the dotted name of the setting; None replaces nothing.

    Raises:
        SettingsError: The file cannot be read, or a setting is wrong.
    """
    replaced = {"store": request.store, **options, "compute.precision": request.precision}
    given = {name: value for name, value in replaced.items() if value is not None}
    stores = {name: store_path(str(given[name])) for name in ("store", "partner") if name in given}
    assignments = [*request.assignments, *(f"{name}={value}" for name, value in (given | stores).items())]
    file = find_experiment(path)
    experiment = parse(load_document(file).overridden(assignments), Experiment)
    if (choice := describe_choice(str(path), file=file)) is not None:
        print_message(choice)
    return experiment


def find_encoders(study: Study, destination: Destination) -> Encoders:
    """Return the checkpoints of the pre-trained encoders of a study: first the copies in the run's folder.

    Raises:
        SettingsError: There is no such encoder.
    """
    start = study.base.start
    if start is None:
        return {}
    sources = {"encoder": start.encoder, "second": start.second}
    copies = copied_encoders(destination.folder)
    return {
        name: copies.get(name) or find_encoder(source, storage=destination.storage, tracking_uri=destination.mlflow_uri)
        for name, source in sources.items()
        if source is not None
    }


def _publish_encoder(destination: Destination) -> None:
    """Log the best encoder; if the server does not respond, print how to log it later."""
    folder, register_as = destination.folder, destination.register_as
    try:
        published = publish_best(folder, tracking_uri=destination.mlflow_uri, register_as=register_as)
        if published is not None and published.registration is not None:
            print_message(f"model {published.model_name}: {published.registration}")
    except SettingsError:
        return  # there is no result: the summary prints that
    except (*OUTAGES, StorageError) as error:
        print_message(
            f"the best encoder was not logged to MLflow: {one_line(error)}. Log it with `emotune sync {folder.name}`"
        )
