"""``emotune search`` of a study of a trainable of the user. Nothing about signals or networks is imported."""

import click

from emotune.cli.actions.display import SearchDisplay
from emotune.cli.actions.folders import existing_search
from emotune.cli.actions.plan import print_hours, print_plan, speed_of_search
from emotune.cli.actions.run import Destination, put_aside, run_workload
from emotune.cli.actions.search import SearchStart
from emotune.documents import Document
from emotune.errors import SettingsError
from emotune.runtime.options import RunOptions
from emotune.runtime.trainables import TrainableWorkload
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.study.trainable_study import Trainable, TrainableStudy, import_trainable, read_trainable_study
from emotune.study.warm_start import with_earlier


def search_trainable_or_plan(start: SearchStart, document: Document, *, target: Trainable | None = None) -> int:
    """Run a study of a trainable, or print its plan; returns the exit code.

    Args:
        start: The options.
        document: The study.
        target: The trainable; None: it is imported by the name in the study.

    Raises:
        SettingsError: A setting is impossible, or an option is one of studies of experiments.
    """
    request = start.request
    _check_options(start)
    study = read_trainable_study(document, assignments=start.assignments())
    if start.is_new and request.warm_start:
        names = request.warm_start
        sources = {name: read_journal(existing_search(name, storage=request.storage).journal) for name in names}
        study = with_earlier(study, sources=sources)
    target = target or import_trainable(study.trainable)
    if request.dry_run:
        print_plan(study)
        _print_hours(study, start)
        return 0
    if request.fresh:
        put_aside(start.destination.folder)
    return run_trainable(study, target, start.destination, options=start.options())


def _print_hours(study: TrainableStudy, start: SearchStart) -> None:
    """Print the hours of a search by the results of the same search, if it has any."""
    request, folder = start.request, start.destination.folder
    records = read_journal(folder.journal) if folder.begun else []
    is_same = bool(records) and opened(records).study.get("trainable") == study.trainable
    speed = speed_of_search(folder, cost=study.cost) if is_same else None
    if speed is None:
        click.echo(f"no estimate of hours: there is no search {folder.name!r} of this trainable with a result")
        return
    concurrency = request.concurrency or 1
    print_hours(study, speed, cost=study.cost, concurrency=concurrency, price_per_hour=request.price_per_hour)


def run_trainable(study: TrainableStudy, target: Trainable, destination: Destination, *, options: RunOptions) -> int:
    """Run a study of a trainable, or resume it; returns the exit code of `run_workload`."""
    display = SearchDisplay(study, name=destination.name)
    return run_workload(TrainableWorkload(study, target), destination, display=display, options=options)


def _check_options(start: SearchStart) -> None:
    """Refuse the options of studies of experiments."""
    request = start.request
    given = {
        "--store": request.store is not None,
        "--workers-per-trial": request.workers_per_trial > 1,
        "--trials-per-gpu": request.trials_per_gpu != 1,
        "--register": request.register is not None,
    }
    for option, is_given in given.items():
        if is_given:
            remedy = "; set resources: {GPU: 0.5} in the study" if option == "--trials-per-gpu" else "; leave it out"
            raise SettingsError(f"{option} has no effect on a search of a trainable{remedy}")
