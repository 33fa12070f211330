"""The commands of a user with cluster.yaml, on simulated machines that each have an SSH server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emotune.search.records import Closed, EpochDone
from emotune.storage import LocalLog
from emotune.study.journal import read_journal
from emotune.study.results import opened
from tests.cluster.lab import PROJECT, enter, missing

REASON = missing()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(REASON != "", reason=f"no laboratory on this machine: {REASON}"),
]


def run_session(scenario: str, folder: Path) -> dict[str, Any]:
    """Run a scenario; return its results."""
    command = enter("tests.cluster.over_ssh", f"inside-{scenario}", str(folder))
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laboratory") / "one"


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    return run_session("one", folder)


def test_up_submit_and_down_work_without_edits(results: dict[str, Any]) -> None:
    assert [results[step]["code"] for step in ("up", "data", "resumed", "again", "status", "down")] == [0] * 6
    assert results["left"]["output"].strip() == "0", "Ray still runs"


def test_without_a_store_the_message_names_the_command(results: dict[str, Any]) -> None:
    assert results["without store"]["code"] != 0
    (line,) = [text for text in results["without store"]["output"].splitlines() if text.startswith("emotune: ")]
    assert "emotune-cluster/stores/ecg is not a segment store" in line
    assert "emotune data prepare" in line


def test_the_second_submit_resumes_the_killed_search(results: dict[str, Any], folder: Path) -> None:
    records = read_journal(LocalLog(folder / "desk/root/emotune-cluster/results/tiny/journal.jsonl"))
    epochs = [(record.config_id, record.epoch) for record in records if isinstance(record, EpochDone)]
    assert len(epochs) == len(set(epochs))
    assert [record.state for record in records if isinstance(record, Closed)] == ["finished"]
    status = json.loads((folder / "desk/root/status.json").read_text())
    assert status["state"] == "finished"
    assert {evaluation["status"] for evaluation in status["evaluations"]} == {"done"}
    assert "is already finished; nothing was run" in results["again"]["output"]


def test_requests_without_the_token_are_refused(results: dict[str, Any], folder: Path) -> None:
    mode, _ = results["token"]["output"].split("\n", 1)[0].split()
    assert mode == "600"
    assert "AuthenticationError" in results["token"]["output"]
    assert "\n401 for no token" in results["token"]["output"]
    token = (folder / "desk/root/emotune-cluster/token").read_text().strip()
    assert not any(token in step.get("output", "") for step in results.values())


def test_on_one_machine_ray_listens_on_the_loopback_interface_only(results: dict[str, Any]) -> None:
    addresses = [line.split()[3] for line in results["listens"]["output"].splitlines()]
    assert addresses
    assert [
        address for address in addresses if not address.startswith(("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"))
    ] == []


def test_the_batch_script_runs_a_whole_search(results: dict[str, Any], folder: Path) -> None:
    assert results["slurm"]["code"] == 0
    records = read_journal(LocalLog(folder / "desk/root/results/batch/journal.jsonl"))
    assert opened(records).concurrency == 3, "it did not run on the job's own Ray, which has three CPUs"
    assert [record.state for record in records if isinstance(record, Closed)] == ["finished"]
    assert not list((folder / "desk/root/.ray").glob("token-*")), "the token was not removed with the job"
