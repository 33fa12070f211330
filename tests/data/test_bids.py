"""A BIDS data set is read by its tables; every recording is read, or listed with the reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotune.data.corpora.bids import READER, Bids
from emotune.data.corpora.bids_sidecars import entities_of, find_sidecars, read_events
from emotune.data.formats.file import files_of, read_file
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import ExcludedData, Interval, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.doors import BIDS_NAMES, bids_signals, channels_table, write_bids, write_brainvision

TABLE = "sub-02/eeg/sub-02_task-rest_channels.tsv"


def read(folder: Path, modality: Modality = "eeg", **settings: Any) -> list[Any]:
    return list(READER.items(folder, modality=modality, settings=Bids(**settings)))


def recordings(items: list[Any]) -> dict[tuple[str, str], Recording]:
    return {(item.subject, item.session): item for item in items if isinstance(item, Recording)}


def test_recordings_are_named_by_their_entities_and_labelled_by_trial_type_or_task(tmp_path: Path) -> None:
    items = recordings(read(write_bids(tmp_path)))
    first, second, third = items.values()
    assert list(items) == [
        ("01", "ses-a_task-film_run-1"), ("01", "ses-a_task-film_run-2"), ("02", "task-rest"),
    ]  # fmt: skip
    assert first.intervals == (Interval(0.0, 12.0, "calm"), Interval(12.0, 24.0, "tense"))
    assert (second.intervals, second.condition, third.condition) == ((), "film", "rest")
    assert {item.channels for item in items.values()} == {TEN_CHANNELS}
    assert np.allclose(third.signal, bids_signals("sub-02", fs=250, seconds=12)[:10], atol=0.06)
    assert (third.fs, third.calibrated) == (250, True)


def test_channels_are_taken_by_their_type(tmp_path: Path) -> None:
    write_bids(tmp_path)
    (tmp_path / TABLE).write_text(channels_table({"VEOG": "ECG", "ECG1": "MISC"}))
    items = recordings(read(tmp_path, "ecg"))
    assert [item.channels for item in items.values()] == [("ECG1",), ("ECG1",), ("VEOG",)]
    lead = bids_signals("sub-02", fs=250, seconds=12)[11] / 1000
    assert np.allclose(items["02", "task-rest"].signal[0], lead, atol=1e-4)


def test_the_unit_of_the_file_counts_and_a_different_one_is_noted(tmp_path: Path) -> None:
    write_bids(tmp_path)
    (tmp_path / TABLE).write_text(channels_table(unit="V"))
    recording = recordings(read(tmp_path))["02", "task-rest"]
    assert np.allclose(recording.signal, bids_signals("sub-02", fs=250, seconds=12)[:10], atol=0.06)
    assert "channel F7 is in µV, as its file states; sub-02_task-rest_channels.tsv has V" in recording.notes


def test_bad_channels_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    write_bids(tmp_path)
    (tmp_path / TABLE).write_text(channels_table(bad=["T7", "VEOG"]))
    left_out = [item for item in read(tmp_path) if isinstance(item, ExcludedData)]
    assert [item.reason for item in left_out] == ["channel T7 is marked as bad; --set read_bad_channels=true reads it"]
    assert len(recordings(read(tmp_path, read_bad_channels=True))) == 3
    (tmp_path / TABLE).write_text(channels_table({"VEOG": "ECG"}, bad=["ECG1"]))
    recording = recordings(read(tmp_path, "ecg"))["02", "task-rest"]
    assert recording.channels == ("VEOG",)
    assert recording.notes == ("channel ECG1 was passed over: it is marked as bad",)


def test_tables_are_inherited_from_the_nearest_folder(tmp_path: Path) -> None:
    recording = tmp_path / "sub-01" / "ses-a" / "eeg" / "sub-01_ses-a_task-film_run-1_eeg.edf"
    above, near = tmp_path / "task-film_channels.tsv", tmp_path / "sub-01" / "sub-01_task-film_channels.tsv"
    others = [tmp_path / "task-rest_channels.tsv", tmp_path / "sub-02" / "sub-02_task-film_channels.tsv"]
    beside = recording.with_name("sub-01_ses-a_task-film_run-2_channels.tsv")
    assert find_sidecars(recording, among=[above, *others, beside]).channels == above
    assert find_sidecars(recording, among=[near, above, *others]).channels == near
    assert find_sidecars(recording, among=others).channels is None
    jsons = [tmp_path / "task-film_eeg.json", tmp_path / "eeg.json"]
    assert find_sidecars(recording, among=jsons).metadata == (jsons[1], jsons[0])
    assert entities_of(recording) == {"sub": "01", "ses": "a", "task": "film", "run": "1"}


def test_other_files_are_listed_with_the_reason(tmp_path: Path) -> None:
    write_bids(tmp_path)
    for name in ("derivatives/sub-01_task-film_eeg.edf", "sub-03/eeg/sub-03_task-rest_eeg.set", "participants.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    items = read(tmp_path)
    assert {item.source: item.reason for item in items if isinstance(item, ExcludedData)} == {
        "1 file sub-*_task-film_eeg.edf": "not raw data",
        "1 file sub-*_task-rest_eeg.set": "its format is not read; convert it to EDF or BrainVision",
        "1 file participants.tsv": "no EEG",
    }
    assert len(recordings(items)) == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (TABLE, "name\tunits\nF7\tuV\n", "sub-02_task-rest_channels.tsv has no column type; it has name, units"),
        (TABLE, "name\ttype\nF7\tEEG\n", "sub-02_task-rest_channels.tsv does not list its channel F3, T7"),
        (TABLE, "name\ttype\nF7\tEEG\nF7\tEEG\n", "sub-02_task-rest_channels.tsv lists channel F7 twice"),
        (TABLE.replace("channels", "events"), "onset\n1\n", "sub-02_task-rest_events.tsv has no column duration"),
        (
            TABLE.replace("channels", "events"),
            "onset\tduration\ttrial_type\n1\tlong\tcalm\n",
            "sub-02_task-rest_events.tsv, line 2: 'long' is not a number of seconds",
        ),
        (TABLE.replace("channels.tsv", "eeg.json"), "{", "sub-02_task-rest_eeg.json is not valid JSON"),
        (TABLE.replace("channels.tsv", "eeg.json"), "[]", "sub-02_task-rest_eeg.json is not a JSON object"),
        (
            TABLE.replace("channels.tsv", "eeg.json"),
            '{"SamplingFrequency": 500}',
            "its rate is 250 Hz, but its SamplingFrequency in *_eeg.json is 500 Hz",
        ),
        (
            TABLE.replace("channels.tsv", "eeg.json"),
            '{"RecordingType": "epoched"}',
            "its RecordingType is 'epoched', expected 'continuous'",
        ),
    ],
)
def test_a_wrong_table_is_reported_and_the_others_are_read(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    write_bids(tmp_path)
    (tmp_path / name).write_text(content)
    items = read(tmp_path)
    (wrong,) = (item for item in items if isinstance(item, UnreadableRecording))
    assert wrong.reason.startswith(reason)
    assert len(recordings(items)) == 2


def test_events_without_a_duration_label_nothing(tmp_path: Path) -> None:
    file = tmp_path / "events.tsv"
    file.write_text("onset\tduration\ttrial_type\n0\t0\ta\n1\tn/a\tb\n2\t3\tn/a\n5\t2.5\td\n")
    assert read_events(file) == (Interval(5.0, 7.5, "d"),)


# BrainVision files


@pytest.mark.parametrize("orientation", ["MULTIPLEXED", "VECTORIZED"])
@pytest.mark.parametrize("binary", ["INT_16", "INT_32", "IEEE_FLOAT_32"])
def test_a_brainvision_recording_is_read_as_it_was_written(tmp_path: Path, orientation: str, binary: str) -> None:
    signals = bids_signals("a", fs=200, seconds=3)
    replaced = {"DataOrientation": orientation, "BinaryFormat": binary}
    header = write_brainvision(tmp_path / "a.vhdr", signals, names=BIDS_NAMES, fs=200, replaced=replaced)
    raw = read_file(header)
    assert np.allclose([channel.samples for channel in raw.channels], signals, atol=0.06)
    assert [channel.name for channel in raw.channels] == list(BIDS_NAMES)
    assert {(channel.unit, channel.fs) for channel in raw.channels} == {("µV", 200.0)}
    assert [file.suffix for file in files_of(header)] == [".vhdr", ".eeg", ".vmrk"]


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({"DataFormat": "ASCII"}, "its samples are INT_16, expected|its samples are ASCII"),
        ({"BinaryFormat": "FLOAT"}, "its samples are FLOAT, expected one of INT_16"),
        ({"DataOrientation": "DIAGONAL"}, "its DataOrientation is 'DIAGONAL', expected MULTIPLEXED or VECTORIZED"),
        ({"SamplingInterval": "0"}, "its SamplingInterval is 0 us, expected a number above 0"),
        ({"SamplingInterval": "x"}, "its SamplingInterval is 'x', expected a number"),
        ({"NumberOfChannels": "99999999"}, "its NumberOfChannels is 1e\\+08, expected 1 to 4096"),
        ({"NumberOfChannels": "13"}, "it has no channel Ch13, expected one for each"),
        ({"NumberOfChannels": "11"}, "a.eeg has 14400 bytes, expected a multiple of 2 bytes for each of 11 channels"),
        ({"DataFile": "../a.eeg"}, "its DataFile is '../a.eeg', expected the name of a file beside it"),
        ({"DataFile": "b.eeg"}, "b.eeg cannot be read: No such file or directory"),
        ({"Ch1": "F7,,many,µV"}, "channel F7 has the resolution 'many', expected a number"),
    ],
)
def test_a_wrong_brainvision_header_is_refused(tmp_path: Path, replaced: dict[str, str], reason: str) -> None:
    signals = bids_signals("a", fs=200, seconds=3)
    header = write_brainvision(tmp_path / "a.vhdr", signals, names=BIDS_NAMES, fs=200, replaced=replaced)
    with pytest.raises(DataError, match=reason):
        read_file(header)


def test_an_interrupted_brainvision_recording_is_refused(tmp_path: Path) -> None:
    header = write_brainvision(tmp_path / "a.vhdr", np.ones((1, 9)), names=["F7"], fs=200)
    marks = header.with_suffix(".vmrk")
    marks.write_text(marks.read_text() + "Mk2=New Segment,,5,1,0,20260101\n")
    with pytest.raises(DataError, match=r"a\.vmrk has 2 markers New Segment: the recording was interrupted"):
        read_file(header)
    header.write_text("something else")
    with pytest.raises(DataError, match="it is no BrainVision header"):
        read_file(header)
