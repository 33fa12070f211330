"""``emotune resume``: the study is read from the journal, the other options from the file of the last start."""

from dataclasses import dataclass

from emotune.cli.actions.crossval import cross_validate, print_result
from emotune.cli.actions.folders import existing_records, store_path
from emotune.cli.actions.run import Destination, open_store, run
from emotune.cli.actions.single_run import print_metrics
from emotune.cli.options import kept_configurations
from emotune.cli.resume import ResumeRequest
from emotune.errors import EmotuneError, SettingsError
from emotune.runtime.driver import RunOptions
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal
from emotune.study.results import opened, search_state
from emotune.study.study import Study


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

    notify: tuple[str, ...] = ()
    """Commands and URLs that receive the events of the run."""


def resume_and_print(request: ResumeRequest) -> int:
    """Carry out ``emotune resume``; returns the exit code."""
    name = request.name or _only_interrupted(request.storage)
    changes = ResumeChanges(
        request.store, request.concurrency, request.retry_failed, request.as_json, notify=request.notify
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
        SettingsError: There is no such search, or its store has moved.
    """
    folder, records = existing_records(name, storage=storage)
    first = opened(records)
    if "trainable" in first.study:
        raise SettingsError(
            f"the search {name!r} runs in a ray.tune.Tuner of its own; run its script again, which resumes the search"
        )
    study = Study.recorded(first.study)
    if changes.store is not None:
        store = str(store_path(changes.store))
        study = study.model_copy(update={"base": study.base.model_copy(update={"store": store})})
    invocation = read_invocation(folder.storage)
    destination = Destination(
        name,
        open_storage(storage),
        tracking_uri or invocation.tracking_uri,
        register_as=invocation.register_as,
        notify=changes.notify,
    )
    concurrency = changes.concurrency or invocation.concurrency
    if first.purpose == "fold":
        code, result = cross_validate(study, destination, concurrency=concurrency, retry_failed=changes.retry_failed)
        if result is not None:
            print_result(result, as_json=changes.as_json)
        return code
    study, opened_store = open_store(study, folder)
    options = RunOptions(
        concurrency=concurrency,
        purpose=first.purpose,
        measure_test=first.purpose == "finetune",
        warm_start=first.warm_start,
        retry_failed=changes.retry_failed,
        workers=invocation.workers,
        trials_per_gpu=invocation.trials_per_gpu,
        keep=kept_configurations(invocation.keep),
    )
    code = run(study, destination, store=opened_store, options=options)
    if code == 0 and first.purpose != "configuration":
        print_metrics(destination.folder, training_data=study.base.select(opened_store), as_json=changes.as_json)
    return code


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
