"""One pre-training or fine-tuning: a study with a single configuration."""

from collections.abc import Mapping
from dataclasses import dataclass

import click

from emotune.cli.actions.experiment_run import open_store, read_experiment, run
from emotune.cli.actions.run import Destination, put_aside
from emotune.cli.finetune import FinetuneRequest
from emotune.cli.options import RunRequest, adapt_settings
from emotune.cli.output import print_json, print_message
from emotune.cli.pretrain import PretrainRequest
from emotune.errors import SettingsError
from emotune.evaluation.crossval import describe_classes, majority_baseline, significance
from emotune.evaluation.statistics import Interval
from emotune.experiment import Experiment
from emotune.runtime.options import RunOptions
from emotune.search.criteria import StudyObjective
from emotune.study.definition import Budget
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics
from emotune.study.study import Study
from emotune.training.loop import TrainingData

PAPER_FOLDS = 10
"""Folds of the papers' cross-validation, and the default of `emotune crossval`."""


def pretrain_once(request: PretrainRequest) -> int:
    """Carry out ``emotune pretrain``; returns the exit code."""
    experiment = read_experiment(request.experiment, request=request, options={"epochs": request.epochs})
    if experiment.task.kind == "classify":
        raise SettingsError(
            f"{request.experiment}: task.kind is 'classify'; expected a pre-training task. Use `emotune finetune`"
        )
    check_held_out(experiment)
    metric = "val/loss" if experiment.folds.validation else "train/loss"
    study = single_run(experiment, objective=StudyObjective(metric=kept_metric(experiment, metric), mode="min"))
    options = RunOptions(concurrency=1, purpose="pretrain", workers=request.workers)
    return _print_run(_run_once(study, request, options=options, default_name=request.experiment.stem), request)


def finetune_once(request: FinetuneRequest) -> int:
    """Carry out ``emotune finetune``; returns the exit code."""
    return _print_run(finetune_experiment(request), request)


def finetune_experiment(request: FinetuneRequest) -> "SingleRun":
    """Run the fine-tuning of an experiment file, or resume it.

    Raises:
        SettingsError: A setting is impossible.
    """
    start = {"start.encoder": request.encoder, "start.weights": "scratch" if request.scratch else None}
    start |= adapt_settings(request.adapt)
    experiment = read_experiment(request.experiment, request=request, options=start)
    if experiment.task.kind != "classify":
        raise SettingsError(
            f"{request.experiment}: task.kind is {experiment.task.kind!r}; fine-tuning needs task.kind 'classify'"
        )
    if not experiment.folds.validation:
        raise SettingsError(
            f"{request.experiment}: folds.validation: 0 was given, but a fine-tuning is measured by val/macro_f1 on "
            "validation segments; give a share above 0 (--set folds.validation=0.2), or use `emotune crossval`, which "
            "needs none"
        )
    study = single_run(experiment, objective=StudyObjective(metric=kept_metric(experiment, "val/macro_f1"), mode="max"))
    options = RunOptions(concurrency=1, purpose="finetune", measure_test=True, workers=request.workers)
    return _run_once(study, request, options=options, default_name=request.experiment.stem)


@dataclass(frozen=True)
class SingleRun:
    """A run that has ended or was stopped."""

    code: int
    """Exit code of `emotune.cli.actions.run.run_workload`."""
    folder: SearchFolder
    """Its folder."""
    training_data: TrainingData
    """Its data."""


def _run_once(study: Study, request: RunRequest, *, options: RunOptions, default_name: str) -> SingleRun:
    destination = Destination.of(request, default_name=default_name)
    if request.fresh:
        put_aside(destination.folder)
    study, store = open_store(study, destination.folder)
    code = run(study, destination, store=store, options=options)
    return SingleRun(code, destination.folder, study.base.select(store))


def _print_run(run: SingleRun, request: RunRequest) -> int:
    if run.code == 0:
        print_metrics(run.folder, training_data=run.training_data, as_json=request.as_json)
    return run.code


def kept_metric(experiment: Experiment, metric: str) -> str:
    """Return the name of the metric of the weights that a run ends with."""
    return f"kept/{metric.partition('/')[2]}" if experiment.keep == "best" else metric


def check_held_out(experiment: Experiment) -> None:
    """Print which cross-validation will accept an encoder that is pre-trained without one half of a corpus."""
    folds = experiment.folds
    if folds.without is None:
        return
    paper = (
        "" if folds.count == PAPER_FOLDS else f"; the paper has {PAPER_FOLDS} folds (--set folds.count={PAPER_FOLDS})"
    )
    print_message(
        f"by the protocol paper, this encoder can be the {folds.without.half} --encoder of `emotune crossval "
        f"EXPERIMENT --protocol paper --folds {folds.count} --set folds.seed={folds.seed}` on {folds.without.corpus}, "
        f"and of no other number of folds{paper}"
    )


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


def print_metrics(folder: SearchFolder, *, training_data: TrainingData, as_json: bool) -> None:
    """Print the metrics of a single run beside those of the majority label.

    They are of the last epoch, and of the kept weights where the run keeps the best epoch.
    """
    metrics = last_metrics(read_journal(folder.journal), 0)
    majority = _majority(training_data)
    if as_json:
        print_json({"name": folder.name, "metrics": metrics, "majority": majority})
        return
    # with kept weights, val/ metrics are those of another epoch
    prefixes = ("test/", "kept/") if "kept/epoch" in metrics else ("val/", "test/")
    shown = {
        name: value
        for name, value in sorted(metrics.items())
        if name.startswith(prefixes) and value is not None and not name.endswith(("_half_width", "/subjects"))
    }
    for name, value in shown.items():
        width, baseline = metrics.get(f"{name}_half_width"), majority.get(name)
        interval = "" if width is None else f" ±{width:.4f}"
        beside = "" if baseline is None else f"   majority label {baseline:.4f}"
        click.echo(f"{name:<24} {value:.4f}{interval}{beside}")
    for note in _test_notes(metrics, majority=majority, training_data=training_data):
        print_message(note)


def _majority(training_data: TrainingData) -> dict[str, float]:
    """Return the test metrics of predicting the more frequent training label, by name; empty without test labels."""
    if training_data.labels is None or not len(training_data.fold.test):
        return {}
    metrics = majority_baseline(training_data, fold=0).metrics
    return {f"test/{name}": value for name, value in metrics.items()}


def _test_notes(
    metrics: Mapping[str, float | None], *, majority: Mapping[str, float], training_data: TrainingData
) -> list[str]:
    accuracy, width = metrics.get("test/accuracy"), metrics.get("test/gain_half_width")
    if not majority or accuracy is None:
        return []
    gain = Interval(mean=accuracy - majority["test/accuracy"], half_width=width)
    subjects = metrics.get("test/subjects")
    verdict = (
        "there is no interval, which needs at least two test subjects"
        if width is None
        else f"{significance(gain)} (95 % interval over {subjects:.0f} test subjects)"
    )
    return [
        f"the accuracy minus that of the majority label is {gain.text}: {verdict}",
        *describe_classes({0: training_data}),
    ]
