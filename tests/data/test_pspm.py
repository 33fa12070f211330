import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.io import savemat

from emotune.data.corpora.pspm import READERS, Pspm
from emotune.data.corpora.reader import Item
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError
from tests.data.examples.mat import cells, save_73
from tests.data.examples.pspm import channel, make_ecg, recording, write_pspm

READER_OF = {reader.name: reader for reader in READERS}
ECG = make_ecg(fs=1000, seconds=13)


def read_all(folder: Path, corpus: str = "pspm-fr", **fields: str) -> list[Item]:
    return list(READER_OF[corpus].items(folder, modality="ecg", settings=Pspm.model_validate(fields)))


def recordings(folder: Path, corpus: str = "pspm-fr", **fields: str) -> list[Recording]:
    items = read_all(folder, corpus, **fields)
    assert all(isinstance(item, Recording) for item in items), items
    return [item for item in items if isinstance(item, Recording)]


def write(file: Path, *channels: dict, **fields: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    infos = {"duration": 13.0, "sourcefile": file.as_posix()}
    savemat(file, recording(*channels) | {"infos": infos} | fields)


def ecg(samples: np.ndarray = ECG, *, sr: float = 1000.0, units: str = "mV", kind: str = "ecg") -> dict:
    return channel(kind, samples, sr=sr, units=units)


@pytest.mark.parametrize(
    ("corpus", "mark"), [("pspm-fr", "FR"), ("pspm-hrm5", "HRM5"), ("pspm-rrm1-2", "RRM1-2"), ("pspm-vis", "VIS")]
)
def test_the_ecg_is_picked_by_its_type_at_its_own_rate(tmp_path: Path, corpus: str, mark: str) -> None:
    first, second = recordings(write_pspm(mark)(tmp_path), corpus)
    assert (first.subject, first.session, first.source) == ("01", f"{mark}_spike", f"Data/{mark}_spike_01.mat")
    assert (first.fs, first.seconds, first.channels, first.calibrated) == (1000, 13, ("ECG 1",), True)
    assert np.array_equal(first.signal[0], ECG)
    assert (second.subject, second.ratings, second.condition) == ("02", {}, "")


def test_each_set_is_read_from_a_folder_of_several(tmp_path: Path) -> None:
    for mark in ("FR", "HRM5", "RRM1-2"):
        (tmp_path / f"PsPM-{mark}").mkdir()
        write_pspm(mark)(tmp_path / f"PsPM-{mark}")
    write(tmp_path / "pspm_vis/data/spike_07.mat")
    assert {item.source.split("/")[0] for item in recordings(tmp_path)} == {"PsPM-FR"}
    assert {item.source.split("/")[0] for item in recordings(tmp_path, "pspm-rrm1-2")} == {"PsPM-RRM1-2"}
    (only,) = recordings(tmp_path, "pspm-vis")
    assert (only.subject, only.session) == ("07", "spike")


def test_files_without_the_name_of_a_set_belong_to_the_given_set(tmp_path: Path) -> None:
    write(tmp_path / "data/spike_01.mat")
    assert len(recordings(tmp_path, "pspm-hrm5")) == 1


def test_another_set_is_refused(tmp_path: Path) -> None:
    write_pspm("FR")(tmp_path)
    with pytest.raises(DataError, match="contains files of pspm-fr, expected pspm-vis"):
        read_all(tmp_path, "pspm-vis")


@pytest.mark.parametrize("names", [("Data", "Data_pp"), ("data", "data_pp")])
def test_preprocessed_copies_are_passed_over_and_counted(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        write(tmp_path / name / "FR_spike_01.mat")
    note, only = read_all(tmp_path)
    assert str(note) == "1 file FR_spike_*.mat: data_pp repeats a part of the recordings"
    assert isinstance(only, Recording)
    assert only.source == f"{names[0]}/FR_spike_01.mat"


def test_files_of_behaviour_are_passed_over_and_counted_by_kind(tmp_path: Path) -> None:
    write_pspm("FR")(tmp_path)
    for number in (1, 2):
        savemat(tmp_path / f"Data/FR_cogent_0{number}.mat", {"data": np.zeros((3, 3))})
    savemat(tmp_path / "Data/FR_list.mat", {"infos": 1.0, "data": 1.0})
    notes = [str(item) for item in read_all(tmp_path) if isinstance(item, ExcludedData)]
    assert notes == [
        "2 files FR_cogent_*.mat: not a recording: it has no infos and data",
        "1 file FR_list.mat: its name has no subject; see the setting names",
    ]


@pytest.mark.parametrize(
    ("place", "subject", "session"),
    [
        ("FR_spike_01.mat", "01", "FR_spike"),
        ("FR_spike_1.mat", "01", "FR_spike"),
        ("fr/spike101.mat", "101", "spike"),
        ("FR_spike_02_sn3.mat", "02", "FR_spike_sn3"),
        ("FR_sn3_spike_02.mat", "02", "FR_sn3_spike"),
        ("FR/12.MAT", "12", "1"),
    ],
)
def test_the_last_number_is_the_subject(tmp_path: Path, place: str, subject: str, session: str) -> None:
    write(tmp_path / place)
    (only,) = recordings(tmp_path)
    assert (only.subject, only.session) == (subject, session)


def test_other_names_can_be_described(tmp_path: Path) -> None:
    write(tmp_path / "sess1/s7_ecg.mat")
    write(tmp_path / "sess2/s7_ecg.mat")
    both = recordings(tmp_path, names=r"(?P<session>\w+)/s(?P<subject>\d+)_ecg")
    assert [(recording.subject, recording.session) for recording in both] == [("07", "sess1"), ("07", "sess2")]


@pytest.mark.parametrize(("names", "message"), [("(", "no regular expression"), ("(.*)", "should have the groups")])
def test_a_pattern_that_cannot_work_is_refused(names: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Pspm(names=names)


def test_the_same_recording_in_two_folders_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a/FR_spike_01.mat")
    write(tmp_path / "b/FR_spike_01.mat")
    with pytest.raises(DataError, match=r"a/FR_spike_01\.mat and b/FR_spike_01\.mat are both session FR_spike"):
        read_all(tmp_path)


@pytest.mark.parametrize("kind", ["ECG", "Ecg ", "ecg"])
def test_types_are_compared_without_regard_to_case(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "FR_1.mat", ecg(kind=kind))
    assert len(recordings(tmp_path)) == 1


def test_the_old_name_of_the_type_is_understood(tmp_path: Path) -> None:
    old = {"header": {"channeltype": "ecg", "sr": 1000.0, "units": "mV"}, "data": ECG.reshape(-1, 1)}
    write(tmp_path / "FR_1.mat", old)
    assert np.array_equal(recordings(tmp_path)[0].signal[0], ECG)


def test_rows_and_a_row_of_cells_are_accepted(tmp_path: Path) -> None:
    row = ecg() | {"data": ECG.reshape(1, -1)}
    savemat(tmp_path / "FR_1.mat", recording() | {"data": cells([row])})
    assert np.array_equal(recordings(tmp_path)[0].signal[0], ECG)


@pytest.mark.parametrize(
    ("units", "factor", "calibrated"), [("V", 1e3, True), ("uV", 1e-3, True), ("unknown", 1.0, False), ("", 1.0, False)]
)
def test_voltages_become_millivolts_and_other_units_are_unknown(
    tmp_path: Path, units: str, factor: float, calibrated: bool
) -> None:
    write(tmp_path / "FR_1.mat", ecg(units=units))
    (only,) = recordings(tmp_path)
    assert only.signal[0] == pytest.approx(ECG * factor)
    assert only.calibrated is calibrated


def test_leads_of_different_rates_are_different_sessions(tmp_path: Path) -> None:
    slow = make_ecg(fs=500, seconds=13)
    write(tmp_path / "FR_1.mat", ecg(), ecg(slow, sr=500), ecg(-ECG[:-2]))
    fast, other = recordings(tmp_path)
    assert (fast.session, fast.fs, fast.channels) == ("FR, 1000 Hz", 1000, ("ECG 1", "ECG 3"))
    assert np.array_equal(fast.signal, [ECG[:-2], -ECG[:-2]])
    assert (other.session, other.fs, other.channels, other.subject) == ("FR, 500 Hz", 500, ("ECG 2",), "01")


@pytest.mark.parametrize(("missing", "fits"), [(0, True), (3, True), (-3, True), (4, False), (-4, False)])
def test_a_lead_may_be_three_samples_off_its_duration(tmp_path: Path, missing: int, fits: bool) -> None:
    write(tmp_path / "FR_1.mat", ecg(make_ecg(fs=1000, seconds=13 - missing / 1000)))
    (only,) = read_all(tmp_path)
    assert isinstance(only, Recording if fits else UnreadableRecording)
    if isinstance(only, UnreadableRecording):
        samples = 13000 - missing
        assert only.reason == f"the ECG channel has {samples} samples, expected 13000 (13 s at 1000 Hz)"


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        ([channel("scr", np.ones(1300), sr=100.0, units="uS")], "it has no ECG channel"),
        (
            [channel("hb", np.arange(1.0, 13.0), sr=1.0, units="events")],
            "it has no ECG channel, only the times of heart beats (hb)",
        ),
        ([ecg(np.zeros((0, 0)))], "the ECG channel is empty"),
    ],
)
def test_a_recording_without_an_ecg_is_left_out(tmp_path: Path, channels: list[dict], reason: str) -> None:
    write(tmp_path / "FR_1.mat", *channels)
    (only,) = read_all(tmp_path)
    assert isinstance(only, ExcludedData)
    assert only.reason == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"infos": {"sourcefile": "x"}}, "there is no duration in infos; there is sourcefile"),
        ({"infos": {"duration": np.nan}}, "infos.duration is nan"),
        ({"data": cells([{"data": ECG}])}, "there is no header; there is data"),
        ({"data": cells([{"header": {"sr": 1.0}}])}, "there is no chantype in header; there is sr"),
        ({"data": cells([ecg(sr=0.0)])}, "header.sr is 0, where a sampling rate above 0 Hz was expected"),
        (
            {"data": cells([ecg(units="events")])},
            "the ECG channel contains times of events, where a signal was expected",
        ),
        ({"data": cells([ecg() | {"data": np.ones((3, 2))}])}, "the ECG channel has shape 3 x 2"),
        ({"data": cells([3.0])}, " is a 1 x 1 array of float64, where a struct with header was expected"),
    ],
)
def test_a_wrong_recording_is_reported_and_the_next_one_read(
    tmp_path: Path, fields: dict[str, object], reason: str
) -> None:
    write(tmp_path / "FR_1.mat", **fields)
    write(tmp_path / "FR_2.mat")
    bad, good = read_all(tmp_path)
    assert isinstance(bad, UnreadableRecording)
    assert bad.subject == "01"
    assert bad.source.startswith("FR_1.mat")
    assert bad.reason.startswith(reason)
    assert isinstance(good, Recording)


def test_a_bad_lead_is_left_out_alone(tmp_path: Path) -> None:
    write(tmp_path / "FR_1.mat", ecg(ECG[:500]), ecg())
    bad, good = read_all(tmp_path)
    assert isinstance(bad, UnreadableRecording)
    assert bad.source == "FR_1.mat, channel 1"
    assert isinstance(good, Recording)
    assert good.channels == ("ECG 2",)


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "FR_1.mat")
    (tmp_path / "FR_2.mat").write_bytes((tmp_path / "FR_1.mat").read_bytes()[:5000])
    (tmp_path / "FR_3.mat").write_text("<html>not found</html>")
    good, *bad = read_all(tmp_path)
    assert isinstance(good, Recording)
    assert all(isinstance(item, UnreadableRecording) for item in bad)
    assert [getattr(item, "subject", "") for item in bad] == ["02", "03"]


@pytest.mark.parametrize("name", ["FR_cogent_01.mat", "readme.txt"])
def test_a_folder_without_recordings_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    savemat(tmp_path / name, {"results": 1.0}, appendmat=False)
    with pytest.raises(
        DataError, match=r"contain no recordings of pspm-fr \(MAT files with infos and data\)"
    ) as caught:
        read_all(tmp_path)
    assert "\n" not in str(caught.value)


def test_version_7_3_gives_the_same(tmp_path: Path) -> None:
    write(tmp_path / "FR_1.mat")
    save_73(tmp_path / "FR_2.mat", recording())
    older, newer = recordings(tmp_path)
    assert np.array_equal(newer.signal, older.signal)
    assert (newer.fs, newer.channels, newer.calibrated) == (older.fs, older.channels, older.calibrated)


WRITERS: dict[str, Callable[[Path, dict], None]] = {
    "version 5": savemat,
    "version 7": lambda file, content: savemat(file, content, do_compression=True),
    "version 7.3": save_73,
}


@pytest.fixture(scope="module", params=WRITERS)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("small") / "FR_1.mat"
    WRITERS[request.param](file, recording(ecg(ECG[:300], sr=100.0), seconds=3.0))
    return file.read_bytes()


@given(data=st.data())
def test_changed_bytes_and_cuts_give_a_recording_or_a_clear_line(
    tmp_path: Path, small: bytes, data: st.DataObject
) -> None:
    content = bytearray(small)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    (tmp_path / "FR_1.mat").write_bytes(content[:length])
    with contextlib.suppress(DataError):  # a changed name of a variable makes it a file of another kind
        items = read_all(tmp_path)
        assert items
        assert all(
            isinstance(item, Recording | UnreadableRecording | ExcludedData) and "\n" not in str(item) for item in items
        )
