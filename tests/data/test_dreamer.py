from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from emotune.data.corpora.dreamer import READER, Dreamer
from emotune.data.corpora.reader import Item
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.emotion import DREAMER_SECONDS, TEN_COLUMNS, dreamer, write_dreamer
from tests.data.examples.mat import cells, save_73


def read_all(folder: Path, modality: Modality = "ecg", **chosen: float) -> list[Item]:
    return list(READER.items(folder, modality=modality, settings=Dreamer.model_validate(chosen)))


def recordings(items: list[Item]) -> dict[tuple[str, str], Recording]:
    return {(item.subject, item.session): item for item in items if isinstance(item, Recording)}


@pytest.fixture
def content() -> dict[str, Any]:
    return dreamer()


def subject(content: dict[str, Any], number: int) -> dict[str, Any]:
    return content["DREAMER"]["Data"][0][number - 1]


def read_content(folder: Path, content: dict[str, Any], modality: Modality = "ecg", **chosen: float) -> list[Item]:
    savemat(folder / "DREAMER.mat", content, do_compression=True)
    return read_all(folder, modality, **chosen)


def test_a_subject_has_a_recording_of_each_clip_and_one_before_it(tmp_path: Path) -> None:
    clips = recordings(read_all(write_dreamer(tmp_path)))
    sessions = [name for clip in range(1, 19) for name in (f"{clip}-baseline", str(clip))]
    assert list(clips) == [(name, session) for name in ("S01", "S02") for session in sessions]


def test_ecg_and_eeg_have_different_rates_and_lengths(tmp_path: Path, content: dict[str, Any]) -> None:
    hearts = recordings(read_content(tmp_path, content))
    brains = recordings(read_all(tmp_path, "eeg"))
    assert list(hearts) == list(brains)
    assert {item.fs for item in hearts.values()} == {256}
    assert {item.fs for item in brains.values()} == {128}
    for clips in (hearts, brains):
        assert [clips["S02", str(clip + 1)].seconds for clip in range(18)] == DREAMER_SECONDS


def test_samples_are_handed_over_as_they_are(tmp_path: Path, content: dict[str, Any]) -> None:
    hearts = recordings(read_content(tmp_path, content))
    assert np.array_equal(hearts["S02", "5"].signal, subject(content, 2)["ECG"]["stimuli"][4, 0].T)
    assert np.array_equal(hearts["S02", "5-baseline"].signal, subject(content, 2)["ECG"]["baseline"][4, 0].T)
    assert hearts["S02", "5"].channels == ("ECG 1", "ECG 2")


def test_eeg_is_ten_channels_by_the_names_in_the_file(tmp_path: Path, content: dict[str, Any]) -> None:
    content["DREAMER"]["EEG_Electrodes"] = cells([name.lower() for name in content["DREAMER"]["EEG_Electrodes"][0]])
    brains = recordings(read_content(tmp_path, content, "eeg"))
    assert brains["S01", "1"].channels == TEN_CHANNELS
    assert np.array_equal(brains["S01", "1"].signal, subject(content, 1)["EEG"]["stimuli"][0, 0][:, TEN_COLUMNS].T)


def test_clips_have_ratings_from_1_to_5_and_baselines_none(tmp_path: Path, content: dict[str, Any]) -> None:
    subject(content, 1)["ScoreArousal"][6, 0] = 4
    subject(content, 1)["ScoreValence"][6, 0] = 2
    subject(content, 1)["ScoreDominance"][6, 0] = 5
    clips = recordings(read_content(tmp_path, content))
    assert clips["S01", "7"].ratings == {"arousal": 4, "valence": 2, "dominance": 5}
    assert clips["S01", "7"].scales == dict.fromkeys(("arousal", "valence", "dominance"), (1, 5))
    assert not clips["S01", "7-baseline"].ratings
    assert clips["S01", "7-baseline"].condition == "baseline"


def test_rates_are_read_from_the_file(tmp_path: Path, content: dict[str, Any]) -> None:
    content["DREAMER"]["ECG_SamplingRate"] = np.uint8(200)
    assert recordings(read_content(tmp_path, content))["S01", "1"].fs == 200


def test_units_are_not_known_unless_they_are_given(tmp_path: Path, content: dict[str, Any]) -> None:
    plain = recordings(read_content(tmp_path, content))["S01", "1"]
    scaled = recordings(read_all(tmp_path, millivolts_per_unit=0.003))["S01", "1"]
    assert not plain.calibrated
    assert scaled.calibrated
    assert scaled.signal == pytest.approx(0.003 * plain.signal)


SAVERS: dict[str, Callable[[Path, dict], None]] = {"5": savemat, "7.3": save_73}


@pytest.mark.parametrize("version", SAVERS)
@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_other_versions_and_spellings_are_read_alike(
    tmp_path: Path, content: dict[str, Any], version: str, modality: Modality
) -> None:
    expected = recordings(read_content(tmp_path, content, modality))
    other = tmp_path / "other" / "deeper"
    other.mkdir(parents=True)
    SAVERS[version](other / "dreamer.MAT", content)
    clips = recordings(read_all(other.parent, modality))
    assert list(clips) == list(expected)
    assert all(np.array_equal(clips[name].signal, expected[name].signal) for name in expected)
    assert all(clips[name].ratings == expected[name].ratings for name in expected)
    assert clips["S01", "1"].source == "deeper/dreamer.MAT, subject 1, video 1"


@pytest.mark.parametrize("score", [0.0, np.nan])
def test_a_rating_that_cannot_be_is_left_out(tmp_path: Path, content: dict[str, Any], score: float) -> None:
    subject(content, 2)["ScoreArousal"][0, 0] = score
    items = read_content(tmp_path, content)
    (left_out,) = (item for item in items if isinstance(item, ExcludedData))
    assert left_out.source.startswith("DREAMER.mat, subject 2, video 1, arousal")
    assert recordings(items)["S02", "1"].ratings == {"valence": 3, "dominance": 3}


def test_without_scores_signals_are_kept(tmp_path: Path, content: dict[str, Any]) -> None:
    del subject(content, 1)["ScoreValence"]
    items = read_content(tmp_path, content)
    assert len(recordings(items)) == 72
    assert recordings(items)["S01", "1"].ratings == {"arousal": 5, "dominance": 3}
    assert len([item for item in items if isinstance(item, ExcludedData)]) == 18


def test_an_empty_cell_is_left_out(tmp_path: Path, content: dict[str, Any]) -> None:
    subject(content, 1)["ECG"]["stimuli"][3, 0] = np.zeros((0, 0))
    items = read_content(tmp_path, content)
    (left_out,) = (item for item in items if isinstance(item, ExcludedData))
    assert (left_out.source, left_out.reason) == ("DREAMER.mat, subject 1, video 4", "there is no signal")
    assert len(recordings(items)) == 71


def test_a_clip_of_another_shape_is_reported_and_the_others_are_read(tmp_path: Path, content: dict[str, Any]) -> None:
    subject(content, 1)["ECG"]["stimuli"][3, 0] = np.ones((2, 5000))
    items = read_content(tmp_path, content)
    (wrong,) = (item for item in items if isinstance(item, UnreadableRecording))
    assert wrong.reason == "ECG is a 2 x 5000 array of float64, where 2 columns were expected (ECG 1, ECG 2)"
    assert len(recordings(items)) == 71


def test_a_subject_without_the_modality_is_reported_and_the_others_are_read(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    del subject(content, 1)["ECG"]
    first, *others = read_content(tmp_path, content)
    assert isinstance(first, UnreadableRecording)
    assert (first.subject, first.source) == ("S01", "DREAMER.mat, subject 1")
    assert first.reason.startswith("there is no ECG; there is Age")
    assert len(recordings(others)) == 36
    assert len(recordings(read_all(tmp_path, "eeg"))) == 72


def test_a_subject_with_too_few_clips_is_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    subject(content, 1)["ECG"]["stimuli"] = subject(content, 1)["ECG"]["stimuli"][:17]
    first, *_ = read_content(tmp_path, content)
    assert isinstance(first, UnreadableRecording)
    assert first.reason == "ECG.stimuli is a cell array of 17, where a cell array of 18 videos was expected"


def test_scores_of_another_length_are_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    subject(content, 1)["ScoreArousal"] = np.ones((17, 1))
    first, *_ = read_content(tmp_path, content)
    assert isinstance(first, UnreadableRecording)
    assert first.reason.startswith("ScoreArousal is a 17 x 1 array of float64, where one number for each of 18")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("ECG_SamplingRate", 0.0, "DREAMER.ECG_SamplingRate is 0, where a sampling rate above 0 Hz was expected"),
        ("ECG_SamplingRate", "fast", "DREAMER.ECG_SamplingRate is the text 'fast'"),
        ("Data", np.ones((2, 2)), "DREAMER.Data is no cell array"),
    ],
)
def test_wrong_statements_of_the_file_are_reported(
    tmp_path: Path, content: dict[str, Any], field: str, value: object, reason: str
) -> None:
    content["DREAMER"][field] = value
    (wrong,) = read_content(tmp_path, content)
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason.startswith(reason)


def test_a_missing_electrode_is_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    content["DREAMER"]["EEG_Electrodes"][0][1] = "X1"
    (wrong,) = read_content(tmp_path, content, "eeg")
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason.startswith("it has no channel F7; it has AF3, X1")
    assert len(recordings(read_all(tmp_path, "ecg"))) == 72


def test_missing_subjects_are_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    content["DREAMER"]["noOfSubjects"] = 23.0
    *others, wrong = read_content(tmp_path, content)
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason == "it has 2 subjects, but its noOfSubjects is 23"
    assert len(recordings(others)) == 72


def test_the_subjects_before_the_damage_are_read(tmp_path: Path, content: dict[str, Any]) -> None:
    savemat(tmp_path / "DREAMER.mat", content)
    damaged = bytearray((tmp_path / "DREAMER.mat").read_bytes())
    second = damaged.rindex(b"Gender")
    damaged[second - 40 : second + 40] = b"\xff" * 80
    (tmp_path / "DREAMER.mat").write_bytes(damaged)
    *others, wrong = read_all(tmp_path)
    assert {subject for subject, _ in recordings(others)} == {"S01"}
    assert len(recordings(others)) == 36
    assert isinstance(wrong, UnreadableRecording)
    assert "the MAT file is damaged" in wrong.reason


def test_two_files_are_not_read_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "DREAMER.mat").touch()
    with pytest.raises(DataError, match=r"contains a/DREAMER\.mat and b/DREAMER\.mat, expected one of them"):
        read_all(tmp_path)


def test_a_folder_without_dreamer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"contain no DREAMER\.mat"):
        read_all(tmp_path)
