import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.corpora.eegmmidb import READER, Eegmmidb
from emotune.data.corpora.reader import Item
from emotune.data.formats.file import read_edf
from emotune.data.modality import TEN_CHANNELS
from emotune.data.recording import ExcludedData, Interval, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.brain import EEGMMIDB_COLUMNS, EEGMMIDB_LABELS, write_eegmmidb, write_run


def read_all(folder: Path) -> list[Item]:
    return list(READER.items(folder, modality="eeg", settings=Eegmmidb()))


def read_one(folder: Path) -> Recording:
    (only,) = read_all(folder)
    assert isinstance(only, Recording), only
    return only


def reason(folder: Path) -> str:
    (only,) = read_all(folder)
    assert isinstance(only, UnreadableRecording)
    assert "\n" not in only.reason
    assert (only.subject, only.source) == ("S001", "S001R01.edf")
    return only.reason


def test_each_run_is_a_session_at_its_own_rate(tmp_path: Path) -> None:
    items = read_all(write_eegmmidb(tmp_path))
    facts = [(item.subject, item.session, item.fs, item.source) for item in items if isinstance(item, Recording)]
    assert facts == [
        ("S001", "R01", 160, "files/S001/S001R01.edf"),
        ("S001", "R03", 160, "files/S001/S001R03.edf"),
        ("S088", "R01", 128, "files/S088/S088R01.edf"),
        ("S088", "R03", 128, "files/S088/S088R03.edf"),
    ]


def test_the_ten_channels_are_taken_by_their_dotted_labels(tmp_path: Path) -> None:
    written = write_run(tmp_path / "S001R01.edf")
    run = read_one(tmp_path)
    assert run.channels == TEN_CHANNELS
    assert run.calibrated
    assert run.signal == pytest.approx(written[EEGMMIDB_COLUMNS], abs=1e-6)


def test_volts_become_microvolts(tmp_path: Path) -> None:
    written = write_run(tmp_path / "S001R01.edf")
    put_into_header(tmp_path / "S001R01.edf", field=96, width=8, values=[b"mV      "] * 64)
    assert read_one(tmp_path).signal == pytest.approx(1000 * written[EEGMMIDB_COLUMNS])


@pytest.mark.parametrize(
    ("run", "condition", "parts"),
    [
        ("R01", "eyes open", []),
        ("R02", "eyes closed", []),
        ("R03", "", ["rest", "right fist", "left fist"]),
        ("R08", "", ["rest", "right fist imagined", "left fist imagined"]),
        ("R13", "", ["rest", "both feet", "both fists"]),
        ("R14", "", ["rest", "both feet imagined", "both fists imagined"]),
    ],
)
def test_conditions_are_named_in_words_by_run(tmp_path: Path, run: str, condition: str, parts: list[str]) -> None:
    write_run(tmp_path / f"S001{run}.edf")
    recording = read_one(tmp_path)
    assert recording.condition == condition
    starts = [Interval(4.0 * number, 4.0 * number + 4, part) for number, part in enumerate(parts)]
    assert list(recording.intervals) == starts


def test_zeros_that_fill_the_last_record_up_are_cut_off_and_noted(tmp_path: Path) -> None:
    written = write_run(tmp_path / "S001R01.edf", padding=80)
    note, recording = read_all(tmp_path)
    assert isinstance(note, ExcludedData)
    assert (note.subject, note.source) == ("S001", "S001R01.edf, end")
    assert "zeros that fill up the last record" in note.reason
    assert isinstance(recording, Recording)
    assert recording.signal == pytest.approx(written[EEGMMIDB_COLUMNS, :-80])


def test_a_run_of_zeros_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "S001R01.edf", padding=13 * 160)
    assert reason(tmp_path) == "all samples of its ten channels are zero"


def test_a_copy_with_converted_line_ends_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "S001R01.edf")
    content = (tmp_path / "S001R01.edf").read_bytes()
    assert b"\n" in content
    (tmp_path / "S001R01.edf").write_bytes(content.replace(b"\n", b"\r\n"))
    assert "as in its EDF header" in reason(tmp_path)


def test_a_truncated_run_is_refused_and_the_next_one_read(tmp_path: Path) -> None:
    for run in ("R01", "R03"):
        write_run(tmp_path / f"S001{run}.edf")
    content = (tmp_path / "S001R01.edf").read_bytes()
    (tmp_path / "S001R01.edf").write_bytes(content[:-5000])
    bad, good = read_all(tmp_path)
    assert isinstance(bad, UnreadableRecording)
    assert isinstance(good, Recording)


@pytest.mark.parametrize(
    ("field", "width", "changed", "message"),
    [
        (0, 16, {37: b"X8              "}, "it has no channel F8; it has F7, F3, F4"),
        (0, 16, {36: b"F8..            "}, "it has channel F8 more than once"),
        (96, 8, {37: b"adc     "}, "have 160 Hz in adc, 160 Hz in uV, expected one rate and one unit of voltage"),
        (104, 8, {37: b"8092    "}, "160 Hz in an unknown unit"),
    ],
)
def test_channels_that_are_not_as_they_should_be_are_named(
    tmp_path: Path, field: int, width: int, changed: dict[int, bytes], message: str
) -> None:
    write_run(tmp_path / "S001R01.edf")
    put_into_header(tmp_path / "S001R01.edf", field=field, width=width, values=changed)
    assert message in reason(tmp_path)


def put_into_header(file: Path, *, field: int, width: int, values: list[bytes] | dict[int, bytes]) -> None:
    """Write into the part of the header that has a field for each of the 65 signals."""
    content = bytearray(file.read_bytes())
    for number, value in enumerate(values) if isinstance(values, list) else values.items():
        start = 256 + 65 * field + width * number
        assert len(value) == width
        content[start : start + width] = value
    file.write_bytes(content)


def test_a_run_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a/S001R01.edf")
    write_run(tmp_path / "b/S001R01.edf")
    with pytest.raises(DataError, match=r"a/S001R01\.edf and b/S001R01\.edf are both session R01 of subject S001"):
        read_all(tmp_path)


def test_a_run_that_is_linked_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "S001R01.edf")
    (tmp_path / "S001R02.edf").symlink_to(tmp_path / "S001R01.edf")
    with pytest.raises(DataError, match=r"S001R01\.edf and S001R02\.edf link to the same file"):
        read_all(tmp_path)


def test_a_run_that_is_there_under_two_names_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "S001R01.edf")
    write_run(tmp_path / "S001R02.edf")
    shutil.copy(tmp_path / "S001R01.edf", tmp_path / "S002R01.edf")
    with pytest.raises(DataError, match=r"S001R01\.edf and S002R01\.edf have the same content; remove one"):
        read_all(tmp_path)


def test_a_dangling_link_is_reported_and_the_next_run_read(tmp_path: Path) -> None:
    (tmp_path / "S001R01.edf").symlink_to(tmp_path / "gone.edf")
    write_run(tmp_path / "S001R02.edf")
    bad, good = read_all(tmp_path)
    assert isinstance(bad, UnreadableRecording)
    assert "No such file" in bad.reason
    assert isinstance(good, Recording)


def test_linked_folders_are_searched_and_hidden_ones_are_not(tmp_path: Path) -> None:
    write_run(tmp_path / "elsewhere/S001R01.edf")
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "S001").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    for name in ("__MACOSX", ".cache"):
        shutil.copytree(tmp_path / "elsewhere", folder / name)
    shutil.copy(tmp_path / "elsewhere/S001R01.edf", folder / "._S001R01.edf")
    assert read_one(folder).source == "S001/S001R01.edf"


@pytest.mark.parametrize("name", ["other.edf", "S001R01.edf.event", "S001R01.mat"])
def test_a_folder_without_runs_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"contain no runs of eegmmidb \(S001R01\.edf") as caught:
        read_all(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_all(tmp_path / "gone")


def test_subjects_are_ordered_by_number(tmp_path: Path) -> None:
    write_eegmmidb(tmp_path)
    names = [part.name for part in READER.list_parts(tmp_path, Eegmmidb()) if not isinstance(part, ExcludedData)]
    assert names == ["S001", "S088"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("small") / "S001R03.edf"
    write_run(file, seconds=1)
    return file.read_bytes()


@given(data=st.data())
def test_changed_bytes_and_cuts_give_a_recording_or_a_clear_line(
    tmp_path: Path, small: bytes, data: st.DataObject
) -> None:
    content = bytearray(small)
    annotations = range(len(content) - 160, len(content))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.one_of(st.integers(0, 16895), st.sampled_from(annotations)))
        content[place] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    (tmp_path / "S001R03.edf").write_bytes(content[:length])
    for item in read_all(tmp_path):
        assert isinstance(item, Recording | UnreadableRecording | ExcludedData)
        assert "\n" not in str(item)


def test_unwanted_channels_are_not_read(tmp_path: Path) -> None:
    written = write_run(tmp_path / "S001R01.edf")
    (only,) = read_edf(tmp_path / "S001R01.edf", wanted=lambda label: label == "Oz..").channels
    assert only.name == "Oz.."
    assert only.samples == pytest.approx(written[EEGMMIDB_LABELS.index("Oz..")], abs=1e-6)


def test_an_original_run_has_a_recording_and_its_padding_is_cut(real_data: Path) -> None:
    items = read_all(real_data / "edf_originals")
    baseline, task = (item for item in items if isinstance(item, Recording))
    assert (baseline.subject, baseline.session, baseline.fs, baseline.condition) == ("S001", "R01", 160, "eyes open")
    assert (task.session, task.intervals[0], task.intervals[1].condition) == (
        "R04",
        Interval(0.0, 4.2, "rest"),
        "right fist imagined",
    )
    assert task.seconds == task.intervals[-1].end == 124.5
    raw = np.frombuffer((real_data / "edf_originals/S001R04.edf").read_bytes()[16896:], dtype="<i2")
    o1 = raw.reshape(125, -1)[:, 160 * 60 : 160 * 61].ravel()
    assert np.array_equal(task.signal[4], o1[: 124 * 160 + 80])
    for item in (baseline, task):
        item.check()
