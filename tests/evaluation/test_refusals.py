"""Late fusion refuses inputs with other folds or targets, unfinished inputs, and leaks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from emotune.data.store import SegmentStore
from emotune.errors import DataError, EmotuneError, SettingsError
from emotune.evaluation.fusion import build_features
from emotune.models import Features
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.evaluation.conftest import FOLDS, TASK, cross_validate, make_store, unimodal
from tests.evaluation.test_features import Pair, checkpoint_of, fusion


@pytest.fixture
def other(tmp_path: Path) -> SearchFolder:
    return SearchFolder.of("other", storage=LocalStorage(tmp_path))


def refusal(ecg: SearchFolder, eeg: SearchFolder, *, out: Path) -> str:
    with pytest.raises(EmotuneError) as caught:
        build_features(ecg, eeg, store=out)
    assert not out.exists() or out.name == "taken"
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"task": {**TASK, "target": "valence"}}, "'ecg-cv' has task.target arousal and 'other' has valence"),
        ({"task": {**TASK, "threshold": 5.0}}, "'ecg-cv' has task.threshold {of: corpus} and 'other' has 5.0"),
        ({"folds": {**FOLDS, "by": "trial"}}, "'ecg-cv' has folds.by moment and 'other' has trial"),
        ({"folds": {**FOLDS, "seed": 2}}, "'ecg-cv' has folds.seed 1 and 'other' has 2"),
        ({"folds": {**FOLDS, "count": 4}}, "'ecg-cv' has folds.count 3 and 'other' has 4"),
        ({"folds": {**FOLDS, "validation": 0.2}}, "'ecg-cv' has folds.validation 0.0 and 'other' has 0.2"),
    ],
)
def test_cross_validations_that_differ_are_refused(
    pair: Pair, stores: dict[str, Path], other: SearchFolder, tmp_path: Path, changes: dict, complaint: str
) -> None:
    cross_validate(unimodal(stores["eeg"], **changes), other)
    assert complaint in refusal(pair[0], other, out=tmp_path / "fused")


def test_an_unfinished_cross_validation_is_refused(
    pair: Pair, stores: dict[str, Path], other: SearchFolder, tmp_path: Path
) -> None:
    cross_validate(unimodal(stores["eeg"]), other, finish=False)
    assert "'other' is not finished" in refusal(pair[0], other, out=tmp_path / "fused")


def test_a_search_that_is_not_a_cross_validation_is_refused(pair: Pair, other: SearchFolder, tmp_path: Path) -> None:
    assert "there is no cross-validation 'other'" in refusal(pair[0], other, out=tmp_path / "fused")
    other.path.mkdir()
    journal = pair[1].journal.read()
    (other.path / "journal.jsonl").write_bytes(b"".join(journal.splitlines(keepends=True)[:1]))
    assert "'other' is not finished" in refusal(pair[0], other, out=tmp_path / "fused")


def test_swapped_inputs_are_refused(pair: Pair, tmp_path: Path) -> None:
    message = refusal(pair[1], pair[0], out=tmp_path / "fused")
    assert "'eeg-cv' was trained on eeg, expected ecg" in message


@pytest.mark.parametrize("damage", ["gone", "changed", "of another fold"])
def test_a_missing_changed_or_foreign_checkpoint_is_refused(
    pair: Pair, other: SearchFolder, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(pair[1].path, other.path)
    checkpoint = checkpoint_of(other, 1)
    if damage == "changed":
        content = bytearray((checkpoint / "weights.safetensors").read_bytes())
        content[-1] ^= 1
        (checkpoint / "weights.safetensors").write_bytes(content)
    else:
        shutil.rmtree(checkpoint)
    if damage == "of another fold":
        shutil.copytree(checkpoint_of(other, 2), checkpoint)
    expected = "was trained on fold 2, expected fold 1" if damage == "of another fold" else "no undamaged checkpoint"
    assert expected in refusal(pair[0], other, out=tmp_path / "fused")


def test_unshared_moments_are_left_out_and_counted(pair: Pair, other: SearchFolder, tmp_path: Path) -> None:
    fewer = make_store(tmp_path / "fewer", modality="eeg", subjects=3)
    cross_validate(unimodal(fewer), other)
    store = build_features(pair[0], other, store=tmp_path / "fused").store
    ecg, eeg = store.about.sources
    assert len(store) == ecg.segments == 3 * 4 * 8
    assert not eeg.left_out
    assert len(ecg.left_out) == 4, "one entry per recording"
    assert {exclusion.reason for exclusion in ecg.left_out} == {"no EEG of these moments"}
    assert ecg.left_out[0].what.startswith("subject s004, session low arousal, low valence: 8 moments")


@pytest.mark.parametrize(("by", "seed"), [("trial", 1), ("subject", 2)])
def test_different_test_sets_are_refused_with_the_number_of_leaking_moments(
    stores: dict[str, Path], tmp_path: Path, by: str, seed: int
) -> None:
    folds = {**FOLDS, "by": by, "seed": seed}
    ecg, eeg = (SearchFolder.of(name, storage=LocalStorage(tmp_path)) for name in ("a", "b"))
    fewer = make_store(tmp_path / "fewer", modality="eeg", subjects=3)
    cross_validate(unimodal(stores["ecg"], folds=folds), ecg)
    cross_validate(unimodal(fewer, folds=folds), eeg)
    message = refusal(ecg, eeg, out=tmp_path / "fused")
    assert "of 96 moments are in the test sets of different folds in 'a' and 'b'" in message
    assert "one model was trained on a moment that the other is tested on; run both" in message


def test_stores_without_a_common_person_are_refused(pair: Pair, other: SearchFolder, tmp_path: Path) -> None:
    ward = make_store(tmp_path / "ward", modality="eeg", collection="ward")
    cross_validate(unimodal(ward), other)
    message = refusal(pair[0], other, out=tmp_path / "fused")
    assert "have no person in common: the first holds 4 people (synthetic/s001, " in message


def test_other_ratings_of_the_same_moment_are_refused(pair: Pair, other: SearchFolder, tmp_path: Path) -> None:
    strangers = make_store(tmp_path / "strangers", modality="eeg", seed=1)
    cross_validate(unimodal(strangers), other)
    with pytest.raises(DataError, match=r"128 of 128 moments have different rating_"):
        build_features(pair[0], other, store=tmp_path / "fused")


def test_a_folder_with_another_store_is_not_replaced(
    pair: Pair, stores: dict[str, Path], other: SearchFolder, tmp_path: Path
) -> None:
    out = tmp_path / "taken"
    shutil.copytree(stores["ecg"], out)
    assert "contains segments of ecg; give another folder" in refusal(*pair, out=out)
    shutil.rmtree(out)
    build_features(*pair, store=out)
    shutil.copytree(pair[1].path, other.path)
    assert "contains features of ecg-cv and eeg-cv" in refusal(pair[0], other, out=out)


@pytest.fixture(scope="module")
def fused(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    return build_features(*pair, store=tmp_path_factory.mktemp("fused") / "store").store


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"folds": {**FOLDS, "seed": 2}}, "were trained on .* test moments; give the same folds"),
        ({"folds": {**FOLDS, "by": "trial"}}, "were trained on .* test moments"),
        ({"folds": {**FOLDS, "validation": 0.2}}, "were trained on .* validation moments"),
        ({"folds": {**FOLDS, "index": 1}}, "model.fold: 0 and folds.index: 1"),
        ({"folds": {**FOLDS, "index": None, "validation": 0}}, "model.fold: 0 and folds.index: None"),
        ({"model": {"kind": "features"}}, "model.width: 576 was given, but .* has 10 features per moment"),
        ({"model": {"kind": "transformer"}}, "needs model.kind: features"),
    ],
)
def test_an_experiment_on_features_trained_on_its_test_moments_is_refused(
    fused: SegmentStore, changes: dict, complaint: str
) -> None:
    fusion(fused).training_data(fused)
    with pytest.raises(SettingsError, match=complaint):
        fusion(fused, **changes).training_data(fused)


def test_a_store_of_features_is_refused_as_signals(stores: dict[str, Path], fused: SegmentStore) -> None:
    with pytest.raises(SettingsError, match=r"model\.kind: features was given, but .* holds segments"):
        fusion(fused, store=str(stores["ecg"])).training_data(SegmentStore.open(stores["ecg"]))
    with pytest.raises(ValidationError, match="start: has no effect"):
        fusion(fused, start={"encoder": "x"})
    with pytest.raises(SettingsError, match="the store has features of 3 folds"):
        Features(fold=3).build(channels=3)


def test_validation_moments_of_a_fusion_search_are_not_training_moments_of_the_fine_tunings(
    stores: dict[str, Path], tmp_path: Path
) -> None:
    folds = {**FOLDS, "validation": 0.25, "index": 0}
    ecg, eeg = (SearchFolder.of(name, storage=LocalStorage(tmp_path)) for name in ("ecg0", "eeg0"))
    cross_validate(unimodal(stores["ecg"], folds=folds), ecg, single=True)
    cross_validate(unimodal(stores["eeg"], folds=folds), eeg, single=True)
    store = build_features(ecg, eeg, store=tmp_path / "fused").store
    assert store.channels == ("fold 0",)
    fold = fusion(store, folds=folds).training_data(store).fold
    assert len(fold.val) == round(0.25 * (len(store) - len(fold.test)))
    trained = store.index["trained_on"].to_numpy() == "1"
    np.testing.assert_array_equal(np.flatnonzero(trained), fold.train)
    assert set(store.index["test_fold"]) == {0, -1}


def test_a_fine_tuning_of_another_fold_is_refused(stores: dict[str, Path], tmp_path: Path) -> None:
    ecg, eeg = (SearchFolder.of(name, storage=LocalStorage(tmp_path)) for name in ("ecg1", "eeg1"))
    for folder, modality in ((ecg, "ecg"), (eeg, "eeg")):
        cross_validate(unimodal(stores[modality], folds={**FOLDS, "index": 1}), folder, single=True)
    assert "'ecg1' is a fine-tuning of fold 1" in refusal(ecg, eeg, out=tmp_path / "fused")
