"""A part of ``make chaos``: two of its faults, once each, on real Ray."""

import subprocess
import sys

import pytest

from chaos.bench import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_a_search_survives_a_truncated_and_a_forged_checkpoint() -> None:
    faults = ("--only", "checkpoint-cut", "--only", "checkpoint-planted")
    command = [sys.executable, "-m", "chaos", *faults, "--times", "1", "--seed", "7"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for fault in faults[1::2]:
        assert f"| {fault} | 1 | 1 | 0 |" in done.stdout
