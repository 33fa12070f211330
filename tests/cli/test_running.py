"""Promises of how a search ends: what it says, and its exit code."""

from pathlib import Path

import pytest

from emotune.cli.running import _conclude, put_aside
from emotune.errors import BusyError, DamageError
from emotune.runtime.driver import run_study
from emotune.search.records import Closed
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.runtime.test_coordinator import STUDY, drive, without_results_at

FINISHED = Closed(time=0, state="finished")


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    folder = SearchFolder.of("search", storage=LocalStorage(tmp_path))
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize(("failed_at", "code"), [(100, 0), (9, 1)])
def test_failures_that_keep_everyone_from_the_largest_budget_are_told_and_end_with_1(
    folder: SearchFolder, capsys: pytest.CaptureFixture[str], failed_at: int, code: int
) -> None:
    records = without_results_at(failed_at, drive(folder.journal))
    assert _conclude(STUDY, [*records, FINISHED], folder) == code
    printed = capsys.readouterr().err
    assert ("no configuration has a result at 9 epochs" in printed) == bool(code)
    assert "best: val/loss" in printed


@pytest.mark.parametrize("lines", [None, 0, 1, 30])
def test_a_search_whose_journal_has_lost_records_is_not_begun_anew(folder: SearchFolder, lines: int | None) -> None:
    records = drive(folder.journal)
    folder.checkpoints(0).local().mkdir(parents=True)
    folder.check_complete(records)
    folder.checkpoints(10**4).local().mkdir()
    journal = folder.path / "journal.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    journal.unlink()
    if lines is not None:
        journal.write_bytes(b"".join(whole[:lines]))
    size = sum(map(len, whole[: lines or 0]))
    expected = rf"journal.jsonl, byte {size}: records are missing at its end, .*--fresh"
    with pytest.raises(DamageError, match=expected):
        run_study(STUDY, folder)


def test_a_damaged_search_can_be_put_aside_unless_a_driver_is_alive(folder: SearchFolder) -> None:
    (folder.path / "journal.jsonl").write_bytes(b"not a journal\n")
    with folder.journal.lock(owner="another"), pytest.raises(BusyError, match="another, pid"):
        put_aside(folder)
    put_aside(folder)
    assert not folder.path.exists()
    (aside,) = folder.path.parent.glob("search.until-*")
    assert (aside / "journal.jsonl").read_bytes() == b"not a journal\n"
