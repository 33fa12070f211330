"""``emotune pretrain``: one long pre-training, shared by the workers of a Ray Train group."""

from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.options import (
    INPUT_PATH,
    WORKERS,
    RunRequest,
    fresh_option,
    json_option,
    name_option,
    notify_option,
    precision_option,
    register_option,
    run_options,
    set_option,
    storage_option,
    store_option,
    tracking_option,
)


@dataclass(frozen=True, kw_only=True)
class PretrainRequest(RunRequest):
    """The options of ``emotune pretrain``."""

    experiment: Path
    """File of the experiment."""

    epochs: int | None
    """Replaces ``epochs`` of the experiment."""


@click.command()
@click.argument("experiment", type=INPUT_PATH)
@run_options(
    PretrainRequest,
    click.option(
        "--epochs", type=click.IntRange(1), help="Epochs of the whole run.  [default: epochs of the experiment]"
    ),
    click.option(
        "--workers",
        type=WORKERS,
        default="1",
        show_default=True,
        help="Workers that share the run, each with a GPU if there are any; A..B: as many as the cluster has resources "
        "for. The result does not depend on the number.",
    ),
    precision_option,
    store_option("experiment"),
    name_option("run", default="the name of the experiment"),
    storage_option,
    tracking_option,
    notify_option,
    register_option,
    set_option,
    json_option,
    fresh_option,
)
def pretrain(request: PretrainRequest) -> int:
    """Pre-train the model of EXPERIMENT, for example a file that `emotune best` wrote.

    After an interruption the same command resumes the run, also with another number of workers. Without validation
    segments (folds.validation: 0) the run is measured by its training loss.

    \b
    Example:
      emotune best ecg_pretrain --out best.yaml
      emotune pretrain best.yaml --epochs 500 --workers 2..8 --name ecg-500
    """
    from emotune.cli.actions.single_run import pretrain_once

    return pretrain_once(request)
