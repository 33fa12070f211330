"""Promises about the kept runs of the comparison of optimisers."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cells import software_of

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("first", ["", "import emotune.search.models.hpbandster; "])
def test_the_version_of_the_search_core_does_not_depend_on_what_was_imported(first: str) -> None:
    program = f"{first}from benchmarks.cells import software_of; print(software_of('emotune'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == software_of("emotune")
