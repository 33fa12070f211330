"""Features without training against values computed by hand, and baselines in the folds of a cross-validation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from emotune.cli.actions import crossval
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.folds import Folds, split, unit_keys
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.signals import beat_times
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.baselines import (
    BASELINES,
    OF_ENCODER,
    baseline_tables,
    baselines_of,
    fit_and_predict,
    run_baselines,
    select_features,
    titles_of,
    with_baselines,
)
from emotune.evaluation.crossval import cross_validation_study
from emotune.evaluation.encoders import PretrainedEncoder
from emotune.evaluation.held_out import prediction_table, with_probabilities
from emotune.evaluation.held_out_scores import level_scores
from emotune.evaluation.physiology import (
    EEG_BANDS_HZ,
    FEATURES,
    HEART_NAMES,
    HEART_RATE,
    brain_features,
    heart_features,
    sample_entropy,
)
from emotune.experiment import Experiment
from emotune.tasks.aggregation import embed
from emotune.tasks.ridge import standardise
from emotune.training.loop import TrainingData
from tests.evaluation.test_export import checkpoint

RATE = 128


def ecg_with(beats: np.ndarray, *, seconds: float) -> np.ndarray:
    """Return an ECG whose R waves are at given times (s)."""
    times = np.arange(round(seconds * RATE)) / RATE
    return np.exp(-(((times[:, None] - beats[None]) / 0.02) ** 2)).sum(axis=1)


def test_beats_are_found_between_the_samples() -> None:
    beats = 0.5 + np.cumsum(np.random.default_rng(0).uniform(0.6, 1.1, 10))
    found = beat_times(ecg_with(beats, seconds=12), fs=float(RATE))
    assert len(found) == len(beats)
    assert np.abs(found - beats).max() < 0.004  # half a sample


def test_a_signal_too_short_for_beats_has_no_features() -> None:
    assert len(beat_times(np.zeros(RATE), fs=float(RATE))) == 0
    assert np.isnan(heart_features(np.zeros((2, 1, RATE), dtype=np.float32), rate=RATE)).all()


def test_heart_rate_variability_is_that_of_the_intervals() -> None:
    beats = 0.5 + np.cumsum([0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9])
    segment = ecg_with(beats, seconds=10)[None, None].astype(np.float32)
    features = dict(zip(HEART_NAMES, heart_features(segment, rate=RATE)[0], strict=True))
    intervals = np.diff(beats)
    assert features["heart_rate"] == pytest.approx(60 / intervals.mean(), rel=0.005)
    assert features["sdnn"] == pytest.approx(intervals.std(), abs=0.005)
    assert features["rmssd"] == pytest.approx(0.1, abs=0.01)
    assert features["pnn50"] == 1
    # alternating intervals lie on both sides of the diagonal of the Poincaré plot
    assert features["sd1"] == pytest.approx(np.sqrt(np.var(np.diff(intervals)) / 2), abs=0.005)
    assert features["sd1_sd2"] > 1
    assert np.isnan(features["lf"])  # 10 s hold no period of 0.04 Hz
    assert np.isfinite(features["hf"])


def test_slow_breathing_moves_power_from_high_to_low_frequencies() -> None:
    def share(frequency: float) -> float:
        beats, last = [], 0.5
        while last < 59:
            beats.append(last)
            last += 0.8 + 0.08 * np.sin(2 * np.pi * frequency * last)
        segment = ecg_with(np.array(beats), seconds=60)[None, None].astype(np.float32)
        return float(heart_features(segment, rate=RATE)[0, HEART_NAMES.index("lf_share")])

    assert share(0.1) > 0.8
    assert share(0.3) < 0.2


def test_sample_entropy_is_that_of_its_definition() -> None:
    values = np.random.default_rng(1).standard_normal(120)
    limit, counts = 0.2 * values.std(), []
    for size in (2, 3):
        templates = [values[start : start + size] for start in range(118)]
        counts.append(sum(np.max(np.abs(a - b)) <= limit for i, a in enumerate(templates) for b in templates[i + 1 :]))
    assert sample_entropy(values) == pytest.approx(-np.log(counts[1] / counts[0]))
    assert sample_entropy(np.tile([1.0, 2.0], 10)) == pytest.approx(0.0, abs=0.2)


def test_the_entropy_of_a_band_is_that_of_its_variance() -> None:
    times = np.arange(10 * RATE) / RATE
    signal = (3 * np.sin(2 * np.pi * 10 * times))[None, None].astype(np.float32)
    features = brain_features(signal, rate=RATE)[0]
    bands = list(EEG_BANDS_HZ)
    assert features[bands.index("alpha")] == pytest.approx(np.log(2 * np.pi * np.e * 4.5) / 2, abs=0.01)
    assert features[len(bands) + bands.index("alpha")] == pytest.approx(1.0, abs=1e-3)


def test_the_centred_heart_rate_has_the_median_zero_for_every_person() -> None:
    people = np.array(["a", "a", "a", "b", "b", "c"])
    features = np.full((6, len(HEART_NAMES)), np.nan)
    features[:, HEART_RATE] = [60, 70, 90, 100, np.nan, np.nan]
    baseline = BASELINES["ecg"]["centred_heart_rate"]
    centred = select_features(features, baseline=baseline, people=people, rows=np.arange(6))
    assert np.array_equal(centred[:, 0], [-10, 0, 20, 0, np.nan, np.nan], equal_nan=True)


def test_features_are_standardised_by_the_training_segments_alone() -> None:
    fitted, predicted = np.array([[1.0, np.nan, 7], [3, np.nan, 7], [np.nan, np.nan, 7]]), np.array([[9.0, 5, 8]])
    own, other = standardise(fitted, predicted)
    assert own.mean(axis=0) == pytest.approx(0)
    assert own[2, 0] == pytest.approx(0)  # the median, 2
    assert other[0].tolist() == [pytest.approx((9 - 2) / np.sqrt(2 / 3)), 0.0, 1.0]


@pytest.mark.parametrize("classifier", ["logistic", "svm", "forest"])
@pytest.mark.parametrize("count", [2, 3])
def test_every_classifier_returns_probabilities_in_the_order_of_the_labels(classifier: str, count: int) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(count, dtype=float), 20)
    features = labels[:, None] * 5 + random.standard_normal((len(labels), 2))
    probabilities = fit_and_predict(classifier, features, labels=labels, predicted=features, seed=0)  # pyright: ignore[reportArgumentType]
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.95


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, SegmentStore]:
    made: dict[Modality, SegmentStore] = {}
    modalities: tuple[Modality, ...] = ("ecg", "eeg")
    for modality in modalities:
        path = tmp_path_factory.mktemp("stores") / modality
        settings = PrepareSettings(modality=modality, seconds=6.0)
        people = Synthetic(subjects=8, seconds_per_state=24)
        prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=people)
        made[modality] = SegmentStore.open(path)
    return made


def folds_of(store: SegmentStore, labels: np.ndarray, *, by: str, count: int) -> dict[int, TrainingData]:
    data = {}
    for index in range(count):
        folds = Folds.model_validate({"by": by, "count": count, "index": index, "validation": 0.0})
        data[index] = TrainingData(store=store, fold=split(store.index, folds, labels=labels), labels=labels)
    return data


def marked_signal(people: np.ndarray, *, like: np.ndarray) -> np.ndarray:
    """Return signals whose heart rate and whose strongest frequency increase with the number of the person.

    Persons can be recognised. Labels that alternate from each person to the next cannot be predicted for a new one.
    """
    random = np.random.default_rng(0)
    times = np.arange(like.shape[2]) / RATE
    signal = np.empty(like.shape, dtype=np.float32)
    for row, person in enumerate(people):
        period = 60 / (50 + 6 * person)
        beats = np.arange(random.uniform(0, period), times[-1], period)
        sine = np.sin(2 * np.pi * (5 + 3 * person) * times + random.uniform(0, 6))
        noise = 0.3 * random.standard_normal(like.shape[1:])
        signal[row] = (8 * ecg_with(beats, seconds=like.shape[2] / RATE) if len(like[0]) == 1 else sine) + noise
    return signal


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_labels_that_name_the_person_are_learnt_by_segment_and_at_chance_by_subject(
    generated: dict[Modality, SegmentStore], modality: Modality
) -> None:
    people = np.unique(unit_keys(generated[modality].index, by="subject"), return_inverse=True)[1]
    store = replace(generated[modality], signal=marked_signal(people, like=generated[modality].signal))
    labels = (people % 2).astype(float)
    scores = {}
    for by, count in (("moment", 3), ("subject", 4)):
        results = run_baselines(folds_of(store, labels, by=by, count=count)).folds
        assert set(results) == set(BASELINES[modality])
        scores[by] = {name: np.mean([fold.metrics["accuracy"] for fold in folds]) for name, folds in results.items()}
    forest = next(name for name in BASELINES[modality] if name.endswith("forest"))
    assert scores["moment"][forest] > 0.65
    assert max(scores["subject"].values()) < 0.6


def test_probabilities_are_columns_of_the_table_of_predictions_and_have_the_scores_of_the_folds(
    generated: dict[Modality, SegmentStore],
) -> None:
    store = generated["ecg"]
    labels = (store.index["rating_arousal"] > 5).to_numpy(dtype=float)
    data = folds_of(store, labels, by="subject", count=4)
    results = run_baselines(data)
    parts = []
    for number, part in data.items():
        rows = part.fold.test
        table = prediction_table(store, rows=rows, labels=labels[rows], fold=number)
        parts.append(with_probabilities(table, (np.full(len(rows), 0.4), np.full(len(rows), 0.6)), classes=()))
    table = with_baselines(pd.concat(parts, ignore_index=True), results.columns)
    assert len(table) == len(store)
    again = with_baselines(table, results.columns)
    pd.testing.assert_frame_equal(again, table)
    tables = baseline_tables(table)
    assert set(tables) == set(BASELINES["ecg"])
    for name, folds in results.folds.items():
        for fold in folds:
            scores = level_scores(tables[name][table["fold"] == fold.fold], level="segments").pooled
            assert scores["accuracy"] == pytest.approx(fold.metrics["accuracy"])
    # the generated heart rate depends on arousal and on the person
    assert np.mean([fold.metrics["accuracy"] for fold in results.folds["centred_heart_rate"]]) > 0.8


def test_the_frozen_encoder_is_a_baseline_of_a_cross_validation_that_starts_from_it(
    generated: dict[Modality, SegmentStore], tmp_path: Path
) -> None:
    store = generated["ecg"]
    labels = (store.index["rating_arousal"] > 5).to_numpy(dtype=float)
    data = {0: folds_of(store, labels, by="subject", count=4)[0]}
    encoder = checkpoint(tmp_path, store)
    results = run_baselines(data, encoders={0: encoder})
    assert set(results.folds) == {*BASELINES["ecg"], *OF_ENCODER} <= set(titles_of())
    train, test = data[0].fold.train, data[0].fold.test
    rows = np.concatenate([train, test])
    with torch.no_grad():
        embeddings = embed(torch.from_numpy(store.signal[rows]), encoder=PretrainedEncoder(encoder).encoder).numpy()
    for name, centred in (("encoder", False), ("centred_encoder", True)):
        values = embeddings.astype(float)
        if centred:
            people = unit_keys(store.index.iloc[rows], by="subject")
            values -= pd.DataFrame(values).groupby(people).transform("median").to_numpy()
        fitted, predicted = values[: len(train)], values[len(train) :]
        expected = fit_and_predict("logistic", fitted, labels=labels[train], predicted=predicted, seed=0)[:, 1]
        np.testing.assert_allclose(results.columns[f"baseline/{name}"], expected, atol=1e-3)


def test_a_store_of_features_has_no_baselines(generated: dict[Modality, SegmentStore], tmp_path: Path) -> None:
    store = generated["ecg"]
    features = replace(store, path=tmp_path, about=store.about.model_copy(update={"modality": "features"}))
    with pytest.raises(SettingsError, match="holds features; baselines are for a store of signals"):
        baselines_of(features)


def test_every_modality_has_features_and_baselines() -> None:
    assert set(FEATURES) == set(BASELINES)


@pytest.mark.parametrize(("weights", "expected"), [("pretrained", ["a", "a", "b", "b"]), ("scratch", None)])
def test_the_encoder_of_a_fold_is_that_which_its_network_starts_from(
    monkeypatch: pytest.MonkeyPatch, weights: str, expected: list[str] | None
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(crossval, "find_encoders", lambda *_: {"encoder": Path("a"), "second": Path("b")})
    monkeypatch.setattr(crossval, "run_baselines", lambda _, **options: given.update(options))
    start = {"encoder": "a", "second": "b", "weights": weights}
    experiment = Experiment.model_validate({"task": {"kind": "classify"}, "start": start, "epochs": 100})
    study = cross_validation_study(experiment, protocol="paper", folds=4)
    crossval._run_baselines(study, dict.fromkeys(range(4)), destination=None)  # pyright: ignore[reportArgumentType]
    assert given["encoders"] == (expected and {number: Path(name) for number, name in enumerate(expected)})
