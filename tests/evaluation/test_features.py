"""Features of late fusion: activations of the frozen models, computed once, and never of training moments."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from emotune.data.corpora.reader import CorpusPart, Item
from emotune.data.corpora.synthetic import READER, Synthetic
from emotune.data.corpora.synthetic import read as read_synthetic
from emotune.data.folds import unit_keys
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Recording
from emotune.data.store import SegmentStore
from emotune.evaluation.classifiers import Classifier
from emotune.evaluation.crossval import cross_validation_study
from emotune.evaluation.fusion import FeatureSummary, build_features
from emotune.evaluation.held_out import predictions_of
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, last_metrics
from emotune.training.checkpoints import newest_checkpoint, read_state, read_weights
from tests.evaluation.conftest import FOLDS, MODEL, TASK, cross_validate, unimodal

Pair = tuple[SearchFolder, SearchFolder]


@pytest.fixture(scope="module")
def fused(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    return build_features(*pair, store=tmp_path_factory.mktemp("fused") / "store").store


def checkpoint_of(folder: SearchFolder, fold: int) -> Path:
    (number,) = (
        result.evaluation.config_id
        for result in evaluation_results(read_journal(folder.journal))
        if result.evaluation.values.get("folds.index", 0) == fold and not result.evaluation.values.get("task.shuffled")
    )
    checkpoint = newest_checkpoint(folder.checkpoints(number))
    assert checkpoint is not None
    return checkpoint


def by_hand(folder: SearchFolder, fold: int, store: SegmentStore) -> dict[str, np.ndarray]:
    """Compute activations from nothing but weights and segments, row by row."""
    weights = read_weights(checkpoint_of(folder, fold))
    model = Experiment.model_validate({"model": MODEL}).model
    encoder = model.build(channels=store.signal.shape[1]).eval()
    encoder.load_state_dict(
        {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    )
    places = sorted(int(name.split(".")[1]) for name in weights if name.startswith("head.") and name.endswith("weight"))
    with torch.no_grad():
        hidden = encoder.summarise(torch.from_numpy(np.array(store.signal)))
        for place in places[:-1]:
            hidden = nn.functional.relu(hidden @ weights[f"head.{place}.weight"].T + weights[f"head.{place}.bias"])
    return dict(zip(unit_keys(store.index, by="moment"), hidden.numpy(), strict=True))


def test_features_are_the_last_hidden_activations_of_each_folds_models(
    pair: Pair, fused: SegmentStore, stores: dict[str, Path]
) -> None:
    assert fused.signal.shape == (len(fused), 3, 6 + 4)
    assert fused.channels == ("fold 0", "fold 1", "fold 2")
    assert np.asarray(fused.signal).std(axis=0).max() > 0.01, "the networks give the same for all"
    for fold in range(3):
        ecg, eeg = (
            by_hand(folder, fold, SegmentStore.open(stores[modality]))
            for folder, modality in zip(pair, ("ecg", "eeg"), strict=True)
        )
        for moment, features in zip(unit_keys(fused.index, by="moment"), fused.signal[:, fold], strict=True):
            expected = np.concatenate([ecg[moment], eeg[moment]])
            np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_the_index_has_the_test_fold_and_the_training_folds_of_a_moment(
    pair: Pair, fused: SegmentStore, stores: dict[str, Path]
) -> None:
    moments = unit_keys(fused.index, by="moment")
    ours = SegmentStore.open(stores["ecg"])
    assert sorted(moments) == sorted(unit_keys(ours.index, by="moment"))
    merged = fused.index.merge(ours.index, on=["corpus", "subject", "session", "start"], suffixes=("", "_ecg"))
    assert (merged["rating_arousal"] == merged["rating_arousal_ecg"]).all()
    assert (merged["condition"] == merged["condition_ecg"]).all()
    for folder in pair:
        for fold in range(3):
            about = read_state(checkpoint_of(folder, fold))["about"]
            trained_on = Experiment.model_validate(about["experiment"])
            store = SegmentStore.open(Path(trained_on.store))
            rows = trained_on.training_data(store).fold
            names = unit_keys(store.index, by="moment")
            assert set(moments[fused.index["test_fold"] == fold]) == set(names[rows.test])
            assert set(moments[fused.index["trained_on"].str[fold] == "1"]) == set(names[rows.train])
            assert not set(moments[fused.index["test_fold"] == fold]) & set(names[rows.train])


def test_the_store_names_its_sources_by_their_weights(pair: Pair, fused: SegmentStore) -> None:
    assert [source.corpus for source in fused.about.sources] == ["ecg-cv", "eeg-cv"]
    hashes = [list(source.settings["weights"].values()) for source in fused.about.sources]
    assert len({digest for digests in hashes for digest in digests}) == 6
    fused.verify()


def inodes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_ino for file in folder.iterdir()}


def test_existing_features_are_not_computed_again(
    pair: Pair, fused: SegmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inodes(fused.path)
    monkeypatch.setattr(Classifier, "load", None)
    again = build_features(*pair, store=fused.path)
    assert not again.written
    assert again.store.fingerprint == fused.fingerprint
    assert inodes(fused.path) == before
    assert list(fused.path.parent.iterdir()) == [fused.path], "nothing is left behind"


def test_features_are_computed_again_after_a_checkpoint_has_changed(
    pair: Pair, stores: dict[str, Path], tmp_path: Path
) -> None:
    eeg = SearchFolder.of("eeg-cv", storage=LocalStorage(tmp_path))
    shutil.copytree(pair[1].path, eeg.path)
    first = build_features(pair[0], eeg, store=tmp_path / "fused")
    before = np.array(first.store.signal)
    shutil.rmtree(eeg.path)
    cross_validate(unimodal(stores["eeg"], task={**TASK, "hidden": (4,)}, seed=5), eeg)
    second = build_features(pair[0], eeg, store=tmp_path / "fused")
    assert second.written
    assert second.store.fingerprint != first.store.fingerprint
    np.testing.assert_array_equal(second.store.signal[:, :, :6], before[:, :, :6])
    assert not np.allclose(second.store.signal[:, :, 6:], before[:, :, 6:])


def test_an_interrupted_computation_keeps_the_finished_folds(
    pair: Pair, fused: SegmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    load = Classifier.load

    def counting(self: Classifier, store: SegmentStore) -> nn.Module:
        loaded.append(self.fold)
        return load(self, store)

    def interrupt(share: float, doing: str) -> None:
        if doing == "fold 2":
            raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "load", counting)
    with pytest.raises(KeyboardInterrupt):
        build_features(*pair, store=tmp_path / "fused", progress=interrupt)
    assert not (tmp_path / "fused").exists()
    assert loaded == [0, 0, 1, 1]
    summary = build_features(*pair, store=tmp_path / "fused")
    assert loaded == [0, 0, 1, 1, 2, 2]
    assert summary.store.fingerprint == fused.fingerprint


def without_high_arousal(piece: CorpusPart, modality: Modality, settings: Synthetic) -> Iterator[Item]:
    """Leave the first subject's recordings at high arousal only."""
    for item in read_synthetic(piece, modality, settings):
        assert isinstance(item, Recording)
        if item.subject == "s001" or item.condition.startswith("low arousal"):
            yield item


def test_labels_changed_by_another_mean_rating_are_counted(pair: Pair, fused: SegmentStore, tmp_path: Path) -> None:
    eeg = SearchFolder.of("few", storage=LocalStorage(tmp_path))
    reader = dataclasses.replace(READER, read=without_high_arousal)
    settings = PrepareSettings(modality="eeg", seconds=1.0)
    made_up = Synthetic(subjects=4, seconds_per_state=8.0)
    prepare(reader, folder=None, store=tmp_path / "eeg", settings=settings, corpus_settings=made_up)
    cross_validate(unimodal(tmp_path / "eeg"), eeg)
    summary = build_features(pair[0], eeg, store=tmp_path / "fused")
    ratings = summary.store.index["rating_arousal"]
    means = (fused.index["rating_arousal"].mean(), ratings.mean())
    between = (ratings > min(means)) & (ratings <= max(means))
    assert summary.relabelled == between.sum() > 0
    assert build_features(*pair, store=fused.path).relabelled == 0


def two_leads(piece: CorpusPart, modality: Modality, settings: Synthetic) -> Iterator[Item]:
    random = np.random.default_rng(3)
    for item in read_synthetic(piece, modality, settings):
        assert isinstance(item, Recording)
        other = item.signal + 0.1 * random.standard_normal(item.signal.shape).astype(np.float32)
        both = np.concatenate([item.signal, other])
        yield dataclasses.replace(item, signal=both, channels=("ECG Left", "ECG Right"))


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arms") / "ecg"
    reader = dataclasses.replace(READER, read=two_leads)
    made_up = Synthetic(subjects=4, seconds_per_state=8.0)
    prepare(reader, folder=None, store=path, settings=PrepareSettings(seconds=1.0), corpus_settings=made_up)
    return path


@pytest.mark.parametrize("channels", [["ECG Left"], []])
def test_features_of_two_arms_are_those_of_the_selected_arm_or_their_mean(
    pair: Pair, arms: Path, tmp_path: Path, channels: list[str]
) -> None:
    ecg = SearchFolder.of("arms", storage=LocalStorage(tmp_path))
    cross_validate(unimodal(arms, folds={**FOLDS, "channels": channels}), ecg)
    made = build_features(ecg, pair[1], store=tmp_path / "fused").store
    store = SegmentStore.open(arms)
    left = store.index["channel"].to_numpy() == "ECG Left"
    parts = [
        by_hand(ecg, 1, dataclasses.replace(store, signal=store.signal[side], index=store.index[side]))
        for side in (left, ~left)
    ]
    chosen = parts[:1] if channels else parts
    assert len(made) == left.sum()
    for moment, features in zip(unit_keys(made.index, by="moment"), made.signal[:, 1, :6], strict=True):
        np.testing.assert_allclose(features, np.mean([part[moment] for part in chosen], axis=0), rtol=1e-4, atol=1e-6)


FUSION = {
    "task": {"kind": "classify", "hidden": (6, 4), "dropout": 0.1},
    "optim": {"schedule": "step", "warmup_epochs": 0, "lr": 1e-2, "weight_decay": 0},
    "folds": FOLDS,
    "epochs": 3,
    "batch_size": 32,
}


def fusion(summary: FeatureSummary | SegmentStore, **more: object) -> Experiment:
    store = summary if isinstance(summary, SegmentStore) else summary.store
    model = {"kind": "features", "width": store.about.width}
    return Experiment.model_validate({"store": str(store.path), "model": model, **FUSION, **more})


def test_a_fusion_is_cross_validated_on_the_features_of_each_fold(fused: SegmentStore, tmp_path: Path) -> None:
    folder = SearchFolder.of("fusion", storage=LocalStorage(tmp_path))
    cross_validate(fusion(fused), folder)
    records = read_journal(folder.journal)
    for fold in range(3):
        metrics = last_metrics(records, fold)
        assert {"test/accuracy", "test/macro_f1"} <= metrics.keys()
        state = read_state(checkpoint_of(folder, fold))
        assert state["about"]["experiment"]["model"] == {"kind": "features", "fold": fold, "width": 10}
        assert all(name.startswith("head.") for name in read_weights(checkpoint_of(folder, fold)))


def test_a_fused_cross_validation_has_out_of_fold_predictions(fused: SegmentStore, tmp_path: Path) -> None:
    folder = SearchFolder.of("fused-cv", storage=LocalStorage(tmp_path / "results"))
    cross_validate(fusion(fused), folder)
    table = predictions_of(folder)
    assert sorted(unit_keys(table, by="moment")) == sorted(unit_keys(fused.index, by="moment"))
    records = read_journal(folder.journal)
    for fold, part in table.groupby("fold"):
        right = (part["weighted_probability"] > 0.5) == (part["label"] > 0.5)
        assert right.mean() == pytest.approx(last_metrics(records, int(str(fold)))["test/accuracy"])


def test_shuffled_labels_are_no_control_for_features_of_true_ones(fused: SegmentStore) -> None:
    study = cross_validation_study(fusion(fused), protocol="paper", folds=3, shuffled=True)
    assert study.budget.evaluations == 3
    assert not any(values["task.shuffled"] for values in study.earlier)


def test_each_fold_reads_its_own_features(fused: SegmentStore) -> None:
    signals = torch.from_numpy(np.array(fused.signal[:5]))
    for fold in range(3):
        encoder = fusion(fused).in_fold(fold).model.build(channels=3)
        assert torch.equal(encoder.summarise(signals), signals[:, fold])
        assert not list(encoder.parameters())
