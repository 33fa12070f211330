"""The signal that ends a process: written by the process itself, unless it is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from emotune.runtime.crashes import crash_file, read_crash, remove_crash_files

PROCESS = """
import os, signal, sys
from pathlib import Path
from emotune.runtime.crashes import record_crashes
for name in sys.argv[2:]:
    record_crashes(Path(name))
os.kill(os.getpid(), signal.Signals[sys.argv[1]])
"""
"""A process that ends by a signal."""


@pytest.mark.parametrize(
    ("signal_name", "crash"),
    [
        ("SIGSEGV", "Segmentation fault"),
        ("SIGABRT", "Aborted"),
        ("SIGFPE", "Floating point exception"),
        ("SIGBUS", ""),
        ("SIGILL", ""),
        ("SIGKILL", ""),
    ],
)
def test_a_signal_of_the_program_is_written_down(tmp_path: Path, signal_name: str, crash: str) -> None:
    earlier, file = (crash_file(tmp_path, evaluation_id=number) for number in (1, 2))
    process = subprocess.run(
        [sys.executable, "-c", PROCESS, signal_name, str(earlier), str(file)], capture_output=True, check=False
    )
    assert process.returncode < 0, "the process still ends by the signal"
    assert read_crash(file).replace("-", " ") == crash
    assert read_crash(earlier) == ""
    assert sorted(tmp_path.iterdir()) == [earlier, file]
    remove_crash_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_not_created_again(tmp_path: Path) -> None:
    file = crash_file(tmp_path / "gone", evaluation_id=1)
    subprocess.run([sys.executable, "-c", PROCESS, "SIGSEGV", str(file)], capture_output=True, check=False)
    assert list(tmp_path.iterdir()) == []
    assert read_crash(file) == read_crash(None) == ""
