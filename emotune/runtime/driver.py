"""The driver of a search: open the journal, connect to Ray, run the evaluations, record the end."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from signal import Signals

from ray import tune

from emotune.durations import HOUR_S
from emotune.errors import ClusterError, EmotuneError, SettingsError
from emotune.runtime.cluster.access_check import Requirements, check_nodes
from emotune.runtime.cluster.capacity import Capacity, Concurrency, choose_concurrency, shared
from emotune.runtime.cluster.connect import disconnect
from emotune.runtime.coordinator import Coordinator, Observer
from emotune.runtime.crashes import crash_file, remove_crash_files
from emotune.runtime.job import EvaluationJob
from emotune.runtime.options import DEFAULT_OPTIONS, RunOptions
from emotune.runtime.retention import Retention
from emotune.runtime.tune_adapter import CoordinatorSearcher, MakeJob, run_trials
from emotune.runtime.workload import Workload
from emotune.search.records import Closed, Evaluation, Extended, Opened, Record, Retried, TimeLimit
from emotune.search.settings import virtual_workers
from emotune.search.stopping import extension
from emotune.study.definition import SearchDefinition
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.results import (
    TIME_LIMIT_REASON,
    ended_by_time,
    failures_to_retry,
    opened,
    present_hours,
    running_seconds,
    search_state,
)
from emotune.study.resume import as_recorded, make_optimizer, software_changes

logger = logging.getLogger(__name__)

MAX_RAY_RESTARTS = 2
"""Number of times that Ray is started again without a new epoch in between."""

RESUME_ADVICE = "nothing is lost, start the same search again"
"""End of the message of a failure that stops a search."""

SOFTWARE = ("emotune", "ConfigSpace", "hpbandster", "numpy", "ray", "torch")
"""Packages whose versions are recorded."""


def run_study(
    workload: Workload,
    folder: SearchFolder,
    *,
    options: RunOptions = DEFAULT_OPTIONS,
    observers: Sequence[Observer] = (),
) -> list[Record]:
    """Run a search to its end, or resume it where an earlier driver stopped.

    Args:
        workload: The study, and how its evaluations are trained.
        folder: Folder of the search, existing or new.
        options: How to run it.
        observers: Called with every record.

    Returns:
        All records of the journal.

    Raises:
        BusyError: Another driver runs the search.
        StudyChangedError: The search was started from another study.
        SettingsError: It is to be extended by a limit that it does not have, or a node cannot access its folders.
        DamageError: The journal is not what was written.
        SearchFailedError: Too many evaluations failed in the same way, or a machine failed.
        ClusterError: Ray does not start, or has failed again and again.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with Journal.open(folder.journal, owner=folder.name) as journal:
        folder.forget_stop()  # a request to an earlier driver that had ended before it read it
        folder.check_complete(journal.records)
        if journal.records:
            workload = workload.with_study(_resume(journal, workload.study, options))
        study = workload.study

        def reconnect() -> None:
            disconnect()
            workload.connect(options)

        capacity = requirements = None
        if search_state(journal.records, alive=False) != "finished":
            capacity = workload.connect(options)
            requirements = check_nodes(folder, stores=workload.stores)
            study = _open(journal, study, folder, options=options, capacity=capacity)
            workload = workload.with_study(study)
        optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
        retention = Retention(folder, keep=options.keep)
        coordinator = Coordinator(
            optimizer,
            journal=journal,
            criteria=study.criteria,
            observers=observers,
            time_is_up=_time_limit(journal.records),
            on_end=retention.remove_when_due,
        )
        if capacity is not None and search_state(journal.records, alive=False) != "finished":
            evaluations = Evaluations(
                folder,
                make_job=_job_maker(workload, folder, options=options, requirements=requirements),
                trainable=workload.trainable(options),
                concurrency=choose_concurrency(
                    journal.records, options.concurrency, capacity=shared(capacity, options.share)
                ),
            )
            try:
                signal = _search(coordinator, evaluations, reconnect=reconnect)
            finally:
                remove_crash_files(folder.path)
            retention.remove(coordinator)
            _close(coordinator, signal)
        return list(journal.records)


@dataclass(frozen=True)
class Evaluations:
    """How the evaluations of a search are run with Ray Tune."""

    folder: SearchFolder
    make_job: MakeJob
    trainable: type[tune.Trainable]
    concurrency: Concurrency


def _resume(journal: Journal, study: SearchDefinition, options: RunOptions) -> SearchDefinition:
    """Record what the options change in a search that has begun, and return its study."""
    study = as_recorded(study, journal.records, amounts=options.amounts, warm_start=options.warm_start)
    _add_hours(journal, options)
    _extend(journal, study, options)
    _retry(journal, study, options)
    _warn_of_other_software(journal.records)
    return study


def _add_hours(journal: Journal, options: RunOptions) -> None:
    """Record the limit of the running time under which this driver begins, if the options or the journal have one.

    A search that has ended because of another limit stays as it is, and so does one whose time limit is not raised.
    """
    records = journal.records
    present, used = present_hours(records), running_seconds(records)
    hours = present if options.hours is None else options.hours.limit(present=present, used=used / HOUR_S)
    if hours is None:
        return
    if search_state(records, alive=False) == "finished" and not (
        ended_by_time(records) and present is not None and hours > present
    ):
        return
    journal.append(TimeLimit(time=time.time(), hours=hours, used_seconds=used))


def _time_limit(records: Sequence[Record]) -> Callable[[], bool]:
    """Return a function that returns whether the running time of this and earlier drivers is used up."""
    hours = present_hours(records)
    if hours is None:
        return lambda: False
    end = time.monotonic() + hours * HOUR_S - running_seconds(records)
    return lambda: time.monotonic() >= end


def _extend(journal: Journal, study: SearchDefinition, options: RunOptions) -> None:
    """Extend a finished search as the options say; a search that is not finished is not extended."""
    amounts = {name: amount for name, amount in options.amounts.items() if amount.more}
    if not amounts:
        return
    if ended_by_time(journal.records):
        raise SettingsError(
            f"the search ended after its {TIME_LIMIT_REASON} of {present_hours(journal.records):g} h, before its other "
            "limits; give --hours +H"
        )
    if search_state(journal.records, alive=False) != "finished":
        logger.warning(
            "the search is not finished: it resumes without the extension; give --brackets +N or --evaluations +N "
            "again when it is finished"
        )
        return
    optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
    moved = extension(optimizer.settings, made=len(optimizer.results()), **amounts)
    optimizer.extend(**moved.limits)
    journal.append(Extended(time=time.time(), brackets=moved.brackets, evaluations=moved.evaluations))


def _retry(journal: Journal, study: SearchDefinition, options: RunOptions) -> None:
    """Record that failed evaluations are run again, if the options say so."""
    if not options.retry_failed:
        return
    numbers = failures_to_retry(journal.records)
    if not numbers:
        logger.warning("--retry-failed: no evaluation has failed, except by diverging; nothing is tried again")
        return
    optimizer = make_optimizer(study, records=journal.records, concurrency=opened(journal.records).concurrency)
    change = optimizer.retry(numbers)
    journal.append(Retried(time=time.time(), evaluations=change.evaluations, seen=change.seen))


def _open(
    journal: Journal,
    study: SearchDefinition,
    folder: SearchFolder,
    *,
    options: RunOptions,
    capacity: Callable[[], Capacity],
) -> SearchDefinition:
    """Write the first record, unless an earlier driver did, and return the study with its order."""
    if journal.records:
        return study
    concurrency = options.concurrency or capacity().slots
    if options.purpose == "configuration":
        study = study.with_order(concurrency)
    journal.append(
        Opened(
            time=time.time(),
            name=folder.name,
            purpose=options.purpose,
            study=study.as_document(),
            digest=study.digest(),
            seed=study.seed,
            concurrency=concurrency,
            workers=virtual_workers(concurrency, order=study.search_settings().order),
            elastic=options.concurrency is None,
            warm_start=options.warm_start,
            software=installed_software(),
        )
    )
    _add_hours(journal, options)
    return study


def installed_software() -> dict[str, str]:
    """Return the versions of the packages that a journal records."""
    return {name: version(name) for name in SOFTWARE}


def _warn_of_other_software(records: Sequence[Record]) -> None:
    changes = software_changes(opened(records), now=installed_software())
    if changes is not None and search_state(records, alive=False) != "finished":
        logger.warning("%s", changes)


def _job_maker(
    workload: Workload, folder: SearchFolder, *, options: RunOptions, requirements: Requirements | None
) -> MakeJob:
    make = workload.job_maker(folder, options)

    def make_job(evaluation: Evaluation) -> EvaluationJob:
        common = {
            "evaluation_id": evaluation.id,
            "config_id": evaluation.config_id,
            "from_epoch": evaluation.from_epoch,
            "to_epoch": evaluation.to_epoch,
            "checkpoints": folder.checkpoints(evaluation.config_id),
            "crash_file": _crash_file(folder, evaluation, options=options),
            "requirements": requirements,
            "metrics": workload.study.criteria.metrics,
        }
        return make(evaluation, common)

    return make_job


def _crash_file(folder: SearchFolder, evaluation: Evaluation, *, options: RunOptions) -> Path | None:
    """Return the file for a crash of an evaluation's worker; None if the driver cannot read it, and for groups.

    A worker of a group also aborts itself when another one is killed.
    """
    if options.workers is not None or not folder.storage.mounted:
        return None
    return crash_file(folder.path, evaluation_id=evaluation.id)


def _search(coordinator: Coordinator, evaluations: Evaluations, *, reconnect: Callable[[], object]) -> Signals | None:
    """Run the evaluations with Ray Tune, and return the signal that ended them, if any.

    If Ray fails, it is started again, `MAX_RAY_RESTARTS` times without a new epoch in between.
    """
    if evaluations.concurrency.elastic:
        coordinator.resize(evaluations.concurrency.slots)
    restarts, epochs_done, signal = 0, -1, None
    while restarts <= MAX_RAY_RESTARTS:
        try:
            signal = _run_trials(coordinator, evaluations)
            break
        except ClusterError as error:
            restarts = 1 if coordinator.epochs_done > epochs_done else restarts + 1
            epochs_done = coordinator.epochs_done
            if restarts > MAX_RAY_RESTARTS:
                raise _closed(coordinator, ClusterError(f"{error}; {RESUME_ADVICE}")) from error
            logger.warning("%s; Ray is started again", error)
            coordinator.requeue_all()
            try:
                reconnect()
            except EmotuneError as failed:
                raise _closed(coordinator, failed) from failed
        except EmotuneError as error:
            raise _closed(coordinator, error) from error
    return signal


def _close(coordinator: Coordinator, signal: Signals | None) -> None:
    """Record how the search ended."""
    finished, reason = coordinator.exhausted, ""
    if not finished:
        reason = "" if signal is None else signal.name
    elif not coordinator.optimizer.finished:
        reason = f"{TIME_LIMIT_REASON} of {present_hours(coordinator.records):g} h"
    coordinator.close(Closed(time=time.time(), state="finished" if finished else "interrupted", reason=reason))


def _run_trials(coordinator: Coordinator, evaluations: Evaluations) -> Signals | None:
    concurrency = evaluations.concurrency
    searcher = CoordinatorSearcher(
        coordinator,
        make_job=evaluations.make_job,
        concurrency=concurrency.slots,
        stop_request=evaluations.folder.stop_watch(),
        current_slots=concurrency.current_slots,
        resource="a GPU" if concurrency.resources.get("GPU") else "a CPU",
    )
    signal = run_trials(searcher, trainable=evaluations.trainable, resources=concurrency.resources)
    if searcher.failure is not None:
        raise searcher.failure
    return signal


def _closed(coordinator: Coordinator, error: EmotuneError) -> EmotuneError:
    """Record that the search failed, and return the error."""
    coordinator.close(Closed(time=time.time(), state="failed", reason=str(error)))
    return error
