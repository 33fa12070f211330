"""``emotune finetune``: one fine-tuning, with the journal, the MLflow runs and the resumption of a search."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from emotune.cli.options import (
    INPUT_PATH,
    WORKERS,
    RunRequest,
    adapt_option,
    encoder_option,
    fresh_option,
    json_option,
    name_option,
    notify_option,
    precision_option,
    register_option,
    run_options,
    scratch_option,
    set_option,
    storage_option,
    store_option,
    tracking_option,
)


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest(RunRequest):
    """The options of ``emotune finetune``."""

    experiment: Path
    """File of the experiment."""

    encoder: str | None
    """Search, checkpoint folder or MLflow run of the encoder."""

    scratch: bool
    """Train from random weights."""

    adapt: Literal["all", "frozen", "linear"] | None
    """What of the network is trained, in the place of the experiment's settings."""


@click.command()
@click.argument("experiment", type=INPUT_PATH)
@run_options(
    FinetuneRequest,
    encoder_option,
    scratch_option,
    adapt_option,
    store_option("experiment"),
    name_option("run", default="the name of the experiment"),
    click.option(
        "--workers", type=WORKERS, help="Workers that share the run as a Ray Train group.  [default: no group]"
    ),
    precision_option,
    storage_option,
    tracking_option,
    notify_option,
    register_option,
    set_option,
    json_option,
    fresh_option,
)
def finetune(request: FinetuneRequest) -> int:
    """Fine-tune an encoder on the task of EXPERIMENT, and measure on the test subjects.

    The run ends with the weights of the last epoch; with --set keep=best, with those of the epoch with the best macro
    F1 of the validation segments.

    \b
    Example:
      emotune finetune finetune.yaml --encoder first --name first-arousal
      emotune finetune finetune.yaml --encoder first --scratch --name scratch-arousal
      emotune finetune finetune.yaml --encoder first --adapt linear --name probe-arousal
    """
    from emotune.cli.actions.single_run import finetune_once

    return finetune_once(request)
