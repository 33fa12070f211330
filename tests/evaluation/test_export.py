"""Networks are taken away in several formats, with equal outputs, and loaded again."""

import importlib.util
import inspect
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

import emotune
from emotune.cli import emotune as program
from emotune.data.store import SegmentStore
from emotune.errors import DamageError, SettingsError
from emotune.evaluation.encoders import PretrainedEncoder
from emotune.evaluation.export import TOLERANCE, Classifier, export_network
from emotune.evaluation.model_folder import read_model_document
from emotune.evaluation.prediction import Predictor, load_classifier
from emotune.models.transformer import cached_sinusoids
from emotune.runtime.worker import describe
from emotune.storage import LocalStorage
from emotune.training.checkpoints import save_checkpoint
from emotune.training.epoch_report import EpochReport
from tests.data.examples.signals import heart
from tests.training.conftest import store, tiny_experiment

__all__ = ["store"]

TASK = {"kind": "classify", "hidden": (8,)}
CALIBRATION = {"slope": 1.3, "intercept": -0.2, "segments": 9, "error_before": 0.2, "error": 0.1}
METRICS = {"test/accuracy": 0.75, "test/accuracy_half_width": 0.125, "test/subjects": 3.0, "val/loss": 0.5}


def checkpoint(folder: Path, store: SegmentStore, **settings: object) -> Path:
    experiment = tiny_experiment(store.path, **settings)
    training_data = experiment.training_data(store)
    state = experiment.begin(training_data)
    state.history.append(EpochReport(epoch=1, metrics=METRICS))
    about = describe(experiment, training_data) | ({"calibration": CALIBRATION} if "task" in settings else {})
    return save_checkpoint(LocalStorage(folder), state, about=about)


@pytest.fixture(scope="module")
def encoder(store: SegmentStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("encoder"), store)


@pytest.fixture(scope="module")
def classifier(store: SegmentStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("classifier"), store, task=TASK)


def segments(store: SegmentStore, count: int = 7) -> np.ndarray:
    return np.array(store.signal[:count])


def test_an_encoder_is_the_same_after_saving_and_loading(encoder: Path, store: SegmentStore, tmp_path: Path) -> None:
    first = emotune.load_encoder(encoder)
    first.save_pretrained(tmp_path / "model")
    second, third = emotune.load_encoder(tmp_path / "model"), PretrainedEncoder.from_pretrained(tmp_path / "model")
    signal = heart(8, fs=256)[None]
    for other in (second, third):
        assert np.array_equal(first.embed_segments(segments(store)), other.embed_segments(segments(store)))
    assert np.array_equal(first.embed(signal, 256), second.embed(signal, 256))
    assert (second.channels, second.preparation, second.training) == (first.channels, first.preparation, False)
    second.save_pretrained(tmp_path / "again")
    names = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    assert all((tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes() for name in names)


def test_a_model_folder_has_no_paths_and_no_people(classifier: Path, store: SegmentStore, tmp_path: Path) -> None:
    export_network(classifier, to=tmp_path / "model", format="hf", name="ours")
    about = json.loads((classifier / "state.json").read_text())["about"]
    for file in ("config.json", "README.md", "preprocessor_config.json"):
        text = (tmp_path / "model" / file).read_text()
        assert str(store.path) not in text
        assert not any(identity in text for identity in about["people"]["identities"])


def test_the_card_has_data_licences_scores_with_intervals_and_limits(classifier: Path, tmp_path: Path) -> None:
    export_network(classifier, to=tmp_path / "model", format="hf", name="ours")
    card = (tmp_path / "model" / "README.md").read_text()
    _, metadata, text = card.split("---\n", 2)
    assert yaml.safe_load(metadata)["library_name"] == "emotune"
    assert "# ours" in text
    assert "| test/accuracy | 0.7500 | ±0.1250 |" in text
    assert "| val/loss | 0.5000 | - |" in text
    assert "test/subjects" not in text
    assert "| synthetic | 6 | 24 |" in text
    assert "Not a medical device" in text
    assert "(batch, 1, 128) of float32: 1 s at 128 Hz of ecg" in text


@pytest.mark.parametrize("format", ["pt2", "onnx"])
@pytest.mark.parametrize("part", ["encoder", "classifier"])
def test_a_graph_gives_the_outputs_of_the_network_at_any_batch_size(
    classifier: Path, store: SegmentStore, tmp_path: Path, part: Any, format: Any
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
    cached_sinusoids.cache_clear()
    summary = export_network(classifier, to=tmp_path / "model", format=format, part=part, name="ours")
    file = tmp_path / "model" / f"model.{format}"
    module = PretrainedEncoder(classifier) if part == "encoder" else Classifier(load_classifier(classifier))
    for count in (1, 3, 7):
        signals = segments(store, count)
        with torch.no_grad():
            expected = module(torch.from_numpy(signals)).numpy()
        assert np.abs(run(file, signals) - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())
    assert summary.difference <= TOLERANCE
    assert set(summary.files) == {file.name, "README.md", "config.json", "preprocessor_config.json"}


def run(file: Path, signals: np.ndarray) -> np.ndarray:
    if file.suffix == ".pt2":
        return torch.export.load(file).module()(torch.from_numpy(signals)).detach().numpy()
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: signals})[0]


def test_a_classifier_predicts_the_same_from_its_folder(classifier: Path, store: SegmentStore, tmp_path: Path) -> None:
    export_network(classifier, to=tmp_path / "model", format="hf", name="ours")
    first, second = (Predictor("ours", checkpoints=[folder]) for folder in (classifier, tmp_path / "model"))
    assert np.array_equal(first.probabilities(segments(store)), second.probabilities(segments(store)))
    assert (first.class_names, first.shares) == (second.class_names, second.shares)
    with torch.no_grad():
        exported = Classifier(load_classifier(tmp_path / "model"))(torch.from_numpy(segments(store))).numpy()
    assert exported == pytest.approx(first.probabilities(segments(store)), abs=1e-6)


def test_the_encoder_of_a_classifier_is_exported_alone(classifier: Path, tmp_path: Path) -> None:
    export_network(classifier, to=tmp_path / "model", format="hf", part="encoder", name="ours")
    with pytest.raises(SettingsError, match="was trained for task"):
        export_network(tmp_path / "model", to=tmp_path / "other", format="hf", part="classifier", name="ours")
    assert emotune.load_encoder(tmp_path / "model").document.part == "encoder"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\x80\x02cos\nsystem\n(S'true'\ntR."])
def test_a_changed_model_folder_is_refused_in_a_line(encoder: Path, tmp_path: Path, file: str, content: bytes) -> None:
    emotune.load_encoder(encoder).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(DamageError) as caught:
        emotune.load_encoder(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_empty_is_not_written(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="exists and is not empty; give another folder"):
        emotune.load_encoder(encoder).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(SettingsError, match=r"has no config\.json and model\.safetensors"):
        PretrainedEncoder.from_pretrained(tmp_path)


def test_the_command_writes_the_folder_and_prints_its_files(encoder: Path, tmp_path: Path) -> None:
    words = ["export", str(encoder), "--format", "pt2", "--out", str(tmp_path / "model"), "--json"]
    result = CliRunner().invoke(program, words, env={"EMOTUNE_STORAGE": str(tmp_path)}, standalone_mode=False)
    assert result.exception is None
    document = json.loads(result.stdout)
    assert (document["part"], document["format"]) == ("encoder", "pt2")
    assert document["files"]["model.pt2"] == (tmp_path / "model" / "model.pt2").stat().st_size
    assert read_model_card_name(tmp_path / "model") == encoder.name


def read_model_card_name(folder: Path) -> str:
    return json.loads((folder / "config.json").read_text())["card"]["name"]


def test_a_missing_package_is_named_with_what_to_type(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match=r"--format onnx needs onnxruntime; type pip install 'emotune\[onnx\]'"):
        export_network(encoder, to=tmp_path / "model", format="onnx", name="ours")
    assert not (tmp_path / "model").exists()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        SettingsError, match=r"the Hugging Face Hub needs huggingface_hub; type pip install 'emotune\[hub\]'"
    ):
        emotune.load_encoder(encoder).push_to_hub("ours/ecg")


def test_an_encoder_is_pushed_as_a_folder_and_fetched_by_its_name(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub is a service on the internet, so the two calls that reach it are imitated."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def __init__(self, token: str | None) -> None:
            calls.append(("token", {"token": token}))

        def create_repo(self, name: str, **options: Any) -> None:
            calls.append((name, options))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
            for file in Path(folder_path).iterdir():
                (tmp_path / "hub").mkdir(exist_ok=True)
                (tmp_path / "hub" / file.name).write_bytes(file.read_bytes())
            return f"https://hub/{repo_id}/commit/1"

    hub = types.ModuleType("huggingface_hub")
    hub.__dict__.update(HfApi=Api, snapshot_download=lambda name, **options: str(tmp_path / "hub"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    first = emotune.load_encoder(encoder)
    assert first.push_to_hub("ours/ecg", token="t") == "https://hub/ours/ecg/commit/1"
    assert calls == [("token", {"token": "t"}), ("ours/ecg", {"private": True, "exist_ok": True})]
    second = PretrainedEncoder.from_pretrained("ours/ecg")
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
def test_the_calls_of_the_hub_have_the_parameters_that_are_used() -> None:
    hub = pytest.importorskip("huggingface_hub")
    assert {"repo_id", "folder_path", "commit_message"} <= set(inspect.signature(hub.HfApi.upload_folder).parameters)
    assert {"repo_id", "private", "exist_ok"} <= set(inspect.signature(hub.HfApi.create_repo).parameters)
    assert {"allow_patterns", "token"} <= set(inspect.signature(hub.snapshot_download).parameters)


def test_the_document_of_a_folder_states_its_part(classifier: Path, tmp_path: Path) -> None:
    export_network(classifier, to=tmp_path / "model", format="hf", name="ours")
    document = read_model_document(tmp_path / "model")
    assert document.part == "classifier"
    assert set(document.about) == {"experiment", "channels", "modality", "classes", "calibration", "preparation"}
    assert set(document.about["experiment"]) == {"model", "task"}
