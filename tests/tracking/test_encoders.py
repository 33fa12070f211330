"""Encoders logged to MLflow can be loaded without this package, without pickle, and are logged once."""

import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient

from emotune.errors import SettingsError, StorageError
from emotune.search.records import Record
from emotune.storage import LocalStorage
from emotune.tracking.delivery import mlflow_runs
from emotune.tracking.encoders import download_encoder, log_encoder
from emotune.tracking.mlflow import deliver_all


class Encoder(torch.nn.Module):
    """A convolution and a row for each sample, as the encoders have them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv1d(1, 4, 3, padding=1)

    def forward(self, signals: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        states = self.convolution(signals).transpose(1, 2)
        return states if rows is None else states.take_along_dim(rows[:, :, None], dim=1)


@pytest.fixture
def run(uri: str, tmp_path: Path, records: list[Record]) -> str:
    folder = tmp_path / "search"
    folder.mkdir()
    assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name="demo")
    return mlflow_runs(LocalStorage(folder))[0]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "encoder.safetensors").write_bytes(b"weights")
    (folder / "encoder.json").write_text("{}")
    return folder


def test_a_logged_encoder_computes_the_outputs_of_the_module(
    uri: str, run: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    encoder = Encoder().eval()
    example = np.random.default_rng(0).normal(size=(1, 1, 64)).astype(np.float32)
    before = MlflowClient(tracking_uri=uri).get_run(run)
    assert log_encoder(run, module=encoder, example=example, folder=files, tracking_uri=uri)
    assert not log_encoder(run, module=encoder, example=example, folder=files, tracking_uri=uri)

    after = MlflowClient(tracking_uri=uri).get_run(run)
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    logged = after.outputs.model_outputs[0].model_id
    assert MlflowClient(tracking_uri=uri).get_logged_model(logged).experiment_id == after.info.experiment_id
    assert not list(tmp_path.glob("mlruns/*"))
    model = mlflow.pyfunc.load_model(f"models:/{logged}")
    for signals in (1, 3):
        batch = np.random.default_rng(signals).normal(size=(signals, 1, 64)).astype(np.float32)
        with torch.inference_mode():
            expected = encoder(torch.from_numpy(batch)).numpy()
        np.testing.assert_allclose(model.predict(batch), expected, atol=1e-5)

    fetched = download_encoder(run, tracking_uri=uri, to=tmp_path / "fetched")
    assert {file.name: file.read_bytes() for file in fetched.iterdir()} == {
        file.name: file.read_bytes() for file in files.iterdir()
    }


def test_a_missing_encoder_is_reported_as_a_settings_error(uri: str, run: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be downloaded"):
        download_encoder(run, tracking_uri=uri, to=tmp_path / "fetched")
    with pytest.raises(SettingsError, match="cannot be downloaded"):
        download_encoder("0" * 32, tracking_uri=uri, to=tmp_path / "fetched")


def test_an_encoder_is_not_exported_into_a_full_temporary_folder(
    uri: str, run: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(StorageError, match="which has 1 MiB free; free disk space, or set TMPDIR"):
        log_encoder(
            run, module=Encoder(), example=np.zeros((1, 1, 64), dtype=np.float32), folder=files, tracking_uri=uri
        )


def test_the_export_leaves_the_root_logger_as_it_is() -> None:
    code = """
import logging
from emotune.tracking import encoders
encoders._pytorch_flavor()
print(logging.getLogger().level, logging.getLogger().handlers)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "30 []\n"  # WARNING
