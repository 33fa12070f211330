"""``task.centre: person`` in cross-validation, fusion and export: no label leaks, and all commands compute the same."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from emotune.cli import emotune as program
from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore
from emotune.evaluation.classifiers import read_classifiers
from emotune.evaluation.crossval import read_cross_validation
from emotune.evaluation.export import export_network
from emotune.evaluation.fused_prediction import find_fused_predictor, predict_fused
from emotune.evaluation.fusion import build_features
from emotune.evaluation.held_out import predictions_of
from emotune.evaluation.held_out_scores import decisions, scores_of
from emotune.evaluation.prediction import Predictor
from emotune.experiment import Experiment
from emotune.report.predictions import classify_held_out
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.tasks.centring import centre_by_person, person_numbers
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import newest_checkpoint
from emotune.training.loop import collect_logits, evaluate
from tests.evaluation.conftest import FOLDS, TASK, cross_validate, unimodal
from tests.evaluation.test_fused_prediction import recording
from tests.support.training import train_until

__all__ = ["recording"]

BY_PERSON = {**FOLDS, "by": "subject"}
CENTRED = {**TASK, "frozen": True, "centre": "person"}
MODEL = {"channels": [8], "kernels": [9], "feedforward": 16, "layers": 1, "heads": 1, "attention_dropout": 0.0}
PEOPLE, SEGMENTS = 6, 24


@pytest.fixture
def planted(stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> SegmentStore:
    """Signals of six people, each with an offset of the person, and half of the segments with a smaller one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # dozens of trainings
    store = SegmentStore.open(stores["ecg"])
    random = np.random.default_rng(0)
    person, state = np.repeat(np.arange(PEOPLE), SEGMENTS), np.tile([0, 1], PEOPLE * SEGMENTS // 2)
    index = store.index.iloc[np.zeros(len(person), dtype=int)].reset_index(drop=True)
    index = index.assign(
        subject=[f"p{number}" for number in person],
        channel="all",
        start=np.arange(len(person), dtype=float),
        rating_valence=1.0 + 8.0 * state,
    )
    offsets = 1.5 * random.permutation(PEOPLE)[person] / PEOPLE + 0.25 * state
    noise = 0.1 * random.normal(size=(len(person), 1, 64))
    return replace(store, index=index, signal=(offsets[:, None, None] + noise).astype(np.float32))


def experiment_of(*, count: int, number: int, seed: int = 0, **task: object) -> Experiment:
    return Experiment.model_validate(
        {
            "model": MODEL,
            "task": {"kind": "classify", "target": "valence", "hidden": [], "frozen": True, **task},
            "optim": {"lr": 5e-2, "warmup_epochs": 0, "weight_decay": 0.0},
            "folds": {"by": "subject", "count": count, "index": number, "validation": 0, "seed": seed},
            "epochs": 8,
            "batch_size": 16,
        }
    )


def accuracy(store: SegmentStore, *, count: int = 3, seeds: int = 1, **task: object) -> float:
    """Return the mean balanced accuracy over folds by person and over divisions into folds."""
    scores = []
    for seed, number in itertools.product(range(seeds), range(count)):
        experiment = experiment_of(count=count, number=number, seed=seed, **task)
        data = experiment.training_data(store)
        state = experiment.begin(data)
        data = with_person_means(data, state.objective)
        train_until(state, data, experiment, until=experiment.epochs)
        scores.append(evaluate(state.objective, data, data.fold.test, prefix="test")["test/balanced_accuracy"])
    return float(np.mean(scores))


def test_a_state_hidden_by_differences_between_people_is_found_when_they_are_subtracted(planted: SegmentStore) -> None:
    assert accuracy(planted) < 0.75
    assert accuracy(planted, centre="person") > 0.9


@pytest.mark.parametrize("count", [3, PEOPLE])
def test_labels_that_name_the_person_score_at_chance_by_person(planted: SegmentStore, count: int) -> None:
    named = np.where(planted.index["subject"].str[1:].astype(int) % 2, 9.0, 1.0)
    leaky = replace(planted, index=planted.index.assign(rating_valence=named))
    # people of one fold can have the same label: then the score is the recall of that label
    assert abs(accuracy(leaky, count=count, centre="person") - 0.5) < 0.2


def test_shuffled_labels_score_at_chance(planted: SegmentStore) -> None:
    assert abs(accuracy(planted, seeds=5, centre="person", shuffled=True) - 0.5) < 0.2


def test_the_labels_of_test_people_change_no_prediction(planted: SegmentStore) -> None:
    experiment = experiment_of(count=3, number=0, centre="person")
    logits = []
    for store in (planted, swapped(planted, rows=experiment.training_data(planted).fold.test)):
        data = experiment.training_data(store)
        state = experiment.begin(data)
        data = with_person_means(data, state.objective)
        train_until(state, data, experiment, until=2)
        logits.append(collect_logits(state.objective, data, data.fold.test))
    assert np.array_equal(*logits)


def swapped(store: SegmentStore, *, rows: np.ndarray) -> SegmentStore:
    """Return a store in which some rows have the opposite label."""
    ratings = store.index["rating_valence"].to_numpy(dtype=float, copy=True)
    ratings[rows] = 10.0 - ratings[rows]
    return replace(store, index=store.index.assign(rating_valence=ratings))


@pytest.fixture(scope="module")
def centred(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchFolder, SearchFolder]:
    """Finished cross-validations of three folds by person with ``centre: person``, on ECG and on EEG."""
    storage = LocalStorage(tmp_path_factory.mktemp("results"))
    folders = SearchFolder.of("ecg-cv", storage=storage), SearchFolder.of("eeg-cv", storage=storage)
    for folder, modality in zip(folders, ("ecg", "eeg"), strict=True):
        cross_validate(unimodal(stores[modality], task=CENTRED, folds=BY_PERSON), folder)
    return folders


def test_the_table_of_predictions_has_the_scores_of_the_journal(centred: tuple[SearchFolder, SearchFolder]) -> None:
    table = predictions_of(centred[0])
    for fold in read_cross_validation(read_journal(centred[0].journal)).folds:
        scores = scores_of(decisions(table[table["fold"] == fold.fold], level="segments"))
        assert scores["macro_f1"] == pytest.approx(fold.metrics["macro_f1"])


def test_the_report_has_the_predictions_of_the_table(centred: tuple[SearchFolder, SearchFolder]) -> None:
    result = classify_held_out(read_journal(centred[0].journal), folder=centred[0])
    table = predictions_of(centred[0])
    high = int((table["weighted_probability"] > 0.5).sum())
    assert sum(row[1] for row in result.confusion) == high


def test_features_of_a_fusion_are_activations_of_centred_vectors(
    centred: tuple[SearchFolder, SearchFolder], recording: Path, tmp_path: Path
) -> None:
    fused = build_features(*centred, store=tmp_path / "features").store
    ecg = read_classifiers(centred[0])
    number = person_numbers(ecg.store.index)
    leads = ecg.store.index["channel"].nunique()
    for member in ecg.members:
        objective = member.load(ecg.store)
        with torch.no_grad():
            pooled = objective.pooled(torch.from_numpy(np.array(ecg.store.signal))).numpy()
            centred_vectors = centre_by_person(pooled, people=number).astype(np.float32)
            hidden = objective.head[:-1](torch.from_numpy(centred_vectors)).numpy()
        moments, moment_of = np.unique(unit_keys(ecg.store.index, by="moment"), return_inverse=True)
        means = np.zeros((len(moments), hidden.shape[1]))
        np.add.at(means, moment_of, hidden / leads)
        own = np.searchsorted(moments, unit_keys(fused.index, by="moment"))
        np.testing.assert_allclose(fused.signal[:, member.fold, : hidden.shape[1]], means[own], atol=1e-4)
    folder = SearchFolder.of("fused-cv", storage=centred[0].root)
    settings = {"model": {"kind": "features", "width": fused.about.width}, "folds": BY_PERSON, "epochs": 1}
    settings |= {"task": {"kind": "classify", "hidden": (4,), "frozen": True, "centre": "person"}}
    settings |= {"optim": {"warmup_epochs": 0}}
    cross_validate(Experiment.model_validate({"store": str(fused.path), **settings}), folder)
    predictor = find_fused_predictor(folder)
    assert predictor is not None
    prediction = predict_fused(recording, predictor=predictor)
    assert prediction.centred is not None
    assert prediction.centred.models == ("ecg-cv", "eeg-cv", "fused-cv")
    assert prediction.centred.segments == {"I": 8, "II": 8, "all": 12, "ECG and EEG": 8}
    assert np.isfinite(prediction.probabilities["fused"]).all()


def checkpoint_of(folder: SearchFolder) -> Path:
    checkpoint = newest_checkpoint(folder.checkpoints(0))
    assert checkpoint is not None
    return checkpoint


def test_an_exported_graph_subtracts_the_mean_of_its_batch(
    centred: tuple[SearchFolder, SearchFolder], stores: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(centred[0])
    words = ["export", str(checkpoint), "--format", "pt2", "--out", str(tmp_path / "model"), "--json"]
    result = CliRunner().invoke(program, words, env={"EMOTUNE_STORAGE": str(tmp_path)}, standalone_mode=False)
    assert result.exception is None
    assert json.loads(result.stdout)["note"].startswith("A batch must have all segments of one person and one ECG lead")
    assert "A segment alone has the same probability" in (tmp_path / "model" / "README.md").read_text()
    store = SegmentStore.open(stores["ecg"])
    signals = np.array(store.signal[person_numbers(store.index) == 0])
    graph = torch.export.load(tmp_path / "model" / "model.pt2").module()
    expected = Predictor("ours", checkpoints=[checkpoint]).probabilities(signals)
    np.testing.assert_allclose(graph(torch.from_numpy(signals)).detach().numpy(), expected, atol=1e-5)
    assert np.ptp(expected) > 0


def test_a_model_folder_predicts_as_the_checkpoint(
    centred: tuple[SearchFolder, SearchFolder], stores: dict[str, Path], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(centred[0])
    assert export_network(checkpoint, to=tmp_path / "model", format="hf", name="ours").note == ""
    signals = np.array(SegmentStore.open(stores["ecg"]).signal[:9])
    first, second = (Predictor("ours", checkpoints=[folder]) for folder in (checkpoint, tmp_path / "model"))
    assert second.is_centred
    assert np.array_equal(first.probabilities(signals), second.probabilities(signals))
