"""Promises about studies with several objectives or with constraints: files, journals, status and the best."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emotune.errors import SearchFailedError, SettingsError, StudyChangedError
from emotune.result import Result
from emotune.runtime.coordinator import Coordinator
from emotune.search.criteria import Criteria
from emotune.search.pareto import dominates
from emotune.search.records import Ended, Opened, Record
from emotune.storage import LocalLog
from emotune.study.definition import Budget
from emotune.study.front import NONE_FEASIBLE, RULE, describe_best_rule, describe_front
from emotune.study.journal import Journal
from emotune.study.results import evaluation_results, find_best, status_document
from emotune.study.resume import check_unchanged, make_optimizer
from emotune.study.space import load_space
from emotune.study.study import Study, load_study
from emotune.study.trainable_study import describe_study, read_trainable_study
from tests.support.journals import SPACE, synthetic_search, with_sizes

FILE = """\
objective:
  - {metric: val/loss, mode: min}
  - {metric: parameters, mode: min}
constraints:
  seconds_per_epoch: {max: 60}
base:
  optim: {warmup_epochs: 1}
budget: {min: 1, max: 9, eta: 3}
space:
  hyperparameters:
    - {name: optim.lr, type: uniform_float, lower: 1.0e-4, upper: 1e-2, log: true}
    - {name: model.layers, type: uniform_int, lower: 1, upper: 3}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(text: str) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return path

    return make


def test_a_study_with_several_objectives_reads_back_as_the_same(write: Any) -> None:
    study = load_study(write(FILE))
    assert study.criteria.metrics == ("val/loss", "parameters", "seconds_per_epoch")
    document = study.as_document()
    assert document["objective"] == {"metric": "val/loss", "mode": "min"}
    assert document["other_objectives"] == [{"metric": "parameters", "mode": "min"}]
    assert Study.recorded(document).as_document() == document
    assert Study.recorded(document).criteria == study.criteria
    assert study.search_settings().ranking == "pareto"
    assert load_study(write(FILE), assignments=["constraints.parameters.max=3e6"]).constraints["parameters"].max == 3e6


def test_one_objective_has_the_record_and_the_digest_that_it_had(write: Any) -> None:
    plain = FILE.replace("  - {metric: parameters, mode: min}\n", "").replace("constraints:\n", "")
    plain = plain.replace("  seconds_per_epoch: {max: 60}\n", "")
    listed = load_study(write(plain))
    single = load_study(write(plain.replace("objective:\n  - {", "objective: {")))
    assert listed == single
    assert not {"other_objectives", "constraints"} & set(single.as_document())
    assert listed.digest() == single.digest()
    assert single.search_settings().ranking == "loss"


MISTAKES = {
    "unknown objective": ("metric: parameters", "metric: parametres", r"yaml:3:6: .*Did you mean 'parameters'"),
    "unknown constraint": (
        "  seconds_per_epoch",
        "  second_per_epoch",
        r"yaml:5:3: .*Did you mean 'seconds_per_epoch'",
    ),
    "wrong mode": (
        "{metric: parameters, mode: min}",
        "{metric: parameters, mode: max}",
        r"yaml:3:5: .*objective.1.mode=min",
    ),
    "given twice": ("metric: parameters", "metric: val/loss", r"yaml:3:6: .*val/loss is given twice"),
    "no limit": ("{max: 60}", "{}", r"yaml:5:3: .*no limit was given"),
    "reversed limits": ("{max: 60}", "{max: 1, min: 2}", r"yaml:5:3: .*min 2 is above max 1"),
    "mode of neither kind": ("parameters, mode: min", "parameters, mode: least", r"yaml:3:26: .*'min' or 'max'"),
    "empty list": (
        "\n  - {metric: val/loss, mode: min}\n  - {metric: parameters, mode: min}",
        " []",
        r"yaml:1:1: objective: an empty list",
    ),
    "the name in the record": (
        "constraints:",
        "other_objectives: []\nconstraints:",
        r"yaml:4:1: .*list all objectives",
    ),
    "setting of the core": (
        "budget:",
        "searcher: {kind: bohb, ranking: pareto}\nbudget:",
        r"searcher.ranking has no effect",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(write: Any, mistake: str) -> None:
    old, new, message = MISTAKES[mistake]
    assert old in FILE
    with pytest.raises(SettingsError, match=message) as caught:
        load_study(write(FILE.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_a_changed_limit_is_another_search(write: Any) -> None:
    study = load_study(write(FILE))
    first = Opened(time=0, name="t", study=study.as_document(), digest="", seed=0, concurrency=1, software={})
    check_unchanged(study, first)
    with pytest.raises(StudyChangedError, match=r"constraints.seconds_per_epoch.max was 60.0 and is now 50.0"):
        check_unchanged(load_study(write(FILE.replace("max: 60", "max: 50"))), first)


class Killed(BaseException):
    """The process dies."""


def drive(log: LocalLog, study: Study, *, seconds: Iterator[float], die_at: int | None = None) -> list[Record]:
    """Run or resume a search without Ray; its epochs take the given seconds."""

    def die(_: Record, number: int) -> None:
        if number == die_at:
            raise Killed

    with Journal.open(log, owner="test") as journal:
        if not journal.records:
            opening = {"study": study.as_document(), "digest": study.digest(), "software": {}}
            journal.append(Opened(time=0, name="t", seed=0, concurrency=1, **opening))
        optimizer = make_optimizer(study, records=journal.records, concurrency=1)
        coordinator = Coordinator(optimizer, journal=journal, criteria=study.criteria, observers=[die])
        while (evaluation := coordinator.next_evaluation()) is not None:
            layers = float(evaluation.values["model.layers"])
            for epoch in range(1, evaluation.to_epoch + 1):
                loss = float(evaluation.values["optim.lr"]) + 1 / layers + 1 / epoch
                metrics = {"val/loss": loss, "parameters": layers * 1000, "seconds_per_epoch": next(seconds)}
                coordinator.report(evaluation.id, epoch=epoch, metrics=metrics)
            coordinator.complete(evaluation.id)
        return list(journal.records)


def measured(records: list[Record]) -> list[Any]:
    return [(record.evaluation_id, record.measured) for record in records if isinstance(record, Ended)]


def test_recorded_seconds_decide_after_a_restart_and_are_not_measured_again(write: Any, tmp_path: Path) -> None:
    study = load_study(write(FILE), assignments=["budget.evaluations=12", "searcher.kind=asha", "budget.max=3"])
    clock = [20.0 * (1 + number % 5) for number in range(1000)]
    whole = drive(LocalLog(tmp_path / "whole.jsonl"), study, seconds=iter(clock))
    log = LocalLog(tmp_path / "cut.jsonl")
    ends = [number for number, record in enumerate(whole) if isinstance(record, Ended)]
    with pytest.raises(Killed):
        drive(log, study, seconds=iter(clock), die_at=ends[5])
    epochs = sum(record.kind == "epoch" for record in whole[: ends[5]])
    # the worker of the restarted search is another machine for the epochs that were recorded, not for the others
    resumed = drive(log, study, seconds=iter(clock[epochs:]))
    assert measured(resumed)[:6] == measured(whole)[:6]
    assert [row.evaluation for row in evaluation_results(resumed)][:7] == [
        row.evaluation for row in evaluation_results(whole)
    ][:7]
    assert all(set(values) == {"val/loss", "parameters", "seconds_per_epoch"} for _, values in measured(resumed))
    make_optimizer(study, records=resumed, concurrency=1)
    assert '"measured"' in log.read().decode()


def test_a_metric_that_is_not_reported_stops_the_search(write: Any, tmp_path: Path) -> None:
    study = load_study(write(FILE))
    with Journal.open(LocalLog(tmp_path / "journal.jsonl"), owner="test") as journal:
        optimizer = make_optimizer(study, records=[], concurrency=1)
        coordinator = Coordinator(optimizer, journal=journal, criteria=study.criteria)
        evaluation = coordinator.next_evaluation()
        assert evaluation is not None
        with pytest.raises(SearchFailedError, match="constraints: 'seconds_per_epoch' is not reported"):
            coordinator.report(evaluation.id, epoch=1, metrics={"val/loss": 1.0, "parameters": 9.0})


@pytest.mark.parametrize("limit", [None, 35000.0, 1.0])
def test_status_has_the_front_and_the_rule(limit: float | None) -> None:
    records = with_sizes(synthetic_search(kind="asha"), limit=limit)
    document = status_document(records, alive=False, with_rungs=False)
    results = evaluation_results(records)
    best = find_best(results, mode="min")
    assert best is not None
    lines = "\n".join(describe_front({**document, "best": best}))
    if limit == 1.0:
        assert document["feasible"] == 0
        assert document["front"] == []
        assert NONE_FEASIBLE in lines
        assert describe_best_rule(document) == f" {NONE_FEASIBLE.capitalize()}."
        return
    front = [(entry["measured"]["val/loss"], entry["measured"]["parameters"]) for entry in document["front"]]
    assert document["best"] == document["front"][0]
    assert best.objective == min(loss for loss, _ in front)
    last = [row for row in results if row.status == "done" and row.evaluation.to_epoch == best.epochs]
    others = [tuple(row.measured.values()) for row in last if row.measured and row.score and not row.score.violation]
    assert not any(dominates(other, member) for other in others for member in front)
    assert sum(not any(dominates(other, row) for other in others) for row in others) == len(front)
    assert RULE in lines
    assert lines.count("\n") == len(front) + (limit is not None)


def test_the_document_of_one_objective_has_nothing_new() -> None:
    document = status_document(synthetic_search(kind="asha"), alive=False, with_rungs=False)
    assert not {"objectives", "front", "constraints", "feasible"} & set(document)
    assert "measured" not in document["best"]
    assert "measured" not in document["evaluations"][0]
    assert describe_front(document) == []
    assert describe_best_rule(document) == ""
    assert Criteria.recorded({}).metrics == ("val/loss",)


def test_a_result_has_the_front_as_a_table() -> None:
    records = with_sizes(synthetic_search(kind="asha"))
    document = status_document(records, alive=False, with_rungs=False)
    result = Result("t", "results", document)
    assert list(result.front["config_id"]) == [entry["config_id"] for entry in document["front"]]
    assert result.front["val/loss"].is_monotonic_increasing
    assert result.front["parameters"].is_monotonic_decreasing
    assert "parameters" in result.table
    assert result.best.config_id == result.front["config_id"][0]
    plain = Result("t", "results", status_document(synthetic_search(kind="asha"), alive=False, with_rungs=False))
    assert list(plain.front["val/loss"]) == [plain.best.objective]


def train(config: Any, epochs: int, checkpoint: Path) -> None:
    """Train nothing."""


def test_a_trainable_takes_lists_of_metrics_and_modes() -> None:
    settings: dict[str, Any] = {"space": load_space(SPACE), "budget": Budget(1, 9), "constraints": {"size": {"max": 3}}}
    document = describe_study(train, settings=settings | {"metric": ["loss", "size"]}, mode=["min", "max"])
    criteria = read_trainable_study(document).criteria
    assert [(objective.metric, objective.mode) for objective in criteria.objectives] == [
        ("loss", "min"),
        ("size", "max"),
    ]
    assert criteria.constraints["size"].max == 3
    with pytest.raises(SettingsError, match=r"mode: \['min'\] was given; expected one for each metric"):
        describe_study(train, settings=settings | {"metric": ["loss", "size"]}, mode=["min"])
    named = describe_study(train, settings=settings | {"metric": ["loss", "batch_size"]}, mode="min")
    with pytest.raises(SettingsError, match="batch_size is a metric and a hyperparameter"):
        read_trainable_study(named)
