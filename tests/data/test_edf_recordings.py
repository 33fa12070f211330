"""EDF files with the headers that devices write, and those that must be refused."""

from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.reader import Item
from emotune.data.formats.file import read_file
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.data.store import SegmentStore
from emotune.errors import DataError
from tests.data.examples.signals import TEN, brain, heart, write_edf, write_manifest

FS = 256
LEAD = heart(20, fs=FS)
PHYSICAL_MINIMUM, PHYSICAL_MAXIMUM, DIGITAL_MINIMUM, DIGITAL_MAXIMUM = 3, 4, 5, 6


def items(folder: Path, *names: str, modality: Modality = "ecg", **given: object) -> list[Item]:
    write_manifest(folder, "file,subject", *(f"{name},s{number}" for number, name in enumerate(names)))
    return list(READER.items(folder, modality=modality, settings=Folder.model_validate(given)))


def recording_in(folder: Path, *, modality: Modality = "ecg", **given: object) -> Recording:
    (item,) = items(folder, "a.edf", modality=modality, **given)
    assert isinstance(item, Recording), item
    return item


def reason(folder: Path, *, modality: Modality = "ecg", **given: object) -> str:
    (item,) = items(folder, "a.edf", modality=modality, **given)
    assert isinstance(item, UnreadableRecording), item
    return item.reason


def change(file: Path, *, at: int, content: bytes) -> None:
    whole = bytearray(file.read_bytes())
    whole[at : at + len(content)] = content
    file.write_bytes(whole)


@pytest.mark.parametrize("unit", [b"uV", b"uv", b"\xb5V", "µV".encode(), "μV".encode(), b"microV", b"uV\0\0\0\0\0\0"])
def test_microvolts_are_the_same_amplitude_in_every_spelling(tmp_path: Path, unit: bytes) -> None:
    write_edf(tmp_path / "a.edf", [1000 * LEAD], labels=[b"ECG"], fs=[FS], unit=unit)
    recording = recording_in(tmp_path)
    assert recording.calibrated
    assert recording.signal[0] == pytest.approx(LEAD, abs=1e-3)


@pytest.mark.parametrize("unit", [b"mmHg", b"bpm", b"ADU", b"%"])
def test_a_unit_that_is_no_voltage_is_stated(tmp_path: Path, unit: bytes) -> None:
    write_edf(tmp_path / "a.edf", [1000 * LEAD], labels=[b"ECG"], fs=[FS], unit=unit)
    recording = recording_in(tmp_path)
    assert not recording.calibrated
    assert recording.notes == (
        f"channel ECG is in {unit.decode()}, which is no unit of voltage: the standard deviation was not checked",
    )


def test_a_record_count_of_minus_one_is_counted_from_the_size(tmp_path: Path) -> None:
    file = write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    change(file, at=236, content=b"-1      ")
    assert recording_in(tmp_path).signal[0] == pytest.approx(LEAD, abs=1e-3)
    file.write_bytes(file.read_bytes()[:-100])
    assert reason(tmp_path).startswith(
        "it has 10652 bytes: after its EDF header of 512 bytes, no whole number of records"
    )


@pytest.mark.parametrize(("difference", "why"), [(100, "Was something appended to it?"), (-700, "Is it truncated?")])
def test_another_size_than_that_of_the_header_is_refused_with_both(tmp_path: Path, difference: int, why: str) -> None:
    file = write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    content = file.read_bytes()
    file.write_bytes((content + b"\0" * 100)[: len(content) + difference])
    assert reason(tmp_path) == f"it has {10752 + difference} bytes, expected 10752 as in its EDF header. {why}"


ODD_HEADERS = {
    "decimal comma": {(PHYSICAL_MINIMUM, 0): b"-2,0", (PHYSICAL_MAXIMUM, 0): b"2,0"},
    "blanks in front": {(PHYSICAL_MINIMUM, 0): b"    -2.0", (PHYSICAL_MAXIMUM, 0): b"     2.0"},
    "plus sign": {(PHYSICAL_MINIMUM, 0): b"-2", (PHYSICAL_MAXIMUM, 0): b"+2"},
    "exponent": {(PHYSICAL_MINIMUM, 0): b"-2E0", (PHYSICAL_MAXIMUM, 0): b"2.0e+00"},
    "NUL after the numbers": {(PHYSICAL_MINIMUM, 0): b"-2\0\0\0\0\0\0", (PHYSICAL_MAXIMUM, 0): b"2\0\0\0\0\0\0\0"},
    "fraction in digital limits": {
        (PHYSICAL_MINIMUM, 0): b"-2",
        (PHYSICAL_MAXIMUM, 0): b"2",
        (DIGITAL_MINIMUM, 0): b"-32768.0",
        (DIGITAL_MAXIMUM, 0): b"32767.0",
    },
    "NUL in the name": {
        (PHYSICAL_MINIMUM, 0): b"-2",
        (PHYSICAL_MAXIMUM, 0): b"2",
        (0, 0): b"ECG\0\0\0\0\0\0\0\0\0\0\0\0\0",
    },
}


@pytest.mark.parametrize("kind", ODD_HEADERS)
def test_numbers_in_a_header_are_read_as_devices_write_them(tmp_path: Path, kind: str) -> None:
    limit = np.ceil(np.abs(LEAD).max() * 10 + 1) / 10
    write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS], replaced=ODD_HEADERS[kind])
    recording = recording_in(tmp_path)
    assert recording.channels == ("ECG",)
    assert recording.signal[0] == pytest.approx(LEAD * 2 / limit, abs=1e-3)


def test_a_header_that_is_padded_with_nul_is_read(tmp_path: Path) -> None:
    file = write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    content = file.read_bytes()
    file.write_bytes(content[:512].replace(b"  ", b"\0\0") + content[512:])
    assert recording_in(tmp_path).signal[0] == pytest.approx(LEAD, abs=1e-3)


@pytest.mark.parametrize("at", [168, 176])
def test_unreadable_dates_and_times_are_ignored(tmp_path: Path, at: int) -> None:
    file = write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS], onsets=range(20), kind=b"EDF+C")
    change(file, at=at, content=b"xx.xx.xx")
    assert recording_in(tmp_path).seconds == 20


def test_a_digital_minimum_above_the_maximum_is_refused_where_the_channel_is_used(tmp_path: Path) -> None:
    limits = {(DIGITAL_MINIMUM, 0): b"32767", (DIGITAL_MAXIMUM, 0): b"-32768"}
    write_edf(tmp_path / "a.edf", [LEAD, LEAD], labels=[b"ECG", b"II"], fs=[FS, FS], replaced=limits)
    assert reason(tmp_path).startswith("channel ECG has the digital minimum 32767, which is above its digital maximum")
    assert recording_in(tmp_path, ecg_channels=["II"]).channels == ("II",)


def test_a_bdf_file_is_refused_by_its_name(tmp_path: Path) -> None:
    file = write_edf(tmp_path / "a.edf", [heart(20, fs=250)], labels=[b"ECG"], fs=[250])
    file.write_bytes(b"\xffBIOSEMI" + file.read_bytes()[8:])
    write_manifest(tmp_path, "file,subject", "a.edf,s1")
    (item,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert "it is a BDF file with samples of 24 bits" in str(item)


def test_what_the_manifest_replaces_in_a_file_is_stated(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [heart(20, fs=250)], labels=[b"ECG"], fs=[250])
    write_manifest(tmp_path, "file,subject,fs,units", "a.edf,s1,500,V")
    (recording,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert isinstance(recording, Recording)
    assert recording.fs == 500
    assert recording.notes == (
        "manifest.csv states 500 Hz, the file 250 Hz: that of manifest.csv was taken",
        "manifest.csv states the unit V, the file mV: that of manifest.csv was taken",
    )


def test_a_record_duration_of_zero_is_refused(tmp_path: Path) -> None:
    change(write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS]), at=244, content=b"0       ")
    assert "its records last 0 s" in reason(tmp_path)


@pytest.mark.parametrize("kind", [b"EDF+C", b"EDF+D"])
def test_gaps_between_records_become_missing_samples(tmp_path: Path, kind: bytes) -> None:
    onsets = [*range(8), *(number + 4.5 for number in range(8, 20))]
    write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS], onsets=onsets, kind=kind)
    recording = recording_in(tmp_path)
    assert recording.gaps == ((8.0, 12.5),)
    first, last = 8 * FS, round(12.5 * FS)
    assert np.isnan(recording.signal[0, first:last]).all()
    assert recording.signal[0, :first] == pytest.approx(LEAD[:first], abs=1e-3)
    assert recording.signal[0, last:] == pytest.approx(LEAD[first:], abs=1e-3)


def test_discontinuous_files_without_gaps_are_continuous(tmp_path: Path) -> None:
    onsets = [number + 0.25 for number in range(20)]
    write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS], onsets=onsets, kind=b"EDF+D")
    assert recording_in(tmp_path).signal[0] == pytest.approx(LEAD, abs=1e-3)


@pytest.mark.parametrize(
    ("onsets", "message"),
    [([*range(10), *range(5, 15)], "they overlap"), ([*range(10), *range(10**6, 10**6 + 10)], "longer than a day")],
)
def test_records_that_overlap_or_are_days_apart_are_refused(tmp_path: Path, onsets: list[int], message: str) -> None:
    write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS], onsets=onsets, kind=b"EDF+D")
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "a.edf")


@pytest.mark.parametrize(
    ("labels", "both"),
    [
        ([f"EEG {name}-REF".encode() for name in TEN] + [b"EEG T3-REF"], "EEG T7-REF and EEG T3-REF"),
        ([f"EEG {name}".encode() for name in TEN] + [b"T4"], "EEG T8 and T4"),
        ([name.encode() for name in TEN] + [b"t5.."], "P7 and t5.."),
        ([name.encode() for name in TEN] + [b"EEG T6-A1"], "P8 and EEG T6-A1"),
        ([name.encode() for name in TEN] + [b"F7"], "F7 and F7"),
        ([f"{name}-A1".encode() for name in TEN] + [b"F7-A2"], "F7-A1 and F7-A2"),
    ],
)
def test_the_same_electrode_twice_is_refused_with_both_names(tmp_path: Path, labels: list[bytes], both: str) -> None:
    signals = [*brain(11, fs=FS), brain(11, fs=FS)[0]]
    write_edf(tmp_path / "a.edf", signals, labels=labels, fs=[FS] * 11, unit=b"uV")
    assert reason(tmp_path, modality="eeg").startswith(f"its channels {both} are the same EEG channel")


def test_one_of_two_electrodes_can_be_taken_by_its_name(tmp_path: Path) -> None:
    signals = [*brain(11, fs=FS), 2 * brain(11, fs=FS)[2]]
    labels = [*(name.encode() for name in TEN), b"T3"]
    write_edf(tmp_path / "a.edf", signals, labels=labels, fs=[FS] * 11, unit=b"uV")
    recording = recording_in(tmp_path, modality="eeg", eeg_channels=["F7", "T3"])
    assert recording.signal.std(axis=1) == pytest.approx([20, 40], rel=0.05)


def test_channels_that_are_not_used_may_be_there_twice(tmp_path: Path) -> None:
    signals = [*brain(11, fs=FS), *brain(11, fs=FS, channels=4)]
    labels = [*(name.encode() for name in TEN), b"-", b"-", b"Cz", b"Cz"]
    write_edf(tmp_path / "a.edf", signals, labels=labels, fs=[FS] * 14, unit=b"uV")
    assert recording_in(tmp_path, modality="eeg").channels == TEN


def test_ecg_beside_derived_signals_at_another_rate_is_read(tmp_path: Path) -> None:
    derived = [60 + np.arange(20.0) % 3, np.arange(20.0) % 2]
    labels = [b"ECG", b"ECG HR", b"ECG quality"]
    write_edf(tmp_path / "a.edf", [LEAD, *derived], labels=labels, fs=[FS, 1, 1])
    recording = recording_in(tmp_path)
    assert recording.channels == ("ECG",)
    assert recording.notes == tuple(
        f"channel {name} was passed over: another quantity, by its name" for name in ("ECG HR", "ECG quality")
    )


def test_leads_at_several_rates_are_refused_with_the_setting_that_reads_one(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [LEAD, heart(20, fs=128)], labels=[b"II", b"V5"], fs=[FS, 128])
    message = reason(tmp_path)
    assert "II 256 Hz (5120 samples), V5 128 Hz (2560 samples)" in message
    assert message.endswith("""--set 'ecg_channels=["II"]'""")
    assert recording_in(tmp_path, ecg_channels=["II"]).fs == 256


def test_a_bipolar_montage_is_listed_with_the_setting_that_reads_it(tmp_path: Path) -> None:
    labels = [b"FP1-F7", b"F7-T7", b"-", b"T8-P8", b"-", b"T8-P8"]
    write_edf(tmp_path / "a.edf", list(brain(11, fs=FS, channels=6)), labels=labels, fs=[FS] * 6, unit=b"uV")
    message = reason(tmp_path, modality="eeg")
    assert message == (
        "it has no EEG channel; it has FP1-F7, F7-T7, -, T8-P8, -, T8-P8 (not recognised); name the EEG channels to "
        """take, if there are any: --set 'eeg_channels=["FP1-F7", "F7-T7"]'"""
    )
    recording = recording_in(tmp_path, modality="eeg", eeg_channels=["FP1-F7", "F7-T7"])
    assert recording.channels == ("FP1-F7", "F7-T7")


def test_one_persons_recordings_in_known_and_unknown_units_are_standardised_apart(tmp_path: Path) -> None:
    scales = {
        "a": (b"uV", 1000.0),
        "b": (b"\xb5V", 1000.0),
        "c": (b"adu", 200.0),
        "d": (b"counts", 7.0),
        "e": (b"adu", 200.0),
    }
    for name, (unit, scale) in scales.items():
        write_edf(
            tmp_path / f"{name}.edf", [scale * heart(30, fs=FS, seed=ord(name))], labels=[b"ECG"], fs=[FS], unit=unit
        )
    write_manifest(tmp_path, "file,subject", *(f"{name}.edf,s1" for name in scales))
    summary = prepare("folder", folder=tmp_path, store=tmp_path / "store", settings=PrepareSettings())
    store = SegmentStore.open(tmp_path / "store")
    spread = {name: store.signal[rows.index.to_numpy()].std() for name, rows in store.index.groupby("session")}
    assert list(spread.values()) == pytest.approx([1] * 5, rel=0.05)
    reasons = [note.reason for note in summary.source.notes]
    assert reasons.count("its recordings in different units were standardised apart: mV; adu; counts") == 1
    assert sum("is no unit of voltage" in reason for reason in reasons) == 3


def test_two_devices_may_record_one_session(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    write_edf(
        tmp_path / "b.edf", list(brain(20, fs=FS)), labels=[name.encode() for name in TEN], fs=[FS] * 10, unit=b"uV"
    )
    write_manifest(tmp_path, "file,subject,session,modality", "a.edf,s1,film,ecg", "b.edf,s1,film,eeg")
    for modality, used in (("ecg", 0), ("eeg", 1)):
        both = list(READER.items(tmp_path, modality=modality, settings=Folder()))
        assert isinstance(both[used], Recording)
        assert isinstance(both[1 - used], ExcludedData)
