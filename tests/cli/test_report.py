"""``emotune report``: where the page is written, several searches, watching, and its mistakes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotune.search.records import Closed
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, encode
from tests.cli.test_program import finished, run
from tests.cli.test_startup import PROGRAM, imported
from tests.support.journals import synthetic_search

__all__ = ["finished", "run"]

REFRESH = '<meta http-equiv="refresh" content="1">'
WAIT_S = 60.0
"""Longest wait for a version of the page."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two finished searches, and one that is interrupted."""
    states = {"one": "finished", "two": "finished", "cut": "interrupted"}
    for seed, (name, state) in enumerate(states.items()):
        folder = SearchFolder.of(name, storage=LocalStorage(tmp_path / "results"))
        folder.path.mkdir(parents=True)
        records = synthetic_search(name, configurations=6, seed=seed, state=state)
        lines = [encode(record, sequence=number) for number, record in enumerate(records)]
        (folder.path / "journal.jsonl").write_bytes(b"".join(lines))
    return tmp_path / "results"


def test_the_page_of_one_search_is_in_its_folder(run, results: Path) -> None:
    outcome = run("report", "one")
    assert outcome.code == 0
    assert outcome.out == f"{results}/one/report.html\n"
    assert "<h1>one</h1>" in (results / "one" / "report.html").read_text()


def test_several_searches_have_one_page_in_the_storage(run, results: Path) -> None:
    outcome = run("report", "one", "two")
    assert outcome.out == f"{results}/report-one-two.html\n"
    page = (results / "report-one-two.html").read_text()
    assert "Best configurations" in page
    assert "<td>seed</td><td>0</td><td>1</td>" in page


def test_a_page_can_be_written_to_standard_output(run, results: Path, tmp_path: Path) -> None:
    outcome = run("report", "one", "two", "--out", str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").exists()
    assert outcome.out == f"{tmp_path / 'page.html'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one", "one"), "a search was given twice"),
        (("one", "tow"), "there is no search 'tow'"),
        (("one", "--out", "missing/page.html"), "the folder .* does not exist"),
        (("--watch", "one"), "give --watch after the names"),
        (("one", "--watch", "0"), "expected 1 to 86400 s"),
        (("one", "--watch", "nan"), "expected 1 to 86400 s"),
        (("one", "--price-per-hour", "-1"), "expected a price such as 2.50"),
        (("one", "--price-per-hour", "2 EUR"), "expected a price such as 2.50"),
        (("one", "--watch", "--out", "/dev/null"), "with --watch the page is written again and again"),
    ],
)
def test_mistakes_are_answered_in_a_line(run, results: Path, arguments: tuple[str, ...], message: str) -> None:
    outcome = run("report", *arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert re.search(message, outcome.err.replace("\n", " "))
    assert not list(results.glob("*/report.html"))


def test_a_damaged_journal_among_several_is_a_line(run, results: Path) -> None:
    journal = results / "two" / "journal.jsonl"
    journal.write_bytes(b"x" + journal.read_bytes())
    outcome = run("report", "one", "two")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "line 1, byte 0" in outcome.err


def test_watching_a_search_that_does_not_run_writes_one_page(run, results: Path) -> None:
    outcome = run("report", "cut", "--watch", "1")
    assert outcome.code == 0
    assert "no search is running; the page is complete" in outcome.err
    assert REFRESH not in (results / "cut" / "report.html").read_text()


@pytest.fixture
def running(results: Path) -> Iterator[Journal]:
    with Journal.open(SearchFolder.of("cut", storage=LocalStorage(results)).journal, owner="test") as journal:
        yield journal


def test_a_watched_page_refreshes_itself_until_the_search_ends(run, results: Path, running: Journal) -> None:
    page = results / "cut" / "report.html"

    def end_the_search() -> None:
        wait_for(lambda: page.exists() and REFRESH in page.read_text())
        running.append(Closed(time=2e9, state="finished"))
        running.close()

    thread = threading.Thread(target=end_the_search)
    thread.start()
    outcome = run("report", "cut", "--watch", "1")
    thread.join()
    assert outcome.code == 0
    text = page.read_text()
    assert REFRESH not in text
    assert "A search with emotune, finished." in text


def test_ctrl_c_ends_watching_with_a_page_that_does_not_refresh(results: Path, running: Journal) -> None:
    command = [sys.executable, "-m", "emotune", "report", "cut", "--watch", "1", "--storage", str(results)]
    page = results / "cut" / "report.html"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as program:
        wait_for(lambda: page.exists() and REFRESH in page.read_text())
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=WAIT_S)
    assert program.returncode == 0
    assert "stopped watching" in err
    assert REFRESH not in page.read_text()


def wait_for(ready) -> None:
    end = time.monotonic() + WAIT_S
    while not ready():
        assert time.monotonic() < end, "the page was not written"
        time.sleep(0.1)


def test_the_page_of_a_search_without_checkpoints_imports_no_framework(results: Path) -> None:
    packages = imported(PROGRAM, "report", "one", "two", "--storage", str(results))
    assert not packages & {"torch", "ray", "mlflow", "matplotlib", "sklearn"}
    packages = imported(PROGRAM, "report", "one", "--storage", str(results))
    assert not packages & {"torch", "ray", "mlflow", "matplotlib", "sklearn"}
