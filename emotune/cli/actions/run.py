"""Run a study: its store and encoders, the MLflow mirror, the display, and the summary at the end."""

import contextlib
import functools
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotune.cli.actions.display import Display, RunDisplay, SearchDisplay, follow
from emotune.cli.actions.folders import mlflow_link, store_path, tracking_uri_or_default
from emotune.cli.actions.notify import notified
from emotune.cli.options import RunRequest
from emotune.cli.output import print_message
from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.errors import SearchFailedError, SettingsError, StorageError
from emotune.experiment import Experiment
from emotune.report.journal_tables import leaderboard
from emotune.runtime.driver import RunOptions, run_study
from emotune.search.records import Closed, EpochDone, Record
from emotune.storage import Storage, open_storage
from emotune.study.bundled import describe_choice, find_experiment
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import Encoders, copied_encoders
from emotune.study.invocation import INVOCATION_FILE, Invocation, write_invocation
from emotune.study.journal import read_journal
from emotune.study.preview import checkpoint_bytes
from emotune.study.resolve import resolve_study
from emotune.study.results import (
    Incumbent,
    ended_by_time,
    evaluation_results,
    find_best,
    last_metrics,
    opened,
    search_state,
    shortfall,
)
from emotune.study.resume import with_recorded_defaults
from emotune.study.resumption import describe_resumption
from emotune.study.study import Study
from emotune.tasks import Classify
from emotune.tasks.thresholds import high_shares
from emotune.tracking.encoders import find_encoder, publish_best
from emotune.tracking.mlflow import MlflowMirror
from emotune.tracking.store import OUTAGES, one_line
from emotune.tracking.uri import has_password
from emotune.training.loop import TrainingData
from emotune.waiting import announce

LEADERBOARD_ROWS = 5
"""Configurations in the table that is printed at the end of a search."""

MAX_SHARE_DIFFERENCE = 0.3
"""Difference of the shares of high labels between two corpora (0 to 1) above which a warning is printed."""

TRACKING_TIMEOUT_S = 20.0
"""The end of a run waits for the MLflow server this long; the next start sends the remaining records."""


@dataclass(frozen=True)
class Destination:
    """Where a run is recorded."""

    name: str
    """Name of the run."""

    storage: Storage
    """Storage of all runs."""

    tracking_uri: str | None
    """MLflow server or database; None: a database in the storage folder."""

    register_as: str | None = None
    """Name of the model in MLflow's registry; None: it is not registered."""

    notify: tuple[str, ...] = ()
    """Commands and URLs that receive the events of the run."""

    @classmethod
    def of(cls, request: RunRequest, *, default_name: str) -> "Destination":
        """Return the destination that the options of a command name."""
        return cls(
            request.name or default_name,
            open_storage(request.storage),
            request.tracking_uri,
            register_as=request.register,
            notify=request.notify,
        )

    @property
    def folder(self) -> SearchFolder:
        """Folder of the run; it need not exist."""
        return SearchFolder.of(self.name, storage=self.storage)

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI, with the default filled in."""
        return tracking_uri_or_default(self.tracking_uri, storage=self.storage)


def run(study: Study, destination: Destination, *, store: SegmentStore, options: RunOptions) -> int:
    """Run a study, or resume it, and print its progress and a summary.

    Args:
        study: The study, as `open_store` returns it.
        destination: Where the run is recorded.
        store: The study's segment store.
        options: How the study is run.

    Returns:
        The exit code: 0; 128 plus the number of the signal that ended it; 1 if failed evaluations left no
        configuration with a result at the largest budget.
    """
    folder = destination.folder
    encoders = find_encoders(study, destination)
    max_workers = None if options.workers is None else options.workers[1]
    settled = resolve_study(study, store=store, encoders=encoders, max_workers=max_workers)
    before = read_journal(folder.journal) if folder.begun else []
    known = len(before)
    is_alive = folder.driver_alive
    if before and not is_alive and (options.retry_failed or search_state(before, alive=False) != "finished"):
        print_message(describe_resumption(before, folder=folder))
    folder.path.mkdir(parents=True, exist_ok=True)
    if not is_alive:
        _write_invocation(options, destination)
    if destination.tracking_uri is None and not destination.storage.mounted:
        print_message(
            f"the MLflow database is on this machine only: {destination.mlflow_uri}. Give --tracking-uri of a shared "
            f"server, or create the database on another machine with `emotune sync {folder.name}`"
        )
    mirror = MlflowMirror(destination.mlflow_uri, folder=folder.storage, name=folder.name, kind=options.purpose)
    display = _display(settled, name=folder.name, purpose=options.purpose, store=store)
    try:
        link = functools.partial(_new_link, mirror, folder)
        with (
            notified(destination.notify, study=settled, name=folder.name, known=known) as notifier,
            follow(display, known=known, link=link) as observer,
        ):
            observers = [mirror, observer, notifier]
            records = run_study(settled, folder, options=options, encoders=encoders, observers=observers)
    finally:
        if folder.begun:
            announce("sending the results to MLflow")
        delivered = mirror.close(TRACKING_TIMEOUT_S)
        _remove_failed_start(folder)
    if delivered and options.purpose != "fold" and search_state(records, alive=False) == "finished":
        _publish_encoder(destination)
    if known == len(records):
        print_message(_already_finished(records, name=folder.name))
    return summarise(settled, records, folder=folder)


def _already_finished(records: Sequence[Record], *, name: str) -> str:
    hint = ""
    if opened(records).purpose == "configuration":
        hint = f"; extend it with {'--hours +H' if ended_by_time(records) else '--brackets +N or --evaluations +N'}"
    return f"the search {name!r} is already finished; nothing was run{hint}"


def _new_link(mirror: MlflowMirror, folder: SearchFolder) -> str | None:
    """Return a line with the link to a run in MLflow; None until MLflow has the run."""
    return f"MLflow: {mlflow_link(folder)}" if mirror.has_experiment else None


def _display(study: Study, *, name: str, purpose: str, store: SegmentStore) -> Display:
    if purpose in {"pretrain", "finetune"}:
        return RunDisplay(study, name=name)
    size = checkpoint_bytes(study.base, channels=store.signal.shape[1]) if purpose == "configuration" else 0
    return SearchDisplay(study, name=name, checkpoint_bytes=size or None)


def _remove_failed_start(folder: SearchFolder) -> None:
    """Remove the folder of a search that has no journal, because its start failed, unless it holds something else."""
    if not folder.begun:
        folder.storage.remove(INVOCATION_FILE)
        with contextlib.suppress(OSError):
            folder.path.rmdir()


def _write_invocation(options: RunOptions, destination: Destination) -> None:
    uri = destination.tracking_uri
    invocation = Invocation(
        concurrency=options.concurrency,
        workers=options.workers,
        trials_per_gpu=options.trials_per_gpu,
        keep="all" if options.keep is None else f"best:{options.keep}",
        tracking_uri=None if uri is None or has_password(uri) else uri,
        register_as=destination.register_as,
    )
    write_invocation(invocation, folder=destination.folder.storage)


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
    """Return a study with its store's path filled in, and the opened store; print the share of high labels.

    A study whose run has started gets the defaults of its start. All that can be known from the store's index is
    checked here, before encoders are loaded and Ray is started.

    Raises:
        SettingsError: The study names no store, or the store does not fit the modality, the model or the folds.
        DataError: The store cannot be read, or has no labels for the task.
    """
    study = with_store(_as_started(study, folder))
    if not study.base.store:
        raise SettingsError(
            "no segment store was given; give --store, set EMOTUNE_STORE, or set store in the experiment "
            "(base.store in a study)"
        )
    store = SegmentStore.open(store_path(study.base.store))
    training_data = study.base.select(store)
    if training_data.labels is not None and isinstance(study.base.task, Classify):
        print_message(describe_labels(study.base.task, training_data))
    return study, store


def describe_labels(task: Classify, training_data: TrainingData) -> str:
    """Return lines with the threshold and the share of high labels of each corpus, and a warning if they differ."""
    fold, labels = training_data.fold, training_data.labels
    assert labels is not None
    rows = np.sort(np.concatenate([fold.train, fold.val, fold.test]))
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


def resuming_command(arguments: Sequence[str]) -> str:
    """Return the command that resumes a run: that which started it, without ``--fresh``, which would start it again."""
    return shlex.join(argument for argument in arguments if argument != "--fresh")


def summarise(study: Study, records: Sequence[Record], *, folder: SearchFolder) -> int:
    """Print the summary of a run, and return the exit code.

    Raises:
        SearchFailedError: No evaluation has a result.
    """
    last = records[-1]
    if isinstance(last, Closed) and last.state == "interrupted":
        print_message(f"stopped; everything is saved. Resume with:\n  {resuming_command(sys.argv)}")
        return 128 + signal.Signals[last.reason] if last.reason else 0
    best = find_best(evaluation_results(records), mode=study.objective.mode)
    if best is None:
        raise SearchFailedError(
            f"no evaluation of {folder.name!r} has a result; `emotune status {folder.name}` prints the errors"
        )
    warning = shortfall(records)
    tracking = mlflow_link(folder) or f"not there yet; send the records with `emotune sync {folder.name}`"
    lines = [
        *(_leaderboard(study, records, best=best) if opened(records).purpose != "fold" else []),
        *([warning] if warning else []),
        f"results: {folder.storage}",
        f"MLflow: {tracking}",
    ]
    print_message("\n".join(lines))
    failed = any(result.status == "failed" for result in evaluation_results(records))
    return 1 if warning and failed else 0


def _leaderboard(study: Study, records: Sequence[Record], *, best: Incumbent) -> list[str]:
    if not best.values:
        return [_single_result(study, records, best=best)]
    table = leaderboard(records).head(LEADERBOARD_ROWS).to_string(index=False, float_format="{:.5g}".format)
    line = f"best: {study.objective.metric} {best.objective:.6g}, configuration {best.config_id}, {best.epochs} epochs"
    return [table, line]


def _single_result(study: Study, records: Sequence[Record], *, best: Incumbent) -> str:
    """Return a line about a run without a search: the weights it ends with, and the best epoch if it is another."""
    metric, mode = study.objective.metric, study.objective.mode
    if study.base.keep == "best":
        epoch = last_metrics(records, best.config_id).get("kept/epoch")
        return f"kept: epoch {epoch:.0f} of {best.epochs}, {metric} {best.objective:.6g}"
    values = {
        record.epoch: value
        for record in records
        if isinstance(record, EpochDone) and (value := record.metrics.get(metric)) is not None
    }
    line = f"last epoch ({best.epochs}): {metric} {best.objective:.6g}"
    epoch = (min if mode == "min" else max)(values, key=values.__getitem__)
    if values[epoch] == best.objective or not metric.startswith("val/"):
        return line
    return (
        f"{line}; the weights are those of this epoch. Epoch {epoch} had {values[epoch]:.6g}: "
        "--set keep=best ends a new run with its weights"
    )


def put_aside(folder: SearchFolder) -> None:
    """Rename the folder of a search, so that a new search can have its name.

    Raises:
        BusyError: A driver is running the search.
    """
    if not (folder.path.exists() or folder.begun):
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.journal.lock(owner=folder.name):
        renamed = folder.put_aside()
    print_message(f"the old results are now in {renamed.storage}")
