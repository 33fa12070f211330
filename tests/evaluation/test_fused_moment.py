"""A moment that one modality misses and the fusion does not: which one is chosen, and its figure."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from emotune.data.folds import unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.fused_moment import FUSED, find_moment
from emotune.evaluation.held_out import PREDICTIONS_FILE, predictions_of
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from tests.support.commands import call


@pytest.fixture
def numbered(fused_cv: SearchFolder, tmp_path: Path) -> SearchFolder:
    """The fusion, with predictions of which those of some moments are set by hand.

    All are right, except: by the ECG that of moment 0 (nearly undecided), and those of moments 3 and 5.
    """
    root = tmp_path / "results"
    shutil.copytree(fused_cv.path.parent, root)
    folder = SearchFolder.of(fused_cv.name, storage=LocalStorage(root))
    table = predictions_of(folder)
    for name in ("ecg-cv", "eeg-cv", "fused-cv"):
        own = predictions_of(SearchFolder.of(name, storage=folder.root))
        position = {key: number for number, key in enumerate(unit_keys(table, by="moment"))}
        moment = np.array([position[key] for key in unit_keys(own, by="moment")])
        label = own["label"].to_numpy(float)
        right = np.where(label > 0, 0.8, 0.2)
        values = right.copy()
        if name == "ecg-cv":
            values = np.where(moment == 0, 0.5 - 0.01 * (2 * label - 1), values)
            values = np.where(np.isin(moment, (3, 5)), 1 - right, values)
        if name == "fused-cv":  # moment 3 is missed by the fusion too
            values = np.where(moment == 3, 1 - right, values)
        buffer = io.BytesIO()
        own.assign(weighted_probability=values).to_parquet(buffer, index=False)
        SearchFolder.of(name, storage=folder.root).storage.write(PREDICTIONS_FILE, buffer.getvalue())
    return folder


def test_the_moment_that_the_modality_misses_most_clearly_is_chosen(
    numbered: SearchFolder, stores: dict[str, Path]
) -> None:
    moment = find_moment(numbered, wrong="ecg")
    expected = predictions_of(numbered).iloc[5]
    assert (moment.person, moment.session) == (f"synthetic/{expected['subject']}", expected["session"])
    assert (moment.start, moment.fold, moment.label) == (expected["start"], expected["fold"], expected["label"])
    assert [moment.is_right(name) for name in ("ecg", "eeg", FUSED)] == [False, True, True]
    assert moment.classes == ("low arousal", "high arousal")
    for modality, path in stores.items():
        store = SegmentStore.open(path)
        key = f"{moment.person}/{moment.session}/{moment.start:.3f}"
        (row,) = np.flatnonzero(unit_keys(store.index, by="moment") == key)
        assert np.array_equal(moment.signals[modality], store.signal[row])
    assert moment.channels["ecg"] == ("ECG",)
    assert moment.channels["eeg"][0] == "F7"


def test_without_such_a_moment_the_other_modality_is_offered(numbered: SearchFolder) -> None:
    with pytest.raises(
        SettingsError, match=r"'fused-cv' has no test moment that EEG classifies wrongly.*0 of .*--wrong"
    ):
        find_moment(numbered, wrong="eeg")


def test_the_figure_is_drawn_in_the_format_of_its_name(numbered: SearchFolder, tmp_path: Path) -> None:
    result = call("scores", "fused-cv", "--figure", str(tmp_path / "moment.png"), folder=numbered)
    assert "probability of high arousal: ECG 0." in result.stdout
    assert (tmp_path / "moment.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads(
        call("scores", "fused-cv", "--figure", str(tmp_path / "a.PDF"), "--json", folder=numbered).stdout
    )
    assert document["moment"]["probabilities"].keys() == {"ecg", "eeg", "fused"}
    assert (tmp_path / "a.PDF").read_bytes().startswith(b"%PDF")


def test_other_runs_and_formats_are_refused_before_anything_is_written(numbered: SearchFolder, tmp_path: Path) -> None:
    file = tmp_path / "moment.png"
    with pytest.raises(SettingsError, match="'ecg-cv' was trained on ecg, expected a fusion"):
        call("scores", "ecg-cv", "--figure", str(file), folder=numbered)
    with pytest.raises(SettingsError, match=r"--figure .*moment.gif: the name must end in .png, .pdf, .svg"):
        call("scores", "fused-cv", "--figure", str(tmp_path / "moment.gif"), folder=numbered)
    assert not file.exists()
