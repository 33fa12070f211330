"""The content of MLflow equals the journal after outages, restarts and deletions."""

import contextlib
import fcntl
import getpass
import http.server
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from benchmarks.example_journals import search_journal, search_study
from emotune.search.records import Opened, Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import DELIVERY_FILE, mlflow_runs, read_delivery_state, view_url, write_delivery_state
from emotune.tracking.mlflow import MlflowMirror, deliver_all
from emotune.tracking.uri import public_uri
from emotune.tracking.view import VIEW_TAG
from tests.support.properties import examples
from tests.work import count_calls

Content = Callable[..., dict[str, dict[str, Any]]]
CANARY = "s3cr3t-canary"
FEW_CALLS = 200


def folder_of(path: Path, *, name: str = "folder") -> Path:
    folder = path / name
    folder.mkdir(exist_ok=True)
    return folder


def test_two_processes_do_not_create_the_tables_of_a_database_at_the_same_time(
    template: Path, tmp_path: Path, records: list[Record]
) -> None:
    del template  # MLflow's modules are imported
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # as another process that creates the tables
    mirror = MlflowMirror(f"sqlite:///{tmp_path / 'mlflow.db'}", folder=LocalStorage(folder_of(tmp_path)), name="demo")
    mirror.catch_up(records)
    time.sleep(0.3)
    assert not (tmp_path / "mlflow.db").exists()
    os.close(folder)
    assert mirror.close(60)
    assert "metrics" in tables_of(tmp_path / "mlflow.db")


def tables_of(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def most_calls(mirror: MlflowMirror, records: list[Record], *, first: int) -> int:
    """Send records to a mirror and return the most calls for one record; a query of a database makes thousands."""
    return max(count_calls(partial(mirror, record, number)) for number, record in enumerate(records, first))


def test_a_search_is_mirrored_and_sending_it_again_changes_nothing(
    uri: str, tmp_path: Path, records: list[Record], content: Content
) -> None:
    folder = folder_of(tmp_path)
    mirror = MlflowMirror(uri, folder=LocalStorage(folder), name="demo")
    most_calls(mirror, records, first=0)
    assert mirror.close(60)
    first = content(uri)
    assert set(first) == {"search", "0", "1", "2"}
    assert [point[:2] for point in first["0"]["points"] if point[0] == "val/loss"] == [
        ("val/loss", 1), ("val/loss", 2), ("val/loss", 3),
    ]  # fmt: skip
    assert first["0"]["name"] == "c0000-lr3e-4-layers2"
    assert first["search"]["status"] == "FINISHED"
    (folder / DELIVERY_FILE).unlink()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    assert content(uri) == first
    assert set(mlflow_runs(LocalStorage(folder))) == {0, 1, 2}
    assert (view_url(LocalStorage(folder)) or "").startswith("http://127.0.0.1:5000/#/experiments/")


def test_artifacts_are_stored_beside_the_database(
    uri: str, tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder_of(tmp_path, name="elsewhere")
    monkeypatch.chdir(elsewhere)
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path)), name="demo")
    assert len(list((tmp_path / "mlartifacts").rglob("study.yaml"))) == 1
    assert not list(elsewhere.iterdir())


@examples(0.5)
@given(
    cuts=st.lists(st.tuples(st.integers(1, 15), st.sampled_from(["kept", "old", "lost"])), max_size=3),
    new=st.uuids(),
)
def test_restarts_at_any_record_give_the_same_content(
    uri: str,
    tmp_path: Path,
    records: list[Record],
    content: Content,
    cuts: list[tuple[int, str]],
    new: object,
) -> None:
    name = f"n{new}"
    folder = folder_of(tmp_path, name=name)
    for cut, cursor in sorted(cuts):
        before = (folder / DELIVERY_FILE).read_bytes() if (folder / DELIVERY_FILE).exists() else b""
        mirror = MlflowMirror(uri, folder=LocalStorage(folder), name=name)
        mirror.catch_up(records[: cut - 1])
        mirror(records[cut - 1], cut - 1)
        assert mirror.close(60)
        if cursor == "old":  # as if it had been killed between sending and noting that
            (folder / DELIVERY_FILE).write_bytes(before)
        if cursor == "lost":
            (folder / DELIVERY_FILE).unlink()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name=name)
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path, name="whole")), name="whole")
    assert content(uri, name=name) == content(uri, name="whole")
    assert read_delivery_state(LocalStorage(folder)).delivered == len(records)


def test_a_locked_database_does_not_block_the_search(
    uri: str, tmp_path: Path, records: list[Record], content: Content
) -> None:
    mirror = MlflowMirror(uri, folder=LocalStorage(folder_of(tmp_path)), name="demo")
    most_calls(mirror, records[:4], first=0)
    lock = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, timeout=30)
    lock.execute("BEGIN EXCLUSIVE")
    assert most_calls(mirror, records[4:], first=4) < FEW_CALLS
    assert not mirror.close(1.0)
    lock.execute("ROLLBACK")
    lock.close()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path)), name="demo")
    assert set(content(uri)) == {"search", "0", "1", "2"}


def test_all_records_are_sent_again_to_another_database_or_after_deletion(
    uri: str, template: Path, tmp_path: Path, records: list[Record], content: Content
) -> None:
    folder, other = folder_of(tmp_path), f"sqlite:///{folder_of(tmp_path, name='other') / 'mlflow.db'}"
    (tmp_path / "other" / "mlflow.db").write_bytes(template.read_bytes())
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    assert deliver_all(records, tracking_uri=other, folder=LocalStorage(folder), name="demo")
    assert content(other) == content(uri)
    client = MlflowClient(tracking_uri=other)
    client.delete_experiment(read_delivery_state(LocalStorage(folder)).experiment_id)
    assert deliver_all(records, tracking_uri=other, folder=LocalStorage(folder), name="demo")
    assert content(other) == content(uri)


def test_an_experiment_deleted_during_the_search_is_restored(
    uri: str, tmp_path: Path, records: list[Record], content: Content
) -> None:
    folder = folder_of(tmp_path)
    mirror = MlflowMirror(uri, folder=LocalStorage(folder), name="demo")
    most_calls(mirror, records[:5], first=0)
    deadline = time.monotonic() + 30
    while read_delivery_state(LocalStorage(folder)).delivered < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    MlflowClient(tracking_uri=uri).delete_experiment(read_delivery_state(LocalStorage(folder)).experiment_id)
    most_calls(mirror, records[5:], first=5)
    assert mirror.close(60)
    assert {key: run["status"] for key, run in content(uri).items()} == {
        "search": "FINISHED", "0": "FINISHED", "1": "FAILED", "2": "FAILED",
    }  # fmt: skip


def test_a_run_the_user_deleted_stays_deleted(
    uri: str, tmp_path: Path, records: list[Record], content: Content
) -> None:
    folder = folder_of(tmp_path)
    assert deliver_all(records[:8], tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    client = MlflowClient(tracking_uri=uri)
    run = mlflow_runs(LocalStorage(folder))[0]
    client.delete_run(run)
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert content(uri)["2"]["status"] == "FAILED"


def test_a_restarted_search_gets_new_runs(uri: str, tmp_path: Path, records: list[Record]) -> None:
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path, name="old")), name="demo")
    first = records[0]
    assert isinstance(first, Opened)
    fresh = [first.model_copy(update={"time": first.time + 60}), *records[1:3]]
    assert deliver_all(fresh, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path)), name="demo")
    client = MlflowClient(tracking_uri=uri)
    experiment = read_delivery_state(LocalStorage(tmp_path / "folder")).experiment_id
    assert len(client.search_runs([experiment])) == 4 + 3


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def refusing() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_refused_password_is_logged_once_without_the_password(
    refusing: int, tmp_path: Path, records: list[Record], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mirror = MlflowMirror(
        f"http://user:{CANARY}@127.0.0.1:{refusing}", folder=LocalStorage(folder_of(tmp_path)), name="demo"
    )
    assert most_calls(mirror, records, first=0) < FEW_CALLS
    time.sleep(2)
    assert not mirror.close(0.5)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("emotune")]
    assert [f"MLflow at http://127.0.0.1:{refusing}" in line for line in ours] == [True, True]
    assert "refuses the password" in ours[0]
    assert CANARY not in caplog.text


def test_public_uris_lack_only_the_credentials() -> None:
    assert public_uri("https://me:p@ss@host:1/x") == "https://host:1/x"
    assert public_uri("sqlite:////data/a@b/mlflow.db") == "sqlite:////data/a@b/mlflow.db"
    assert public_uri("postgresql://h/d?password=x&a=1") == "postgresql://h/d?password=...&a=1"


def test_a_damaged_delivery_state_is_ignored(uri: str, tmp_path: Path, records: list[Record], content: Content) -> None:
    folder = folder_of(tmp_path)
    for damage in ("", "{", json.dumps({"delivered": -1})):
        (folder / DELIVERY_FILE).write_text(damage)
        assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    assert set(content(uri)) == {"search", "0", "1", "2"}


def test_runs_name_their_data_source_and_account(uri: str, tmp_path: Path) -> None:
    records, folder = search_journal(search_study(evaluations=2, max_epochs=3), name="six"), folder_of(tmp_path)
    for _ in range(2):
        assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="six")
        (folder / DELIVERY_FILE).write_text("{}")
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("emotune/six")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3
    for run in runs:
        inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
        assert {context: dataset.name for context, dataset in inputs.items()} == {
            "train": "dreamer-train", "validation": "dreamer-validation",
        }  # fmt: skip
        assert {dataset.digest for dataset in inputs.values()} == {"5f1d7c0a9be24367"}
        assert run.data.tags["mlflow.source.name"] == "emotune search"
        assert run.data.tags["mlflow.user"] == getpass.getuser()
        assert f"{folder}/report.html" in run.data.tags["mlflow.note.content"]


def test_what_an_older_version_sent_gets_its_view_when_it_is_synchronised(
    uri: str, tmp_path: Path, records: list[Record]
) -> None:
    folder = folder_of(tmp_path)
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    state = read_delivery_state(LocalStorage(folder))
    client = MlflowClient(tracking_uri=uri)
    client.delete_experiment_tag(state.experiment_id, VIEW_TAG)
    client.delete_tag(state.runs["0"], "mlflow.note.content")
    client.set_experiment_tag(state.experiment_id, "mlflow.note.content", "My own words.")
    write_delivery_state(state.model_copy(update={"content": 0}), folder=LocalStorage(folder))
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    tags = client.get_experiment(state.experiment_id).tags
    assert VIEW_TAG in tags
    assert tags["mlflow.note.content"] == "My own words."
    assert "mlflow.note.content" in client.get_run(state.runs["0"]).data.tags
