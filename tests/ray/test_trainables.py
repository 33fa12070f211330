"""`emotune.search` of a user's trainable on a real Ray, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import emotune
from emotune.search import Evaluation, Optimizer
from emotune.search.records import Closed, EpochDone
from emotune.search.settings import virtual_workers
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, search_state
from tests.ray.conftest import Program
from tests.ray.stock_tuner import BUDGET, CONCURRENCY, loss, space

pytestmark = pytest.mark.ray


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def recorded(folder: SearchFolder) -> list[tuple[str, int]]:
    """Return the epochs in the journal, by the values of their configuration."""
    records = read_journal(folder.journal)
    values = {result.evaluation.config_id: result.evaluation.values for result in evaluation_results(records)}
    return [
        (f"{values[record.config_id]['x']} {values[record.config_id]['kind']}", record.epoch)
        for record in records
        if isinstance(record, EpochDone)
    ]


def train_until(program: Program, epochs: int) -> subprocess.Popen:
    """Start the search, and return its driver when a number of epochs has been trained."""
    storage = program.storage
    driver = program.run([sys.executable, "-m", "tests.ray.trainable_search", str(storage), "mine"])
    while len(lines(storage / "mine.log")) < epochs:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    return driver


def undisturbed() -> list[tuple[Evaluation, float | None]]:
    """Return the evaluations of an undisturbed search with their losses."""
    workers = virtual_workers(CONCURRENCY, order="strict")
    optimizer = Optimizer(space(), 1, 9, 3, concurrency=workers, brackets=BUDGET.brackets)
    while (evaluation := optimizer.ask()) is not None:
        optimizer.tell(evaluation.id, loss(evaluation.values, evaluation.to_epoch))
    return optimizer.results()


def test_after_the_death_of_driver_and_worker_it_ends_like_an_undisturbed_one(program: Program, tmp_path: Path) -> None:
    program.storage.mkdir()
    folder = SearchFolder.of("mine", storage=LocalStorage(program.storage))
    driver = train_until(program, 12)
    driver.kill()
    driver.wait()
    log = program.storage / "mine.log"
    # workers of the killed driver may finish the epochs that they were training; only later trainings count
    kills = [(set(recorded(folder)), len(lines(log)))]
    driver = train_until(program, 24)
    kills.append((set(recorded(folder)), len(lines(log))))
    os.kill(int(lines(program.storage / "mine.pids")[-1]), signal.SIGKILL)
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors

    records, expected = read_journal(folder.journal), undisturbed()
    assert [(r.evaluation, r.objective) for r in evaluation_results(records)] == expected
    assert search_state(records, alive=False) == "finished"
    epochs = Counter(recorded(folder))
    trainings = [(values, int(epoch)) for values, epoch in (line.rsplit(" ", 1) for line in lines(log))]
    trained = Counter(trainings)
    assert max(epochs.values()) == 1
    assert set(epochs) == set(trained)
    for before, position in kills:
        assert not before & set(trainings[position:]), "a recorded epoch was trained again"
    again = {epoch for epoch, count in trained.items() if count > 1}
    assert len(again) <= CONCURRENCY + 1, "each worker that was killed repeats the epoch that it was training"

    written = json.loads((program.storage / "mine.json").read_text(encoding="utf-8"))
    best = min(loss for _, loss in expected if loss is not None)
    assert written == {"evaluations": len(expected), "loss": best, "imported": []}
    assert {record.metrics["imported"] for record in records if isinstance(record, EpochDone)} == {0.0}
    result = emotune.Result.read("mine", storage=str(program.storage))
    assert result.report(tmp_path / "report.html").stat().st_size > 10_000
    assert result.table["mlflow_run_id"].notna().all()


def test_in_a_notebook_the_stop_button_stops_in_order_and_the_next_cell_resumes(program: Program) -> None:
    program.storage.mkdir()
    runner = program.run([sys.executable, "-m", "tests.ray.notebook_search", str(program.storage)])
    printed, errors = runner.communicate(timeout=200)
    assert runner.returncode == 0, errors
    first, second = json.loads(printed)["cells"]
    assert (first["status"], first["error"]) == ("error", "KeyboardInterrupt")
    assert "interrupted (SIGINT)" in first["text"]
    assert second["status"] == "ok"
    assert "search mine: finished" in second["text"]
    for cell in (first, second):
        assert cell["kinds"]["display_data"] == 1, "progress is one output"
        assert cell["kinds"]["update_display_data"] > 1
    assert second["kinds"]["execute_result"] == 1

    folder = SearchFolder.of("mine", storage=LocalStorage(program.storage))
    records = read_journal(folder.journal)
    assert [record.state for record in records if isinstance(record, Closed)] == ["interrupted", "finished"]
    trained = Counter(lines(program.storage / "log"))
    assert max(trained.values()) == 1, "a search that is stopped in order repeats no epoch"
    assert len(trained) == len(set(recorded(folder)))


EXAMPLES = Path(__file__).parents[2] / "examples" / "trainables"


@pytest.mark.parametrize("name", ["digits", "spirals", "counting"])
def test_an_example_finds_a_good_configuration(program: Program, name: str) -> None:
    done = program.run([sys.executable, str(EXAMPLES / f"{name}.py")])
    _, errors = done.communicate(timeout=240)
    assert done.returncode == 0, errors
    result = emotune.Result.read(name, storage=str(program.storage))
    assert result.state == "finished"
    assert result.best.metrics["accuracy"] > 0.9


def test_a_study_file_gives_the_search_of_the_script_and_is_resumed_by_name(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    driver = program.start("search", "digits.yaml", "--concurrency", "2")
    journal = program.storage / "digits" / "journal.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    resumed = program.start("resume", "digits")
    _, errors = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, errors
    again = program.start("search", "digits.yaml", "--concurrency", "2")
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "already finished; nothing was run" in errors

    script = program.run([sys.executable, str(EXAMPLES / "digits.py")])
    printed, errors = script.communicate(timeout=60)
    assert script.returncode == 0, errors
    assert "already finished; nothing was run" in errors
    assert "modified_huber" in printed
