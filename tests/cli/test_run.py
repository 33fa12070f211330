"""The end of a run: its summary and exit code, and old results that are kept."""

from pathlib import Path

import pytest

from emotune.cli.actions.run import put_aside, resuming_command, summarise
from emotune.errors import BusyError, DamageError, SearchFailedError
from emotune.runtime.driver import run_study
from emotune.runtime.experiments import ExperimentWorkload
from emotune.search.records import Closed
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.runtime.test_coordinator import STUDY, without_results_at, write_finished

FINISHED = Closed(time=0, state="finished")


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    folder = SearchFolder.of("search", storage=LocalStorage(tmp_path))
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize(("failed_at", "code"), [(100, 0), (9, 1)])
def test_without_a_result_at_the_largest_budget_because_of_failures_the_exit_code_is_1(
    folder: SearchFolder, capsys: pytest.CaptureFixture[str], failed_at: int, code: int
) -> None:
    records = without_results_at(failed_at, write_finished(folder.path / "journal.jsonl"))
    assert summarise(STUDY, [*records, FINISHED], folder=folder) == code
    printed = capsys.readouterr().err
    assert ("no configuration has a result at 9 epochs" in printed) == bool(code)
    assert "best: val/loss" in printed


@pytest.mark.parametrize(("default", "option"), [(True, ""), (False, " --storage {}")])
def test_the_summary_of_a_search_has_the_command_that_writes_its_report(
    folder: SearchFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    default: bool, option: str,
) -> None:  # fmt: skip
    if default:
        monkeypatch.setenv("EMOTUNE_STORAGE", str(folder.root))
    records = write_finished(folder.path / "journal.jsonl")
    summarise(STUDY, [*records, FINISHED], folder=folder)
    assert f"\nreport: `emotune report search{option.format(folder.root)}`\n" in capsys.readouterr().err


def test_a_search_without_any_result_is_an_error_that_names_the_command_to_type(folder: SearchFolder) -> None:
    records = write_finished(folder.path / "journal.jsonl")
    for epochs in (1, 3, 9):
        records = without_results_at(epochs, records)
    with pytest.raises(SearchFailedError, match="no evaluation of 'search' has a result; `emotune status search`"):
        summarise(STUDY, [*records, FINISHED], folder=folder)


@pytest.mark.parametrize(("reason", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("", 0)])
def test_the_summary_of_an_interrupted_search_says_how_to_resume_it(
    folder: SearchFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reason: str, code: int
) -> None:
    monkeypatch.setattr("sys.argv", ["emotune", "search", "smoke", "--name", "two words", "--fresh"])
    records = [*write_finished(folder.path / "journal.jsonl"), Closed(time=0, state="interrupted", reason=reason)]
    assert summarise(STUDY, records, folder=folder) == code
    expected = "stopped; everything is saved. Resume with:\n  emotune search smoke --name 'two words'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/usr/lib/emotune/__main__.py", "python -m emotune"),
        ("/usr/lib/emotune/__main__.py", "python3 -X dev -m emotune"),
        ("tune_pretrain.py", "python tune_pretrain.py"),
        ("./my_search.py", ".venv/bin/python ./my_search.py"),
        ("/usr/bin/emotune", "/usr/bin/python /usr/bin/emotune"),
    ],
)
def test_the_command_that_resumes_a_search_is_one_that_can_be_typed(program: str, typed: str) -> None:
    options = ["search", "--fresh", "smoke", "--name", "two words"]
    expected = "/usr/bin/emotune" if program == "/usr/bin/emotune" else typed
    command = resuming_command([program, *options], typed=[*typed.split(), *options])
    assert command == f"{expected} search smoke --name 'two words'"


@pytest.mark.parametrize("lines", [None, 0, 1, 30])
def test_a_journal_that_lost_records_is_not_resumed(folder: SearchFolder, lines: int | None) -> None:
    records = write_finished(folder.path / "journal.jsonl")
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
        run_study(ExperimentWorkload(STUDY), folder)


def test_a_damaged_search_is_renamed_unless_a_driver_is_running_it(folder: SearchFolder) -> None:
    (folder.path / "journal.jsonl").write_bytes(b"not a journal\n")
    with folder.journal.lock(owner="another"), pytest.raises(BusyError, match="another, pid"):
        put_aside(folder)
    put_aside(folder)
    assert not folder.path.exists()
    (renamed,) = folder.path.parent.glob("search.until-*")
    assert (renamed / "journal.jsonl").read_bytes() == b"not a journal\n"
