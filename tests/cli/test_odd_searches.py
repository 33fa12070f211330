"""One search that cannot be read does not keep the others from being listed, and is answered in a line itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotune.errors import DamageError
from emotune.search.records import Closed
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.results import opened
from tests.cli.test_program import finished, run
from tests.runtime.test_coordinator import finished_journal

__all__ = ["finished", "run"]

SEARCHES = 200


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A storage with 200 searches, of which one is empty, one damaged, one starting, and one of an unknown kind."""
    results = tmp_path / "results"
    content = finished_journal()
    journals = {f"s{number:03}": content for number in range(SEARCHES - 4)}
    journals |= {"damaged": b"x" + content, "empty": b"", "headless": content.split(b"\n", 1)[1]}
    for name, lines in journals.items():
        (results / name).mkdir(parents=True)
        (results / name / "journal.jsonl").write_bytes(lines)
    (results / "starting").mkdir()
    with Journal.open(SearchFolder.of("starting", storage=LocalStorage(results)).journal, owner="starting"):
        yield results


def test_status_lists_all_searches_and_marks_the_odd_ones(run, odd: Path) -> None:
    outcome = run("status", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    documents = {document["name"]: document for document in json.loads(outcome.out)}
    states = {name: document["state"] for name, document in documents.items() if document["state"] != "interrupted"}
    assert states == {"damaged": "damaged", "empty": "empty", "headless": "damaged", "starting": "starting"}
    assert len(documents) == SEARCHES
    assert documents["empty"]["best"] is None
    lines = run("status").out.splitlines()
    assert len(lines) == SEARCHES
    assert any(
        line.startswith("empty ") and "has no record: its start failed; start it again" in line for line in lines
    )
    assert any(line.startswith("starting ") and "is starting and has no record yet" in line for line in lines)
    assert any(line.startswith("damaged ") and "line 1, byte 0" in line for line in lines)


COMMANDS = [
    ("status", "{}"),
    ("report", "{}"),
    ("report", "{}", "--watch", "1"),
    ("report", "s000", "{}"),
    ("compare", "{}"),
    ("compare", "s000", "{}"),
    ("sync", "{}"),
    ("best", "{}", "--out", "best.yaml"),
    ("resume", "{}"),
    ("search", "{}", "--retry-failed"),
    ("search", "smoke", "--store", "x", "--warm-start", "{}"),
    ("predict", "{}", "recording.csv"),
    ("fuse", "{}", "{}", "--out", "fused"),
]


@pytest.mark.parametrize("name", ["empty", "starting", "damaged", "headless"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_on_an_odd_search_is_answered_in_a_line(run, odd: Path, command: tuple[str, ...], name: str) -> None:
    outcome = run(*(word.format(name) for word in command))
    assert outcome.code == 2
    assert outcome.err.strip().count("\n") == 0
    assert "Traceback" not in outcome.err
    assert name in outcome.err


def test_a_journal_that_begins_with_another_record_is_damaged() -> None:
    with pytest.raises(DamageError, match="the first record of the journal is 'closed', expected 'opened'"):
        opened([Closed(time=0, state="finished")])


def test_status_of_a_dead_search_lists_nothing_as_running_and_prints_the_command_that_resumes(
    run, finished: SearchFolder
) -> None:
    lines = finished.journal.read().splitlines(keepends=True)
    unended = next(number for number, line in enumerate(lines) if b'"kind":"ended"' in line)
    (finished.path / "journal.jsonl").write_bytes(b"".join(lines[:unended]))
    document = json.loads(run("status", "done", "--json").out)
    assert document["state"] == "interrupted"
    assert {evaluation["status"] for evaluation in document["evaluations"]} == {"running"}, "the JSON has three states"
    printed = run("status", "done").out
    assert "running" not in printed
    assert " interrupted " in printed
    assert printed.endswith("resume it with: emotune resume done\n")
    elsewhere = run("status", "done", "--storage", str(finished.path.parent)).out
    assert elsewhere.endswith(f"resume it with: emotune resume done --storage {finished.path.parent}\n")
    with Journal.open(finished.journal, owner="other"):
        document = json.loads(run("status", "done", "--json").out)
        assert {evaluation["status"] for evaluation in document["evaluations"]} == {"running"}
        assert "resume it with" not in run("status", "done").out


def test_resume_without_a_name_needs_exactly_one_interrupted_search(run, odd: Path, tmp_path: Path) -> None:
    outcome = run("resume")
    assert outcome.code == 2
    assert f"{SEARCHES - 4} searches in {odd} were interrupted; give one of: s000, s001" in outcome.err
    assert "was interrupted; `emotune status` lists all" in run("resume", "--storage", "nowhere").err
