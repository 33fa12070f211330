"""The program: help with examples, errors in one line with exit code 2, output as JSON."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from emotune.cli import COMMANDS, emotune, main, run_command
from emotune.cli.search import search_command
from emotune.search.records import Ended, Opened, Started
from emotune.storage import LocalLog, LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.study.results import evaluation_results
from tests.runtime.test_coordinator import write_finished
from tests.study.test_reliability import STUDY, outcomes


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, command: click.Command | None = None) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["emotune", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main() if command is None else run_command(command)
        printed = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), printed.out, printed.err)

    return call


def test_a_second_driver_is_refused_with_a_line_that_names_the_first(run, small_store: Path, tmp_path: Path) -> None:
    journal = tmp_path / "results" / "held" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    with LocalLog(journal).lock(owner="the first"):
        outcome = run("search", "smoke", "--store", str(small_store), "--name", "held")
    assert (outcome.code, outcome.out) == (2, "")
    study, refusal = outcome.err.splitlines()
    assert study.startswith("smoke: ")
    assert f"another driver is running this search (the first, pid {os.getpid()} on " in refusal
    assert not journal.exists()


@pytest.mark.parametrize(("code", "expected"), [(signal.SIGTERM, 143), (2, 2)])
def test_sigterm_while_ray_starts_has_the_exit_code_of_sigterm_elsewhere(run, code: int, expected: int) -> None:
    def exits_as_the_handler_of_ray() -> None:
        sys.exit(code)

    outcome = run(command=click.Command("starting", callback=exits_as_the_handler_of_ray))
    assert outcome.code == expected
    assert ("interrupted by SIGTERM" in outcome.err) == (expected == 143)


@pytest.fixture
def finished(tmp_path: Path) -> SearchFolder:
    folder = SearchFolder.of("done", storage=LocalStorage(tmp_path / "results"))
    folder.path.mkdir(parents=True)
    write_finished(folder.path / "journal.jsonl")
    return folder


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = click.Context(group)
    paths = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        paths += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return paths


@pytest.mark.parametrize("path", commands(emotune), ids=" ".join)
def test_every_command_has_help_with_an_example(run, path: tuple[str, ...]) -> None:
    outcome = run(*path, "--help")
    assert outcome.code == 0
    assert "\n  Example:\n" in outcome.out
    assert f"emotune {' '.join(path)}" in outcome.out.split("Example:")[1]


@pytest.mark.parametrize("path", [(), ("data",), *commands(emotune)], ids=" ".join)
def test_every_help_page_ends_with_the_exit_codes(run, path: tuple[str, ...]) -> None:
    pages = run(*path, "--help").out.split("\n  Exit codes:\n")
    assert len(pages) == 2
    assert re.findall(r"^    ([\d, ]+?)  ", pages[1], flags=re.MULTILINE) == ["0", "1", "2", "130, 143, 129"]


@pytest.mark.parametrize(
    ("words", "completed"),
    [("emotune sea", ["search"]), ("emotune search smoke --tr", ["--tracking-uri", "--trials-per-gpu"])],
)
def test_the_shell_completes_commands_and_options(words: str, completed: list[str]) -> None:
    environment = os.environ | {
        "_EMOTUNE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = "import sys; sys.argv = ['emotune']; from emotune.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert [line.split(",")[1] for line in done.stdout.splitlines()] == completed
    assert done.stderr == ""


def test_help_lists_every_command(run) -> None:
    outcome = run("--help")
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serach",), "No such command 'serach'"),
        (("search", "smoke", "--conc", "2"), "No such option"),
        (("search", "smok"), "there is no study 'smok'"),
        (("search", "smoke"), "no segment store was given"),
        (("search", "smoke", "--store", "nowhere"), "nowhere is not a segment store"),
        (("search", "smoke", "--name", "../evil", "--store", "x"), "the name '../evil' cannot be used"),
        (("search", "smoke", "--storage", "gs://bucket/x", "--store", "x"), "S3-compatible buckets only"),
        (("search", "smoke", "--set", "budget.max"), "expected key=value"),
        (("search", "smoke", "--set", "budget.mx=9"), "Did you mean 'max'"),
        (
            ("search", "smoke", "--brackets", "+1"),
            "--brackets +1 extends a finished search, but",
        ),
        (("search", "smoke", "--evaluations", "many"), "expected a number above 0, or +N"),
        (("search", "smoke", "--warm-start", "nobody"), "there is no search 'nobody'"),
        (("status", "nobody"), "there is no search 'nobody'"),
        (("stop", "nobody"), "there is no search 'nobody'"),
        (("best", "nobody", "--out", "x.yaml"), "there is no search 'nobody'"),
        (("data", "prepare", "nothing", "--store", "x"), "there is no corpus 'nothing'"),
        (("data", "prepare", "folder", "--store", "x"), "needs the folder"),
        (("data", "prepare", "synthetic", "--store", "x", "--set", "subject=3"), "Did you mean 'subjects'"),
        (("data", "describe", "nowhere"), "not a segment store"),
        (("finetune", "nowhere.yaml"), "nowhere.yaml"),
        (("report", "nobody"), "there is no search 'nobody'"),
        (("fuse", "nobody", "nobody", "--out", "x"), "there is no search 'nobody'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(run, arguments: tuple[str, ...], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.strip().count("\n") == 0
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(("given", "used"), [((), "usual"), (("--store", "other"), "other")])
def test_the_store_is_taken_from_the_environment_unless_it_is_given(
    run, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], used: str
) -> None:
    monkeypatch.setenv("EMOTUNE_STORE", "usual")
    outcome = run("search", "smoke", *given)
    assert outcome.code == 2
    assert f"/{used} is not a segment store" in outcome.err


def test_status_prints_json(run, finished: SearchFolder) -> None:
    outcome = run("status", "done", "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert document["name"] == "t"
    assert document["state"] == "interrupted"
    count = len(evaluation_results(read_journal(finished.journal)))
    assert len(document["evaluations"]) == count > 0
    (summary,) = json.loads(run("status", "--json").out)
    assert "rungs" not in summary
    assert summary["best"] == document["best"]
    assert f"{count} evaluations" in run("status").out
    assert f"{document['best']['objective']:.6g}" in run("status", "done").out


def test_status_prints_the_rungs(run, finished: SearchFolder) -> None:
    document = json.loads(run("status", "done", "--json").out)
    assert [rung["epochs"] for rung in document["rungs"]] == [1, 3, 9]
    assert sum(rung["results"] for rung in document["rungs"]) == len(document["evaluations"])
    assert "reliability of the rungs: 1 epochs 0." in run("status", "done").out


def test_status_prints_the_reliability_of_the_rungs(run, tmp_path: Path) -> None:
    folder = SearchFolder.of("weighed", storage=LocalStorage(tmp_path / "results"))
    folder.path.mkdir(parents=True)
    study = STUDY | {"budget": {}}
    about = {"time": 0, "name": "weighed", "digest": "d", "seed": 0, "concurrency": 1, "software": {}}
    with Journal.open(folder.journal, owner="test") as journal:
        journal.append(Opened(study=study, **about))
        for evaluation, loss in outcomes(count=90, faithful=False):
            journal.append(Started(time=0, evaluation=evaluation))
            numbers = {"evaluation_id": evaluation.id, "config_id": evaluation.config_id}
            journal.append(Ended(time=0, status="done", objective=loss, seconds=1, **numbers), durable=False)
    assert re.search(
        r"reliability of the rungs: 3 epochs 0.*, 9 epochs .*\n.* larger budget.min", run("status", "weighed").out
    )
    (three, nine, last) = json.loads(run("status", "weighed", "--json").out)["rungs"]
    assert (three["epochs"], three["results"]) == (3, 90)
    assert three["weight"] < 0.2 < nine["weight"] < 1
    assert last == {"epochs": 27, "results": 10, "weight": 1.0}


def test_status_of_a_running_search(run, finished: SearchFolder) -> None:
    with Journal.open(finished.journal, owner="other"):
        assert json.loads(run("status", "done", "--json").out)["state"] == "running"
        assert "stops after its running evaluations" in run("stop", "done").out
        assert finished.storage.read("stop") == b"stop\n"
        assert "saves checkpoints of its running evaluations and stops" in run("stop", "done", "--now").out
        assert finished.storage.read("stop") == b"now\n"
        outcome = run("search", "smoke", "--name", "done", "--store", "x", "--fresh")
        assert (outcome.code, "another driver is running" in outcome.err) == (2, True)
    assert run("stop", "done").code == 2


def test_a_warm_start_that_does_not_fit_is_an_error_and_keeps_old_results(run, finished: SearchFolder) -> None:
    outcome = run("search", "smoke", "--name", "done", "--fresh", "--store", "x", "--warm-start", "done")
    assert outcome.code == 2
    assert re.search(r"--warm-start done, configuration \d+: no value of model.heads was given", outcome.err)
    assert outcome.err.strip().count("\n") == 0
    assert finished.begun


def test_brackets_replace_those_of_the_study(run) -> None:
    plan = run("search", "smoke", "--brackets", "1", "--dry-run").out
    assert plan == run("search", "smoke", "--set", "budget.brackets=1", "--dry-run").out
    assert plan != run("search", "smoke", "--dry-run").out


def test_best_is_a_complete_experiment(run, finished: SearchFolder, tmp_path: Path) -> None:
    assert run("best", "done", "--out", "best.yaml").code == 0
    outcome = run("finetune", "best.yaml", "--store", "x")
    assert "task.kind is 'masked_values'" in outcome.err
    best = json.loads(run("status", "done", "--json").out)["best"]
    assert f"lr: {best['values']['optim.lr']}" in (tmp_path / "best.yaml").read_text()


def test_a_damaged_journal_is_named_in_the_error(run, finished: SearchFolder) -> None:
    content = bytearray(finished.journal.read())
    content[2000] ^= 1
    (finished.path / "journal.jsonl").write_bytes(content)
    outcome = run("status", "done")
    assert outcome.code == 2
    assert str(finished.journal) in outcome.err
    assert "Traceback" not in outcome.err


def test_the_scripts_are_the_search_with_a_default_study(run) -> None:
    script = search_command("ecg_pretrain")
    assert "[STUDY]" in run("--help", command=script).out
    plan = run("--dry-run", command=script)
    assert plan.code == 0
    assert "rungs at 20, 60, 180, 500 epochs" in plan.out
    plan = run("--dry-run", "--set", "searcher.schedule=sync", command=script)
    assert "46 configurations, 65 evaluations, 6520 epochs in total" in plan.out


def test_data_list_is_json(run) -> None:
    rows = json.loads(run("data", "list", "--json").out)
    assert {"name", "modalities", "licence", "where"} <= set(rows[0])
    assert {"folder", "synthetic"} <= {row["name"] for row in rows}
