"""``emotune stop`` and the extension by ``emotune resume``: requests that cannot work are refused in a line."""

from pathlib import Path
from typing import Any

import pytest

from emotune.cli.actions import resume
from emotune.cli.actions.resume import ResumeChanges
from emotune.cli.actions.run import Destination
from emotune.search.stopping import Amount, Hours
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from tests.cli.test_program import run
from tests.runtime.test_coordinator import opening

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
