"""``emotune search``, also behind ``tune_pretrain.py`` and ``tune_finetune.py``."""

import click

from emotune.cli.options import find_store, set_option, storage_option, tracking_option
from emotune.cli.running import Request, put_aside, run
from emotune.data.store import SegmentStore
from emotune.search.folder import storage_folder
from emotune.search.preview import count_rungs, estimate_hours, preview, probe_seconds
from emotune.search.run import RunOptions
from emotune.search.study import Study, find_study, load_study


def search_command(default: str | None) -> click.Command:
    """Make the command; with a default study its argument may be left out."""

    @click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
    @click.argument("study", required=default is None, default=default)
    @click.option("--store", help="Segment store; replaces the study's.")
    @click.option("--name", help="Name of the search.  [default: the study's]")
    @storage_option
    @tracking_option
    @click.option("--concurrency", type=click.IntRange(1), help="Evaluations at a time.  [default: the cluster's CPUs]")
    @click.option(
        "--workers-per-trial", type=click.IntRange(1, 1), default=1, show_default=True, help="Workers per evaluation."
    )
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
            put_aside(request.folder)
        return run(loaded, request)

    return search


search = search_command(None)


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
    if not study.base.store:
        click.echo("no estimate of hours without a segment store: give --store")
        return
    store = SegmentStore.open(find_store(study.base.store))
    seconds = probe_seconds(study, store=store)
    hours = estimate_hours(study, evaluations, seconds_per_epoch=seconds, store=store)
    click.echo(
        f"about {hours:.3g} worker hours on this machine, {hours / concurrency:.3g} h with {concurrency} at a time "
        f"(one epoch of the base experiment takes {seconds:.3g} s here)"
    )
