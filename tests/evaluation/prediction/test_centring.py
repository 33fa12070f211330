"""Predictions of classifiers that subtract the mean of a person, for a recording and for a store."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotune.data.store import SegmentStore
from emotune.errors import DataError
from emotune.evaluation.encoders import best_checkpoint
from emotune.evaluation.prediction import Predictor, predict
from emotune.evaluation.store_prediction import predict_store
from emotune.study.folder import SearchFolder
from emotune.tasks.centring import centre_by_person, person_numbers
from tests.evaluation.prediction.conftest import FS
from tests.evaluation.prediction.test_prediction import LEADS
from tests.evaluation.prediction.test_store_prediction import others

__all__ = ["others"]

TASK = {"kind": "classify", "hidden": (8,), "frozen": True, "centre": "person"}
Train = Callable[..., SearchFolder]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def predictor(train: Train) -> Predictor:
    return Predictor("ours", checkpoints=[best_checkpoint(train("ours", task=TASK))])


def by_hand(predictor: Predictor, signals: np.ndarray, *, people: np.ndarray) -> np.ndarray:
    """Return the probability of the high class with the classes weighted as in the loss."""
    objective = predictor.classifiers[0].objective
    with torch.no_grad():
        pooled = objective.pooled(torch.from_numpy(signals)).double().numpy()
        vectors = torch.from_numpy(centre_by_person(pooled, people=people).astype(np.float32))
        return objective.classify(vectors).sigmoid().double().numpy()


def test_of_a_recording_the_mean_of_each_lead_is_subtracted(
    predictor: Predictor, write: Callable[..., Path], ecg: np.ndarray
) -> None:
    file = write("a.npz", signal=ecg, names=LEADS, kind="ecg")
    prediction = predict(file, predictors=[predictor])
    people = np.array([LEADS.index(lead) for lead in prediction.leads])
    _, weighted = predictor.both_probabilities(prediction.signals, people=people)
    np.testing.assert_allclose(weighted, by_hand(predictor, prediction.signals, people=people), atol=1e-6)
    alone = predict(write("b.npz", signal=ecg[:1], names=LEADS[:1], kind="ecg"), predictors=[predictor])
    own = prediction.probabilities["arousal"][people == 0]
    np.testing.assert_allclose(alone.probabilities["arousal"], own, atol=2e-3)  # the file rounds to a part in 30,000
    assert prediction.centred is not None
    assert prediction.centred.segments == dict.fromkeys(LEADS, 4)


def test_the_command_prints_how_many_segments_the_mean_has(
    run: Run, train: Train, write: Callable[..., Path], ecg: np.ndarray
) -> None:
    train("ours", task=TASK)
    write("a.npz", signal=ecg, names=("I", "II"), kind="ecg")
    code, out, err = run("ours", "a.npz")
    assert code == 0
    text = " ".join(out.split())
    assert "centring of ours minus the mean over the 4 segments of each lead in this file" in text
    assert "the mean that ours subtracts is that of 4 segments, expected at least 10" in " ".join(err.split())
    code, out, err = run("ours", "a.npz", "--json")
    assert (code, json.loads(out)["centred"]) == (0, {"models": ["ours"], "segments": {"I": 4, "II": 4}})
    write("long.npz", signal=np.tile(ecg, (1, 3)), names=("I", "II"), kind="ecg")
    code, out, err = run("ours", "long.npz")
    assert (code, err, "the 13 segments of each lead" in " ".join(out.split())) == (0, "", True)


def test_a_recording_of_one_segment_is_refused_in_a_line(
    predictor: Predictor, write: Callable[..., Path], ecg: np.ndarray
) -> None:
    file = write("short.npz", signal=ecg[:, : 7 * FS], names=LEADS, kind="ecg")
    with pytest.raises(DataError, match=r"short.npz has 1 segment of 5 s, but ours subtracts .*expected at least 2"):
        predict(file, predictors=[predictor])


def test_of_a_store_the_mean_of_each_person_has_also_segments_without_a_label(
    predictor: Predictor, others: SegmentStore
) -> None:
    ratings = others.index["rating_arousal"].where(others.index["session"] != others.index["session"].iloc[0])
    part = replace(others, index=others.index.assign(rating_arousal=ratings))
    prediction = predict_store(predictor, part)
    rated = np.flatnonzero(ratings.notna())
    assert 0 < len(rated) < len(others)
    expected = by_hand(predictor, np.array(others.signal), people=person_numbers(others.index))[rated]
    np.testing.assert_allclose(prediction.table["weighted_probability"], expected, atol=1e-6)
    order = np.random.default_rng(0).permutation(len(part))
    mixed = predict_store(
        predictor,
        replace(part, signal=np.array(part.signal)[order], index=part.index.iloc[order].reset_index(drop=True)),
    ).table
    columns = ["subject", "session", "channel", "start"]
    pair = [table.sort_values(columns)["probability"].to_numpy() for table in (prediction.table, mixed)]
    np.testing.assert_allclose(*pair, atol=1e-6)
    assert any("of each person is over 16 segments, with and without a label" in note for note in prediction.notes), (
        prediction.notes
    )


def test_a_store_with_people_of_few_segments_is_predicted_with_a_warning(
    predictor: Predictor, others: SegmentStore
) -> None:
    kept = np.flatnonzero((others.index["subject"] != "s001") | (others.index["start"] == 0))
    part = replace(others, signal=np.array(others.signal[kept]), index=others.index.iloc[kept].reset_index(drop=True))
    assert any(note.startswith("warning: ") for note in predict_store(predictor, part).notes)
