"""cluster.yaml on machines of a laboratory, each with an SSH server of its own: what a person types, word for word."""

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
    pytest.mark.skipif(REASON != "", reason=f"no laboratory here: {REASON}"),
]


def day(scenario: str, folder: Path) -> dict[str, Any]:
    """Live through a scenario; return what was found."""
    command = enter("tests.cluster.over_ssh", f"inside-{scenario}", str(folder))
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laboratory") / "one"


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return day("one", folder)


def test_up_submit_and_down_as_it_stands(found: dict[str, Any]) -> None:
    assert [found[step]["code"] for step in ("up", "data", "resumed", "again", "status", "down")] == [0] * 6
    assert found["left"]["output"].strip() == "0", "a Ray was left running"


def test_without_a_store_it_says_what_to_do(found: dict[str, Any]) -> None:
    assert found["without store"]["code"] != 0
    (line,) = [one for one in found["without store"]["output"].splitlines() if one.startswith("emotune: ")]
    assert "emotune-cluster/stores/ecg is not a segment store" in line
    assert "emotune data prepare" in line


def test_the_second_submit_goes_on_where_the_killed_one_was(found: dict[str, Any], folder: Path) -> None:
    records = read_journal(LocalLog(folder / "desk/root/emotune-cluster/results/tiny/journal.jsonl"))
    epochs = [(one.config_id, one.epoch) for one in records if isinstance(one, EpochDone)]
    assert len(epochs) == len(set(epochs))
    assert [one.state for one in records if isinstance(one, Closed)] == ["finished"]
    status = json.loads((folder / "desk/root/status.json").read_text())
    assert status["state"] == "finished"
    assert {one["status"] for one in status["evaluations"]} == {"done"}
    assert "is already finished; nothing was run" in found["again"]["output"]


def test_nobody_gets_in_without_the_token(found: dict[str, Any], folder: Path) -> None:
    mode, _ = found["token"]["output"].split("\n", 1)[0].split()
    assert mode == "600"
    assert "AuthenticationError" in found["token"]["output"]
    assert "\n401 for no token" in found["token"]["output"]
    token = (folder / "desk/root/emotune-cluster/token").read_text().strip()
    assert not any(token in step.get("output", "") for step in found.values())


def test_on_one_machine_ray_listens_to_nobody_else(found: dict[str, Any]) -> None:
    addresses = [line.split()[3] for line in found["listens"]["output"].splitlines()]
    assert addresses
    assert [one for one in addresses if not one.startswith(("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"))] == []


def test_the_batch_script_runs_a_search_from_beginning_to_end(found: dict[str, Any], folder: Path) -> None:
    assert found["slurm"]["code"] == 0
    records = read_journal(LocalLog(folder / "desk/root/results/batch/journal.jsonl"))
    assert opened(records).concurrency == 3, "it ran on another Ray than the job's, which has three CPUs"
    assert [one.state for one in records if isinstance(one, Closed)] == ["finished"]
    assert not list((folder / "desk/root/.ray").glob("token-*")), "the token is gone with the job"
