"""``emotune crossval``: all folds of an experiment, recorded and resumed as the configurations of a search are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from emotune.cli.options import (
    INPUT_PATH,
    RunRequest,
    adapt_option,
    folds_at_a_time_option,
    fresh_option,
    json_option,
    name_option,
    run_options,
    scratch_option,
    set_option,
    storage_option,
    store_option,
    tracking_option,
)

PROTOCOLS = ("paper", "trial", "video", "subject", "corpus", "people")
"""Choices of ``--protocol``: `emotune.evaluation.crossval.ProtocolName`, which is slow to import."""

DEFAULT_FOLDS = 10
"""Folds without ``--folds``."""


class FoldCount(click.ParamType):
    """A number of folds from 2, or ``all``."""

    name = "integer or all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or ``all``."""
        if value == "all":
            return "all"
        return click.IntRange(min=2).convert(value, param, ctx)


@dataclass(frozen=True, kw_only=True)
class CrossValidationRequest(RunRequest):
    """The options of ``emotune crossval``."""

    experiment: Path
    """File of the experiment."""

    protocol: Literal["paper", "trial", "video", "subject", "corpus", "people"]
    """What is kept in one part of a fold."""

    folds: int | Literal["all"] | None
    """Number of folds; ``all``: one for each unit of the protocol; None: `DEFAULT_FOLDS`, or 1 with people."""

    adapt: Literal["all", "frozen", "linear"] | None
    """What of the network is trained, in the place of the experiment's settings."""

    encoder: tuple[str, ...]
    """Searches, checkpoint folders or MLflow runs of the encoders, at most two."""

    scratch: bool
    """Train from random weights."""

    shuffled: bool
    """Repeat each fold with shuffled labels."""

    tune: str | None
    """Study whose settings are searched in each fold."""

    baselines: bool
    """Also train baselines on features in the same folds."""

    partner: str | None
    """Path of the second store."""


@click.command()
@click.argument("experiment", type=INPUT_PATH)
@run_options(
    CrossValidationRequest,
    click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        required=True,
        help="What is never split between training and test segments; paper: nothing, folds are drawn by moment; "
        "people: one fold, whose test people folds.test names.",
    ),
    click.option(
        "--folds",
        type=FoldCount(),
        help="Number of folds; all: one for each unit, for example to leave one subject out at a time.  "
        f"[default: {DEFAULT_FOLDS}; people has one]",
    ),
    click.option(
        "--encoder",
        multiple=True,
        help="Search, checkpoint folder or MLflow run whose encoder is fine-tuned; two for the protocol paper.",
    ),
    scratch_option,
    adapt_option,
    click.option(
        "--tune",
        metavar="STUDY",
        help="Search the settings of each fold first, on its training segments: space, budget, searcher and objective "
        "are those of STUDY (nested cross-validation).",
    ),
    click.option("--shuffled/--no-shuffled", default=True, help="Repeat each fold with shuffled labels."),
    click.option(
        "--baselines",
        is_flag=True,
        help="Also train classifiers of scikit-learn on features in the same folds: heart-rate variability, the heart "
        "rate, band power.",
    ),
    store_option("experiment"),
    click.option(
        "--partner", help="Second store: use only moments that are in both stores (required for late fusion)."
    ),
    name_option("cross-validation", default="the name of the experiment and the protocol"),
    storage_option,
    tracking_option,
    folds_at_a_time_option,
    set_option,
    json_option,
    fresh_option,
)
def crossval(request: CrossValidationRequest) -> int:
    """Cross-validate EXPERIMENT: train in each fold, and measure on its test segments.

    Prints means with 95 % intervals (t, folds - 1 degrees of freedom), the same for the majority label
    and for training on shuffled labels, and how many people and videos are on both sides of the folds.
    With --baselines there is a row for each baseline, and the network minus the baseline.
    With --tune each fold has settings of its own: the search NAME-fold-K finds them without the test segments
    of fold K. The same command resumes searches and folds.

    \b
    Example:
      emotune crossval ecg.yaml --protocol subject --encoder first
      emotune crossval ecg.yaml --protocol paper --encoder without-first --encoder without-second
      emotune crossval ecg.yaml --protocol subject --folds all --adapt linear --encoder first
      emotune crossval ecg.yaml --protocol subject --tune ecg_finetune --encoder first
      emotune crossval ecg.yaml --protocol people --set "folds.test.subjects=[P31,P32,P33]"
    """
    from emotune.cli.actions.crossval import run_and_print

    return run_and_print(request)
