"""Predictions: prepared as in training, averaged over folds; recordings that cannot be used are refused in a line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import DataError, EmotuneError, SettingsError
from emotune.evaluation.encoders import PretrainedEncoder, best_checkpoint
from emotune.evaluation.prediction import UNDECIDED, Predictor, find_predictor, label_of, predict
from emotune.experiment import Experiment
from emotune.search.records import Record, Started
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal, read_journal
from emotune.tracking.encoders import find_encoder
from tests.evaluation.prediction.conftest import FS, SECONDS

LEADS = ("ECG Left", "ECG Right")
Write = Callable[..., Path]
Train = Callable[..., SearchFolder]


@pytest.fixture
def predictor(train: Train) -> Predictor:
    return Predictor("mine", checkpoints=[best_checkpoint(train("mine"))])


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_segments_are_those_that_a_store_of_the_file_would_have(
    train: Train, write: Write, ecg: np.ndarray, eeg: np.ndarray, tmp_path: Path, modality: str
) -> None:
    signal, names = (ecg, LEADS) if modality == "ecg" else (eeg, TEN_CHANNELS)
    file = write("recording.npz", signal=signal, names=names, kind=modality)
    (tmp_path / "manifest.csv").write_text("file,subject\nrecording.npz,s01\n")
    settings = PrepareSettings.model_validate({"modality": modality, "seconds": SECONDS})
    prepare("folder", folder=tmp_path, store=tmp_path / "store", settings=settings)
    store = SegmentStore.open(tmp_path / "store")
    predictor_of_modality = Predictor("m", checkpoints=[best_checkpoint(train("m", modality=modality))])
    prediction = predict(file, predictors=[predictor_of_modality])
    assert np.array_equal(prediction.signals, store.signal)
    assert prediction.leads == store.index["channel"].tolist()
    assert prediction.starts.tolist() == store.index["start"].tolist()
    assert prediction.ends.tolist() == [start + SECONDS for start in store.index["start"]]
    objective = predictor_of_modality.classifiers[0].objective
    weight = objective.get_buffer("positive_weight").item()
    with torch.no_grad():
        logits = objective.logits(torch.from_numpy(np.array(store.signal))).numpy() - np.log(weight)
    np.testing.assert_allclose(prediction.probabilities["arousal"], 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert prediction.means("arousal")["high"] == pytest.approx(prediction.probabilities["arousal"].mean())


def test_a_raw_signal_is_embedded_from_the_same_segments(
    train: Train, write: Write, ecg: np.ndarray, predictor: Predictor
) -> None:
    encoder = PretrainedEncoder(best_checkpoint(train("other")))
    file = write("a.npz", signal=ecg[:1], names=("ECG",), kind="ecg")
    segments = predict(file, predictors=[predictor]).signals
    with torch.no_grad():
        expected = encoder(torch.from_numpy(segments)).numpy()
    # the file rounds to a part in 30,000
    np.testing.assert_allclose(encoder.embed(ecg[:1], fs=FS), expected, atol=2e-3)
    with pytest.raises(DataError, match="not finite"):
        encoder.embed(np.where(np.arange(ecg.shape[1]) == 9, np.nan, ecg[:1]), fs=FS)
    with pytest.raises(DataError, match=r"a signal of 3\.0 s was given, shorter than a segment of 5 s"):
        encoder.embed(ecg[:1, : 3 * FS], fs=FS)


def test_the_folds_of_a_cross_validation_are_averaged_and_shuffled_labels_left_out(
    train: Train, write: Write, ecg: np.ndarray, tmp_path: Path
) -> None:
    values = ({"folds.index": 0}, {"folds.index": 1}, {"folds.index": 1, "seed": 9})
    folder = train("cv", purpose="fold", values=values)
    rename_last_to_shuffled(folder)
    together = find_predictor("cv", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)
    assert len(together.classifiers) == 2
    file = write("a.npz", signal=ecg, names=LEADS, kind="ecg")
    alone = [
        predict(
            file,
            predictors=[
                find_predictor(
                    str(folder.checkpoints(fold) / "epoch-000001"),
                    storage=LocalStorage(tmp_path),
                    find_checkpoint=find_encoder,
                )
            ],
        )
        for fold in (0, 1)
    ]
    expected = np.mean([prediction.probabilities["arousal"] for prediction in alone], axis=0)
    np.testing.assert_allclose(predict(file, predictors=[together]).probabilities["arousal"], expected, atol=1e-6)


def rename_last_to_shuffled(folder: SearchFolder) -> None:
    """Change the journal: the last evaluation has shuffled labels."""
    records = read_journal(folder.journal)
    (folder.path / "journal.jsonl").unlink()
    with Journal.open(folder.journal, owner="test") as journal:
        for record in records:
            journal.append(as_shuffled(record))


def as_shuffled(record: Record) -> Record:
    if not isinstance(record, Started) or record.evaluation.config_id != 2:
        return record
    values = {"folds.index": 1, "task.shuffled": True}
    return record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"values": values})})


def test_a_cross_validation_that_is_not_complete_is_refused(train: Train, tmp_path: Path) -> None:
    folder = train("cv", purpose="fold", values=({"folds.index": 0}, {"folds.index": 1}))
    for file in folder.checkpoints(1).local().rglob("weights.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(SettingsError, match="'cv' is not complete: 0 of 2 folds are not done, 1 have a checkpoint"):
        find_predictor("cv", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)


def test_several_targets_are_predicted_together(train: Train, write: Write, ecg: np.ndarray, tmp_path: Path) -> None:
    for target in ("arousal", "valence"):
        train(target, task={"kind": "classify", "target": target, "hidden": (4,)})
    predictors = [
        find_predictor(name, storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)
        for name in ("arousal", "valence")
    ]
    prediction = predict(write("a.npz", signal=ecg, names=LEADS, kind="ecg"), predictors=predictors)
    table = prediction.table()
    answers = ["arousal_probability", "arousal", "valence_probability", "valence"]
    assert list(table.columns) == ["channel", "start", "end", *answers]
    assert len(table) == 2 * 4
    for target in ("arousal", "valence"):
        assert table[target].tolist() == [label_of([value]) for value in prediction.probabilities[target]]
    with pytest.raises(SettingsError, match="arousal and arousal both predict arousal"):
        predict(prediction.file, predictors=[predictors[0], predictors[0]])


@pytest.mark.parametrize(
    ("probability", "label"),
    [(0.39, "rest"), (0.41, UNDECIDED), (0.5, UNDECIDED), (0.59, UNDECIDED), (0.61, "arithmetic")],
)
def test_a_probability_near_one_half_is_undecided(probability: float, label: str) -> None:
    assert label_of([probability], names=("rest", "arithmetic")) == label


def test_a_classifier_of_noise_predicts_the_share_of_high_labels(
    stores: Callable[[Modality], SegmentStore], trained: Callable[..., Path], write: Write, ecg: np.ndarray
) -> None:
    store = stores("ecg")
    base = {
        "store": str(store.path),
        "model": {"channels": (4,), "kernels": (5,), "feedforward": 8, "layers": 1, "attention_dropout": 0},
        "task": {"kind": "classify", "hidden": (), "frozen": True},
        "optim": {"schedule": "none", "warmup_epochs": 0, "lr": 1e-4, "weight_decay": 0},
        "folds": {"validation": 0},
        "epochs": 1,
    }
    random = np.random.default_rng(0)
    ratings = np.where(random.uniform(size=len(store)) < 0.1, 9.0, 1.0)
    noise = random.standard_normal(store.signal.shape).astype(np.float32)
    made_up = replace(store, signal=noise, index=store.index.assign(rating_arousal=ratings))
    file = write("a.npz", signal=ecg, names=LEADS, kind="ecg")
    shares = []
    for weight in ("balanced", "none"):
        experiment = Experiment.model_validate(base | {"task": {**base["task"], "class_weight": weight}})
        checkpoint = trained(experiment, store=made_up)
        noise_predictor = Predictor("noise", checkpoints=[checkpoint])
        shares.append(noise_predictor.shares)
        if weight == "balanced":
            mean = predict(file, predictors=[noise_predictor]).means("arousal")["high"]
            assert noise_predictor.shares is not None
            # without training the balanced probability is about one half, and the corrected one the share itself
            assert mean == pytest.approx(noise_predictor.shares[1], abs=0.06)
    assert shares[0] == shares[1]
    assert shares[0][1] < 0.2


def test_conditions_have_their_names(train: Train, write: Write, ecg: np.ndarray) -> None:
    conditions = {"kind": "classify", "target": "condition", "high": "arithmetic", "hidden": (4,)}
    predictor_of_condition = Predictor("c", checkpoints=[best_checkpoint(train("c", conditions=True, task=conditions))])
    assert predictor_of_condition.class_names == ("rest", "arithmetic")
    prediction = predict(write("a.npz", signal=ecg, names=LEADS, kind="ecg"), predictors=[predictor_of_condition])
    assert set(prediction.table()["condition"]) <= {"rest", "arithmetic", UNDECIDED}
    assert prediction.document()["probability_of"] == {"condition": "arithmetic"}


def test_predictors_of_other_preparations_are_refused(train: Train, predictor: Predictor, tmp_path: Path) -> None:
    other = Predictor("eeg", checkpoints=[best_checkpoint(train("eeg", modality="eeg"))])
    with pytest.raises(SettingsError, match="mine and eeg were trained on signals with different preparations"):
        predict(tmp_path / "x.npz", predictors=[predictor, other])


def test_gaps_and_dead_leads_are_left_out_and_the_other_segments_are_predicted(
    predictor: Predictor, write: Write, ecg: np.ndarray
) -> None:
    signal = np.concatenate([ecg, np.zeros((1, ecg.shape[1]))])
    signal[:, 6 * FS : 7 * FS] = np.nan
    prediction = predict(write("a.npz", signal=signal, names=(*LEADS, "V1"), kind="ecg"), predictors=[predictor])
    assert prediction.names == LEADS
    assert sorted(set(prediction.starts.tolist())) == [0.0, 10.0, 15.0]
    assert [str(part) for part in prediction.left_out] == [
        "lead V1: the lead is constant",
        "1.00 s: gaps of missing samples, cut out",
    ]


def test_a_classifier_with_max_pooling_is_loaded_with_its_weights(
    train: Train, write: Write, ecg: np.ndarray, tmp_path: Path
) -> None:
    train("pool", task={"kind": "classify", "aggregate": "max-groups", "hidden": (4,), "frozen": True})
    prediction = predict(
        write("a.npz", signal=ecg, names=LEADS, kind="ecg"),
        predictors=[find_predictor("pool", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)],
    )
    assert np.ptp(prediction.probabilities["arousal"]) > 0


def flat(signal: np.ndarray) -> np.ndarray:
    return np.full_like(signal, 0.3)


def short(signal: np.ndarray) -> np.ndarray:
    return signal[:, : 3 * FS]


def missing(signal: np.ndarray) -> np.ndarray:
    return np.full_like(signal, np.nan)


def in_volts(signal: np.ndarray) -> np.ndarray:
    return signal / 1e6


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (flat, {}, "cannot be used: lead ECG Left: the lead is constant; lead ECG Right: the lead is constant"),
        (missing, {}, "cannot be used: lead ECG Left: the lead is mostly missing"),
        (short, {}, r"cannot be used: 3\.0 s: shorter than a segment of 5 s"),
        (in_volts, {}, "cannot be used: the signal's standard deviation is"),
        (np.copy, {"fs": 64.0}, "ends its spectrum at 32 Hz; the band ends at 50 Hz"),
        (np.copy, {"kind": "eeg"}, r"has no ECG channel, which the model needs; it has: ECG Left \(eeg\)"),
    ],
)
def test_an_unusable_recording_is_refused_with_one_line(
    predictor: Predictor, write: Write, ecg: np.ndarray, change: Callable, file: dict, message: str
) -> None:
    path = write("a.npz", **{"signal": change(ecg), "names": LEADS, "kind": "ecg", **file})
    with pytest.raises(DataError, match=message) as refused:
        predict(path, predictors=[predictor])
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_eeg_without_a_channel_is_refused(train: Train, write: Write, eeg: np.ndarray) -> None:
    predictor_of_modality = Predictor("m", checkpoints=[best_checkpoint(train("m", modality="eeg"))])
    file = write("a.npz", signal=eeg[1:], names=TEN_CHANNELS[1:], kind="eeg")
    with pytest.raises(DataError, match=r"a\.npz: it has no channel F7; it has F3, T7"):
        predict(file, predictors=[predictor_of_modality])


def test_a_csv_file_needs_a_sampling_rate(predictor: Predictor, ecg: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    np.savetxt(file, ecg[0], header="ECG", comments="")
    with pytest.raises(DataError, match=r"a\.csv: its sampling rate is not known; give it with --fs"):
        predict(file, predictors=[predictor])
    assert len(predict(file, predictors=[predictor], fs=float(FS)).leads) == 4


def test_a_network_that_is_not_a_classifier_is_refused(train: Train, tmp_path: Path) -> None:
    train("pretrained", task={"kind": "masked_values", "head": 4})
    with pytest.raises(SettingsError, match="pretrained was trained for task 'masked_values', expected 'classify'"):
        find_predictor("pretrained", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)
    with pytest.raises(EmotuneError, match="'missing'"):
        find_predictor("missing", storage=LocalStorage(tmp_path / "results"), find_checkpoint=find_encoder)
