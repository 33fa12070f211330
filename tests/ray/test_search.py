"""Promises of a search on a real Ray cluster: killed and started again, nothing is lost or repeated."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from emotune.search.journal import read_journal
from emotune.search.records import EpochDone
from tests.ray.conftest import Program

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
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
    epochs = [one for one in read_journal(program.storage / name / "journal.jsonl") if isinstance(one, EpochDone)]
    for config_id in configurations:
        history = client.get_metric_history(by_config[str(config_id)].info.run_id, "val/loss")
        logged = sorted((point.step, point.value) for point in history)
        assert logged == [(one.epoch, one.metrics["val/loss"]) for one in epochs if one.config_id == config_id]
        longest = max(one["to_epoch"] for one in status["evaluations"] if one["config_id"] == config_id)
        assert [step for step, _ in logged] == list(range(1, longest + 1))


def test_killed_three_times_it_ends_like_an_undisturbed_one(program: Program) -> None:
    finish(program.search("undisturbed"))
    journal = program.storage / "killed" / "journal.jsonl"
    for records in (5, 22, 61):
        process = program.search("killed")
        wait_for_records(journal, records, process=process)
        process.kill()
        process.wait()
    finish(program.search("killed"))
    undisturbed, killed = program.status("undisturbed"), program.status("killed")
    assert table_of(killed) == table_of(undisturbed)
    assert killed["state"] == "finished"
    assert killed["best"] == undisturbed["best"]
    for status in (undisturbed, killed):
        check_mlflow(program, status["name"], status)
    before = journal.read_bytes()
    assert "is finished" in finish(program.search("killed"))
    assert journal.read_bytes() == before


def test_sigterm_saves_and_names_the_command_that_goes_on(program: Program) -> None:
    process = program.search("asked", concurrency=2)
    wait_for_records(program.storage / "asked" / "journal.jsonl", 6, process=process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "search smoke" in errors
    assert program.status("asked")["state"] == "interrupted"
    finish(program.search("asked", concurrency=2))
    status = program.status("asked")
    assert status["state"] == "finished"
    check_mlflow(program, "asked", status)


def test_a_killed_worker_costs_no_result(program: Program) -> None:
    process = program.search("worker")
    wait_for_records(program.storage / "worker" / "journal.jsonl", 4, process=process)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_trial(child)]
    assert workers
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    finish(process)
    status = program.status("worker")
    assert {evaluation["status"] for evaluation in status["evaluations"]} == {"done"}
    check_mlflow(program, "worker", status)


def is_trial(process: psutil.Process) -> bool:
    try:
        return "EvaluationTrainable" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_a_worker_that_hangs_is_killed_and_costs_no_result(program: Program) -> None:
    process = program.search("hung", "--set", "base.compute.patience=4")
    wait_for_records(program.storage / "hung" / "journal.jsonl", 8, process=process)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_trial(child)]
    assert workers
    for worker in workers:
        worker.suspend()
    errors = finish(process)
    assert "is tried again: hung: no epoch in" in errors
    status = program.status("hung")
    assert {evaluation["status"] for evaluation in status["evaluations"]} == {"done"}
