"""The summary of a cross-validation in MLflow."""

from emotune.evaluation.crossval import cross_validation_study
from emotune.evaluation.statistics import mean_interval
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Opened, Record, Started
from emotune.tracking.mlflow_content import SUMMARY, MlflowContent, RunUpdates
from tests.evaluation.test_crossval import tiny

SCORES = [0.6, 0.7, 0.65]


def journal() -> list[Record]:
    study = cross_validation_study(tiny(), protocol="subject", folds=3)
    times = {"name": "cv", "purpose": "fold", "digest": "0" * 16, "seed": 0, "concurrency": 1, "software": {}}
    records: list[Record] = [Opened.model_validate({"time": 0.0, "study": study.as_document(), **times})]
    for number, values in enumerate([{"folds.index": 0, "task.shuffled": False}, *study.earlier]):
        evaluation = Evaluation.model_validate(
            {
                "id": number,
                "config_id": number,
                "bracket": number,
                "rung": 0,
                "from_epoch": 0,
                "to_epoch": 6,
                "values": values,
                "origin": "prior",
            }
        )
        score = SCORES[number % 3] - (0.1 if values["task.shuffled"] else 0.0)
        metrics = {"train/loss": 0.5, "test/accuracy": score, "test/macro_f1": score, "test/balanced_accuracy": score}
        records += [
            Started(time=1.0, evaluation=evaluation),
            EpochDone(time=2.0, evaluation_id=number, config_id=number, epoch=6, metrics=metrics),
            Ended(time=3.0, evaluation_id=number, config_id=number, status="done", objective=0.5, seconds=1.0),
        ]
    return [*records, Closed(time=4.0, state="finished")]


def test_the_summary_has_the_mean_over_the_folds_and_its_interval() -> None:
    content, updates = MlflowContent(kind="fold", provenance={}), RunUpdates()
    for record in journal():
        content.add(record, updates)
    metrics_of_summary = {name: value for name, value, *_ in updates[SUMMARY].metrics}
    expected = mean_interval(SCORES)
    assert metrics_of_summary["cv/accuracy"] == expected.mean
    assert metrics_of_summary["cv/macro_f1_half_width"] == expected.half_width
    assert abs(metrics_of_summary["cv_shuffled/accuracy"] - (expected.mean - 0.1)) < 1e-12
