"""Output that cannot be written: an answer is a line and exit code 1, a message is nothing."""

import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

STATUS = ["-m", "emotune", "status", "--storage", "empty"]
FULL = Path("/dev/full")
FOLLOW = """
import sys
from emotune.cli.actions.consoles import message_console
from emotune.cli.output import print_message
from rich.live import Live
console = message_console()
print("ready", flush=True)
sys.stdin.read()
with Live("live", console=console, refresh_per_second=100, transient=True):
    console.print("a line")
print_message("a message")
print("done", flush=True)
"""
"""A process that prints messages after its standard input has ended."""


def python(arguments: Sequence[str], folder: Path, **streams: int) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, timeout=120, check=False, **streams)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_an_answer_on_a_full_disk_is_a_line(tmp_path: Path, more: list[str]) -> None:
    with FULL.open("wb") as full:
        result = python([*STATUS, *more], tmp_path, stdout=full.fileno(), stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, b"emotune: the output: No space left on device\n")


def test_an_answer_whose_reader_has_ended_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = python([*STATUS, "--json"], tmp_path, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize("stream", ["terminal", "pipe"])
def test_messages_to_a_stream_that_is_gone_are_dropped(tmp_path: Path, stream: str) -> None:
    reader, writer = pty.openpty() if stream == "terminal" else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer, cwd=tmp_path
    )
    os.close(writer)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.close(reader)
    printed, _ = process.communicate(timeout=60)
    assert (process.returncode, printed) == (0, b"done\n")
