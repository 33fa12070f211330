"""``emotune pretrain``: one long pre-training, shared by the workers of a Ray Train group."""

from pathlib import Path

import click

from emotune.cli.finetune import run_and_show, single_run
from emotune.cli.options import (
    WORKERS,
    json_option,
    precision_option,
    set_option,
    storage_option,
    tracking_option,
)
from emotune.cli.running import Request, read_experiment
from emotune.errors import SettingsError
from emotune.runtime.driver import RunOptions
from emotune.storage import open_storage
from emotune.study.study import StudyObjective


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--epochs", type=click.IntRange(1), help="Epochs of the whole run.  [default: the experiment's]")
@click.option(
    "--workers",
    type=WORKERS,
    default="1",
    show_default=True,
    help="Workers that share the run, each with a GPU if there are any; A..B takes what there is. Decides nothing "
    "about the result.",
)
@precision_option
@click.option("--store", help="Segment store; replaces the experiment's.  [default: EMOTUNE_STORE]")
@click.option("--name", help="Name of the run.  [default: the experiment's]")
@storage_option
@tracking_option
@set_option
@json_option
@click.option("--fresh", is_flag=True, help="Start over under the same name; old results are put aside.")
def pretrain(  # noqa: PLR0913 (the options of the contract)
    experiment: Path,
    *,
    epochs: int | None,
    workers: tuple[int, int],
    precision: str | None,
    store: str | None,
    name: str | None,
    storage: str,
    tracking_uri: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    fresh: bool,
) -> int:
    """Pre-train as EXPERIMENT says: the file of `emotune best`, for instance.

    The same command goes on after any interruption, with fewer or more workers if you like.

    \b
    Example:
      emotune best ecg_pretrain --out best.yaml
      emotune pretrain best.yaml --epochs 500 --workers 2..8 --name ecg-500
    """
    options = {"store": store, "epochs": epochs, "compute.precision": precision}
    settings = read_experiment(experiment, assignments=assignments, options=options)
    if settings.task.kind == "classify":
        raise SettingsError(f"{experiment}: task.kind is 'classify', which is fine-tuned; use emotune finetune")
    request = Request(
        name=name or experiment.stem,
        storage=open_storage(storage),
        tracking_uri=tracking_uri,
        options=RunOptions(concurrency=1, purpose="pretrain", workers=workers),
    )
    study = single_run(settings, aim=StudyObjective(metric="val/loss", mode="min"))
    return run_and_show(study, request, fresh=fresh, as_json=as_json)
