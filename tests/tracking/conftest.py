"""A synthetic journal with all kinds of records, and the content that MLflow has of a search."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Opened, Record, Started
from emotune.storage import LocalStorage
from emotune.tracking.mlflow import deliver_all


class JournalWriter:
    """Makes records one second apart."""

    def __init__(self, *, name: str = "demo", time: float = 1_700_000_000.0) -> None:
        self.time = time
        study = {
            "base": {"epochs": 3, "model": {"kind": "transformer"}},
            "budget": {"min": 1, "max": 3, "eta": 3},
            "objective": {"metric": "val/loss", "mode": "min"},
            "space": {
                "hyperparameters": [
                    {"name": "optim.lr", "type": "uniform_float", "lower": 1e-5, "upper": 1.0, "log": True},
                    {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 100},
                ]
            },
        }
        self.records: list[Record] = [
            Opened(
                time=time,
                name=name,
                study=study,
                digest="abc",
                seed=7,
                concurrency=2,
                software={"torch": "2.10"},
            )
        ]

    def tick(self) -> float:
        self.time += 1.25
        return self.time

    def start(self, number: int, *, config: int, epochs: tuple[int, int], rung: int = 0) -> None:
        evaluation = Evaluation(
            id=number,
            config_id=config,
            bracket=0,
            rung=rung,
            from_epoch=epochs[0],
            to_epoch=epochs[1],
            values={"optim.lr": 3e-4 * (config + 1), "model.layers": config + 2},
            origin="promotion" if rung else "random",
        )
        self.records.append(Started(time=self.tick(), evaluation=evaluation))

    def epoch(self, number: int, *, config: int, epoch: int, loss: float | None) -> None:
        metrics = {"val/loss": loss, "train/loss": 0.5}
        self.records.append(
            EpochDone(time=self.tick(), evaluation_id=number, config_id=config, epoch=epoch, metrics=metrics)
        )

    def end(self, number: int, *, config: int, objective: float | None, error: str | None = None) -> None:
        self.records.append(
            Ended(
                time=self.tick(),
                evaluation_id=number,
                config_id=config,
                status="done" if error is None else "failed",
                objective=objective,
                seconds=2.0,
                error=error,
            )
        )

    def close(self, state: Any) -> None:
        self.records.append(Closed(time=self.tick(), state=state, reason="a signal" if state == "interrupted" else ""))


@pytest.fixture
def records() -> list[Record]:
    """Three configurations: one is promoted over an interruption, one diverges, one fails."""
    journal = JournalWriter()
    journal.start(0, config=0, epochs=(0, 1))
    journal.start(1, config=1, epochs=(0, 1))
    journal.epoch(0, config=0, epoch=1, loss=0.9)
    journal.end(0, config=0, objective=0.9)
    journal.epoch(1, config=1, epoch=1, loss=None)
    journal.end(1, config=1, objective=None, error="the training loss is nan in epoch 1")
    journal.start(2, config=2, epochs=(0, 1))
    journal.end(2, config=2, objective=None, error="the disk is full")
    journal.start(3, config=0, epochs=(1, 3), rung=1)
    journal.epoch(3, config=0, epoch=2, loss=0.7)
    journal.close("interrupted")
    journal.epoch(3, config=0, epoch=3, loss=0.8)
    journal.end(3, config=0, objective=0.8)
    journal.close("finished")
    return journal.records


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("template") / "mlflow.db"
    folder = tmp_path_factory.mktemp("folder")
    assert deliver_all(
        JournalWriter().records, tracking_uri=f"sqlite:///{file}", folder=LocalStorage(folder), name="template"
    )
    return file


@pytest.fixture
def uri(template: Path, tmp_path: Path) -> str:
    """A fresh SQLite store."""
    shutil.copy(template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def content() -> Callable[..., dict[str, dict[str, Any]]]:
    """Return the function that reads a search back from MLflow."""
    return _content


def _content(uri: str, *, name: str = "demo", view: int = ViewType.ALL) -> dict[str, dict[str, Any]]:
    """Return everything MLflow holds about a search, by configuration number or ``search``."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(f"emotune/{name}")
    assert experiment is not None
    runs: dict[str, dict[str, Any]] = {}
    for run in client.search_runs([experiment.experiment_id], run_view_type=view):
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        key = tags["emotune.config_id"] if tags["emotune.config_id"] != "none" else "search"
        assert key not in runs, f"two runs for {key}"
        points = [
            (point.key, point.step, point.timestamp, point.value)
            for metric in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, metric)
        ]
        runs[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "start": run.info.start_time,
            "params": run.data.params,
            "tags": tags,
            "points": sorted(points),
        }
    return runs
