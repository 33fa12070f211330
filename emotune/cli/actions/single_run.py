"""One pre-training or fine-tuning: a study with a single configuration."""

import click

from emotune.cli.actions.run import Destination, open_store, put_aside, read_experiment, run
from emotune.cli.finetune import FinetuneRequest
from emotune.cli.options import RunRequest
from emotune.cli.output import print_json
from emotune.cli.pretrain import PretrainRequest
from emotune.errors import SettingsError
from emotune.experiment import Experiment
from emotune.runtime.driver import RunOptions
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics
from emotune.study.study import Budget, Study, StudyObjective


def pretrain_once(request: PretrainRequest) -> int:
    """Carry out ``emotune pretrain``; returns the exit code."""
    experiment = read_experiment(request.experiment, request=request, options={"epochs": request.epochs})
    if experiment.task.kind == "classify":
        raise SettingsError(
            f"{request.experiment}: task.kind is 'classify'; expected a pre-training task. Use `emotune finetune`"
        )
    study = single_run(experiment, objective=StudyObjective(metric="val/loss", mode="min"))
    options = RunOptions(concurrency=1, purpose="pretrain", workers=request.workers)
    return _run_and_print(study, request, options=options, default_name=request.experiment.stem)


def finetune_once(request: FinetuneRequest) -> int:
    """Carry out ``emotune finetune``; returns the exit code."""
    start = {"start.encoder": request.encoder, "start.weights": "scratch" if request.scratch else None}
    experiment = read_experiment(request.experiment, request=request, options=start)
    if experiment.task.kind != "classify":
        raise SettingsError(
            f"{request.experiment}: task.kind is {experiment.task.kind!r}; fine-tuning needs task.kind 'classify'"
        )
    study = single_run(experiment, objective=StudyObjective(metric="val/macro_f1", mode="max"))
    options = RunOptions(concurrency=1, purpose="finetune", measure_test=True, workers=request.workers)
    return _run_and_print(study, request, options=options, default_name=request.experiment.stem)


def _run_and_print(study: Study, request: RunRequest, *, options: RunOptions, default_name: str) -> int:
    destination = Destination.of(request, default_name=default_name)
    if request.fresh:
        put_aside(destination.folder)
    study, store = open_store(study)
    code = run(study, destination, store=store, options=options)
    if code == 0:
        print_metrics(destination.folder, as_json=request.as_json)
    return code


def single_run(experiment: Experiment, *, objective: StudyObjective) -> Study:
    """Return the study of an experiment whose only configuration is trained to the last epoch."""
    return Study(
        base=experiment,
        objective=objective,
        budget=Budget(min=experiment.epochs, max=experiment.epochs, evaluations=1),
        searcher={"kind": "random"},
        seed=experiment.seed,
        space={"hyperparameters": []},
    )


def print_metrics(folder: SearchFolder, *, as_json: bool) -> None:
    """Print the metrics of the last epoch of a single run."""
    metrics = last_metrics(read_journal(folder.journal), 0)
    if as_json:
        print_json({"name": folder.name, "metrics": metrics})
        return
    for name, value in sorted(metrics.items()):
        if name.startswith(("val/", "test/")) and value is not None:
            click.echo(f"{name:<24} {value:.4f}")
