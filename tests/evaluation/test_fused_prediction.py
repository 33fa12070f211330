"""`emotune predict` with a fusion: a recording with both modalities, as the fusion saw moments in its training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emotune.data.corpora.synthetic import Synthetic, make_ecg, make_eeg, make_person
from emotune.data.modality import TEN_CHANNELS
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.single import prepare_single, read_single
from emotune.errors import DataError, SettingsError
from emotune.evaluation.classifiers import read_classifiers
from emotune.evaluation.fused_prediction import _refuse_classes, find_fused_predictor, predict_fused
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.tasks import Classify
from tests.support.commands import call

FS = 256
SECONDS = list(range(4, 12))
"""Starts of the segments that both modalities have; the gap of a lead leaves out the ECG before."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of two ECG leads and ten EEG channels, of which the second lead has a gap of 4 s."""
    random, settings = np.random.default_rng(7), Synthetic(seconds_per_state=12)
    person = make_person(random)
    ecg = [make_ecg(person, state=(1, 1), settings=settings, random=random) for _ in range(2)]
    ecg[1][:, : 4 * FS] = np.nan
    eeg = make_eeg(person, state=(1, 1), settings=settings, random=random)
    return write(tmp_path_factory.mktemp("recording") / "both.npz", np.concatenate([*ecg, eeg]))


def write(file: Path, signal: np.ndarray) -> Path:
    names, kinds = ["I", "II", *TEN_CHANNELS], ["ecg"] * 2 + ["eeg"] * 10
    units = np.array(["mV" if kind == "ecg" else "uV" for kind in kinds])
    labels = {"seg_start": np.array([]), "seg_end": np.array([]), "seg_label": np.array([], dtype=str)}
    fields = {"channels": np.array(names), "kinds": np.array(kinds), "units": units}
    fields = {name: values[: len(signal)] for name, values in fields.items()}
    scales = {"scale": np.ones(len(signal)), "offset": np.zeros(len(signal)), "fs": FS}
    np.savez(file, x=signal.astype(np.float64), **fields, **scales, **labels)
    return file


def by_hand(recording: Path, fused_cv: SearchFolder) -> np.ndarray:
    """Return the fusion's probability per second, fold by fold with the classifiers of the training."""
    fused = read_classifiers(fused_cv)
    features: list[list[np.ndarray]] = []
    for name, channels in (("ecg", ()), ("eeg", TEN_CHANNELS)):
        classifiers = read_classifiers(SearchFolder.of(f"{name}-cv", storage=fused_cv.root))
        modality = "ecg" if name == "ecg" else "eeg"
        raw = read_single(recording, modality=modality, channels=channels)
        part = prepare_single(raw, settings=PrepareSettings.model_validate(classifiers.store.about.settings))
        starts = part.index["start"].to_numpy(float)
        hidden = [
            member.load(classifiers.store).hidden_activations(torch.from_numpy(part.signals)).numpy()
            for member in classifiers.members
        ]
        features.append([np.stack([fold[starts == second].mean(axis=0) for second in SECONDS]) for fold in hidden])
    probabilities = []
    for member in fused.members:
        joined = np.concatenate([part[member.fold] for part in features], axis=1)
        signals = np.zeros((len(SECONDS), 3, joined.shape[1]), dtype=np.float32)
        signals[:, member.fold] = joined
        objective = member.load(fused.store)
        logits = objective.logits(torch.from_numpy(signals)).detach().double().numpy()
        probabilities.append(1 / (1 + np.exp(-(logits - objective.log_weight))))
    return np.mean(probabilities, axis=0)


def test_a_recording_is_predicted_as_the_fusion_was_trained(recording: Path, fused_cv: SearchFolder) -> None:
    predictor = find_fused_predictor(fused_cv)
    assert predictor is not None
    prediction = predict_fused(recording, predictor=predictor)
    assert prediction.starts.tolist() == SECONDS
    assert prediction.probabilities["fused"] == pytest.approx(by_hand(recording, fused_cv), abs=1e-5)
    assert prediction.left_out


def test_the_command_prints_both_modalities_and_their_fusion(
    recording: Path, fused_cv: SearchFolder, tmp_path: Path
) -> None:
    text = call("predict", "fused-cv", str(recording), folder=fused_cv).stdout
    assert "8 segments of 1 s with ECG and EEG" in text
    assert "a fusion of ecg-cv and eeg-cv, the mean of 3 folds" in text
    file = tmp_path / "out.csv"
    document = json.loads(
        call("predict", "fused-cv", str(recording), "--json", "--csv", str(file), folder=fused_cv).stdout
    )
    assert document["inputs"] == {"ecg": "ecg-cv", "eeg": "eeg-cv"}
    assert len(document["segments"]) == 8
    assert {"arousal_probability_ecg", "arousal_probability_fused", "arousal"} <= document["mean"].keys()
    assert pd.read_csv(file)["arousal_probability_fused"].tolist() == pytest.approx(
        [row["arousal_probability_fused"] for row in document["segments"]]
    )


def test_what_cannot_be_fused_is_refused_in_a_line(recording: Path, fused_cv: SearchFolder, tmp_path: Path) -> None:
    with np.load(recording) as content:
        alone = write(tmp_path / "ecg.npz", content["x"][:2])
    with pytest.raises(DataError, match=r"ecg.npz: .*which the model needs"):
        call("predict", "fused-cv", str(alone), folder=fused_cv)
    with pytest.raises(SettingsError, match="fused-cv is a fusion of ECG and EEG; give it alone"):
        call("predict", "ecg-cv,fused-cv", str(recording), folder=fused_cv)
    with pytest.raises(SettingsError, match="it draws one modality, and fused-cv is a fusion of two"):
        call("predict", "fused-cv", str(recording), "--plot", str(tmp_path / "a.png"), folder=fused_cv)
    shutil.copytree(fused_cv.path, tmp_path / "results" / "fused-cv")
    moved = SearchFolder.of("fused-cv", storage=LocalStorage(tmp_path / "results"))
    with pytest.raises(SettingsError, match="'fused-cv' is a fusion of 'ecg-cv', which is no cross-validation in"):
        call("predict", "fused-cv", str(recording), folder=moved)


def test_a_fusion_of_several_classes_is_refused_in_a_line(fused_cv: SearchFolder) -> None:
    task = Classify(target="condition", classes=("rest", "stress", "joy"))
    with pytest.raises(SettingsError, match=r"has 3 classes, but a recording .* give one of .* ecg-cv and eeg-cv"):
        _refuse_classes(task, folder=fused_cv, names={"ecg": "ecg-cv", "eeg": "eeg-cv"})
    _refuse_classes(Classify(), folder=fused_cv, names={})


def test_the_networks_of_a_fusion_are_loaded_onto_the_cpu_where_their_inputs_are(
    pair: tuple[SearchFolder, SearchFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    classifiers = read_classifiers(pair[0])
    network = classifiers.members[0].load(classifiers.store)
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
