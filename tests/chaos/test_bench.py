"""The bench counts lost results, and the page about faults names every fault."""

import re

import pytest
from click.testing import CliRunner

from chaos import __main__ as program
from chaos.__main__ import FAULTS, Fault, Result, rows
from chaos.bench import REPOSITORY, Bench, BrokenPromiseError, lost_results, require

PAGE = (REPOSITORY / "docs" / "faults.md").read_text()


def test_missing_and_different_rows_are_lost() -> None:
    reference = [{"id": number, "objective": number / 3} for number in range(5)]
    assert lost_results(reference[::-1], reference) == 0
    assert lost_results(reference[1:], reference) == 1
    assert lost_results([{**row, "objective": 0.0} for row in reference], reference) == 4


def test_a_broken_promise_is_raised() -> None:
    require([0], "never raised")
    with pytest.raises(BrokenPromiseError, match="the list is empty"):
        require([], "the list is empty")


def test_the_table_has_the_number_of_tries_and_the_median_of_the_seconds() -> None:
    results = [Result("a", 1, True, 0, 5.0), Result("a", 2, False, None, 9.0, "why"), Result("b", 1, True, 0, -0.2)]
    assert rows(results)[2:] == ["| a | 2 | 1 | unknown | +7 |", "| b | 1 | 1 | 0 | -0 |"]


def nothing_happens(bench: Bench, total: int) -> None:
    (bench.root / "file").write_text(str(total))


def a_promise_breaks(bench: Bench, total: int) -> None:
    del bench, total
    require([], "the list is empty")


def test_the_program_tries_the_chosen_faults_and_its_exit_code_says_whether_all_survived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = [Fault(act, searches=False) for act in (nothing_happens, a_promise_breaks)]
    monkeypatch.setattr(program, "FAULTS", faults)
    result = CliRunner().invoke(program.main, ["--times", "1"])
    assert result.exit_code == 1
    assert "a-promise-breaks seed 1: the list is empty" in result.stderr
    assert "| nothing-happens | 1 | 1 | 0 |" in result.stdout
    assert "| a-promise-breaks | 1 | 0 | unknown |" in result.stdout
    monkeypatch.setattr(program, "FAULTS", faults[:1])
    assert CliRunner().invoke(program.main, ["--times", "1"]).exit_code == 0


def test_the_page_names_every_fault_and_no_other() -> None:
    assert set(re.findall(r"\*\*([a-z-]+)\*\*", PAGE)) == {fault.name for fault in FAULTS}
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)] == list(range(1, 47))


def test_the_tests_that_the_page_names_exist() -> None:
    named = re.findall(r"`((?:tests/)?[\w/]*test_\w+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 40
    for file, test in named:
        path = REPOSITORY / file if file.startswith("tests/") else REPOSITORY / "tests" / "search" / file
        assert f"def {test}" in path.read_text(), f"{file}::{test}"
