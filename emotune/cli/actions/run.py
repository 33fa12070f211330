"""Run a study: its store and encoders, the MLflow mirror, the display, and the summary at the end."""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotune.cli.actions.display import RunDisplay, SearchDisplay, follow
from emotune.cli.actions.folders import store_path, tracking_uri_or_default
from emotune.cli.options import RunRequest
from emotune.cli.output import print_message
from emotune.data.store import SegmentStore
from emotune.documents import load_document, parse
from emotune.errors import SearchFailedError, SettingsError, StorageError
from emotune.experiment import Experiment
from emotune.report.journal_tables import leaderboard
from emotune.runtime.driver import RunOptions, run_study
from emotune.search.records import Closed, Record
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import Encoders, copied_encoders
from emotune.study.invocation import INVOCATION_FILE, Invocation, write_invocation
from emotune.study.journal import read_journal
from emotune.study.resolve import resolve_study
from emotune.study.results import Incumbent, evaluation_results, find_best, opened, search_state, shortfall
from emotune.study.resumption import describe_resumption
from emotune.study.study import Study
from emotune.tracking.delivery import view_hint
from emotune.tracking.encoders import find_encoder, publish_best
from emotune.tracking.mlflow import MlflowMirror
from emotune.tracking.store import OUTAGES, one_line
from emotune.tracking.uri import has_password

LEADERBOARD_ROWS = 5
"""Configurations in the table that is printed at the end of a search."""

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

    @classmethod
    def of(cls, request: RunRequest, *, default_name: str) -> "Destination":
        """Return the destination that the options of a command name."""
        return cls(request.name or default_name, open_storage(request.storage), request.tracking_uri)

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
        study: The study, as `with_store` returns it.
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
    display = RunDisplay if options.purpose in {"pretrain", "finetune"} else SearchDisplay
    try:
        with follow(display(settled, name=folder.name), known=known) as observer:
            records = run_study(settled, folder, options=options, encoders=encoders, observers=[mirror, observer])
    finally:
        delivered = mirror.close(TRACKING_TIMEOUT_S)
        if not folder.begun:
            folder.storage.remove(INVOCATION_FILE)  # the start failed
            with contextlib.suppress(OSError):
                folder.path.rmdir()
    if delivered and options.purpose != "fold" and search_state(records, alive=False) == "finished":
        _publish_encoder(folder, uri=destination.mlflow_uri)
    if known == len(records):
        hint = "; extend it with --brackets +N or --evaluations +N" if options.purpose == "configuration" else ""
        print_message(f"the search {folder.name!r} is already finished; nothing was run{hint}")
    return summarise(settled, records, folder=folder)


def _write_invocation(options: RunOptions, destination: Destination) -> None:
    uri = destination.tracking_uri
    invocation = Invocation(
        concurrency=options.concurrency,
        workers=options.workers,
        trials_per_gpu=options.trials_per_gpu,
        tracking_uri=None if uri is None or has_password(uri) else uri,
    )
    write_invocation(invocation, folder=destination.folder.storage)


def with_store(study: Study) -> Study:
    """Return a study with the store that EMOTUNE_STORE names, if the study names none."""
    store = study.base.store or os.environ.get("EMOTUNE_STORE")
    if not store:
        return study
    return study.model_copy(update={"base": study.base.model_copy(update={"store": str(store_path(store))})})


def open_store(study: Study) -> tuple[Study, SegmentStore]:
    """Return a study with its store's path filled in, and the opened store.

    Raises:
        SettingsError: The study names no store.
        DataError: The store cannot be read.
    """
    study = with_store(study)
    if not study.base.store:
        raise SettingsError(
            "no segment store was given; give --store, set EMOTUNE_STORE, or set store in the experiment "
            "(base.store in a study)"
        )
    return study, SegmentStore.open(store_path(study.base.store))


def read_experiment(path: Path, *, request: RunRequest, options: Mapping[str, object]) -> Experiment:
    """Read an experiment, with its settings replaced by the options of a command.

    Args:
        path: The experiment file.
        request: The options; ``store``, ``precision`` and ``assignments`` are used.
        options: Values of other options by the dotted name of the setting; None replaces nothing.

    Raises:
        SettingsError: The file cannot be read, or a setting is wrong.
    """
    replaced = {"store": request.store, **options, "compute.precision": request.precision}
    given = {name: value for name, value in replaced.items() if value is not None}
    stores = {name: store_path(str(given[name])) for name in ("store", "partner") if name in given}
    assignments = [*request.assignments, *(f"{name}={value}" for name, value in (given | stores).items())]
    return parse(load_document(path).overridden(assignments), Experiment)


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


def _publish_encoder(folder: SearchFolder, *, uri: str) -> None:
    """Log the best encoder; if the server does not respond, print how to log it later."""
    try:
        publish_best(folder, tracking_uri=uri)
    except SettingsError:
        return  # there is no result: the summary prints that
    except (*OUTAGES, StorageError) as error:
        print_message(
            f"the best encoder was not logged to MLflow: {one_line(error)}. Log it with `emotune sync {folder.name}`"
        )


def summarise(study: Study, records: Sequence[Record], *, folder: SearchFolder) -> int:
    """Print the summary of a run, and return the exit code.

    Raises:
        SearchFailedError: No evaluation has a result.
    """
    last = records[-1]
    if isinstance(last, Closed) and last.state == "interrupted":
        print_message(f"stopped; everything is saved. Resume with:\n  {shlex.join(sys.argv)}")
        return 128 + signal.Signals[last.reason] if last.reason else 0
    best = find_best(evaluation_results(records), mode=study.objective.mode)
    if best is None:
        raise SearchFailedError(
            f"no evaluation of {folder.name!r} has a result; `emotune status {folder.name}` prints the errors"
        )
    warning = shortfall(records)
    tracking = view_hint(folder.storage) or f"not in MLflow yet; send them with `emotune sync {folder.name}`"
    lines = [
        *(_leaderboard(study, records, best=best) if opened(records).purpose != "fold" else []),
        *([warning] if warning else []),
        f"results: {folder.storage}",
        f"MLflow runs: {tracking}",
    ]
    print_message("\n".join(lines))
    failed = any(result.status == "failed" for result in evaluation_results(records))
    return 1 if warning and failed else 0


def _leaderboard(study: Study, records: Sequence[Record], *, best: Incumbent) -> list[str]:
    table = leaderboard(records).head(LEADERBOARD_ROWS).to_string(index=False, float_format="{:.5g}".format)
    line = f"best: {study.objective.metric} {best.objective:.6g}, configuration {best.config_id}, {best.epochs} epochs"
    return [table, line] if best.values else [line]


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
