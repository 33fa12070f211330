"""``emotune search``, also behind ``tune_pretrain.py`` and ``tune_finetune.py``."""

from dataclasses import dataclass
from typing import Any, Literal

import click

from emotune.cli.options import (
    KEEP,
    TRIALS,
    RunRequest,
    brackets_option,
    evaluations_option,
    fresh_option,
    hours_option,
    name_option,
    notify_option,
    price_option,
    register_option,
    retry_failed_option,
    run_options,
    set_option,
    storage_option,
    store_option,
    tracking_option,
)


@dataclass(frozen=True, kw_only=True)
class SearchRequest(RunRequest):
    """The options of ``emotune search``."""

    study: str
    """File of the study, or its name in ``search_spaces``."""

    share: float | None
    """Fraction of the cluster that the search uses; None: all of it."""

    workers_per_trial: int
    """Workers that share an evaluation."""

    trials_per_gpu: int | Literal["auto"]
    """Evaluations that share a GPU."""

    seed: int | None
    """Replaces the seed of the study."""

    brackets: Any
    """`emotune.search.stopping.Amount` of brackets, or None."""

    evaluations: Any
    """`emotune.search.stopping.Amount` of evaluations, or None."""

    hours: Any
    """`emotune.search.stopping.Hours` of running time, or None."""

    keep: str | None
    """``best:K`` or ``all``; None: as at the last start, or the default."""

    warm_start: tuple[str, ...]
    """Names of earlier searches."""

    retry_failed: bool
    """Run failed evaluations again."""

    dry_run: bool
    """Print the plan only."""

    price_per_hour: float | None
    """Price of a GPU-hour, or of a CPU-hour where there is no GPU; None: the plan has no price."""


share_option = click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    help="Fraction of the cluster that the search uses, so that several searches run side by side.  [default: 1]",
)
workers_per_trial_option = click.option(
    "--workers-per-trial",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Workers that share an evaluation; with more than one they form a Ray Train group.",
)
trials_per_gpu_option = click.option(
    "--trials-per-gpu",
    type=TRIALS,
    default="1",
    show_default=True,
    help="Evaluations that share a GPU, if there are GPUs; auto: a short probe measures which number is fastest.",
)
keep_option = click.option(
    "--keep",
    type=KEEP,
    help="Configurations whose checkpoints stay: all, or the best K and those that can still be promoted.  "
    "[default: best:5, or as at the last start]",
)


def search_command(default: str | None) -> click.Command:
    """Return the command; with a default study, its argument is optional."""

    @click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
    @click.argument("study", required=default is None, default=default)
    @run_options(
        SearchRequest,
        store_option("study"),
        name_option("search", default="the name of the study"),
        storage_option,
        tracking_option,
        click.option(
            "--concurrency",
            type=click.IntRange(1),
            help="Evaluations that run at the same time.  [default: the number that the cluster has resources for]",
        ),
        share_option,
        workers_per_trial_option,
        trials_per_gpu_option,
        click.option("--seed", type=click.IntRange(0), help="Seed of the search; replaces the seed of the study."),
        brackets_option,
        evaluations_option,
        hours_option,
        keep_option,
        click.option(
            "--warm-start",
            multiple=True,
            metavar="NAME",
            help="Start with the best configurations of an earlier search; can be given several times.",
        ),
        notify_option,
        register_option,
        retry_failed_option,
        set_option,
        click.option("--dry-run", is_flag=True, help="Print brackets, epochs, hours and disk; start nothing."),
        price_option,
        fresh_option,
    )
    def search(request: SearchRequest) -> int:
        """Search for the best configuration of STUDY, a file or the name of a file in search_spaces.

        If a search of the same name was interrupted, it resumes: recorded evaluations are not repeated.
        `emotune resume NAME` does the same with the recorded study. With --retry-failed the name of a
        search can be given in place of its study.

        \b
        Example:
          emotune search ecg_pretrain --store stores/ours --dry-run --price-per-hour 2.50
          emotune search smoke --store stores/demo --name first --set budget.max=9
          emotune search smoke --store stores/demo --name first --set budget.max=9 --brackets +1
          emotune search smoke --store stores/demo --name second --warm-start first
          emotune search ecg_pretrain --store stores/ours --hours 12
          emotune search ecg_pretrain --store stores/ours --hours +6
          emotune search first --retry-failed
        """
        from emotune.cli.actions.search import search_or_plan

        return search_or_plan(request)

    return search


search = search_command(None)
