"""``emotune search``, also behind ``tune_pretrain.py`` and ``tune_finetune.py``."""

from collections.abc import Mapping, Sequence

import click

from emotune.cli.options import AMOUNT, TRIALS, find_folder, find_store, set_option, storage_option, tracking_option
from emotune.cli.running import Request, put_aside, run, with_store
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.runtime.cluster.gpu_sharing import TrialsPerGpu
from emotune.runtime.driver import RunOptions
from emotune.search.stopping import Amount
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.preview import count_rungs, estimate_hours, preview, probe_seconds
from emotune.study.study import Study, find_study, load_study
from emotune.study.warm_start import with_earlier


def search_command(default: str | None) -> click.Command:
    """Make the command; with a default study its argument may be left out."""

    @click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
    @click.argument("study", required=default is None, default=default)
    @click.option("--store", help="Segment store; replaces the study's.  [default: EMOTUNE_STORE]")
    @click.option("--name", help="Name of the search.  [default: the study's]")
    @storage_option
    @tracking_option
    @click.option(
        "--concurrency",
        type=click.IntRange(1),
        help="Evaluations at a time.  [default: as many as the cluster has room for]",
    )
    @click.option(
        "--workers-per-trial",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Workers that share an evaluation; more than one are a Ray Train group.",
    )
    @click.option(
        "--trials-per-gpu",
        type=TRIALS,
        default="1",
        show_default=True,
        help="Evaluations that share a GPU, where there are GPUs; auto: as many as a short probe finds worth while.",
    )
    @click.option("--seed", type=click.IntRange(0), help="Seed of the search; replaces the study's.")
    @click.option("--brackets", type=AMOUNT, help="Brackets to run; +N lets a finished search go on for N more.")
    @click.option("--evaluations", type=AMOUNT, help="Evaluations to run; +N lets a finished search go on for N more.")
    @click.option(
        "--warm-start",
        multiple=True,
        metavar="NAME",
        help="Begin with the best configurations of an earlier search; may be given several times.",
    )
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
        trials_per_gpu: TrialsPerGpu,
        seed: int | None,
        brackets: Amount | None,
        evaluations: Amount | None,
        warm_start: tuple[str, ...],
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
          emotune search smoke --store stores/demo --name first --set budget.max=9 --brackets +1
          emotune search smoke --store stores/demo --name second --warm-start first
        """
        workers = (workers_per_trial, workers_per_trial) if workers_per_trial > 1 else None
        path = find_study(study)
        request = Request(
            name=name or path.stem,
            storage=open_storage(storage),
            tracking_uri=tracking_uri,
            options=RunOptions(
                concurrency=concurrency,
                amounts=_amounts(brackets, evaluations),
                warm_start=warm_start,
                workers=workers,
                trials_per_gpu=trials_per_gpu,
            ),
        )
        is_new = fresh or dry_run or not has_begun(request.folder)
        chosen = [*assignments, *(_ends(request.options.amounts, name=request.name) if is_new else [])]
        chosen += [] if seed is None else [f"seed={seed}"]
        chosen += [] if store is None else [f"base.store={find_store(store)}"]
        loaded = load_study(path, assignments=chosen)
        if is_new and warm_start:
            loaded = warm_started(loaded, names=warm_start, storage=storage)
        if dry_run:
            show_plan(with_store(loaded), concurrency=concurrency or 1)
            return 0
        if fresh:
            put_aside(request.folder)
        return run(loaded, request)

    return search


search = search_command(None)


def has_begun(folder: SearchFolder) -> bool:
    """Tell whether there is a record of a search."""
    return folder.begun and bool(read_journal(folder.journal))


def warm_started(study: Study, *, names: Sequence[str], storage: str) -> Study:
    """Add the best configurations of earlier searches, by name, to a new study.

    Raises:
        SettingsError: There is no such search, it has no result, or its configurations do not fit.
    """
    sources = {name: read_journal(find_folder(name, storage=storage).journal) for name in names}
    return with_earlier(study, sources=sources)


def _amounts(brackets: Amount | None, evaluations: Amount | None) -> dict[str, Amount]:
    given = {"brackets": brackets, "evaluations": evaluations}
    return {name: amount for name, amount in given.items() if amount is not None}


def _ends(amounts: Mapping[str, Amount], *, name: str) -> list[str]:
    """Return what the amounts replace in the study of a new search."""
    for key, amount in amounts.items():
        if amount.more:
            raise SettingsError(
                f"--{key} +{amount.number}: a finished search can go on for more, and {name!r} is new; "
                f"give --{key} {amount.number}, or the --name of a search that there is"
            )
    return [f"budget.{key}={amount.number}" for key, amount in amounts.items()]


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
    if study.search_settings().schedule == "async":
        click.echo("the schedule is asynchronous: results decide how many evaluations each rung really gets")
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
