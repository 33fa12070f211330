"""Promises about the kept runs of the comparison of optimisers."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cells import code_digest, software_of

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("first", ["", "import emotune.search.models.hpbandster; "])
def test_the_version_of_the_search_core_does_not_depend_on_what_was_imported(first: str) -> None:
    program = f"{first}from benchmarks.cells import software_of; print(software_of('emotune'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == software_of("emotune")


WRITTEN = """
'''A module.'''

LIMIT = 3
'''A limit.'''


def bounded(value: float) -> float:
    '''Return a value of at most the limit.'''
    return min(value, LIMIT)  # in epochs
"""


def test_a_kept_run_stays_valid_when_only_text_changes(tmp_path: Path) -> None:
    file = tmp_path / "module.py"

    def digest(content: str) -> str:
        file.write_text(content)
        return code_digest([file])

    before = digest(WRITTEN)
    assert digest("LIMIT = 3\ndef bounded(value: float) -> float: return min(value, LIMIT)") == before
    assert digest(WRITTEN.replace("LIMIT = 3", "LIMIT = 4")) != before
    assert digest(WRITTEN.replace("min(", "max(")) != before
    assert digest(WRITTEN.replace("return ", "'a string'; return ")) == before
