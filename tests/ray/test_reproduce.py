"""A whole table on real Ray, with one kill."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cluster")
def test_a_table_is_complete_after_a_kill_and_a_second_start(tmp_path: Path) -> None:
    storage = tmp_path / "results"
    command = [sys.executable, "-m", "emotune", "reproduce", "ecg-table-2", "--scale", "smoke", "--json"]
    command += ["--stores", str(tmp_path / "stores"), "--storage", str(storage), "--concurrency", "1"]
    command.append("--no-shuffled")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 400
    while not any('"ended"' in file.read_text() for file in storage.glob("folds-*/journal.jsonl")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = {file: file.read_text().splitlines() for file in storage.glob("*/journal.jsonl")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    for file, lines in kept.items():
        assert file.read_text().splitlines()[: len(lines)] == lines
    rows = json.loads(done.stdout)["rows"]
    assert [row[""] for row in rows[:2]] == ["no pre-training", "pre-trained"]
    assert all(row[column] for row in rows for column in ("arousal accuracy", "arousal F1", "valence accuracy"))
    table = (storage / "ecg-table-2-smoke" / "table.md").read_text()
    assert ".88 ± 5.4e-3" in table
