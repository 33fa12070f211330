"""Predictions for a whole labelled store: scores by person, and stores that cannot be scored."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.encoders import best_checkpoint
from emotune.evaluation.prediction import Predictor
from emotune.evaluation.pretraining_scores import score_pretraining
from emotune.evaluation.store_prediction import predict_store
from emotune.study.folder import SearchFolder
from tests.evaluation.prediction.conftest import SECONDS

Train = Callable[..., SearchFolder]
Run = Callable[..., tuple[int, str, str]]


def make(path: Path, **settings: object) -> SegmentStore:
    corpus, options = Synthetic(subjects=3, seconds_per_state=20.0, seed=9), PrepareOptions(collection="others")
    preparation = PrepareSettings.model_validate({"seconds": SECONDS} | settings)
    prepare("synthetic", folder=None, store=path, settings=preparation, corpus_settings=corpus, options=options)
    return SegmentStore.open(path)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    """A store of three other people."""
    return make(tmp_path_factory.mktemp("stores") / "others")


def test_each_labelled_segment_is_predicted_as_by_the_model(train: Train, others: SegmentStore) -> None:
    predictor = Predictor("mine", checkpoints=[best_checkpoint(train("mine"))])
    ratings = others.index["rating_arousal"].where(others.index["session"] != others.index["session"].iloc[0])
    part = replace(others, index=others.index.assign(rating_arousal=ratings))
    prediction = predict_store(predictor, part)
    rated = np.flatnonzero(ratings.notna())
    assert prediction.unlabelled == len(others) - len(rated) > 0
    assert np.allclose(prediction.table["probability"], predictor.probabilities(np.array(others.signal[rated])))
    with torch.no_grad():
        logits = predictor.classifiers[0].objective.logits(torch.from_numpy(np.array(others.signal[rated]))).numpy()
    assert ((prediction.table["weighted_probability"] > 0.5) == (logits > 0)).all()


def test_the_scores_are_by_person_with_intervals_over_people(run: Run, train: Train, others: SegmentStore) -> None:
    train("ours")
    train("valence", task={"kind": "classify", "target": "valence", "hidden": (8,)})
    code, out, err = run("ours", str(others.path))
    assert (code, "Traceback" in err) == (0, False)
    assert "mean over 3 people, with 95 % interval" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith("others/")] == [
        f"others/s00{number}" for number in (1, 2, 3)
    ]
    code, out, _ = run("ours,valence", str(others.path), "--json", "--csv", "all.csv")
    document = json.loads(out)
    assert code == 0
    assert document["models"] == {"arousal": "ours", "valence": "valence"}
    level = document["scores"]["arousal"]["levels"]["segments"]
    assert level["over_people"]["accuracy"]["half_width"] is not None
    assert level["count"] == len(others)
    assert set(pd.read_csv("all.csv")["target"]) == {"arousal", "valence"}


def test_the_people_of_the_training_are_refused(
    run: Run, train: Train, stores: Callable[..., SegmentStore], others: SegmentStore
) -> None:
    train("ours")
    code, _, err = run("ours", str(stores("ecg").path))
    assert code == 2
    assert "ours was trained on 5 of the 6 people of " in err
    assert err.count("\n") == 1
    code, _, err = run("ours", str(others.path), "--fs", "256")
    assert (code, err.count("\n")) == (2, 1)
    assert "--fs was given, but" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seconds": 4.0}, r"trained on segments with seconds 5.0, but .* has 4.0; prepare the store"),
        ({"modality": "eeg"}, "trained on segments with modality ecg, but .* has eeg"),
    ],
)
def test_a_store_of_another_preparation_is_refused(train: Train, tmp_path: Path, settings: dict, message: str) -> None:
    predictor = Predictor("mine", checkpoints=[best_checkpoint(train("mine"))])
    with pytest.raises(SettingsError, match=message):
        predict_store(predictor, make(tmp_path / "store", **settings))


def test_a_pre_training_is_scored_by_person_without_labels(run: Run, train: Train, others: SegmentStore) -> None:
    folder = train("encoder", purpose="pretrain", task={"kind": "masked_values"})
    unrated = others.index.drop(columns=["rating_arousal", "rating_valence"])
    scores = score_pretraining("encoder", best_checkpoint(folder), replace(others, index=unrated))
    assert scores.metrics == ["loss", "loss_zero", "loss_interpolated"]
    assert scores.table["segments"].sum() == len(others)
    code, out, err = run("encoder", str(others.path), "--json", "--csv", "people.csv")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert document["metrics"]["loss"]["mean"] == pytest.approx(scores.table["loss"].mean())
    assert pd.read_csv("people.csv")["person"].tolist() == [f"others/s00{number}" for number in (1, 2, 3)]


def test_the_loss_of_a_person_is_that_of_a_store_of_this_person(train: Train, others: SegmentStore) -> None:
    checkpoint = best_checkpoint(train("encoder", purpose="pretrain", task={"kind": "masked_values"}))
    rows = np.flatnonzero(others.index["subject"] == "s002")
    alone = replace(others, index=others.index.iloc[rows].reset_index(drop=True), signal=np.array(others.signal[rows]))
    whole = score_pretraining("encoder", checkpoint, others).table.set_index("person").loc[["others/s002"]]
    pd.testing.assert_frame_equal(whole, score_pretraining("encoder", checkpoint, alone).table.set_index("person"))


def test_a_pre_training_that_cannot_be_scored_is_refused(
    run: Run, train: Train, stores: Callable[..., SegmentStore], others: SegmentStore
) -> None:
    train("encoder", purpose="pretrain", task={"kind": "masked_values"})
    for arguments, message in (
        ((str(stores("ecg").path),), "encoder was trained on 5 of the 6 people of "),
        ((str(others.path), "--plot", "loss.png"), "--plot was given, but "),
    ):
        code, _, err = run("encoder", *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
