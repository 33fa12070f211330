"""Rows and comparisons of the searches on a GPU."""

from pathlib import Path

from benchmarks.gpu_search import CHOSEN, HEAD, Outcome, Report, Row, compare
from emotune.runtime.cluster.gpu_sharing import SharingMeasurement, as_lines
from emotune.search.records import Ended

TABLE: list[Row] = [("a", 3, "done", 0.5), ("b", 3, "failed", None)]


def test_tables_are_compared_by_evaluation_and_loss() -> None:
    assert compare(TABLE, list(TABLE)) == "the same 2 evaluations, equal losses"
    close: list[Row] = [("a", 3, "done", 0.501), TABLE[1]]
    assert compare(TABLE, close) == "the same 2 evaluations, largest relative difference of losses 0.002"
    assert compare(TABLE, TABLE[:1]) == "different evaluations: 1 in common, of 2 and 1"


def test_failures_are_counted_by_kind() -> None:
    ends = [
        Ended(
            time=1.0,
            evaluation_id=number,
            config_id=number,
            status="failed",
            objective=None,
            seconds=1.0,
            failure_kind="out_of_memory",
        )
        for number in range(2)
    ]
    assert Outcome(tuple(ends), 1.0, None, "finished").failures == {"out_of_memory": 2}


def test_each_table_has_a_head_and_a_search_without_records_has_a_row(tmp_path: Path) -> None:
    report = Report(tmp_path / "out.md")
    cells = Outcome((), 1.0, None, "exit code 2").cells("a search")
    for _ in range(2):
        report.row(cells)
    report.add("text")
    report.row(cells)
    lines = (tmp_path / "out.md").read_text().splitlines()
    head = f"| {' | '.join(HEAD)} |"
    assert [line == head for line in lines] == [True, False, False, False, False, True, False, False]
    assert lines[2] == "| a search | 1.0 | 0 |  |  | 0 | none | exit code 2 |"


def test_the_measured_shares_are_found_in_a_log() -> None:
    rows = as_lines([SharingMeasurement(1, 100.0), SharingMeasurement(2, 150.0)])
    text = "\n".join(["2 evaluations will share a GPU, as measured:", *rows])
    found = CHOSEN.search(f"starting Ray\n{text}\nsearch sharing-auto: study 1")
    assert found is not None
    assert found[0].rstrip() == text
