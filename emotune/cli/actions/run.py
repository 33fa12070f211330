"""Run a search of any kind: the MLflow mirror, the display, and the summary at the end."""

import contextlib
import functools
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emotune.cli.actions.display import Display, follow
from emotune.cli.actions.folders import mlflow_link, report_command, tracking_uri_or_default
from emotune.cli.actions.notify import notified
from emotune.cli.options import RunRequest
from emotune.cli.output import print_message
from emotune.errors import SearchFailedError
from emotune.report.journal_tables import leaderboard
from emotune.runtime.coordinator import Observer
from emotune.runtime.driver import run_study
from emotune.runtime.options import RunOptions
from emotune.runtime.workload import Workload
from emotune.search.records import Closed, EpochDone, Record
from emotune.storage import Storage, open_storage
from emotune.study.definition import SearchDefinition
from emotune.study.first_estimate import write_estimate
from emotune.study.folder import SearchFolder
from emotune.study.front import describe_front
from emotune.study.invocation import INVOCATION_FILE, Invocation, write_invocation
from emotune.study.journal import read_journal
from emotune.study.results import (
    Incumbent,
    criteria_document,
    ended_by_time,
    evaluation_results,
    find_best,
    last_metrics,
    opened,
    search_state,
    shortfall,
)
from emotune.study.resumption import describe_resumption
from emotune.tracking.mlflow import MlflowMirror
from emotune.tracking.uri import has_password
from emotune.waiting import announce

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

    register_as: str | None = None
    """Name of the model in MLflow's registry; None: it is not registered."""

    notify: tuple[str, ...] = ()
    """Commands and URLs that receive the events of the run."""

    resume_hint: str | None = None
    """What resumes the run after an interruption; None: the command that was typed."""

    @classmethod
    def of(cls, request: RunRequest, *, default_name: str) -> "Destination":
        """Return the destination that the options of a command name."""
        return cls(
            request.name or default_name,
            open_storage(request.storage),
            request.tracking_uri,
            register_as=request.register,
            notify=request.notify,
            resume_hint=request.resume_hint,
        )

    @property
    def folder(self) -> SearchFolder:
        """Folder of the run; it need not exist."""
        return SearchFolder.of(self.name, storage=self.storage)

    @property
    def mlflow_uri(self) -> str:
        """The tracking URI, with the default filled in."""
        return tracking_uri_or_default(self.tracking_uri, storage=self.storage)


def run_workload(
    workload: Workload,
    destination: Destination,
    *,
    display: Display,
    options: RunOptions,
    publish: Callable[[], None] = lambda: None,
) -> int:
    """Run a search, or resume it, and print its progress and a summary.

    Args:
        workload: The study, and how its evaluations are trained.
        destination: Where the run is recorded.
        display: What is shown while it runs.
        options: How the study is run.
        publish: Called when the run is finished and MLflow has its records.

    Returns:
        The exit code: 0; 128 plus the number of the signal that ended it; 1 if failed evaluations left no
        configuration with a result at the largest budget.
    """
    folder, study = destination.folder, workload.study
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
    try:
        link = functools.partial(_new_link, mirror, folder)
        with (
            notified(destination.notify, study=study, name=folder.name, known=known) as notifier,
            follow(display, known=known, link=link) as observer,
        ):
            observers = [mirror, observer, notifier, *([] if before else [_estimate_keeper(display, folder)])]
            records = run_study(workload, folder, options=options, observers=observers)
    finally:
        if folder.begun:
            announce("sending the results to MLflow")
        delivered = mirror.close(TRACKING_TIMEOUT_S)
        _remove_failed_start(folder)
    if delivered and options.purpose != "fold" and search_state(records, alive=False) == "finished":
        publish()
    if known == len(records):
        print_message(_already_finished(records, name=folder.name))
    return summarise(study, records, folder=folder, resume_hint=destination.resume_hint)


def _estimate_keeper(display: Display, folder: SearchFolder) -> Observer:
    """Return an observer of a new search that writes its estimate into its folder, when the display has it."""
    pending = [folder.storage]

    def keep(record: Record, number: int) -> None:
        del record, number
        if pending and display.estimate is not None:
            write_estimate(display.estimate, folder=pending.pop())

    return keep


def _already_finished(records: Sequence[Record], *, name: str) -> str:
    hint = ""
    if opened(records).purpose == "configuration":
        hint = f"; extend it with {'--hours +H' if ended_by_time(records) else '--brackets +N or --evaluations +N'}"
    return f"the search {name!r} is already finished; nothing was run{hint}"


def _new_link(mirror: MlflowMirror, folder: SearchFolder) -> str | None:
    """Return a line with the link to a run in MLflow; None until MLflow has the run."""
    return f"MLflow: {mlflow_link(folder)}" if mirror.has_experiment else None


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
        share=options.share,
        workers=options.workers,
        trials_per_gpu=options.trials_per_gpu,
        keep="all" if options.keep is None else f"best:{options.keep}",
        tracking_uri=None if uri is None or has_password(uri) else uri,
        register_as=destination.register_as,
        baselines=options.baselines,
    )
    write_invocation(invocation, folder=destination.folder.storage)


def resuming_command(arguments: Sequence[str], *, typed: Sequence[str]) -> str:
    """Return the command that resumes a run: that which started it, without ``--fresh``, which would start it again.

    Args:
        arguments: The program and its options, as `sys.argv`. For ``python -m emotune`` and for ``python SCRIPT``, the
            program is a file, which is no command.
        typed: The same with Python and its options, as `sys.orig_argv`.
    """
    program, *options = arguments
    words = typed[: len(typed) - len(options)] if program.endswith(".py") else [program]
    return shlex.join([*words, *(option for option in options if option != "--fresh")])


def summarise(
    study: SearchDefinition, records: Sequence[Record], *, folder: SearchFolder, resume_hint: str | None = None
) -> int:
    """Print the summary of a run, and return the exit code.

    Args:
        study: The study.
        records: The journal.
        folder: Folder of the run.
        resume_hint: What resumes the run after an interruption; None: the command that was typed.

    Raises:
        SearchFailedError: No evaluation has a result.
    """
    last = records[-1]
    if isinstance(last, Closed) and last.state == "interrupted":
        command = resume_hint or resuming_command(sys.argv, typed=sys.orig_argv)
        print_message(f"stopped; everything is saved. Resume with:\n  {command}")
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
        *([f"report: `{report_command(folder)}`"] if opened(records).purpose == "configuration" else []),
    ]
    print_message("\n".join(lines))
    failed = any(result.status == "failed" for result in evaluation_results(records))
    return 1 if warning and failed else 0


def _leaderboard(study: SearchDefinition, records: Sequence[Record], *, best: Incumbent) -> list[str]:
    if not best.values:
        return [_single_result(study, records, best=best)]
    table = leaderboard(records).head(LEADERBOARD_ROWS).to_string(index=False, float_format="{:.5g}".format)
    line = f"best: {study.objective.metric} {best.objective:.6g}, configuration {best.config_id}, {best.epochs} epochs"
    return [table, line, *describe_front(criteria_document(records, evaluation_results(records)) | {"best": best})]


def _single_result(study: SearchDefinition, records: Sequence[Record], *, best: Incumbent) -> str:
    """Return a line about a run without a search: the weights it ends with, and the best epoch if it is another."""
    metric, mode = study.objective.metric, study.objective.mode
    if "kept/epoch" in last_metrics(records, best.config_id):
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
