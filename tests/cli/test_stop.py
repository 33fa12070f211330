"""``emotune stop`` and the extension by ``emotune resume``: requests that cannot work are refused in a line."""

import json
from pathlib import Path
from typing import Any

import pytest

import emotune
from emotune.cli.actions import resume
from emotune.cli.actions.resume import ResumeChanges
from emotune.cli.actions.run import Destination
from emotune.errors import SettingsError
from emotune.search.stopping import Amount, Hours
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from tests.cli.test_program import run
from tests.runtime.test_coordinator import opening
from tests.study.test_resumption import started

__all__ = ["run"]


@pytest.fixture
def begin(tmp_path: Path) -> Any:
    """Return a function that opens the journal of a run, as its driver does."""

    def open_journal(name: str, **changes: Any) -> Journal:
        folder = SearchFolder.of(name, storage=LocalStorage(tmp_path / "results"))
        folder.path.mkdir(parents=True)
        journal = Journal.open(folder.journal, owner=name)
        journal.append(opening(1).model_copy(update={"name": name, **changes}))
        return journal

    return open_journal


def requested(tmp_path: Path, name: str) -> bytes | None:
    return SearchFolder.of(name, storage=LocalStorage(tmp_path / "results")).storage.read("stop")


def test_a_single_run_is_stopped_with_now_only(run: Any, begin: Any, tmp_path: Path) -> None:
    with begin("long", purpose="pretrain"):
        outcome = run("stop", "long")
        assert outcome.code == 2
        assert "'long' is one run, which ends after its last epoch; `emotune stop long --now` saves" in outcome.err
        assert requested(tmp_path, "long") is None
        assert run("stop", "long", "--now").code == 0
        assert requested(tmp_path, "long") == b"now\n"


def test_a_search_in_a_tuner_is_stopped_in_its_own_program(run: Any, begin: Any, tmp_path: Path) -> None:
    study = opening(1).study | {"trainable": {"kind": "tuner", "time_attr": "training_iteration"}}
    with begin("mine", study=study):
        outcome = run("stop", "mine", "--now")
    assert (outcome.code, "ray.tune.Tuner of its own; stop it there, with Ctrl-C" in outcome.err) == (2, True)
    assert requested(tmp_path, "mine") is None


@pytest.mark.parametrize(
    ("now", "how"),
    [(False, "starts no evaluation, and ends after its 1 running"), (True, "saves checkpoints of its 1")],
)
def test_the_status_of_a_search_has_the_request_until_the_search_has_stopped(
    run: Any, begin: Any, tmp_path: Path, now: bool, how: str
) -> None:
    with begin("first") as journal:
        journal.append(started(0))
        assert "stopping" not in run("status", "first").out
        assert "stop_requested" not in emotune.status("first", storage=tmp_path / "results")
        emotune.stop("first", now=now, storage=tmp_path / "results")
        document = json.loads(run("status", "first", "--json").out)
        assert (document["state"], document["stop_requested"]) == ("running", "now" if now else "stop")
        assert document == emotune.status("first", storage=tmp_path / "results")
        outcome = run("status", "first").out
        assert f"a stop was requested: the search {how}" in outcome
        assert "stopping" in outcome.splitlines()[0]
        assert "stopping" in run("status").out
    assert "stop_requested" not in emotune.status("first", storage=tmp_path / "results")
    assert "stop was requested" not in run("status", "first").out


def test_stop_in_python_refuses_what_the_command_refuses(begin: Any, tmp_path: Path) -> None:
    begin("ended").close()
    with begin("long", purpose="pretrain"), pytest.raises(SettingsError, match="'long' is one run"):
        emotune.stop("long", storage=tmp_path / "results")
    with pytest.raises(SettingsError, match="'ended' is not running; there is nothing to stop"):
        emotune.stop("ended", storage=tmp_path / "results")


def test_only_a_search_is_extended(run: Any, begin: Any) -> None:
    begin("long", purpose="pretrain").close()
    outcome = run("resume", "long", "--evaluations", "+6", "--hours", "+2")
    assert outcome.code == 2
    assert "'long' is not a search of configurations; leave --evaluations and --hours out" in outcome.err


def test_resume_extends_as_search_does(run: Any, begin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("first").close()
    given: list[ResumeChanges] = []
    monkeypatch.setattr(resume, "resume_run", lambda name, *, changes, **options: given.append(changes) or 0)
    assert run("resume", "first", "--evaluations", "+6", "--hours", "+2").code == 0
    root = LocalStorage(tmp_path / "results")
    records = read_journal(SearchFolder.of("first", storage=root).journal)
    options = resume.recorded_options(records, Destination("first", root, None), changes=given[0])
    assert (options.amounts, options.hours) == ({"evaluations": Amount(6, more=True)}, Hours(2, more=True))
