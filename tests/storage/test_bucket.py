"""Promises of logs and folders in a bucket, against a real S3 server: nothing is lost, and one driver writes."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from emotune.cli.actions.run import put_aside
from emotune.errors import BusyError, SearchFailedError, SettingsError, StorageRefusedError
from emotune.search.records import Closed, EpochDone
from emotune.storage import lease, object_log, patience, remote
from emotune.storage.remote import address_of, folder_at, pull, pull_folder, push, push_folder, remote_of, remove_folder
from emotune.study.folder import SearchFolder, find_searches, storage_folder
from emotune.study.journal import Journal, read_journal
from tests.storage.conftest import Server

ROUNDS = 50
"""So often two drivers write at once."""


def epoch(number: int) -> EpochDone:
    return EpochDone(time=time.time(), evaluation_id=0, config_id=0, epoch=number, metrics={"val/loss": 1.0})


@pytest.fixture
def folder(place: str, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """The folder of a search in the bucket, whose leases are soon stale."""
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE_SECONDS", 3.0)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(object_log, "LINES", 4)
    found = SearchFolder.of("first", storage=storage_folder(place))
    found.path.mkdir()
    return found


@pytest.fixture
def elsewhere(folder: SearchFolder, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """The same on another machine: nothing is known there."""
    monkeypatch.setenv("EMOTUNE_CACHE", str(tmp_path / "another"))
    found = SearchFolder.of("first", storage=storage_folder(place))
    assert found.path != folder.path
    found.path.mkdir()
    return found


def test_a_journal_comes_back_on_another_machine(folder: SearchFolder, elsewhere: SearchFolder) -> None:
    assert not folder.begun
    with Journal.open(folder.journal, owner="test") as journal:
        for number in range(11):
            journal.append(epoch(number), durable=number % 3 == 0)
        assert folder.driver_alive
        written = list(journal.records)
    assert not folder.driver_alive
    assert [one.path for one in find_searches(elsewhere.path.parent)] == [elsewhere.path]
    assert read_journal(elsewhere.journal) == written
    with Journal.open(elsewhere.journal, owner="test") as journal:
        journal.append(Closed(time=0, state="finished"))
    assert read_journal(folder.journal) == [*written, Closed(time=0, state="finished")]


def test_a_living_driver_is_named_to_whoever_comes_from_another_machine(
    folder: SearchFolder, elsewhere: SearchFolder
) -> None:
    with (
        Journal.open(folder.journal, owner="the first"),
        pytest.raises(BusyError, match=r"another driver is alive on this search \(the first, pid "),
    ):
        Journal.open(elsewhere.journal, owner="the second")


def suspended(folder: SearchFolder) -> Journal:
    """A driver that does not renew its lease, as if its process had been suspended; it can still write."""
    journal = Journal.open(folder.journal, owner="the first")
    log = journal._log
    assert isinstance(log, object_log.ObjectLog)
    log._lease._over.set()
    log._lease._thread.join()
    return journal


def test_of_two_drivers_at_once_never_both_write(
    folder: SearchFolder, elsewhere: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one wakes up about when the second one takes over; every record that was acknowledged is there."""
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.15)
    monkeypatch.setattr(object_log, "LINES", 32)
    draw = random.Random(0)
    acknowledged: list[EpochDone] = []
    refused = 0

    def write(journal: Journal, count: int) -> bool:
        for number in range(count):
            record = epoch(number)
            try:
                journal.append(record)
            except SearchFailedError:
                return False
            acknowledged.append(record)
        return True

    def wake(journal: Journal, answers: list[bool]) -> None:
        answers.append(write(journal, 4))

    for _ in range(ROUNDS):
        first = suspended(folder)
        assert first.records == acknowledged
        answers: list[bool] = []
        thread = threading.Timer(draw.uniform(0.1, 0.3), wake, (first, answers))
        thread.start()
        with Journal.open(elsewhere.journal, owner="the second") as second:
            thread.join()
            assert write(second, 3)
            assert not write(first, 1)
        first.close()
        refused += not answers[0]
    assert read_journal(folder.journal) == acknowledged
    assert 0 < refused < ROUNDS


def test_a_driver_that_died_on_this_machine_is_not_waited_for(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from emotune.study.journal import Journal; "
        "Journal.open(Path(sys.argv[1]), owner='dead'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder.journal)], check=False).returncode == 9
    assert folder.begun
    monkeypatch.setattr(lease, "STALE_SECONDS", 1e6)
    Journal.open(folder.journal, owner="next").close()


def test_when_the_server_stays_away_the_search_ends_and_nothing_is_lost(
    folder: SearchFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder.journal, owner="test")
    journal.append(epoch(1))
    server.kill()
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    with pytest.raises(SearchFailedError, match="nothing is lost, start the same search again"):
        journal.append(epoch(3))
    with pytest.raises(SearchFailedError, match="could not be written"):
        journal.append(epoch(4))
    known = list(journal.records)
    journal.close()
    server.restart()
    monkeypatch.setattr(patience, "PATIENCE", 30.0)
    with Journal.open(folder.journal, owner="next") as again:
        assert again.records == known
        again.append(epoch(3))


def test_a_folder_counts_elsewhere_when_its_last_file_is_there_and_not_after_it_was_removed(
    folder: SearchFolder, elsewhere: SearchFolder
) -> None:
    here, there = folder.path / "a" / "epoch-000001", elsewhere.path / "a" / "epoch-000001"
    here.mkdir(parents=True)
    for name in ("weights", "manifest.json"):
        (here / name).write_text(f"{name} 1")
    push(here / "weights")
    assert not pull_folder(there, last="manifest.json")
    push_folder(here, last="manifest.json")
    assert pull_folder(there, last="manifest.json")
    assert {one.name: one.read_text() for one in there.iterdir()} == {
        "weights": "weights 1",
        "manifest.json": "manifest.json 1",
    }
    for name in ("weights", "manifest.json"):
        (here / name).write_text(f"{name} 2")
    push_folder(here, last="manifest.json")
    assert pull_folder(there, last="manifest.json")
    assert (there / "weights").read_text() == "weights 2"
    remove_folder(here)
    assert not pull_folder(there, last="manifest.json")


def test_a_search_is_put_aside_with_all_it_has_and_its_name_is_free(folder: SearchFolder) -> None:
    with Journal.open(folder.journal, owner="test") as journal:
        for number in range(9):
            journal.append(epoch(number))
    (folder.path / "crossval.json").write_text("{}")
    push(folder.path / "crossval.json")
    before = read_journal(folder.journal)
    put_aside(folder)
    (aside,) = find_searches(folder.path.parent)
    assert aside.name.startswith("first.until-")
    assert read_journal(aside.journal) == before
    assert pull(aside.path / "crossval.json")
    assert not folder.begun
    assert not pull(folder.path / "crossval.json")


def test_a_request_to_stop_reaches_the_driver_on_another_machine(
    folder: SearchFolder, elsewhere: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotune.study.folder.LOOK_SECONDS", 0.0)
    watch = folder.stop_watch()
    assert not watch()
    elsewhere.request_stop()
    assert watch()
    folder.forget_stop()
    assert not folder.stop_watch()()


def test_an_address_names_the_same_place_on_every_machine(folder: SearchFolder, elsewhere: SearchFolder) -> None:
    checkpoints = folder.checkpoints(3)
    assert folder_at(address_of(checkpoints)) == elsewhere.checkpoints(3)
    assert remote_of(checkpoints) == remote_of(elsewhere.checkpoints(3))


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://key:secret@bucket/prefix", "s3://bucket/p?x=1"])
def test_a_url_that_names_no_bucket_or_has_secrets_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected s3://BUCKET/PREFIX"):
        storage_folder(url)


def test_a_bucket_that_is_not_there_and_wrong_keys_are_named_in_a_line(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageRefusedError, match=r"s3://absent: .*check the bucket's name, AWS_ENDPOINT_URL"):
        storage_folder("s3://absent/prefix")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    remote._bucket.cache_clear()
    with pytest.raises(StorageRefusedError, match="AWS_SECRET_ACCESS_KEY"):
        storage_folder(place)


def test_a_server_that_ignores_conditions_is_refused(folder: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = remote_of(folder.path)
    assert bucket is not None
    put = bucket.bucket._s3.put_object

    def put_anyway(**given: Any) -> Any:
        return put(**{name: value for name, value in given.items() if not name.startswith("If")})

    monkeypatch.setattr(bucket.bucket._s3, "put_object", put_anyway)
    with pytest.raises(SettingsError, match="does not know conditional writes"):
        Journal.open(folder.journal, owner="test")
