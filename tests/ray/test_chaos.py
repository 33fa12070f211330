"""A part of ``make chaos`` on real Ray, with ``make test-thorough``: two faults, once each."""

import subprocess
import sys

import pytest

from chaos.bench import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.thorough, pytest.mark.timeout(900)]


@pytest.mark.parametrize("fault", ["checkpoint-planted", "checkpoint-cut"])
def test_a_search_survives(fault: str) -> None:
    command = [sys.executable, "-m", "chaos", "--only", fault, "--times", "1", "--seed", "7"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| {fault} | 1 | 1 | 0 |" in done.stdout
