from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotune.data.corpora.amigos import READER, Amigos
from emotune.data.corpora.reader import Item
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.emotion import LONG_VIDEOS, TEN_COLUMNS, amigos_subject, save_amigos, write_amigos
from tests.data.examples.mat import cells, save_73

SOURCE = "Data_Preprocessed_P32/Data_Preprocessed_P32.mat"


def read_all(folder: Path, modality: Modality = "ecg", **chosen: float) -> list[Item]:
    return list(READER.items(folder, modality=modality, settings=Amigos.model_validate(chosen)))


def recordings(items: list[Item]) -> dict[str, Recording]:
    return {item.session: item for item in items if isinstance(item, Recording)}


@pytest.fixture
def content() -> dict[str, Any]:
    return amigos_subject(3)


def read_subject(folder: Path, content: dict[str, Any], modality: Modality = "ecg", **chosen: float) -> list[Item]:
    save_amigos(folder, 32, content)
    return read_all(folder, modality, **chosen)


def test_a_subject_has_a_recording_of_each_video_and_one_before_it(tmp_path: Path) -> None:
    items = read_all(write_amigos(tmp_path))
    assert len(items) == 2 * 20 * 2
    assert [item.subject for item in items if isinstance(item, Recording)] == ["P01"] * 40 + ["P02"] * 40
    assert all(item.fs == 128 for item in items if isinstance(item, Recording))


def test_recordings_are_named_by_video_and_not_by_place(tmp_path: Path, content: dict[str, Any]) -> None:
    videos = recordings(read_subject(tmp_path, content))
    names = [name for video in content["VideoIDs"][0] for name in (f"{video}-baseline", video)]
    assert list(videos) == names
    assert videos["138"].source == f"{SOURCE}, video 138"


def test_the_first_5_seconds_are_the_baseline(tmp_path: Path, content: dict[str, Any]) -> None:
    videos = recordings(read_subject(tmp_path, content))
    video = content["VideoIDs"][0][4]
    before, during = videos[f"{video}-baseline"], videos[video]
    written = content["joined_data"][0][4][:, [14, 15]].T
    assert np.array_equal(before.signal, written[:, :640])
    assert np.array_equal(during.signal, written[:, 640:])
    assert (before.condition, during.condition) == ("baseline", "")
    assert not before.ratings
    assert during.ratings


def test_ecg_is_right_before_left(tmp_path: Path, content: dict[str, Any]) -> None:
    assert recordings(read_subject(tmp_path, content))["10"].channels == ("ECG Right", "ECG Left")


def test_eeg_is_ten_channels_by_name(tmp_path: Path, content: dict[str, Any]) -> None:
    video = content["VideoIDs"][0][0]
    brain = recordings(read_subject(tmp_path, content, "eeg"))[video]
    assert brain.channels == TEN_CHANNELS
    assert np.array_equal(brain.signal, content["joined_data"][0][0][640:, TEN_COLUMNS].T)


def test_arousal_is_the_first_question_and_valence_the_second(tmp_path: Path, content: dict[str, Any]) -> None:
    content["labels_selfassessment"][0][7][0, :2] = 2.5, 8.25
    rated = recordings(read_subject(tmp_path, content))[content["VideoIDs"][0][7]]
    assert (rated.ratings["arousal"], rated.ratings["valence"]) == (2.5, 8.25)
    assert (rated.scales["arousal"], rated.scales["valence"]) == ((1, 9), (1, 9))


def test_the_other_questions_are_ratings_in_the_order_of_the_file(tmp_path: Path, content: dict[str, Any]) -> None:
    content["labels_selfassessment"][0][7][0] = [1, 2, 3, 4, 5, 0, 1, 0, 1, 0, 1, 0]
    rated = recordings(read_subject(tmp_path, content))[content["VideoIDs"][0][7]]
    felt = {"neutral": 0, "disgust": 1, "happiness": 0, "surprise": 1, "anger": 0, "fear": 1, "sadness": 0}
    assert rated.ratings == {"arousal": 1, "valence": 2, "dominance": 3, "liking": 4, "familiarity": 5, **felt}
    assert {rated.scales[name] for name in felt} == {(0, 1)}
    assert {rated.scales[name] for name in ("dominance", "liking", "familiarity")} == {(1, 9)}


def test_without_long_videos_their_cells_are_empty(tmp_path: Path, content: dict[str, Any]) -> None:
    for name in ("joined_data", "labels_selfassessment", "labels_ext_annotation"):
        content[name] = cells([*content[name][0][:16], *[np.zeros((0, 0))] * 4])
    items = read_subject(tmp_path, content)
    assert items[-4:] == [
        ExcludedData(subject="P32", source=f"{SOURCE}, video {video}", reason="the subject did not watch this video")
        for video in LONG_VIDEOS
    ]
    assert len(recordings(items)) == 32


@pytest.mark.parametrize("given", [16, 20], ids=["fewer cells", "empty cells"])
def test_videos_without_ratings_are_kept_without_them(tmp_path: Path, content: dict[str, Any], given: int) -> None:
    labels = [*content["labels_selfassessment"][0][:16], *[np.zeros((0, 0))] * 4]
    content["labels_selfassessment"] = cells(labels[:given])
    items = read_subject(tmp_path, content)
    videos = recordings(items)
    assert len(videos) == 40
    assert all(not videos[video].ratings for video in LONG_VIDEOS)
    assert videos[content["VideoIDs"][0][15]].ratings["arousal"] == 7
    left_out = [item for item in items if isinstance(item, ExcludedData)]
    assert {item.reason for item in left_out} == {"a rating is missing; the recording is kept"}
    assert [item.source for item in left_out[:2]] == [f"{SOURCE}, video N1, arousal", f"{SOURCE}, video N1, valence"]


def test_a_rating_outside_its_scale_is_left_out(tmp_path: Path, content: dict[str, Any]) -> None:
    content["labels_selfassessment"][0][0][0, :2] = 0, np.nan
    items = read_subject(tmp_path, content)
    video = content["VideoIDs"][0][0]
    assert [(item.source, item.reason) for item in items if isinstance(item, ExcludedData)] == [
        (f"{SOURCE}, video {video}, arousal 0", "a rating is outside its scale, 1 to 9; the recording is kept"),
        (f"{SOURCE}, video {video}, valence", "a rating is missing; the recording is kept"),
    ]
    assert not {"arousal", "valence"} & set(recordings(items)[video].ratings)


def test_a_channel_of_nan_is_handed_over_as_it_is(tmp_path: Path, content: dict[str, Any]) -> None:
    content["joined_data"][0][0][:, 15] = np.nan
    dead = recordings(read_subject(tmp_path, content))[content["VideoIDs"][0][0]]
    assert np.isnan(dead.signal[1]).all()
    assert np.isfinite(dead.signal[0]).all()


def test_units_are_not_known_unless_they_are_given(tmp_path: Path, content: dict[str, Any]) -> None:
    plain = recordings(read_subject(tmp_path, content))["10"]
    scaled = recordings(read_subject(tmp_path, content, millivolts_per_unit=0.001))["10"]
    assert not plain.calibrated
    assert scaled.calibrated
    assert scaled.signal == pytest.approx(plain.signal / 1000)


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (np.ones((900, 16)), "joined_data has 900 x 16 values, where 17 columns and more rows than the 640"),
        (np.ones((17, 900)), "joined_data has 17 x 900 values"),
        (np.ones((640, 17)), "joined_data has 640 x 17 values"),
        ("text", "joined_data holds the text 'text', where a matrix of numbers was expected"),
    ],
)
def test_a_trial_of_another_shape_is_reported_and_the_others_are_read(
    tmp_path: Path, content: dict[str, Any], trial: object, reason: str
) -> None:
    content["joined_data"][0][2] = trial
    items = read_subject(tmp_path, content)
    (wrong,) = (item for item in items if isinstance(item, UnreadableRecording))
    assert wrong.reason.startswith(reason)
    assert wrong.source == f"{SOURCE}, video {content['VideoIDs'][0][2]}"
    assert len(recordings(items)) == 38


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("VideoIDs", cells(["10"] * 20), "VideoIDs are 10, 10"),
        ("VideoIDs", cells(["10", "13"]), "VideoIDs are 10, 13, where 20 different names were expected"),
        ("VideoIDs", np.ones((1, 20)), "VideoIDs is a 1 x 20 array of float64"),
        ("labels_selfassessment", np.ones((20, 12)), "labels_selfassessment is a 20 x 12 array"),
        ("joined_data", np.ones((900, 17)), "joined_data is no cell array"),
    ],
)
def test_a_file_of_another_shape_is_reported(
    tmp_path: Path, content: dict[str, Any], name: str, value: object, reason: str
) -> None:
    (wrong,) = read_subject(tmp_path, content | {name: value})
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason.startswith(reason)
    assert (wrong.subject, wrong.source) == ("P32", SOURCE)


@pytest.mark.parametrize(("count", "stated"), [(16, "16"), (21, "more")])
def test_another_number_of_trials_is_reported(tmp_path: Path, content: dict[str, Any], count: int, stated: str) -> None:
    trials = [*content["joined_data"][0], *content["joined_data"][0]][:count]
    *others, wrong = read_subject(tmp_path, content | {"joined_data": cells(trials)})
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason == f"joined_data has {stated} cells, where 20 were expected"
    assert len(others) == 2 * min(count, 20)


def test_a_missing_variable_is_reported(tmp_path: Path, content: dict[str, Any]) -> None:
    del content["VideoIDs"]
    (wrong,) = read_subject(tmp_path, content)
    assert isinstance(wrong, UnreadableRecording)
    assert wrong.reason.startswith("it has no variable VideoIDs; it has joined_data")


def test_the_other_subjects_are_read_if_one_is_damaged(tmp_path: Path) -> None:
    write_amigos(tmp_path)
    file = tmp_path / "Data_Preprocessed_P01" / "Data_Preprocessed_P01.mat"
    file.write_bytes(file.read_bytes()[:5000])
    first, *others = read_all(tmp_path)
    assert isinstance(first, UnreadableRecording)
    assert "truncated" in first.reason
    assert len(others) == 40


def test_version_7_3_and_files_side_by_side_are_read_alike(tmp_path: Path, content: dict[str, Any]) -> None:
    save_73(tmp_path / "data_preprocessed_p32.MAT", content)
    videos = recordings(read_all(tmp_path))
    assert videos["10"].source == "data_preprocessed_p32.MAT, video 10"
    expected = recordings(read_subject(tmp_path / "other", content))
    assert list(videos) == list(expected)
    assert all(np.array_equal(videos[name].signal, expected[name].signal) for name in expected)


def test_a_subject_that_is_there_twice_is_reported(tmp_path: Path) -> None:
    write_amigos(tmp_path)
    file = tmp_path / "Data_Preprocessed_P01" / "Data_Preprocessed_P01.mat"
    (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=r"P01\.mat and Data_Preprocessed_P01/.* are both"):
        read_all(tmp_path)


def test_a_folder_without_amigos_is_reported(tmp_path: Path) -> None:
    (tmp_path / "Data_Original_P01.mat").touch()
    with pytest.raises(DataError, match=r"contain no files of AMIGOS \(Data_Preprocessed_P01\.mat"):
        read_all(tmp_path)


def test_macos_leftovers_are_passed_over(tmp_path: Path) -> None:
    write_amigos(tmp_path)
    for name in ("__MACOSX/Data_Preprocessed_P01.mat", "._Data_Preprocessed_P02.mat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x00")
    assert len(recordings(read_all(tmp_path))) == 40
