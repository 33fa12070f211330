"""A real MLflow server that dies and comes back: the search does not notice, and nothing is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import Mlflow
from emotune.search.records import Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import DELIVERY_FILE, read_delivery_state, view_url
from emotune.tracking.mlflow import MlflowMirror, deliver_all
from tests.work import count_calls

CANARY = "s3cr3t-canary"
FEW_CALLS = 200


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[Mlflow]:
    server = Mlflow(folder=tmp_path, database=uri)
    server.start()
    yield server
    server.kill()


def hand_over(mirror: MlflowMirror, records: list[Record], *, first: int) -> None:
    for number, record in enumerate(records, first):
        assert count_calls(partial(mirror, record, number)) < FEW_CALLS


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_and_restarted_server_gets_each_record_once(
    server: Mlflow,
    uri: str,
    tmp_path: Path,
    records: list[Record],
    content: Callable[..., dict[str, dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    address = f"http://user:{CANARY}@127.0.0.1:{server.port}"
    folder = tmp_path / "search"
    folder.mkdir()
    mirror = MlflowMirror(address, folder=LocalStorage(folder), name="demo")
    hand_over(mirror, records[:6], first=0)
    wait_for(lambda: read_delivery_state(LocalStorage(folder)).delivered == 6)
    server.kill()
    hand_over(mirror, records[6:], first=6)
    wait_for(lambda: "cannot be used now" in caplog.text)
    assert not mirror.close(0.5)
    assert read_delivery_state(LocalStorage(folder)).delivered == 6

    revenant = MlflowMirror(address, folder=LocalStorage(folder), name="demo")
    revenant.catch_up(records[:-1])
    server.start()
    revenant(records[-1], len(records) - 1)
    assert revenant.close(60)

    (tmp_path / "direct").mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(tmp_path / "direct"), name="direct")
    mirrored, direct = content(uri), content(uri, name="direct")
    assert mirrored == direct

    ours = [record.getMessage() for record in caplog.records if record.name.startswith("emotune")]
    assert sum("cannot be used now" in line for line in ours) <= 2, "once per outage and mirror"
    assert CANARY not in "\n".join(ours) + (folder / DELIVERY_FILE).read_text()
    experiment = read_delivery_state(LocalStorage(folder)).experiment_id
    link = view_url(LocalStorage(folder)) or ""
    assert link.startswith(f"http://127.0.0.1:{server.port}/#/experiments/{experiment}/runs?")
