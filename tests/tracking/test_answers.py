"""A lost response or a late request neither duplicates nor loses anything in MLflow."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from torch.nn import Linear

from benchmarks.servers import Mlflow
from emotune.search.records import Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import mlflow_runs, read_delivery_state
from emotune.tracking.encoders import log_encoder
from emotune.tracking.mlflow import MlflowMirror, deliver_all
from emotune.tracking.store import OUTAGES
from emotune.tracking.view import VIEW_TAG
from tests.tracking.proxy import Fault, Proxy

Content = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def proxy(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(template.read_bytes())
    server = Mlflow(folder=folder, database=f"sqlite:///{folder / 'mlflow.db'}")
    server.start()
    between = Proxy(port=server.port)
    yield between
    between.shutdown()
    between.server_close()
    server.kill()


def direct(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.target}"


PATHS = ("experiments/create", "runs/create", "runs/log-batch", "runs/update")
FAULTS: tuple[Fault, ...] = ("answer lost", "request cut", "database trouble")


@pytest.mark.parametrize("wrong", list(itertools.product(PATHS, FAULTS)), ids=" ".join)
def test_a_lost_response_creates_no_duplicates(
    proxy: Proxy, uri: str, tmp_path: Path, records: list[Record], content: Content, wrong: tuple[str, Fault]
) -> None:
    name = re.sub(r"\W", "-", " ".join(wrong))
    (tmp_path / "search").mkdir()
    proxy.faults.append(wrong)
    assert deliver_all(records, tracking_uri=proxy.uri, folder=LocalStorage(tmp_path / "search"), name=name)
    assert not proxy.faults, "it went wrong"
    (tmp_path / "direct").mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(tmp_path / "direct"), name=name)
    assert content(direct(proxy), name=name) == content(uri, name=name)


@pytest.mark.parametrize("path", ["mlflow/logged-models", "runs/set-tag"])
def test_an_encoder_is_logged_once_if_a_response_is_lost(
    proxy: Proxy, tmp_path: Path, records: list[Record], path: str
) -> None:
    search, files = tmp_path / "search", tmp_path / "files"
    search.mkdir()
    files.mkdir()
    (files / "encoder.json").write_text("{}")
    assert deliver_all(records, tracking_uri=proxy.uri, folder=LocalStorage(search), name=path.replace("/", "-"))
    run = mlflow_runs(LocalStorage(search))[0]

    def log() -> bool:
        example = np.zeros((1, 1, 8), dtype=np.float32)
        return log_encoder(run, module=Linear(8, 2), example=example, folder=files, tracking_uri=proxy.uri)

    proxy.faults.append((path, "answer lost"))
    with pytest.raises(OUTAGES):
        log()
    assert not proxy.faults, "it went wrong"
    log()
    assert not log()
    client = MlflowClient(tracking_uri=direct(proxy))
    models = client.search_logged_models([read_delivery_state(LocalStorage(search)).experiment_id])
    assert [(model.source_run_id, str(model.status)) for model in models] == [(run, "READY")]


def test_a_view_that_cannot_be_written_costs_nothing_else(
    proxy: Proxy, uri: str, tmp_path: Path, records: list[Record], content: Content, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "search").mkdir()
    folder = LocalStorage(tmp_path / "search")
    proxy.faults.append(("experiments/set-experiment-tag", "request cut"))
    assert deliver_all(records, tracking_uri=proxy.uri, folder=folder, name="viewless")
    assert not proxy.faults, "it went wrong"
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("emotune")]
    assert ["the view of experiment viewless was not written" in line for line in lines] == [True]
    (tmp_path / "direct").mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(tmp_path / "direct"), name="viewless")
    assert content(direct(proxy), name="viewless") == content(uri, name="viewless")
    client, experiment = MlflowClient(tracking_uri=direct(proxy)), read_delivery_state(folder).experiment_id
    assert VIEW_TAG not in client.get_experiment(experiment).tags
    assert deliver_all(records, tracking_uri=proxy.uri, folder=folder, name="viewless")
    assert VIEW_TAG in client.get_experiment(experiment).tags


def test_a_duplicate_run_that_is_created_late_is_deleted(
    proxy: Proxy, uri: str, tmp_path: Path, records: list[Record], content: Content
) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    proxy.faults.append(("runs/create", "arrives late"))
    mirror = MlflowMirror(proxy.uri, folder=LocalStorage(folder), name="late")
    mirror.catch_up(records[:-1])
    deadline = time.monotonic() + 30
    while not proxy.late or proxy.late[0].is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mirror(records[-1], len(records) - 1)
    assert mirror.close(60)
    (tmp_path / "direct").mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(tmp_path / "direct"), name="late")
    assert content(direct(proxy), name="late", view=ViewType.ACTIVE_ONLY) == content(uri, name="late")
    client = MlflowClient(tracking_uri=direct(proxy))
    there = client.search_runs([read_delivery_state(LocalStorage(folder)).experiment_id], run_view_type=ViewType.ALL)
    stages = sorted(run.info.lifecycle_stage for run in there)
    assert stages == ["active"] * 4 + ["deleted"], "the first one of its key was in use, the second one is in the bin"
