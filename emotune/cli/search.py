"""``emotune search``, also behind ``tune_pretrain.py`` and ``tune_finetune.py``."""

import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.display import follow
from emotune.cli.options import console, default_tracking_uri, find_store, set_option, storage_option, tracking_option
from emotune.data.store import SegmentStore
from emotune.encoders import find_encoder, publish_best
from emotune.errors import DataError, SearchFailedError, SettingsError
from emotune.report.tables import leaderboard
from emotune.search.folder import SearchFolder, storage_folder
from emotune.search.journal import Journal, read_journal
from emotune.search.preview import count_rungs, estimate_hours, preview, probe_seconds
from emotune.search.records import Closed, Record
from emotune.search.run import RunOptions, kept_encoder, run_study, settle
from emotune.search.results import evaluation_results, find_best, search_state
from emotune.search.study import Study, find_study, load_study
from emotune.tracking.cursor import where_to_look
from emotune.tracking.mlflow import MlflowMirror
from emotune.tracking.store import OUTAGES, brief

LEADERS = 5
"""Configurations shown at the end."""

PATIENCE = 20.0
"""Seconds to wait at the end for a tracking server; what it missed is delivered by the next start."""


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line."""

    name: str
    storage: Path
    tracking_uri: str | None
    options: RunOptions


def search_command(default: str | None) -> click.Command:
    """Make the command; with a default study its argument may be left out."""

    @click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
    @click.argument("study", required=default is None, default=default)
    @click.option("--store", help="Segment store; replaces the study's.")
    @click.option("--name", help="Name of the search.  [default: the study's]")
    @storage_option
    @tracking_option
    @click.option("--concurrency", type=click.IntRange(1), help="Evaluations at a time.  [default: the cluster's CPUs]")
    @click.option("--workers-per-trial", type=click.IntRange(1, 1), default=1, show_default=True, help="Workers per evaluation.")
    @click.option("--seed", type=click.IntRange(0), help="Seed of the search; replaces the study's.")
    @set_option
    @click.option("--dry-run", is_flag=True, help="Print brackets, epochs and hours, and start nothing.")
    @click.option("--fresh", is_flag=True, help="Start over under the same name; old results are put aside.")
    def search(  # noqa: PLR0913 (the options of the contract)
        study: str,
        *,
        store: str | None,
        name: str | None,
        storage: str,
        tracking_uri: str | None,
        concurrency: int | None,
        workers_per_trial: int,
        seed: int | None,
        assignments: tuple[str, ...],
        dry_run: bool,
        fresh: bool,
    ) -> int:
        """Search the best configuration of STUDY, a file or the name of one in search_spaces.

        A search of the same name goes on where it stopped: nothing that was recorded is done again.

        \b
        Example:
          emotune search ecg_pretrain --store stores/ours --dry-run
          emotune search smoke --store stores/demo --name first --set budget.max=9
        """
        del workers_per_trial
        path = find_study(study)
        chosen = list(assignments)
        chosen += [] if seed is None else [f"seed={seed}"]
        chosen += [] if store is None else [f"base.store={find_store(store)}"]
        loaded = load_study(path, assignments=chosen)
        if dry_run:
            show_plan(loaded, concurrency=concurrency or 1)
            return 0
        request = Request(
            name=name or path.stem,
            storage=storage_folder(storage),
            tracking_uri=tracking_uri,
            options=RunOptions(concurrency=concurrency),
        )
        if fresh:
            put_aside(SearchFolder.of(request.name, storage=request.storage))
        return run(loaded, request)

    return search


search = search_command(None)


def run(study: Study, request: Request) -> int:
    """Run a study with everything around it: encoder, MLflow, display. Returns the exit code."""
    folder = SearchFolder.of(request.name, storage=request.storage)
    uri = default_tracking_uri(request.tracking_uri, storage=request.storage)
    encoder = _encoder(study, folder, request, uri=uri)
    if not study.base.store:
        raise SettingsError("no segment store was given; give --store, or base.store in the study")
    settled = settle(study, store=find_store(study.base.store), encoder=encoder)
    folder.path.mkdir(parents=True, exist_ok=True)
    mirror = MlflowMirror(uri, folder=folder.path, name=request.name, kind=request.options.purpose)
    known = len(read_journal(folder.journal)) if folder.journal.exists() else 0
    with follow(settled, name=request.name, known=known) as display:
        try:
            records = run_study(settled, folder, options=request.options, encoder=encoder, observers=[mirror, display])
        finally:
            delivered = mirror.close(PATIENCE)
    if not delivered:
        console().print("MLflow has not received everything; the same command, or `emotune sync`, delivers the rest")
    if delivered and search_state(records, alive=False) == "finished":
        _publish(folder, uri=uri)
    return _conclude(settled, records, folder, known=known)


def _encoder(study: Study, folder: SearchFolder, request: Request, *, uri: str) -> Path | None:
    if study.base.start is None:
        return None
    return kept_encoder(folder) or find_encoder(study.base.start.encoder, storage=request.storage, tracking_uri=uri)


def _publish(folder: SearchFolder, *, uri: str) -> None:
    """Log the best encoder; a server that is away takes nothing from the search."""
    try:
        publish_best(folder, tracking_uri=uri)
    except OUTAGES as error:
        console().print(f"the best encoder is not in MLflow yet; `emotune sync` logs it: {brief(error)}", markup=False)


def _conclude(study: Study, records: Sequence[Record], folder: SearchFolder, *, known: int) -> int:
    last = records[-1]
    if known == len(records):
        console().print(f"the search {folder.name!r} is finished; nothing was left to do")
    best = find_best(evaluation_results(records), mode=study.objective.mode)
    if isinstance(last, Closed) and last.state == "interrupted":
        console().print(f"stopped; nothing is lost. Go on with:\n  {shlex.join(sys.argv)}", soft_wrap=True)
        return 128 + signal.Signals[last.reason] if last.reason else 0
    if best is None:
        raise SearchFailedError(f"not one evaluation of {folder.name!r} gave a result; see `emotune status {folder.name}`")
    values = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in best.values.items())
    console().print(
        leaderboard(records).head(LEADERS).to_string(index=False, float_format="{:.5g}".format), markup=False, soft_wrap=True
    )
    console().print(
        f"best: {study.objective.metric} {best.objective:.6g} after {best.epochs} epochs, configuration {best.config_id}: {values}\n"
        f"results in {folder.path}\n"
        f"compare the runs: {where_to_look(folder.path)}",
        soft_wrap=True,
        markup=False,
    )
    return 0


def put_aside(folder: SearchFolder) -> None:
    """Keep a search under another name, unless a driver is alive on it.

    Raises:
        BusyError: A driver is alive on it.
    """
    if not folder.path.exists():
        return
    with Journal.open(folder.journal, owner=folder.name):
        aside = folder.put_aside()
    console().print(f"the old results are kept in {aside}", soft_wrap=True)


def show_plan(study: Study, *, concurrency: int) -> None:
    """Print brackets, rungs, epochs and, if the store is there, hours."""
    evaluations = preview(study)
    click.echo(f"{'bracket':>7} {'epochs':>7} {'evaluations':>11} {'trained epochs':>14}")
    for rung in count_rungs(evaluations):
        click.echo(f"{rung.bracket:>7} {rung.epochs:>7} {rung.evaluations:>11} {rung.trained_epochs:>14}")
    epochs = sum(one.to_epoch - one.from_epoch for one in evaluations)
    configurations = len({one.config_id for one in evaluations})
    click.echo(f"{configurations} configurations, {len(evaluations)} evaluations, {epochs} epochs in total")
    click.echo(f"rungs at {', '.join(map(str, study.budget.rungs))} epochs")
    try:
        store = SegmentStore.open(find_store(study.base.store))
    except DataError as error:
        click.echo(f"no estimate of hours: {error}")
        return
    seconds = probe_seconds(study, store=store)
    hours = estimate_hours(study, evaluations, seconds_per_epoch=seconds, store=store)
    click.echo(
        f"about {hours:.3g} worker hours on this machine, {hours / concurrency:.3g} h with {concurrency} at a time "
        f"(one epoch of the base experiment takes {seconds:.3g} s here)"
    )
