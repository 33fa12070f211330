"""Promises of a search on a real Ray cluster: killed and started again, nothing is lost or repeated."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from emotune.search.records import EpochDone, Evaluation
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import opened
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from tests.ray.conftest import Program
from tests.search.checker import seen_in_virtual_time, violations

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
CONDITIONAL = Path(__file__).with_name("conditional.yaml")
DECIDED = ("id", "config_id", "bracket", "rung", "from_epoch", "to_epoch", "values", "origin", "status", "objective")


def table_of(status: dict) -> list[dict]:
    return [{key: evaluation[key] for key in DECIDED} for evaluation in status["evaluations"]]


def finish(process: subprocess.Popen) -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def wait_for_records(journal: Path, count: int, *, process: subprocess.Popen) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def check_mlflow(program: Program, name: str, status: dict) -> None:
    """Each configuration is one run, each epoch was logged once, and values are the journal's."""
    client = MlflowClient(f"sqlite:///{program.storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(f"emotune/{name}")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    by_config = {run.data.tags["emotune.config_id"]: run for run in runs if run.info.run_name != "search"}
    configurations = {evaluation["config_id"] for evaluation in status["evaluations"]}
    assert sorted(map(int, by_config)) == sorted(configurations)
    assert Counter(run.data.tags["emotune.kind"] for run in runs) == {
        "configuration": len(configurations),
        "search": 1,
    }
    epochs = [
        one for one in read_journal(LocalLog(program.storage / name / "journal.jsonl")) if isinstance(one, EpochDone)
    ]
    for config_id in configurations:
        history = client.get_metric_history(by_config[str(config_id)].info.run_id, "val/loss")
        logged = sorted((point.step, point.value) for point in history)
        assert logged == [(one.epoch, one.metrics["val/loss"]) for one in epochs if one.config_id == config_id]
        longest = max(one["to_epoch"] for one in status["evaluations"] if one["config_id"] == config_id)
        assert [step for step, _ in logged] == list(range(1, longest + 1))


def check_decisions(journal: Path) -> None:
    """Every decision of a search follows from the rules, its studied costs and what it could have seen."""
    records = read_journal(LocalLog(journal))
    first = opened(records)
    study = Study.model_validate(first.study)
    optimizer = make_optimizer(study, records=records, concurrency=first.concurrency)
    rows = optimizer.results()

    def cost(evaluation: Evaluation) -> float:
        return study.base.with_values(evaluation.values).cost()

    seen = seen_in_virtual_time(optimizer.settings, rows, cost=cost)
    finished = study.budget.evaluations is None
    assert violations(optimizer.settings, rows, seen=seen, finished=finished) == []


@pytest.mark.parametrize(
    ("study", "settings", "asked"),
    [
        pytest.param("smoke", ("--set", "searcher.model=hpbandster"), False, id="sync", marks=pytest.mark.thorough),
        pytest.param(str(CONDITIONAL), (), True, id="async"),
    ],
)
def test_killed_with_two_workers_it_ends_like_an_undisturbed_one(
    program: Program, study: str, settings: tuple[str, ...], asked: bool
) -> None:
    """One has the model of hpbandster, the other one that of all rungs, on a space with conditions and more.

    The latter is also asked to end, and names the command that goes on.
    """
    finish(program.search("undisturbed", *settings, study=study, concurrency=2))
    undisturbed = program.status("undisturbed")
    count = len(read_journal(LocalLog(program.storage / "undisturbed" / "journal.jsonl")))
    journal = program.storage / "killed" / "journal.jsonl"
    where = random.Random(count)
    process = program.search("killed", *settings, study=study, concurrency=2)
    wait_for_records(journal, where.randrange(3, count // 2), process=process)
    process.kill()
    process.wait()
    if asked:
        known = len(read_journal(LocalLog(journal)))
        process = program.search("killed", *settings, study=study, concurrency=2)
        wait_for_records(journal, where.randrange(known + 1, count - 3), process=process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, errors
        assert f"search {study}" in errors
        assert program.status("killed")["state"] == "interrupted"
    finish(program.search("killed", *settings, study=study, concurrency=2))
    killed = program.status("killed")
    assert table_of(killed) == table_of(undisturbed)
    assert killed["state"] == "finished"
    assert killed["best"] == undisturbed["best"]
    for status in (undisturbed, killed):
        check_mlflow(program, status["name"], status)
        check_decisions(program.storage / status["name"] / "journal.jsonl")
    new = [evaluation for evaluation in killed["evaluations"] if evaluation["origin"] != "promotion"]
    late = new[len(new) // 2 :]
    assert sum(evaluation["origin"] == "model" for evaluation in late) >= len(late) / 4
    before = journal.read_bytes()
    assert "is already finished" in finish(program.search("killed", *settings, study=study))
    assert journal.read_bytes() == before


def test_a_second_driver_is_refused_in_a_line_that_names_the_first(program: Program) -> None:
    journal = program.storage / "held" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    with LocalLog(journal).lock(owner="the first"):
        process = program.search("held")
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (2, "")
    assert errors.count("\n") == 1
    assert f"another driver is alive on this search (the first, pid {os.getpid()} on " in errors
    assert not journal.exists()


def test_a_killed_and_a_hanging_worker_cost_no_result(program: Program) -> None:
    longer = [f"budget.{name}" for name in ("min=40", "max=40", "evaluations=5")] + ["base.compute.patience=20"]
    sets = [part for setting in longer for part in ("--set", setting)]
    process = program.search("workers", *sets, concurrency=2)
    journal = program.storage / "workers" / "journal.jsonl"
    wait_for_records(journal, 1, process=process)
    while len({one.evaluation_id for one in read_journal(LocalLog(journal)) if isinstance(one, EpochDone)}) < 2:
        time.sleep(0.01)
    workers = [child for child in psutil.Process().children(recursive=True) if is_trial(child)]
    assert len(workers) == 2
    workers[0].kill()
    workers[1].suspend()
    errors = finish(process)
    assert errors.count("is tried again") >= 2, "more only where the machine is too busy for a worker to begin in time"
    assert "is tried again: hung: no epoch in" in errors
    status = program.status("workers")
    assert [evaluation["status"] for evaluation in status["evaluations"]] == ["done"] * 5
    check_mlflow(program, "workers", status)


def is_trial(process: psutil.Process) -> bool:
    """Tell by its title, in which Tune puts a class of its own while a worker trains."""
    try:
        return "Trainable" in " ".join(process.cmdline())
    except psutil.Error:
        return False
