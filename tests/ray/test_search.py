"""A search on a real Ray cluster that is killed and started again loses and repeats nothing."""

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from chaos.damage import Payload, plant
from emotune.search.records import Ended, EpochDone, Evaluation, Retried
from emotune.storage import LocalLog
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.study.results import opened
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
from tests.ray.conftest import Program
from tests.search.checker import seen_in_virtual_time, violations
from tests.support.commands import call

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
CONDITIONAL = Path(__file__).with_name("conditional.yaml")
EARLY = 20
"""Records of a search that has begun."""

THIRD = 80
"""Records of a third of a search."""

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
    """Check that each configuration is one run, in which each epoch of the journal is logged once."""
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
        record
        for record in read_journal(LocalLog(program.storage / name / "journal.jsonl"))
        if isinstance(record, EpochDone)
    ]
    for config_id in configurations:
        history = client.get_metric_history(by_config[str(config_id)].info.run_id, "val/loss")
        logged = sorted((point.step, point.value) for point in history)
        recorded = [record for record in epochs if record.config_id == config_id]
        assert logged == [(record.epoch, record.metrics["val/loss"]) for record in recorded]
        evaluations = [item for item in status["evaluations"] if item["config_id"] == config_id]
        longest = max(evaluation["to_epoch"] for evaluation in evaluations)
        assert [step for step, _ in logged] == list(range(1, longest + 1))


def check_decisions(journal: Path) -> None:
    """Check that every decision follows from the rules, the costs of the study and the results at its virtual time."""
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


def plant_pickles(folder: Path, mark: Path) -> None:
    """Replace all checkpoints of a search by pickles that create the file ``mark`` when they are read."""
    checkpoints = list(folder.glob("configurations/*/epoch-*"))
    assert checkpoints
    for checkpoint in checkpoints:
        plant(checkpoint, Payload(mark))


@pytest.mark.parametrize(
    ("study", "settings", "interrupted"),
    [
        pytest.param("smoke", ("--set", "searcher.model=hpbandster"), False, id="sync", marks=pytest.mark.thorough),
        pytest.param(str(CONDITIONAL), (), True, id="async"),
    ],
)
def test_killed_with_two_workers_it_ends_like_an_undisturbed_one(
    program: Program, study: str, settings: tuple[str, ...], interrupted: bool, tmp_path: Path
) -> None:
    """The first case has the model of hpbandster, the second one the model ``rungs`` on a conditional space.

    After the kill, the checkpoints are replaced by pickles. The second search is also stopped by `emotune stop --now`,
    and prints the command that resumes it. A second request, which no driver read, does not stop the next one.
    """
    reference = program.search("undisturbed", *settings, study=study, concurrency=2)
    journal = program.storage / "killed" / "journal.jsonl"
    generator = random.Random(7)
    process = program.search("killed", *settings, study=study, concurrency=2)
    wait_for_records(journal, generator.randrange(EARLY, THIRD), process=process)
    process.kill()
    process.wait()
    unpickled = tmp_path / "unpickled"
    plant_pickles(journal.parent, unpickled)
    if interrupted:
        known = len(read_journal(LocalLog(journal)))
        process = program.search("killed", *settings, study=study, concurrency=2)
        wait_for_records(journal, known + generator.randrange(1, THIRD), process=process)
        folder = SearchFolder.at(journal.parent)
        call("stop", "killed", "--now", folder=folder)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGINT, errors
        assert f"search {study}" in errors
        assert program.status("killed")["state"] == "interrupted"
        folder.request_stop("now")
    finish(program.search("killed", *settings, study=study, concurrency=2))
    assert not unpickled.exists()
    finish(reference)
    undisturbed = program.status("undisturbed")
    killed = program.status("killed")
    assert table_of(killed) == table_of(undisturbed)
    assert killed["state"] == "finished"
    assert killed["best"] == undisturbed["best"]
    new = [evaluation for evaluation in killed["evaluations"] if evaluation["origin"] != "promotion"]
    late = new[len(new) // 2 :]
    assert sum(evaluation["origin"] == "model" for evaluation in late) >= len(late) / 4
    for status in (undisturbed, killed):
        check_mlflow(program, status["name"], status)
        check_decisions(program.storage / status["name"] / "journal.jsonl")
    check_finished(program, study, settings, journal=journal)


def check_finished(program: Program, study: str, settings: tuple[str, ...], *, journal: Path) -> None:
    """Check that a finished search is not run again."""
    before = journal.read_bytes()
    assert "is already finished" in finish(program.search("killed", *settings, study=study))
    assert journal.read_bytes() == before


def test_a_killed_and_a_hanging_worker_cost_no_result_and_a_failure_is_retried(program: Program) -> None:
    longer = [f"budget.{name}" for name in ("min=40", "max=40", "evaluations=3")] + ["base.compute.patience=12"]
    sets = [part for setting in longer for part in ("--set", setting)]
    process = program.search("workers", *sets, concurrency=2)
    journal = program.storage / "workers" / "journal.jsonl"
    wait_for_records(journal, 1, process=process)
    while len({item.evaluation_id for item in read_journal(LocalLog(journal)) if isinstance(item, EpochDone)}) < 2:
        time.sleep(0.01)
    workers = [child for child in psutil.Process().children(recursive=True) if is_trial(child)]
    assert len(workers) == 2
    workers[0].kill()
    workers[1].suspend()
    errors = finish(process)
    assert errors.count("is tried again") >= 2, "a busy machine can cause more, when a worker does not start in time"
    assert "is tried again: hung: no epoch in" in errors
    status = program.status("workers")
    assert [evaluation["status"] for evaluation in status["evaluations"]] == ["done"] * 3
    check_mlflow(program, "workers", status)
    fail_last(journal)
    assert [evaluation["status"] for evaluation in program.status("workers")["evaluations"]].count("failed") == 1
    finish(program.search("workers", *sets, "--retry-failed", concurrency=2))
    retried = program.status("workers")
    assert table_of(retried) == table_of(status)
    assert any(isinstance(record, Retried) for record in read_journal(LocalLog(journal)))
    check_mlflow(program, "workers", retried)


def fail_last(journal: Path) -> None:
    """Rewrite a journal as if its last evaluation had failed by an error of the program."""
    records = read_journal(LocalLog(journal))
    last = max(number for number, record in enumerate(records) if isinstance(record, Ended))
    failed = {"status": "failed", "objective": None, "error": "RuntimeError: boom", "failure_kind": "program_error"}
    records[last] = records[last].model_copy(update=failed)
    journal.unlink()
    with Journal.open(LocalLog(journal), owner="test") as rewritten:
        for record in records:
            rewritten.append(record)


def is_trial(process: psutil.Process) -> bool:
    """Return whether a process is a training worker, by the class in the title that Tune sets."""
    try:
        return "Trainable" in " ".join(process.cmdline())
    except psutil.Error:
        return False
