"""An MLflow server with passwords over PostgreSQL: both are killed under a search's mirror, and nothing is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import Mlflow, Postgres, postgres_programs, tracking
from emotune.search.records import Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import DELIVERY_FILE, read_delivery_state
from emotune.tracking.mlflow import MlflowMirror, deliver_all

PROGRAMS = postgres_programs()
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed: there is no initdb")


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Postgres, Mlflow]]:
    assert PROGRAMS is not None
    with tracking(tmp_path, programs=PROGRAMS) as both:
        assert both[1].password is not None
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", both[1].password)
        monkeypatch.setenv("PGPASSWORD", both[0].password)  # to read the database itself, which is faster than HTTP
        yield both


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def folder_of(path: Path) -> Path:
    path.mkdir()
    return path


def test_after_kills_of_server_and_database_all_records_arrive_and_no_password_is_logged(
    servers: tuple[Postgres, Mlflow],
    uri: str,
    tmp_path: Path,
    records: list[Record],
    content: Callable[..., dict[str, dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    postgres, server = servers
    caplog.set_level(logging.DEBUG, logger="emotune")
    folder = folder_of(tmp_path / "search")
    mirror = MlflowMirror(server.uri, folder=LocalStorage(folder), name="demo")
    third = len(records) // 3
    for number, record in enumerate(records[:third]):
        mirror(record, number)
    wait_for(lambda: read_delivery_state(LocalStorage(folder)).delivered == third)

    postgres.kill()
    for number, record in enumerate(records[third : 2 * third], third):
        mirror(record, number)
    wait_for(lambda: "cannot be used now" in caplog.text)
    assert read_delivery_state(LocalStorage(folder)).delivered == third
    postgres.start()
    wait_for(lambda: read_delivery_state(LocalStorage(folder)).delivered == 2 * third)

    caplog.clear()
    server.kill()
    for number, record in enumerate(records[2 * third :], 2 * third):
        mirror(record, number)
    wait_for(lambda: "cannot be used now" in caplog.text)
    server.start()
    assert mirror.close(60)

    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder_of(tmp_path / "direct")), name="direct")
    assert content(postgres.uri) == content(uri, name="direct")
    texts = [caplog.text, (folder / DELIVERY_FILE).read_text(), server.log.read_text(), postgres.log.read_text()]
    texts.append(postgres.run("pg_dump", "mlflow").decode())
    for secret in (server.password, postgres.password):
        assert secret is not None
        assert not any(secret in text for text in texts)
