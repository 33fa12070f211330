"""``emotune search`` of a study of experiments."""

from collections.abc import Sequence
from pathlib import Path

import click

from emotune.cli.actions.experiment_run import open_store, run, with_store
from emotune.cli.actions.folders import existing_search, store_path
from emotune.cli.actions.plan import Speed, print_disk, print_hours, print_plan, speed_of_search
from emotune.cli.actions.run import put_aside
from emotune.cli.actions.search import SearchStart
from emotune.cli.output import print_message
from emotune.data.store import SegmentStore
from emotune.report.costs import share_of_evaluation
from emotune.runtime.options import TrialsPerGpu
from emotune.study.bundled import describe_choice
from emotune.study.estimate import checkpoint_bytes, has_same_data, probe_seconds, relative_cost
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.recorded import kind_of
from emotune.study.results import opened
from emotune.study.study import Study, load_study
from emotune.study.warm_start import with_earlier
from emotune.training.execution import choose_device


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
        print_resources(study, start)
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


def print_resources(study: Study, start: SearchStart) -> None:
    """Print the hours, the price and the disk of a search, if there is a store.

    The speed is that of the results of the same search, if it has any on the same segments; otherwise it is measured.
    """
    if not study.base.store:
        click.echo("no estimate of hours: it needs a segment store; give --store")
        return
    request, folder = start.request, start.destination.folder
    store = SegmentStore.open(store_path(study.base.store))
    cost = relative_cost(study, store=store)
    speed = None
    if _is_comparable(study, folder, store=store):
        speed = speed_of_search(folder, cost=cost)
    speed = speed or _measured_speed(study, store=store, trials_per_gpu=request.trials_per_gpu)
    concurrency = request.concurrency or 1
    print_hours(study, speed, cost=cost, concurrency=concurrency, price_per_hour=request.price_per_hour)
    size = checkpoint_bytes(study.base, channels=store.signal.shape[1])
    print_disk(study, checkpoint_bytes=size, kept=start.options().keep)


def _is_comparable(study: Study, folder: SearchFolder, *, store: SegmentStore) -> bool:
    """Return whether the search of a folder trains on the same segments, so that its speed is that of the study."""
    records = read_journal(folder.journal) if folder.begun else []
    if not records or kind_of(opened(records).study) != "experiment":
        return False
    return has_same_data(study, Study.recorded(opened(records).study), store=store)


def _measured_speed(study: Study, *, store: SegmentStore, trials_per_gpu: TrialsPerGpu) -> Speed:
    """Return the speed of the base experiment on this machine, from an epoch on few segments."""
    seconds = probe_seconds(study, store=store)
    unit, per_evaluation = share_of_evaluation(
        on_gpu=choose_device(study.base.compute) == "cuda",
        threads=study.base.compute.threads,
        trials_per_gpu=trials_per_gpu if isinstance(trials_per_gpu, int) else 1,
    )
    return Speed(seconds, "a probe on this machine", unit=unit, per_evaluation=per_evaluation)
