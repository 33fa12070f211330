"""Facts of the published layouts of WESAD, DEAP, CASE and PTB-XL."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from emotune.data.corpora.case import showings_of
from emotune.data.corpora.deap import COLUMNS
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import TEN_CHANNELS
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.doors import (
    WRITERS,
    case_tables,
    deap_subject,
    wesad_subject,
    write_case,
    write_deap,
    write_ptbxl,
    write_record,
    write_wesad,
)  # fmt: skip
from tests.data.examples.pickles import python_2


def read(name: str, folder: Path, **settings: Any) -> list[Any]:
    reader = CORPORA[name]
    return list(reader.items(folder, modality=reader.modalities[0], settings=reader.settings(**settings)))


def recordings(items: list[Any]) -> dict[tuple[str, str], Recording]:
    return {(item.subject, item.session): item for item in items if isinstance(item, Recording)}


def reasons(items: list[Any], kind: type = UnreadableRecording) -> list[str]:
    return [item.reason for item in items if type(item) is kind]


# WESAD


def write_subject(folder: Path, **fields: Any) -> Path:
    (folder / "S2").mkdir()
    content = wesad_subject("S2")
    content["signal"]["chest"] |= fields.pop("chest", {})
    (folder / "S2" / "S2.pkl").write_bytes(python_2(content | fields, protocol=2))
    return folder


def test_wesad_is_one_recording_per_subject_with_its_conditions(tmp_path: Path) -> None:
    items = recordings(read("wesad", write_wesad(tmp_path)))
    recording = items["S2", "protocol"]
    assert list(items) == [("S2", "protocol"), ("S13", "protocol")]
    assert np.array_equal(recording.signal, wesad_subject("S2")["signal"]["chest"]["ECG"].T)
    assert (recording.fs, recording.channels, recording.calibrated) == (700, ("ECG",), True)
    labels = [recording.condition_of(start, end=start + 10) for start in (1.5, 13.5, 25.5, 36.5)]
    assert labels == ["baseline", "stress", "amusement", ""]
    assert recording.condition_of(5.0, end=15.0) == ""


def test_meditation_is_a_condition_of_wesad_if_it_is_asked_for(tmp_path: Path) -> None:
    (recording,) = recordings(read("wesad", write_subject(tmp_path), conditions=("stress", "meditation"))).values()
    assert {part.condition for part in recording.intervals} == {"", "stress", "meditation"}


def test_other_files_of_wesad_are_listed_with_the_reason(tmp_path: Path) -> None:
    folder = write_subject(tmp_path)
    for name in ("S2/S2_respiban.txt", "S2/S2_quest.csv", "S2/S2_E4_Data/BVP.csv", "wesad_readme.pdf"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    listed = {item.source: item.reason for item in read("wesad", folder) if isinstance(item, ExcludedData)}
    assert listed == {
        "1 file S*_respiban.txt": "the ECG of S*.pkl again, without labels",
        "1 file S*_quest.csv": "answers to questionnaires, no signals",
        "1 file BVP.csv": "signals of the wrist, without ECG",
        "1 file wesad_readme.pdf": "no signals",
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chest": {"ECG": np.zeros((9, 2))}}, "signal.chest.ECG has shape 9 x 2 (float64), expected a column"),
        ({"label": np.zeros(9, dtype=np.int32)}, "label has shape 9 (int32), expected a whole number for each of"),
        ({"label": np.full(33600, 8, dtype=np.int32)}, "label has the value 8, expected 0 to 7"),
        ({"subject": "S3"}, "it holds subject S3, expected S2 as in its name"),
        ({"signal": {"wrist": 0}}, "signal has no field chest; it has wrist"),
    ],
)
def test_a_file_of_wesad_with_other_content_is_reported(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    (wrong,) = reasons(read("wesad", write_subject(tmp_path, **fields)))
    assert wrong.startswith(reason)


# DEAP


def test_deap_has_a_baseline_and_a_rated_recording_per_video(tmp_path: Path) -> None:
    items = recordings(read("deap", write_deap(tmp_path)))
    assert list(items) == [
        (subject, name) for subject in ("s01", "s02") for name in ("1-baseline", "1", "2-baseline", "2")
    ]
    video, content = items["s01", "2"], deap_subject(1)
    rows = [[name.upper() for name in COLUMNS].index(name) for name in TEN_CHANNELS]
    assert np.array_equal(video.signal, content["data"][1, rows, 384:])
    assert video.ratings == pytest.approx(
        dict(zip(("valence", "arousal", "dominance", "liking"), content["labels"][1], strict=True))
    )
    assert set(video.scales.values()) == {(1, 9)}
    assert (items["s01", "2-baseline"].condition, items["s01", "2-baseline"].seconds) == ("baseline", 3)


def test_deap_is_the_same_from_both_releases_and_the_mat_file_counts(tmp_path: Path) -> None:
    savemat(tmp_path / "s07.mat", deap_subject(7))
    first = recordings(read("deap", tmp_path))
    (tmp_path / "s07.dat").write_bytes(pickle.dumps(deap_subject(7), protocol=2))
    items = read("deap", tmp_path)
    assert next(item.source for item in recordings(items).values()) == "s07.mat, video 1"
    assert reasons(items, ExcludedData) == ["the data of s*.mat again"]
    (tmp_path / "s07.mat").unlink()
    second = recordings(read("deap", tmp_path))
    assert list(first) == list(second)
    assert all(np.array_equal(first[name].signal, second[name].signal) for name in first)
    assert all(first[name].ratings == second[name].ratings for name in first)


@pytest.mark.parametrize("ending", ["mat", "dat"])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": np.zeros((2, 32, 900))}, "data is a 2 x 32 x 900 array of float64, expected 40 channels"),
        ({"data": np.zeros((2, 40, 384))}, "data is a 2 x 40 x 384 array of float64, expected 40 channels and more"),
        ({"data": np.zeros((40, 900))}, "data is a 40 x 900 array of float64, expected numbers by video"),
        ({"labels": np.zeros((3, 4))}, "labels is a 3 x 4 array of float64, expected 2 x 4 ratings"),
    ],
)
def test_a_file_of_deap_with_other_content_is_reported(
    tmp_path: Path, ending: str, fields: dict[str, Any], reason: str
) -> None:
    content = deap_subject(1) | fields
    if ending == "mat":
        savemat(tmp_path / "s01.mat", content)
    else:
        (tmp_path / "s01.dat").write_bytes(pickle.dumps(content))
    (wrong,) = reasons(read("deap", tmp_path))
    assert wrong.startswith(reason)


def test_a_rating_of_deap_outside_its_scale_is_left_out(tmp_path: Path) -> None:
    content = deap_subject(1, videos=1)
    content["labels"][0, 1] = 0
    savemat(tmp_path / "s01.mat", content)
    items = read("deap", tmp_path)
    assert reasons(items, ExcludedData) == ["a rating is outside its scale, 1 to 9; the recording is kept"]
    assert set(recordings(items)["s01", "1"].ratings) == {"valence", "dominance", "liking"}


# CASE


def test_case_is_a_recording_per_showing_with_the_mean_of_its_annotations(tmp_path: Path) -> None:
    items = recordings(read("case", write_case(tmp_path)))
    names = ["start-1", "blue-1", "amusing-1", "blue-2", "scary-1", "blue-3", "end-1"]
    assert list(items) == [(subject, name) for subject in ("sub_1", "sub_10") for name in names]
    video = items["sub_1", "scary-1"]
    times = np.arange(15_000, 26_000, 50)
    assert video.ratings == pytest.approx(
        {"valence": (5 + 4 * np.sin(times / 9e3)).mean(), "arousal": (3 + times / 1e4).mean()}, abs=1e-3
    )
    assert (video.condition, video.scales["valence"], video.seconds) == ("scary", (0.5, 9.5), 11)
    assert not items["sub_1", "blue-1"].ratings
    assert items["sub_1", "blue-1"].condition == ""


def test_case_without_annotations_has_no_ratings_and_says_so(tmp_path: Path) -> None:
    write_case(tmp_path)
    (tmp_path / "data/interpolated/annotations/sub_1.csv").unlink()
    (tmp_path / "data/interpolated/annotations/sub_10.csv").write_text("jstime,valence\n0,1\n")
    items = read("case", tmp_path)
    first, second = reasons(items, ExcludedData)
    assert first == "the ratings: there is no annotations/sub_*.csv of the subject; the recordings are kept"
    assert second.startswith("the ratings: the annotations cannot be used: it is no table with the columns jstime")
    assert len(recordings(items)) == 14
    assert not any(item.ratings for item in recordings(items).values())


def test_other_files_of_case_are_listed_with_the_reason(tmp_path: Path) -> None:
    write_case(tmp_path)
    for kind in ("raw", "non-interpolated"):
        place = tmp_path / "data" / kind / "physiological"
        place.mkdir(parents=True)
        (place / "sub_1.csv").write_text("daqtime")
    assert len(recordings(read("case", tmp_path))) == 14
    assert sorted(reasons(read("case", tmp_path), ExcludedData)) == [
        "the data of interpolated again, at the rates of the loggers",
        "the data of interpolated again, without the numbers of the videos",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("daqtime", "time"), "it is no table with the columns daqtime, ecg, video"),
        (lambda text: text.replace("0.5,10", "0.5,9"), "its column video has 9, expected 1, 2"),
        (lambda text: text.replace(",0.5,", ",0.5,x", 1), "its column video contains values that are not numbers"),
        (lambda text: "\n".join(text.split("\n")[:1]), "it has no samples|its column"),
        (lambda text: "\n".join(text.split("\n")[:5000] + text.split("\n")[6000:]), "its column daqtime has holes"),
        (lambda text: "\n".join(text.split("\n")[::2]), "its column daqtime shows a sampling rate of 500 Hz"),
        (lambda text: "\0" + text, "it is no table|its column"),
    ],
)
def test_a_table_of_case_with_other_content_is_reported(tmp_path: Path, change: Any, reason: str) -> None:
    place = tmp_path / "interpolated" / "physiological"
    place.mkdir(parents=True)
    (place / "sub_3.csv").write_text(change(case_tables("sub_3")[0]))
    (wrong,) = reasons(read("case", tmp_path))
    assert any(wrong.startswith(start) for start in reason.split("|")), wrong
    assert "\n" not in wrong


@given(lengths=st.lists(st.tuples(st.sampled_from([1, 2, 7, 10, 11, 12]), st.integers(1, 5)), min_size=1, max_size=8))
def test_showings_cover_a_session_of_case_once(lengths: list[tuple[int, int]]) -> None:
    videos = np.concatenate([np.full(length, float(video)) for video, length in lengths])
    showings = showings_of(videos)
    assert [showing.first for showing in showings] == [0, *(showing.last for showing in showings[:-1])]
    assert showings[-1].last == len(videos)
    assert all((videos[showing.first : showing.last] == showing.video).all() for showing in showings)


# PTB-XL


def test_ptbxl_is_a_recording_per_line_grouped_by_patient(tmp_path: Path) -> None:
    items = recordings(read("ptb-xl", write_ptbxl(tmp_path)))
    assert list(items) == [("13243", "00002"), ("15709", "00001"), ("15709", "01002")]
    recording = items["15709", "01002"]
    assert (recording.signal.shape, recording.fs) == ((12, 5000), 500)
    assert (recording.ratings, recording.condition) == ({}, "")
    few = recordings(read("ptb-xl", tmp_path, leads=("V5", "II")))["15709", "01002"]
    assert np.array_equal(few.signal, recording.signal[[10, 1]])


def test_every_record_of_ptbxl_is_read_or_listed(tmp_path: Path) -> None:
    write_ptbxl(tmp_path)
    write_record(tmp_path, 3)
    write_record(tmp_path, 1, rate=100)
    (tmp_path / "records500/00000/00002_hr.hea").unlink()
    (tmp_path / "records500/01000/01002_hr.dat").write_bytes(b"short")
    (tmp_path / "RECORDS").write_text("records500/00000/00001_hr")
    items = read("ptb-xl", tmp_path)
    assert list(recordings(items)) == [("15709", "00001")]
    assert {item.source: item.reason for item in items if isinstance(item, ExcludedData)} == {
        "1 file records100/*/*.hea": "the records at 500 Hz again, at 100 Hz",
        "1 file records500/*/*.hea": "ptbxl_database.csv does not list them",
        "RECORDS": "no signals",
    }
    missing, short = reasons(items)
    assert missing == "the file is missing"
    assert short.startswith("the WFDB record is damaged")


def test_ptbxl_is_read_at_the_lower_rate_if_it_is_asked_for(tmp_path: Path) -> None:
    write_ptbxl(tmp_path)
    write_record(tmp_path, 2, rate=100)
    items = recordings(read("ptb-xl", tmp_path, records=100))
    assert [item.fs for item in items.values()] == [100]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("ecg_id,filename_hr\n1,a\n", "cannot be read as a table with ecg_id, patient_id, filename_hr"),
        ("ecg_id,patient_id,filename_hr\n1,x,records500/00000/00001_hr\n", "cannot be read as a table"),
        ("ecg_id,patient_id,filename_hr\n1,,records500/00000/00001_hr\n", "cannot be read as a table"),
        ("ecg_id,patient_id,filename_hr\n1,2,../../etc/passwd\n", "names the record '../../etc/passwd'"),
        ("ecg_id,patient_id,filename_hr\n", "names the record None"),
        (
            "ecg_id,patient_id,filename_hr\n1,2,records500/00000/00001_hr\n2,2,records500/00000/00001_hr\n",
            "lists records500/00000/00001_hr or its number twice",
        ),
    ],
)
def test_a_wrong_table_of_ptbxl_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    (tmp_path / "ptbxl_database.csv").write_text(table)
    with pytest.raises(DataError, match=reason):
        read("ptb-xl", tmp_path)


# All


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_of_something_else_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="contain") as caught:
        read(name, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        read(name, tmp_path / "absent")


SIGNALS = {
    "wesad": "S2/S2.pkl",
    "deap": "data_preprocessed_python/s02.dat",
    "case": "data/interpolated/physiological/sub_1.csv",
    "ptb-xl": "records500/00000/00001_hr.hea",
    "bids": "sub-02/eeg/sub-02_task-rest_eeg.vhdr",
}
"""A file of each corpus that is damaged."""


@pytest.fixture(scope="module", params=SIGNALS)
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](folder)
    return request.param, folder


@given(
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_a_damaged_file_gives_recordings_or_one_line_and_the_others_are_read(
    corpus: tuple[str, Path], cut: float, changes: list[tuple[float, int]]
) -> None:
    name, folder = corpus
    file = folder / SIGNALS[name]
    whole = file.read_bytes()
    damaged = bytearray(whole[: round(max(cut, 0.1) * len(whole))])
    for share, byte in changes:
        # the headers of large files are at their beginning
        damaged[int(share * min(len(damaged), 2000))] = byte
    try:
        file.write_bytes(damaged)
        items = read(name, folder)
    finally:
        file.write_bytes(whole)
    source = SIGNALS[name]
    assert any(isinstance(item, Recording) and source not in item.source for item in items)
    assert all(isinstance(item, Recording | UnreadableRecording | ExcludedData) for item in items)
    assert not any("\n" in str(item) for item in items if not isinstance(item, Recording))
