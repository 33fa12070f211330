"""``emotune export --format deepcave``."""

import json
from pathlib import Path

import pytest

from tests.cli.test_program import run
from tests.cli.test_report import results

__all__ = ["results", "run"]


def test_the_results_of_a_search_are_written_to_a_new_folder(run, results: Path, tmp_path: Path) -> None:
    outcome = run("export", "one", "--format", "deepcave", "--out", "taken")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.endswith("evaluations written to taken\n")
    names = ["configs.json", "configspace.json", "results.json"]
    assert sorted(path.name for path in (tmp_path / "taken").iterdir()) == names
    document = json.loads(run("export", "one", "--format", "deepcave", "--out", "again", "--json").out)
    assert document["files"] == {name: (tmp_path / "again" / name).stat().st_size for name in names}
    assert document["running"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tow",), "there is no search 'tow'"),
        (("one", "--part", "encoder"), "--format deepcave, which has no network; leave it out"),
        (("one", "--out", "results"), "exists and is not empty"),
    ],
)
def test_mistakes_are_answered_in_a_line(run, results: Path, arguments: tuple[str, ...], message: str) -> None:
    outcome = run("export", "--format", "deepcave", "--out", "taken", *arguments)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert not Path("taken").exists()
