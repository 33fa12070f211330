"""``emotune resume``: the study is read from the journal, the other options from the file of the last start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emotune.cli.actions.folders import existing_records
from emotune.cli.actions.run import Destination
from emotune.cli.options import kept_configurations
from emotune.cli.resume import ResumeRequest
from emotune.errors import EmotuneError, SettingsError
from emotune.runtime.options import RunOptions
from emotune.search.records import Opened, Record
from emotune.search.stopping import Amount, Hours
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal
from emotune.study.recorded import KINDS, is_importable, kind_of
from emotune.study.results import opened, search_state
from emotune.study.trainable_study import TrainableStudy, import_trainable


@dataclass(frozen=True)
class ResumeChanges:
    """Options of a resumption that replace recorded ones."""

    store: str | None = None
    """Path of the segment store, if it was moved."""

    concurrency: int | None = None
    """Evaluations at a time."""

    retry_failed: bool = False
    """Run failed evaluations again."""

    as_json: bool = False
    """Print one JSON document."""

    amounts: Mapping[str, Amount] = field(default_factory=dict)
    """``--brackets`` and ``--evaluations``."""

    hours: Hours | None = None
    """``--hours``."""

    notify: tuple[str, ...] = ()
    """Commands and URLs that receive the events of the run."""


def resume_and_print(request: ResumeRequest) -> int:
    """Carry out ``emotune resume``; returns the exit code."""
    name = request.name or _only_interrupted(request.storage)
    amounts = {"brackets": request.brackets, "evaluations": request.evaluations}
    changes = ResumeChanges(
        request.store,
        request.concurrency,
        request.retry_failed,
        request.as_json,
        amounts={name: amount for name, amount in amounts.items() if amount is not None},
        hours=request.hours,
        notify=request.notify,
    )
    return resume_run(name, storage=request.storage, tracking_uri=request.tracking_uri, changes=changes)


def resume_run(name: str, *, storage: str, tracking_uri: str | None, changes: ResumeChanges) -> int:
    """Resume a search or run of any kind, and print its progress and results.

    Args:
        name: Its name.
        storage: The storage of all searches.
        tracking_uri: MLflow server or database; None: that of the last start.
        changes: Options that replace recorded ones.

    Returns:
        The exit code.

    Raises:
        SettingsError: There is no such search, its store has moved, or it is extended and is no search.
    """
    folder, records = existing_records(name, storage=storage)
    _check_extension(name, opened(records), changes=changes)
    kind = kind_of(opened(records).study)
    invocation = read_invocation(folder.storage)
    destination = Destination(
        name,
        open_storage(storage),
        tracking_uri or invocation.tracking_uri,
        register_as=invocation.register_as,
        notify=changes.notify,
    )
    if kind == "experiment":
        from emotune.cli.actions.experiment_resume import resume_experiments

        return resume_experiments(records, destination, changes=changes)
    study = None if kind == "tuner" else TrainableStudy.recorded(opened(records).study)
    if study is None or not is_importable(study.trainable):
        raise SettingsError(
            f"the search {name!r} {KINDS['tuner']}; run its script again, which resumes the search"
            if study is None
            else f"the search {name!r} trains {study.trainable}, which only its own script or notebook has; run that "
            "again, which resumes the search"
        )
    from emotune.cli.actions.trainable_search import run_trainable

    target = import_trainable(study.trainable)
    return run_trainable(study, target, destination, options=recorded_options(records, destination, changes=changes))


def _check_extension(name: str, first: Opened, *, changes: ResumeChanges) -> None:
    """Refuse to extend a run without a search."""
    options = [f"--{option}" for option in (*changes.amounts, *(["hours"] if changes.hours is not None else []))]
    if options and first.purpose != "configuration":
        raise SettingsError(f"{name!r} is not a search of configurations; leave {' and '.join(options)} out")


def recorded_options(records: Sequence[Record], destination: Destination, *, changes: ResumeChanges) -> RunOptions:
    """Return how a search was run last, with the changes of its resumption."""
    first, invocation = opened(records), read_invocation(destination.folder.storage)
    return RunOptions(
        concurrency=changes.concurrency or invocation.concurrency,
        purpose=first.purpose,
        measure_test=first.purpose == "finetune",
        warm_start=first.warm_start,
        amounts=changes.amounts,
        hours=changes.hours,
        retry_failed=changes.retry_failed,
        share=invocation.share,
        workers=invocation.workers,
        trials_per_gpu=invocation.trials_per_gpu,
        keep=kept_configurations(invocation.keep),
    )


def _only_interrupted(storage: str) -> str:
    """Return the name of the only search that was interrupted.

    Raises:
        SettingsError: There is none, or more than one.
    """
    root = open_storage(storage)
    names = [folder.name for folder in find_searches(root) if _is_interrupted(folder)]
    if not names:
        raise SettingsError(f"no search in {root} was interrupted; `emotune status` lists all")
    if len(names) > 1:
        raise SettingsError(f"{len(names)} searches in {root} were interrupted; give one of: {', '.join(names)}")
    return names[0]


def _is_interrupted(folder: SearchFolder) -> bool:
    try:
        alive = folder.driver_alive
        records = read_journal(folder.journal)
    except EmotuneError:
        return False  # it cannot be resumed; `emotune status` prints why
    return bool(records) and search_state(records, alive=alive) in {"interrupted", "failed"}
