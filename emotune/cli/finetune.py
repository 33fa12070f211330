"""``emotune finetune``: one fine-tuning, with everything that a search has: resumption, MLflow, a journal."""

from pathlib import Path

import click

from emotune.cli.options import (
    WORKERS,
    json_option,
    precision_option,
    print_json,
    set_option,
    storage_option,
    tracking_option,
)
from emotune.cli.running import Request, put_aside, read_experiment, run
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.runtime.driver import RunOptions
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics
from emotune.study.study import Budget, Study, StudyObjective


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option("--encoder", help="Search, checkpoint folder or MLflow run whose encoder is fine-tuned.")
@click.option("--scratch", is_flag=True, help="The same network with freshly drawn weights, for comparison.")
@click.option("--store", help="Segment store; replaces the experiment's.  [default: EMOTUNE_STORE]")
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
    weights = "scratch" if scratch else None
    options = {"store": store, "start.encoder": encoder, "start.weights": weights, "compute.precision": precision}
    settings = read_experiment(experiment, assignments=assignments, options=options)
    if settings.task.kind != "classify":
        raise SettingsError(f"{experiment}: task.kind is {settings.task.kind!r}; fine-tuning needs 'classify'")
    request = Request(
        name=name or experiment.stem,
        storage=open_storage(storage),
        tracking_uri=tracking_uri,
        options=RunOptions(concurrency=1, purpose="finetune", measure_test=True, workers=workers),
    )
    study = single_run(settings, aim=StudyObjective(metric="val/macro_f1", mode="max"))
    return run_and_show(study, request, fresh=fresh, as_json=as_json)


def run_and_show(study: Study, request: Request, *, fresh: bool, as_json: bool) -> int:
    """Run a study that has nothing to search, print what its last epoch gave, and return the exit code."""
    if fresh:
        put_aside(request.folder)
    code = run(study, request)
    if code == 0:
        show_metrics(request.folder, as_json=as_json)
    return code


def single_run(experiment: Experiment, *, aim: StudyObjective) -> Study:
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
