"""Contract of every storage: what one machine writes, another machine reads, completely or not at all."""

import contextlib
import json
from pathlib import Path

import pytest

from emotune.errors import BusyError
from emotune.files import new_folder
from emotune.runtime.cluster.access_check import Requirements
from emotune.search.records import Closed, EpochDone
from emotune.storage import SCHEMES, Storage, open_storage, storage_at
from emotune.storage.backends import from_address
from emotune.storage.generations import MANIFEST
from emotune.study.folder import STOP_REQUEST, SearchFolder, find_searches
from emotune.study.journal import Journal, read_journal
from tests.runtime.test_trainables import add, begin, job
from tests.support.memory import MemoryStorage


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotune.storage.lease.STALE_S", 3.0)


@pytest.fixture(params=["file", "s3", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty storage of each kind."""
    monkeypatch.setitem(SCHEMES, "memory", MemoryStorage)
    if request.param == "s3":
        return open_storage(request.getfixturevalue("s3_url"))
    url = f"file://{tmp_path}/results" if request.param == "file" else f"memory://{tmp_path.name}"
    return open_storage(url)


@pytest.fixture
def elsewhere(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """The same storage on another machine, whose working copy is empty."""
    monkeypatch.setenv("EMOTUNE_CACHE", str(tmp_path / "another"))
    other = from_address(json.loads(json.dumps(storage.to_json())))
    assert storage.mounted == (other.local() == storage.local())
    return other


def epoch(number: int) -> EpochDone:
    return EpochDone(time=float(number), evaluation_id=0, config_id=0, epoch=number, metrics={"val/loss": 1.0})


def test_every_scheme_is_tested() -> None:
    assert set(SCHEMES) == {"file", "s3"}


def test_an_address_names_the_same_storage_on_another_machine(storage: Storage, elsewhere: Storage) -> None:
    assert elsewhere.describe() == storage.describe()
    assert (elsewhere / "a" / "b").describe() == (storage / "a" / "b").describe() == f"{storage}/a/b"
    requirements = Requirements(folder=storage / "a", token="t", stores={})
    received = Requirements.model_validate_json(requirements.model_dump_json()).folder
    assert type(received) is type(storage)
    assert received.describe() == (storage / "a").describe()


def test_a_path_in_a_working_copy_names_the_storage(storage: Storage) -> None:
    if isinstance(storage, MemoryStorage):
        assert storage_at(storage.local()).mounted, "this class does not implement of_working_copy"
    else:
        assert storage_at(storage.local("first/encoder")) == storage / "first" / "encoder"
        assert storage_at(storage.local()) == storage


def test_a_small_file_is_read_as_it_was_last_written(storage: Storage, elsewhere: Storage) -> None:
    assert elsewhere.read("first/report") is None
    storage.write("first/report", b"old")
    (storage / "first").write("report", b"new")
    assert elsewhere.read("first/report") == (elsewhere / "first").read("report") == b"new"
    assert elsewhere.folders() == ["first"]
    elsewhere.remove("first/report")
    elsewhere.remove("first/report")
    assert storage.read("first/report") is None


def test_a_folder_is_complete_while_its_last_file_exists(storage: Storage, elsewhere: Storage) -> None:
    here, there = storage / "configurations" / "epoch-000001", elsewhere / "configurations" / "epoch-000001"
    assert not there.download(last=MANIFEST)
    for content in ("first", "second"):
        here.local().mkdir(parents=True, exist_ok=True)
        for name in ("weights", MANIFEST):
            here.local(name).write_text(f"{content} {name}")
        here.upload(last=MANIFEST)
        assert there.download(last=MANIFEST)
        assert {path.name: path.read_text() for path in there.local().iterdir()} == {
            name: f"{content} {name}" for name in ("weights", MANIFEST)
        }
    assert (elsewhere / "configurations").folders() == ["epoch-000001"]
    assert elsewhere.size() == there.size() == len(f"second weightssecond {MANIFEST}")
    assert (elsewhere / "nothing").size() == 0
    here.clear(last=MANIFEST)
    assert not here.local().exists()
    assert not there.download(last=MANIFEST)


def test_a_folder_without_its_last_file_is_not_downloaded(storage: Storage, elsewhere: Storage) -> None:
    if storage.mounted:
        draft = new_folder(storage.local("epoch-000001"))
        draft.__enter__().joinpath("weights").write_bytes(b"w")
    else:
        (storage / "epoch-000001").write("weights", b"w")
    assert not (elsewhere / "epoch-000001").download(last=MANIFEST)


def test_a_journal_is_read_and_continued_on_another_machine(storage: Storage, elsewhere: Storage) -> None:
    first, second = SearchFolder.of("first", storage=storage), SearchFolder.of("first", storage=elsewhere)
    assert not second.begun
    assert not second.driver_alive
    assert read_journal(second.journal) == []
    with Journal.open(first.journal, owner="test") as journal:
        for number in range(7):
            journal.append(epoch(number), durable=number % 3 == 0)
        assert second.driver_alive
    assert not second.driver_alive
    assert [search.name for search in find_searches(elsewhere)] == ["first"]
    with Journal.open(second.journal, owner="test") as journal:
        assert journal.records == [epoch(number) for number in range(7)]
        journal.append(Closed(time=0, state="finished"))
    assert read_journal(first.journal) == [*map(epoch, range(7)), Closed(time=0, state="finished")]


def test_one_driver_at_a_time_holds_a_log_and_a_second_one_gets_its_name(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotune.storage.lease.RENEWAL_INTERVAL_S", 0.1)
    monkeypatch.setattr("emotune.storage.lease.POLL_INTERVAL_S", 0.2)
    log = storage.log("journal")
    with (
        contextlib.closing(log.open(owner="the first")),
        pytest.raises(BusyError, match=r"running this search \(the first"),
    ):
        storage.log("journal").open(owner="the second")
    with log.lock(owner="the third"):
        assert log.is_locked()
        with pytest.raises(BusyError, match=r"running this search \(the third"):
            storage.log("journal").open(owner="the second")
    assert not log.is_locked()
    storage.log("journal").open(owner="the second").close()


def test_a_renamed_folder_keeps_its_content_and_its_old_name_is_free(storage: Storage, elsewhere: Storage) -> None:
    folder = SearchFolder.of("first", storage=storage)
    folder.storage.write("crossval.json", b"{}")
    with Journal.open(folder.journal, owner="test") as journal:
        journal.append(epoch(0))
    with folder.journal.lock(owner="test"):
        renamed = folder.put_aside()
    (search,) = find_searches(elsewhere)
    assert search.name == renamed.name
    assert renamed.name.startswith("first.until-")
    assert read_journal(search.journal) == [epoch(0)]
    assert search.storage.read("crossval.json") == b"{}"
    assert not folder.begun
    assert folder.storage.read("crossval.json") is None


def test_a_request_to_stop_reaches_the_driver_and_can_be_removed(
    storage: Storage, elsewhere: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotune.study.folder.STOP_POLL_INTERVAL_S", 0.0)
    folder = SearchFolder.of("first", storage=storage)
    stop_request = folder.stop_watch()
    assert stop_request() is None
    SearchFolder.of("first", storage=elsewhere).request_stop()
    assert stop_request() == "stop"
    SearchFolder.of("first", storage=elsewhere).request_stop("now")
    assert stop_request() == "now"
    folder.forget_stop()
    assert folder.storage.read(STOP_REQUEST) is None
    assert folder.stop_watch()() is None


def test_a_trainable_continues_on_another_machine(storage: Storage, elsewhere: Storage) -> None:
    (storage / "mine").local().mkdir(parents=True, exist_ok=True)
    results = []
    for machine, epochs in ((storage, 2), (elsewhere, 3)):
        work = job(Path(), to=epochs).model_copy(update={"checkpoints": SearchFolder(machine, "mine").checkpoints(0)})
        results.append(begin(add, work).work(lambda: False))
    assert [[report.metrics["loss"] for report in reports] for reports in results] == [[2.0, 4.0], [2.0, 4.0, 6.0]]
