"""A search with results in a bucket loses nothing by a kill, a move to another machine or an outage."""

import subprocess
import time
from pathlib import Path

import pytest

import emotune
from emotune.cli.actions.status import read_status
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from tests.ray.conftest import Program
from tests.ray.test_search import finish, table_of
from tests.support.s3 import Server

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

OUTAGE_S = 8.0
"""Duration of the outage of the server during the search."""


def wait_for_records(folder: SearchFolder, count: int, *, process: subprocess.Popen) -> None:
    until = time.monotonic() + 180
    while not folder.begun or len(read_journal(folder.journal)) < count:
        assert process.poll() is None, process.communicate()[1]
        if time.monotonic() > until:
            process.kill()
            raise AssertionError(process.communicate()[1])
        time.sleep(0.2)


def test_after_a_kill_a_move_and_an_outage_the_results_equal_an_undisturbed_search(
    program: Program, s3_server: Server, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another cache simulates another machine. On the first one, workers may still run for a moment.

    A driver with results in the bucket starts its own Ray, because workers get the address of the server from the
    environment of their node.
    """
    few = ("--evaluations", "5")
    reference = program.search("undisturbed", *few)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    first = program.search("moved", *few, "--storage", s3_url)
    folder = SearchFolder.of("moved", storage=open_storage(s3_url))
    wait_for_records(folder, 5, process=first)
    first.kill()
    first.wait()
    monkeypatch.setenv("EMOTUNE_CACHE", str(tmp_path / "second"))
    finish(reference)
    undisturbed = program.status("undisturbed")
    known = len(read_journal(SearchFolder.of("moved", storage=open_storage(s3_url)).journal))
    assert known >= 5
    second = program.search("moved", *few, "--storage", s3_url)
    wait_for_records(SearchFolder.of("moved", storage=open_storage(s3_url)), known + 2, process=second)
    s3_server.kill()
    time.sleep(OUTAGE_S)
    s3_server.restart()
    assert "whether moved, pid" in finish(second)
    monkeypatch.setenv("EMOTUNE_CACHE", str(tmp_path / "third"))
    moved = read_status(SearchFolder.of("moved", storage=open_storage(s3_url)))
    assert table_of(moved) == table_of(undisturbed)
    assert moved["state"] == "finished"
    encoder = emotune.load_encoder("moved", storage=s3_url)
    assert not encoder.training
    assert list((tmp_path / "third").rglob("weights.safetensors"))
