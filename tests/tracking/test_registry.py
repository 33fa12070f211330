"""Versions of a registered model: one per model, and the champion is the best on its data."""

from pathlib import Path

import pytest
from mlflow.entities import LoggedModel
from mlflow.tracking import MlflowClient

from emotune.search.records import Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import read_delivery_state
from emotune.tracking.encoders import model_metrics, model_name
from emotune.tracking.mlflow import deliver_all
from emotune.tracking.registry import Result, register


@pytest.fixture
def client(uri: str, tmp_path: Path, records: list[Record]) -> MlflowClient:
    (tmp_path / "folder").mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(tmp_path / "folder"), name="demo")
    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def run_id(tmp_path: Path, client: MlflowClient) -> str:
    del client
    return read_delivery_state(LocalStorage(tmp_path / "folder")).runs["0"]


def logged(client: MlflowClient, run_id: str, *, name: str) -> LoggedModel:
    experiment = client.get_run(run_id).info.experiment_id
    return client.create_logged_model(experiment, name=name, source_run_id=run_id)


def result(value: float, *, data: str = "a", mode: str = "min") -> Result:
    return Result(metric="val/loss", mode=mode, value=value, data=data)


def test_the_best_version_on_the_same_data_is_the_champion(client: MlflowClient, run_id: str) -> None:
    def add(name: str, outcome: Result) -> str:
        model = logged(client, run_id, name=name)
        return register(model, name="ecg-encoder", result=outcome, digest=name, client=client)

    assert add("one", result(0.5)) == ("registered as version 1 of ecg-encoder, champion: models:/ecg-encoder@champion")
    assert add("one", result(0.5)).startswith("registered as version 1 of ecg-encoder, champion"), "the same model"
    assert add("two", result(0.6)).startswith("registered as version 2 of ecg-encoder, challenger")
    assert add("three", result(0.1, data="other")).startswith("registered as version 3 of ecg-encoder, challenger")
    assert add("four", result(0.4)).startswith("registered as version 4 of ecg-encoder, champion")
    aliases = {
        alias: str(client.get_model_version_by_alias("ecg-encoder", alias).version)
        for alias in ("champion", "challenger")
    }
    assert aliases == {"champion": "4", "challenger": "3"}


@pytest.mark.parametrize(("mode", "better"), [("min", 0.4), ("max", 0.6)])
def test_results_are_compared_in_the_direction_of_the_objective(mode: str, better: float) -> None:
    tags = result(0.5, mode=mode).tags()
    assert result(better, mode=mode).is_better_than(tags)
    assert not result(1 - better, mode=mode).is_better_than(tags)
    assert not result(better, mode=mode).is_better_than({})


def test_a_model_gets_the_metrics_of_its_last_epoch_and_the_run_no_further_points(
    client: MlflowClient, run_id: str, records: list[Record]
) -> None:
    model = logged(client, run_id, name=model_name("demo", config_id=0))
    assert model.name == "demo-c0000"
    points = {key: client.get_metric_history(run_id, key) for key in ("val/loss", "train/loss")}
    for _ in range(2):
        client.log_batch(run_id, metrics=model_metrics(records, config_id=0, model_id=model.model_id))
    metrics = client.get_logged_model(model.model_id).metrics or []
    assert {metric.key: metric.value for metric in metrics} == {"val/loss": 0.8, "train/loss": 0.5}
    for key, history in points.items():
        now = client.get_metric_history(run_id, key)
        assert [(point.step, point.value) for point in now] == [(point.step, point.value) for point in history]


def test_model_names_have_only_characters_that_mlflow_allows() -> None:
    assert model_name("a/b:c.d", config_id=12) == "a-b-c-d-c0012"
