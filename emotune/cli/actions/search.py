"""``emotune search``: load the study, add earlier configurations, then run it or print its plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from emotune.cli.actions.folders import existing_records, existing_search, resume_command, store_path
from emotune.cli.actions.pace import describe_length
from emotune.cli.actions.resume import ResumeChanges, resume_run
from emotune.cli.actions.run import Destination, open_store, put_aside, run, with_store
from emotune.cli.options import kept_configurations
from emotune.cli.output import print_message
from emotune.cli.search import SearchRequest
from emotune.data.store import SegmentStore
from emotune.durations import HOUR_S, duration
from emotune.errors import SettingsError
from emotune.files import SAFE_NAME
from emotune.runtime.driver import RunOptions
from emotune.search.stopping import Amount
from emotune.storage import open_storage
from emotune.study.bundled import describe_choice, find_study
from emotune.study.folder import SearchFolder
from emotune.study.invocation import read_invocation
from emotune.study.journal import read_journal
from emotune.study.preview import count_rungs, estimate_hours, preview, probe_seconds
from emotune.study.study import Study, load_study
from emotune.study.warm_start import with_earlier

DEFAULT_KEEP = "best:5"
"""Configurations of a new search whose checkpoints stay."""


def search_or_plan(request: SearchRequest) -> int:
    """Carry out ``emotune search``; returns the exit code."""
    if request.retry_failed and _is_search(request):
        return resume_run(
            request.study,
            storage=request.storage,
            tracking_uri=request.tracking_uri,
            changes=ResumeChanges(request.store, request.concurrency, retry_failed=True, notify=request.notify),
        )
    path = _study_file(request)
    destination = Destination.of(request, default_name=path.stem)
    limits = {"brackets": request.brackets, "evaluations": request.evaluations}
    amounts = {name: amount for name, amount in limits.items() if amount is not None}
    _check_retry(request, destination)
    is_new = request.fresh or request.dry_run or not has_records(destination.folder)
    assignments = [
        *request.assignments,
        *(_limits_of_new_search(amounts, name=destination.name) if is_new else []),
        *([] if request.seed is None else [f"seed={request.seed}"]),
        *([] if request.store is None else [f"base.store={store_path(request.store)}"]),
    ]
    if is_new:
        _check_hours(request, name=destination.name)
    study = load_study(path, assignments=assignments, resumed=not is_new)
    if is_new and request.warm_start:
        study = warm_started(study, names=request.warm_start, storage=request.storage)
    choice = describe_choice(request.study, file=path)
    if request.dry_run:
        print_message(choice or str(path))
        print_plan(with_store(study), concurrency=request.concurrency or 1)
        return 0
    if request.fresh:
        put_aside(destination.folder)
    study, store = open_store(study, destination.folder)
    if choice is not None:
        print_message(choice)
    workers = request.workers_per_trial
    keep = request.keep or (DEFAULT_KEEP if is_new else read_invocation(destination.folder.storage).keep)
    options = RunOptions(
        concurrency=request.concurrency,
        amounts=amounts,
        warm_start=request.warm_start,
        retry_failed=request.retry_failed,
        workers=(workers, workers) if workers > 1 else None,
        trials_per_gpu=request.trials_per_gpu,
        hours=request.hours,
        keep=kept_configurations(keep),
    )
    return run(study, destination, store=store, options=options)


def _study_file(request: SearchRequest) -> Path:
    """Return the file of the study.

    Raises:
        SettingsError: There is no such study; if a search has its name, the message says how to resume that.
    """
    try:
        return find_study(request.study)
    except SettingsError as error:
        if not _names_search(request):
            raise
        raise SettingsError(
            f"there is no study {request.study!r}, but a search of that name; resume it with "
            f"`{resume_command(request.study, storage=request.storage)}`"
        ) from error


def _is_search(request: SearchRequest) -> bool:
    """Return whether the study argument names an existing search, and no study."""
    try:
        find_study(request.study)
    except SettingsError:
        return _names_search(request)
    return False


def _names_search(request: SearchRequest) -> bool:
    """Return whether the study argument names a search."""
    root = open_storage(request.storage)
    return SAFE_NAME.fullmatch(request.study) is not None and SearchFolder.of(request.study, storage=root).begun


def _check_retry(request: SearchRequest, destination: Destination) -> None:
    """Refuse --retry-failed for a search that does not exist, or starts again."""
    if not request.retry_failed:
        return
    if request.fresh or request.dry_run:
        option = "--fresh" if request.fresh else "--dry-run"
        raise SettingsError(f"--retry-failed and {option} were given; leave one of them out")
    existing_records(destination.name, storage=request.storage)


def has_records(folder: SearchFolder) -> bool:
    """Return whether a search has a journal with records."""
    return folder.begun and bool(read_journal(folder.journal))


def warm_started(study: Study, *, names: Sequence[str], storage: str) -> Study:
    """Add the best configurations of earlier searches, by name, to a new study.

    Raises:
        SettingsError: There is no such search, it has no result, or its configurations do not fit.
    """
    sources = {name: read_journal(existing_search(name, storage=storage).journal) for name in names}
    return with_earlier(study, sources=sources)


def _check_hours(request: SearchRequest, *, name: str) -> None:
    """Refuse ``--hours +H`` for a new search."""
    if request.hours is not None and request.hours.more:
        hours = request.hours.hours
        raise SettingsError(
            f"--hours +{hours:g} extends a search, but {name!r} is a new search; give --hours {hours:g}, or the --name "
            "of an existing search"
        )


def _limits_of_new_search(amounts: Mapping[str, Amount], *, name: str) -> list[str]:
    """Return the assignments that set the limits in the study of a new search."""
    for key, amount in amounts.items():
        if amount.more:
            raise SettingsError(
                f"--{key} +{amount.number} extends a finished search, but {name!r} is a new search; "
                f"give --{key} {amount.number}, or the --name of an existing search"
            )
    return [f"budget.{key}={amount.number}" for key, amount in amounts.items()]


def print_plan(study: Study, *, concurrency: int) -> None:
    """Print brackets, rungs, epochs and, if there is a store, hours."""
    evaluations = preview(study)
    click.echo(f"{'bracket':>7} {'epochs':>7} {'evaluations':>11} {'trained epochs':>14}")
    for rung in count_rungs(evaluations):
        click.echo(f"{rung.bracket:>7} {rung.epochs:>7} {rung.evaluations:>11} {rung.trained_epochs:>14}")
    epochs = sum(evaluation.to_epoch - evaluation.from_epoch for evaluation in evaluations)
    configurations = len({evaluation.config_id for evaluation in evaluations})
    click.echo(f"{configurations} configurations, {len(evaluations)} evaluations, {epochs} epochs in total")
    click.echo(f"rungs at {', '.join(map(str, study.budget.rungs))} epochs")
    if study.search_settings().schedule == "async":
        click.echo("the schedule is asynchronous: the number of evaluations per rung depends on the results")
    if not study.base.store:
        click.echo("no estimate of hours: it needs a segment store; give --store")
        return
    store = SegmentStore.open(store_path(study.base.store))
    seconds = probe_seconds(study, store=store)
    hours = estimate_hours(study, evaluations, seconds_per_epoch=seconds, store=store)
    work, whole = duration(hours * HOUR_S), duration(hours * HOUR_S / concurrency)
    click.echo(
        f"about {work} of one worker on this machine, {whole} with a concurrency of {concurrency} "
        f"(one epoch of the base experiment takes {duration(seconds)} here)"
    )
    if (warning := describe_length(hours * HOUR_S / concurrency)) is not None:
        click.echo(warning)
