"""The benchmark's corpora are read like the real ones, and its measurements of time and memory are right."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import large_corpora
from benchmarks.large_corpora import WRITERS
from benchmarks.preparation import finish, size_of
from emotune.data.corpora.table import CORPORA
from emotune.data.recording import Recording


@pytest.mark.parametrize(("corpus", "recordings"), [("eegmmidb", 2 * 3), ("amigos", 2 * 40)])
def test_its_corpora_are_read_without_exclusions(
    corpus: str, recordings: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_corpora, "RUNS", 3)
    monkeypatch.setattr(large_corpora, "RUN_SECONDS", 12)
    monkeypatch.setattr(large_corpora, "VIDEO_SECONDS", (12,) * 20)
    modality, write = WRITERS[corpus]
    seconds_per_subject = 3 * 12 if corpus == "eegmmidb" else 20 * 12
    hours = 2 * seconds_per_subject / 3600
    assert write(tmp_path, hours=hours) == pytest.approx(hours)
    reader = CORPORA[corpus]
    items = list(reader.items(tmp_path, modality=modality, settings=reader.settings()))
    assert len(items) == recordings
    for item in items:
        assert isinstance(item, Recording)
        item.check()
    assert len({item.subject for item in items if isinstance(item, Recording)}) == 2


def program(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


def test_time_and_memory_of_a_run_are_measured() -> None:
    work = "while time.process_time() < 0.5: pass"
    run = finish(program(f"x = bytearray(10**8)\nimport time\n{work}\ntime.sleep(1)"))
    assert run.seconds > 1
    assert 0.1 < run.cpu < run.seconds * (psutil.cpu_count() or 1)
    assert 10**8 < run.largest <= run.peak < 2 * 10**8
    assert 0 <= run.others <= 1


def test_a_run_is_killed_on_request_and_a_failure_is_raised() -> None:
    calls = iter([False, True])
    assert 0 < finish(program("import time; time.sleep(200)"), enough=lambda: next(calls)).seconds < 200
    with pytest.raises(RuntimeError, match="exit code 3"):
        finish(program("raise SystemExit(3)"))


def test_the_size_of_a_folder_includes_hidden_files(tmp_path: Path) -> None:
    (tmp_path / ".parts").mkdir()
    (tmp_path / ".parts" / "a").write_bytes(bytes(1000))
    assert size_of(tmp_path) == 1000
