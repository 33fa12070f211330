"""Journals of searches and runs that were not trained: real decisions of the optimiser, losses from a formula.

Browser tests and screenshots show them in MLflow.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from emotune.evaluation.crossval import cross_validation_study
from emotune.experiment import Experiment
from emotune.search import Evaluation
from emotune.search.criteria import StudyObjective
from emotune.search.records import Closed, Ended, EpochDone, Opened, Record, Started
from emotune.study.definition import Budget
from emotune.study.resume import make_optimizer
from emotune.study.study import Study

START = 1_795_000_000.0
"""Time of the first record (s since 1970)."""

EPOCH_S = 40.0
"""Seconds between two records."""

FINGERPRINT = "5f1d7c0a9be24367" * 4
"""Fingerprint of the segment store that the journals name."""

PLAIN_SPACE: list[dict[str, Any]] = [
    {"name": "optim.lr", "type": "uniform_float", "lower": 1e-4, "upper": 2e-2, "log": True, "default_value": 5e-3},
    {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3, "default_value": 2},
    {"name": "model.heads", "type": "categorical", "choices": [1, 2, 4], "default_value": 2},
]
"""Hyperparameters that are always active."""

CONDITIONAL_SPACE: list[dict[str, Any]] = [
    *PLAIN_SPACE,
    {"name": "optim.schedule", "type": "categorical", "choices": ["linear", "step"]},
    {"name": "optim.step_factor", "type": "uniform_float", "lower": 0.3, "upper": 1.0},
    {"name": "optim.step_epochs", "type": "uniform_int", "lower": 1, "upper": 3},
]
"""`PLAIN_SPACE`, and two hyperparameters that are active with one schedule only."""

CONDITIONS = [
    {"type": "EQ", "child": child, "parent": "optim.schedule", "value": "step"}
    for child in ("optim.step_factor", "optim.step_epochs")
]


def experiment(**settings: Any) -> Experiment:
    """Return the base experiment of the journals."""
    content = {"store": "/data/stores/dreamer", "fingerprint": FINGERPRINT, "optim": {"warmup_epochs": 1}, **settings}
    return Experiment.model_validate(content)


def search_study(*, evaluations: int, conditional: bool = False, max_epochs: int = 9, kind: str = "asha") -> Study:
    """Return the study of a search."""
    return Study(
        base=experiment(epochs=max_epochs),
        budget=Budget(min=1, max=max_epochs, eta=3, evaluations=evaluations),
        searcher={"kind": kind},
        seed=7,
        space={
            "hyperparameters": CONDITIONAL_SPACE if conditional else PLAIN_SPACE,
            "conditions": CONDITIONS if conditional else [],
            "forbiddens": [],
        },
    )


def search_journal(study: Study, *, name: str, failures: bool = False) -> list[Record]:
    """Return the journal of a finished search with one worker.

    Args:
        study: The study.
        name: Name of the search.
        failures: One evaluation in seven diverges.
    """
    records: list[Record] = [_opened(study, name=name, purpose="configuration")]
    optimizer = make_optimizer(study, records=records, concurrency=1)
    while (evaluation := optimizer.ask()) is not None:
        diverges = failures and evaluation.id % 7 == 5
        loss = _train(evaluation, records, diverges=diverges)
        optimizer.tell(evaluation.id, loss)
    return _finished(records)


def cross_validation_journal(*, name: str, folds: int = 5) -> list[Record]:
    """Return the journal of a finished cross-validation by subject, with shuffled labels for comparison."""
    task = {"kind": "classify", "target": "arousal"}
    study = cross_validation_study(experiment(task=task, epochs=6), protocol="subject", folds=folds)
    records: list[Record] = [_opened(study, name=name, purpose="fold")]
    optimizer = make_optimizer(study, records=records, concurrency=1)
    while (evaluation := optimizer.ask()) is not None:
        fold, shuffled = int(str(evaluation.values["folds.index"])), bool(evaluation.values["task.shuffled"])
        level = 0.5 if shuffled else 0.63
        accuracy = level + 0.04 * math.sin(2.1 * fold + shuffled)
        scores = {"accuracy": accuracy, "macro_f1": accuracy - 0.03, "balanced_accuracy": accuracy - 0.01, "ece": 0.07}
        objective = 0.0
        records.append(Started(time=_next(records), evaluation=evaluation))
        for epoch in range(1, evaluation.to_epoch + 1):
            objective = 0.45 + 0.25 * math.exp(-0.4 * epoch) + 0.01 * fold
            metrics = {"train/loss": objective, "train/lr": 1e-3 * (1 - epoch / 7), "train/segments_per_second": 800.0}
            if epoch == evaluation.to_epoch:
                metrics |= {f"test/{metric}": value for metric, value in scores.items()}
            _add_epoch(records, evaluation, epoch=epoch, metrics=metrics)
        _end(records, evaluation, objective=objective)
        optimizer.tell(evaluation.id, objective)
    return _finished(records)


def single_run_journal(
    *, name: str, epochs: int = 200, purpose: Literal["pretrain", "finetune"] = "pretrain"
) -> list[Record]:
    """Return the journal of a finished pre-training or fine-tuning."""
    base = experiment(epochs=epochs) if purpose == "pretrain" else experiment(epochs=epochs, task={"kind": "classify"})
    metric = "val/loss" if purpose == "pretrain" else "val/macro_f1"
    study = Study(
        base=base,
        objective=StudyObjective(metric=metric, mode="min" if purpose == "pretrain" else "max"),
        budget=Budget(min=epochs, max=epochs, evaluations=1),
        searcher={"kind": "random"},
        space={"hyperparameters": []},
    )
    records: list[Record] = [_opened(study, name=name, purpose=purpose)]
    evaluation = Evaluation(
        id=0, config_id=0, bracket=0, rung=0, from_epoch=0, to_epoch=epochs, values={}, origin="default"
    )
    records.append(Started(time=_next(records), evaluation=evaluation))
    objective = 0.0
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        noise = 0.004 * math.sin(7.3 * epoch) + 0.003 * math.sin(2.9 * epoch)
        train = 0.35 + 0.65 * math.exp(-5 * share) + noise
        metrics = {
            "train/loss": train,
            "val/loss": train + 0.03 + 0.06 * share**2 - 2 * noise,
            "train/lr": 1e-3 * min(1.0, 10 * share) * (1 - share),
            "train/segments_per_second": 2400.0 + 4000 * noise,
            "train/peak_share": 0.31,
        }
        if purpose == "finetune":
            f1 = 0.66 - 0.16 * math.exp(-6 * share) + noise
            metrics |= {"val/macro_f1": f1, "val/accuracy": f1 + 0.02, "val/balanced_accuracy": f1 + 0.01}
            if epoch == epochs:
                metrics |= {"test/macro_f1": 0.61, "test/accuracy": 0.64, "test/balanced_accuracy": 0.62}
        _add_epoch(records, evaluation, epoch=epoch, metrics=metrics)
        objective = metrics[metric]
    _end(records, evaluation, objective=objective)
    return _finished(records)


def loss_after(values: Mapping[str, Any], *, epoch: int, config_id: int) -> float:
    """Return the validation loss of a configuration after an epoch: smooth in the values, falling with the epochs."""
    rate = math.log10(float(values["optim.lr"]))
    loss = 0.42 + 0.09 * (rate + 2.6) ** 2 + 0.03 * abs(int(values["model.layers"]) - 2)
    loss += {1: 0.05, 2: 0.0, 4: 0.02}[int(values["model.heads"])]
    if values.get("optim.schedule") == "step":
        loss += 0.25 * (float(values["optim.step_factor"]) - 0.7) ** 2 - 0.02
    return loss + 0.55 * math.exp(-(0.35 + 0.1 * (rate + 4)) * epoch) + 0.006 * math.sin(5.7 * epoch + 3.1 * config_id)


def _train(evaluation: Evaluation, records: list[Record], *, diverges: bool) -> float | None:
    """Add the records of an evaluation, and return its loss; None if it diverges."""
    records.append(Started(time=_next(records), evaluation=evaluation))
    loss = 0.0
    for epoch in range(evaluation.from_epoch + 1, evaluation.to_epoch + 1):
        loss = loss_after(evaluation.values, epoch=epoch, config_id=evaluation.config_id)
        metrics: dict[str, float | None] = {
            "train/loss": loss - 0.02,
            "val/loss": None if diverges else loss,
            "train/lr": float(evaluation.values["optim.lr"]),
            "train/segments_per_second": 3000.0 / int(evaluation.values["model.layers"]),
            "val/loss_zero": 1.03,
        }
        _add_epoch(records, evaluation, epoch=epoch, metrics=metrics)
    _end(records, evaluation, objective=None if diverges else loss)
    return None if diverges else loss


def _opened(study: Study, *, name: str, purpose: Literal["configuration", "pretrain", "finetune", "fold"]) -> Opened:
    return Opened(
        time=START,
        name=name,
        purpose=purpose,
        study=study.as_document(),
        digest=study.digest(),
        seed=study.seed,
        concurrency=1,
        software={"torch": "2.10.0"},
    )


def _next(records: list[Record]) -> float:
    return records[-1].time + EPOCH_S


def _add_epoch(
    records: list[Record], evaluation: Evaluation, *, epoch: int, metrics: Mapping[str, float | None]
) -> None:
    done = EpochDone(
        time=_next(records),
        evaluation_id=evaluation.id,
        config_id=evaluation.config_id,
        epoch=epoch,
        metrics=dict(metrics),
    )
    records.append(done)


def _end(records: list[Record], evaluation: Evaluation, *, objective: float | None) -> None:
    diverged = objective is None
    records.append(
        Ended(
            time=_next(records),
            evaluation_id=evaluation.id,
            config_id=evaluation.config_id,
            status="failed" if diverged else "done",
            objective=objective,
            seconds=EPOCH_S * (evaluation.to_epoch - evaluation.from_epoch),
            error=f"the validation loss is nan in epoch {evaluation.to_epoch}" if diverged else None,
            failure_kind="diverged" if diverged else None,
        )
    )


def _finished(records: list[Record]) -> list[Record]:
    return [*records, Closed(time=_next(records), state="finished")]
