"""Promises of a bucket beyond those of every storage, against a real S3 server: outages, leases, refusals."""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from emotune.errors import BusyError, SearchFailedError, SettingsError, StorageAwayError, StorageRefusedError
from emotune.search.records import EpochDone
from emotune.storage import lease, object_log, open_storage, patience
from emotune.storage.bucket import Bucket
from emotune.storage.s3 import S3Storage, _open_bucket
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from tests.support.s3 import Server

ROUNDS = 50
"""Times that two drivers write at once."""


def epoch(number: int) -> EpochDone:
    return EpochDone(time=time.time(), evaluation_id=0, config_id=0, epoch=number, metrics={"val/loss": 1.0})


@pytest.fixture
def folder(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """The folder of a search in the bucket, with leases that are stale after 3 s."""
    monkeypatch.setattr(lease, "RENEWAL_INTERVAL_S", 0.1)
    monkeypatch.setattr(lease, "STALE_S", 3.0)
    monkeypatch.setattr(lease, "POLL_INTERVAL_S", 0.05)
    monkeypatch.setattr(object_log, "LINES", 4)
    return SearchFolder.of("first", storage=open_storage(s3_url))


@pytest.fixture
def elsewhere(folder: SearchFolder, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """The same folder on another machine, which has another cache."""
    monkeypatch.setenv("EMOTUNE_CACHE", str(tmp_path / "another"))
    there = SearchFolder.of("first", storage=open_storage(s3_url))
    assert there.path != folder.path
    return there


def test_keys_in_the_bucket_and_names_in_the_cache_stay_as_they_are(folder: SearchFolder) -> None:
    """Results of earlier versions must be found."""
    storage = folder.storage
    assert isinstance(storage, S3Storage)
    with Journal.open(folder.journal, owner="test") as journal:
        for number in range(5):
            journal.append(epoch(number))
    checkpoint = folder.checkpoints(7) / "epoch-000009"
    checkpoint.local().mkdir(parents=True)
    checkpoint.local("manifest.json").write_text("{}")
    checkpoint.upload(last="manifest.json")
    folder.request_stop()
    prefix = f"{storage.prefix}/first"
    assert [entry.key for entry in storage.bucket.entries(prefix)] == [
        f"{prefix}/configurations/00007/epoch-000009/manifest.json",
        f"{prefix}/journal.lease",
        f"{prefix}/journal/000000.jsonl",
        f"{prefix}/journal/000001.jsonl",
        f"{prefix}/stop",
    ]
    url = f"s3://{storage.bucket_name}/{storage.prefix}"
    record = json.loads((storage.cache / ".remote").read_text())
    server = os.environ["AWS_ENDPOINT_URL"]
    assert storage.cache.name == hashlib.sha256(f"{server} {url}".encode()).hexdigest()[:16]
    assert record == {"url": url, "server": server, "id": record["id"]}
    assert folder.path == storage.cache / "first"


def test_a_driver_that_is_alive_is_named_to_a_driver_on_another_machine(
    folder: SearchFolder, elsewhere: SearchFolder
) -> None:
    with (
        Journal.open(folder.journal, owner="the first"),
        pytest.raises(BusyError, match=r"another driver is running this search \(the first, pid "),
    ):
        Journal.open(elsewhere.journal, owner="the second")


def suspended(folder: SearchFolder) -> Journal:
    """Return the journal of a driver that does not renew its lease, like a suspended process; it can still write."""
    journal = Journal.open(folder.journal, owner="the first")
    writer = journal._writer
    assert isinstance(writer, object_log.ObjectLogWriter)
    writer._lease._over.set()
    writer._lease._thread.join()
    return journal


def test_of_two_drivers_at_once_never_both_write(
    folder: SearchFolder, elsewhere: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first driver resumes at about the moment when the second takes over. Every acknowledged record is kept."""
    monkeypatch.setattr(lease, "STALE_S", 0.15)
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
        "import os, sys; from pathlib import Path; from emotune.study.folder import SearchFolder; "
        "from emotune.study.journal import Journal; "
        "journal = Journal.open(SearchFolder.at(Path(sys.argv[1])).journal, owner='dead'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(folder.path)], check=False).returncode == 9
    storage = folder.storage
    assert isinstance(storage, S3Storage)
    held = storage.bucket.get(f"{storage.prefix}/first/journal.lease")
    assert held is not None
    assert b'"released": false' in held.body
    monkeypatch.setattr(lease, "STALE_S", 1e6)
    Journal.open(folder.journal, owner="next").close()


def test_a_renewal_that_was_stored_but_not_answered_does_not_lose_the_lease(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = folder.storage
    assert isinstance(storage, S3Storage)
    put = Bucket.put
    unanswered = iter([True, True, False] * 100)

    def lose_answers(bucket: Bucket, key: str, body: bytes, *, replaces: str | None) -> str:
        etag = put(bucket, key, body, replaces=replaces)
        if key.endswith(".lease") and replaces is not None and b'"beat": 0' not in body and next(unanswered):
            raise StorageAwayError("the connection was lost")
        return etag

    with Journal.open(folder.journal, owner="test") as journal:
        monkeypatch.setattr(Bucket, "put", lose_answers)
        version = storage.bucket.get(f"{storage.prefix}/first/journal.lease")
        for number in range(5):
            time.sleep(0.15)
            journal.append(epoch(number))
        journal.check()
        assert storage.bucket.get(f"{storage.prefix}/first/journal.lease") != version
    assert len(read_journal(folder.journal)) == 5


def test_when_the_server_stays_away_the_search_ends_and_nothing_is_lost(
    folder: SearchFolder, s3_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.open(folder.journal, owner="test")
    journal.append(epoch(1))
    s3_server.kill()
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    with pytest.raises(SearchFailedError, match="nothing is lost, start the same search again"):
        journal.append(epoch(3))
    with pytest.raises(SearchFailedError, match="could not be written"):
        journal.append(epoch(4))
    known = list(journal.records)
    journal.close()
    s3_server.restart()
    monkeypatch.setattr(patience, "PATIENCE_S", 30.0)
    with Journal.open(folder.journal, owner="next") as again:
        assert again.records == known
        again.append(epoch(3))


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://key:secret@bucket/prefix", "s3://bucket/p?x=1"])
def test_a_url_that_names_no_bucket_or_has_secrets_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected s3://BUCKET/PREFIX"):
        open_storage(url)


def test_a_bucket_that_is_not_there_and_wrong_keys_are_named_in_a_line(
    s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageRefusedError, match=r"s3://absent: .*check the bucket's name, AWS_ENDPOINT_URL"):
        open_storage("s3://absent/prefix")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    _open_bucket.cache_clear()
    with pytest.raises(StorageRefusedError, match="AWS_SECRET_ACCESS_KEY"):
        open_storage(s3_url)


def test_a_server_that_ignores_conditions_is_refused(folder: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = folder.storage
    assert isinstance(storage, S3Storage)
    client = storage.bucket._s3
    put = client.put_object

    def put_anyway(**given: Any) -> Any:
        return put(**{name: value for name, value in given.items() if not name.startswith("If")})

    monkeypatch.setattr(client, "put_object", put_anyway)
    with pytest.raises(SettingsError, match="does not support conditional writes"):
        Journal.open(folder.journal, owner="test")
