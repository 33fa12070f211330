"""``emotune search`` of a study of experiments."""

from collections.abc import Sequence
from pathlib import Path

import click

from emotune.cli.actions.experiment_run import open_store, run, with_store
from emotune.cli.actions.folders import existing_search, store_path
from emotune.cli.actions.pace import describe_length
from emotune.cli.actions.plan import print_plan
from emotune.cli.actions.run import put_aside
from emotune.cli.actions.search import SearchStart
from emotune.cli.output import print_message
from emotune.data.store import SegmentStore
from emotune.durations import HOUR_S, duration
from emotune.study.bundled import describe_choice
from emotune.study.estimate import estimate_hours, probe_seconds
from emotune.study.journal import read_journal
from emotune.study.preview import preview
from emotune.study.study import Study, load_study
from emotune.study.warm_start import with_earlier


def search_experiments_or_plan(start: SearchStart, path: Path) -> int:
    """Run a study of experiments, or print its plan; returns the exit code."""
    request, folder = start.request, start.destination.folder
    assignments = start.assignments()
    if request.store is not None:
        assignments.append(f"base.store={store_path(request.store)}")
    study = load_study(path, assignments=assignments, resumed=not start.is_new)
    if start.is_new and request.warm_start:
        study = warm_started(study, names=request.warm_start, storage=request.storage)
    choice = describe_choice(request.study, file=path)
    if request.dry_run:
        print_message(choice or str(path))
        study = with_store(study)
        print_plan(study)
        print_hours(study, concurrency=request.concurrency or 1)
        return 0
    if request.fresh:
        put_aside(folder)
    study, store = open_store(study, folder)
    if choice is not None:
        print_message(choice)
    return run(study, start.destination, store=store, options=start.options())


def warm_started(study: Study, *, names: Sequence[str], storage: str) -> Study:
    """Add the best configurations of earlier searches, by name, to a new study.

    Raises:
        SettingsError: There is no such search, it has no result, or its configurations do not fit.
    """
    sources = {name: read_journal(existing_search(name, storage=storage).journal) for name in names}
    return with_earlier(study, sources=sources)


def print_hours(study: Study, *, concurrency: int) -> None:
    """Print an estimate of the hours of a search, if there is a store."""
    if not study.base.store:
        click.echo("no estimate of hours: it needs a segment store; give --store")
        return
    store = SegmentStore.open(store_path(study.base.store))
    seconds = probe_seconds(study, store=store)
    hours = estimate_hours(study, preview(study), seconds_per_epoch=seconds, store=store)
    work, whole = duration(hours * HOUR_S), duration(hours * HOUR_S / concurrency)
    click.echo(
        f"about {work} of one worker on this machine, {whole} with a concurrency of {concurrency} "
        f"(one epoch of the base experiment takes {duration(seconds)} here)"
    )
    if (warning := describe_length(hours * HOUR_S / concurrency)) is not None:
        click.echo(warning)
