"""``emotune finetune``: one fine-tuning, with everything that a search has: resumption, MLflow, a journal."""

from pathlib import Path

import click

from emotune.cli.options import (
    WORKERS,
    find_store,
    json_option,
    precision_option,
    print_json,
    set_option,
    storage_option,
    tracking_option,
)
from emotune.cli.running import Request, put_aside, run
from emotune.documents import load_document, parse
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.search.folder import SearchFolder, storage_folder
from emotune.search.journal import read_journal
from emotune.search.results import last_metrics
from emotune.search.run import RunOptions
from emotune.search.study import Aim, Budget, Study


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--encoder", help="Search, checkpoint folder or MLflow run whose encoder is fine-tuned.")
@click.option("--scratch", is_flag=True, help="The same network with freshly drawn weights, for comparison.")
@click.option("--store", help="Segment store; replaces the experiment's.")
@click.option("--name", help="Name of the run.  [default: the experiment's]")
@click.option("--workers", type=WORKERS, help="Workers that share the run, as a Ray Train group.  [default: no group]")
@precision_option
@storage_option
@tracking_option
@set_option
@json_option
@click.option("--fresh", is_flag=True, help="Start over under the same name; old results are put aside.")
def finetune(  # noqa: PLR0913 (the options of the contract)
    experiment: Path,
    *,
    encoder: str | None,
    scratch: bool,
    store: str | None,
    name: str | None,
    workers: tuple[int, int] | None,
    precision: str | None,
    storage: str,
    tracking_uri: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    fresh: bool,
) -> int:
    """Fine-tune as EXPERIMENT says, and measure on the subjects that were held out for testing.

    \b
    Example:
      emotune finetune finetune.yaml --encoder first --name first-arousal
      emotune finetune finetune.yaml --encoder first --scratch --name scratch-arousal
    """
    chosen = list(assignments)
    chosen += [] if store is None else [f"store={find_store(store)}"]
    chosen += [] if encoder is None else [f"start.encoder={encoder}"]
    chosen += ["start.weights=scratch"] if scratch else []
    chosen += [] if precision is None else [f"compute.precision={precision}"]
    settings = parse(load_document(experiment).overridden(chosen), Experiment)
    if settings.task.kind != "classify":
        raise SettingsError(f"{experiment}: task.kind is {settings.task.kind!r}; fine-tuning needs 'classify'")
    request = Request(
        name=name or experiment.stem,
        storage=storage_folder(storage),
        tracking_uri=tracking_uri,
        options=RunOptions(concurrency=1, purpose="finetune", measure_test=True, workers=workers),
    )
    folder = request.folder
    if fresh:
        put_aside(folder)
    code = run(single_run(settings, aim=Aim(metric="val/macro_f1", mode="max")), request)
    if code == 0:
        show_metrics(folder, as_json=as_json)
    return code


def single_run(experiment: Experiment, *, aim: Aim) -> Study:
    """Return the study that has nothing to search: one configuration, trained to the end."""
    return Study(
        base=experiment,
        objective=aim,
        budget=Budget(min=experiment.epochs, max=experiment.epochs, evaluations=1),
        searcher={"kind": "random"},
        seed=experiment.seed,
        space={"hyperparameters": []},
    )


def show_metrics(folder: SearchFolder, *, as_json: bool) -> None:
    """Print what the last epoch of a single run gave."""
    metrics = last_metrics(read_journal(folder.journal), 0)
    if as_json:
        print_json({"name": folder.name, "metrics": metrics})
        return
    for name, value in sorted(metrics.items()):
        if name.startswith(("val/", "test/")) and value is not None:
            click.echo(f"{name:<24} {value:.4f}")
