import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import edfio
import numpy as np
import pytest
import wfdb
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.reader import Item
from emotune.data.formats.file import read_file
from emotune.data.modality import TEN_CHANNELS, Modality, base_units_per, modality_of_channel, normalise_name
from emotune.data.prepare.prepare import PrepareOptions, plan_preparation, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import ExcludedData, Interval, Recording, UnreadableRecording
from emotune.data.store import SegmentStore
from emotune.errors import DataError

FS = 200
ECG = np.random.default_rng(0).normal(0, 0.5, 12 * FS)
EEG = np.random.default_rng(1).normal(0, 20, (10, 12 * FS))
OLD_NAMES = ("F7..", "EEG F3", "T3", "T5-Ref", "O1", "O2", "T6", "T4", "f4", "F8")


def write_npz(file: Path, *, ecg_unit: str = "mV", **replaced: object) -> None:
    physical = np.vstack([ECG, EEG])
    scale = physical.std(axis=1) / 512
    arrays: dict = {
        "x": np.round(physical / scale[:, None]).astype(np.int16),
        "scale": scale.astype(np.float32),
        "offset": np.zeros(11, dtype=np.float32),
        "fs": FS,
        "channels": np.array(["ECG", *OLD_NAMES]),
        "kinds": np.array(["ecg"] + ["eeg"] * 10),
        "units": np.array([ecg_unit] + ["uV"] * 10),
        "seg_start": np.array([0.0]),
        "seg_end": np.array([12.0]),
        "seg_label": np.array(["rest"]),
    }
    np.savez(file, **(arrays | replaced))


def write_edf(file: Path) -> None:
    def signal(samples: np.ndarray, label: str, unit: str) -> edfio.EdfSignal:
        return edfio.EdfSignal(samples, FS, label=label, physical_dimension=unit)

    signals = [
        signal(ECG / 1000, "ECG II", "V"),
        *(signal(*pair, "uV") for pair in zip(EEG, OLD_NAMES, strict=True)),
    ]
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(0, 12, "rest")]).write(file)


def write_wfdb(file: Path) -> None:
    wfdb.wrsamp(
        file.stem,
        fs=FS,
        units=["mV"] + ["uV"] * 10,
        sig_name=["MLII", *OLD_NAMES],
        p_signal=np.vstack([ECG, EEG]).T,
        fmt=["16"] * 11,
        write_dir=str(file.parent),
    )


def write_csv(file: Path) -> None:
    table = np.vstack([np.arange(12 * FS) / FS, ECG, EEG]).T
    np.savetxt(file, table, delimiter=",", header=",".join(("time", "ecg", *OLD_NAMES)), comments="")


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.npz": write_npz,
    "a.edf": write_edf,
    "a.hea": write_wfdb,
    "a.csv": write_csv,
}


def manifest(folder: Path, *lines: str) -> None:
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


def read_all(folder: Path, modality: Modality = "ecg", **given: object) -> list[Item]:
    return list(READER.items(folder, modality=modality, settings=Folder.model_validate(given)))


def read_one(folder: Path, modality: Modality = "ecg", **given: object) -> Recording:
    (only,) = read_all(folder, modality, **given)
    assert isinstance(only, Recording), only
    return only


def reason(folder: Path, modality: Modality = "ecg") -> str:
    (only,) = read_all(folder, modality)
    assert isinstance(only, UnreadableRecording)
    assert "\n" not in str(only)
    assert str(only).startswith(f"subject {only.subject} ({only.source}): ")
    return only.reason


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_recording(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    manifest(tmp_path, "file,subject,fs", f"{name},s1,{FS}")
    heart = read_one(tmp_path)
    assert (heart.fs, heart.subject, heart.session, heart.source) == (FS, "s1", "a", name)
    assert heart.signal == pytest.approx(ECG[None], abs=2e-3)
    brain = read_one(tmp_path, "eeg")
    assert brain.channels == TEN_CHANNELS
    assert brain.signal == pytest.approx(EEG, abs=0.1)
    assert brain.calibrated == (name != "a.csv")
    if name in {"a.npz", "a.edf"}:
        assert heart.intervals == (Interval(0.0, 12.0, "rest"),)


def test_channels_have_the_order_of_the_setting(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    manifest(tmp_path, "file,subject", "a.npz,s1")
    brain = read_one(tmp_path, "eeg", eeg_channels=("T8", "T3"))
    assert brain.channels == ("T8", "T3")
    assert brain.signal == pytest.approx(EEG[[7, 2]], abs=0.1)


def test_the_manifest_overrides_the_file(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    manifest(
        tmp_path,
        "file,subject,session,modality,fs,units,labels,arousal,valence,rating_low,rating_high,channels,note",
        f"a.csv,s1,v7,ecg,{FS},V,stress,2,-1,-3,3,{'|'.join(f'c{n}' for n in range(11))},extra",
    )
    heart = read_one(tmp_path)
    assert (heart.session, heart.condition, heart.scales["valence"]) == ("v7", "stress", (-3, 3))
    assert heart.ratings == {"arousal": 2, "valence": -1}
    assert heart.channels == tuple(f"c{n}" for n in range(11))
    assert heart.signal[0] == pytest.approx(1000 * ECG)
    (other,) = read_all(tmp_path, "eeg")
    assert isinstance(other, ExcludedData)
    assert other.reason.startswith("manifest.csv states modality ecg for it; it has time (time stamps), c0, c1")
    assert other.reason.endswith("; --modality ecg reads them")


@pytest.mark.parametrize("splits", [("train", "test"), ("", "test"), ("", "")])
def test_the_split_of_the_manifest_is_a_column_of_the_store_if_there_are_any(
    tmp_path: Path, splits: tuple[str, str]
) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("a", "b"):
        write_npz(tmp_path / "raw" / f"{name}.npz")
    lines = [f"{name}.npz,{name},{split}" for name, split in zip("ab", splits, strict=True)]
    (tmp_path / "raw" / "manifest.csv").write_text("\n".join(["file,subject,split", *lines, ""]))
    settings = PrepareSettings(modality="eeg", seconds=2.0)
    prepare("folder", folder=tmp_path / "raw", store=tmp_path / "store", settings=settings)
    index = SegmentStore.open(tmp_path / "store").index
    if not any(splits):
        assert "split" not in index
        return
    read = index["split"].fillna("").groupby(index["subject"]).unique()
    assert [read["a"].tolist(), read["b"].tolist()] == [[splits[0]], [splits[1]]]


def test_recordings_of_a_subject_are_consecutive_in_any_manifest(tmp_path: Path) -> None:
    for name in "abcd":
        write_npz(tmp_path / f"{name}.npz")
    manifest(tmp_path, "file,subject", "d.npz,s2", "c.npz,s1", "b.npz,s2", "a.npz,s1")
    assert [item.source for item in read_all(tmp_path)] == ["c.npz", "a.npz", "d.npz", "b.npz"]


def test_an_unknown_unit_is_kept_and_marked(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", ecg_unit="a.u.")
    manifest(tmp_path, "file,subject", "a.npz,s1")
    assert read_one(tmp_path).calibrated is False


def test_a_truncated_edf_is_refused(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf")
    manifest(tmp_path, "file,subject", "a.edf,s1")
    whole = (tmp_path / "a.edf").read_bytes()
    for content in (whole[:-5000], whole[:300], whole[:100], b"", whole + b"\r\n"):
        (tmp_path / "a.edf").write_bytes(content)
        assert "header" in reason(tmp_path)


def test_a_truncated_wfdb_record_is_refused(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "a.hea")
    manifest(tmp_path, "file,subject", "a.hea,s1")
    samples = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(samples[: len(samples) // 2])
    assert "WFDB record is damaged" in reason(tmp_path)
    (tmp_path / "a.dat").unlink()
    assert "cannot be read" in reason(tmp_path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", channels=np.array([["ECG"], *OLD_NAMES], dtype=object))
    manifest(tmp_path, "file,subject", "a.npz,s1")
    assert "allow_pickle" in reason(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ecg,time\n1,2\nx,3\n", "column ecg contains values that are not numbers"),
        ("", "not a table of numbers"),
    ],
)
def test_a_csv_must_be_numbers(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    manifest(tmp_path, "file,subject,fs", "a.csv,s1,200")
    assert message in reason(tmp_path)


def test_the_reason_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    manifest(tmp_path, "file,subject", "gone.npz,s1")
    assert reason(tmp_path) == "the file is missing"
    (tmp_path / "a.txt").write_text("")
    manifest(tmp_path, "file,subject", "a.txt,s1")
    assert "ending of the file is '.txt', expected one of .npz, .edf" in reason(tmp_path)
    write_csv(tmp_path / "a.csv")
    manifest(tmp_path, "file,subject", "a.csv,s1")
    assert "sampling rate is not known" in reason(tmp_path)
    write_npz(tmp_path / "a.npz", channels=np.array(["ECG", *OLD_NAMES[:-1], "Fz"]))
    manifest(tmp_path, "file,subject", "a.npz,s1")
    assert reason(tmp_path, "eeg").startswith("it has no channel F8; it has F7, F3, T7")


@given(place=st.integers(0, 3000), value=st.integers(0, 255), name=st.sampled_from(["a.npz", "a.edf", "a.hea"]))
def test_a_changed_byte_gives_a_recording_or_a_clear_error(
    pristine: Path, tmp_path: Path, place: int, value: int, name: str
) -> None:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    content = bytearray((tmp_path / name).read_bytes())
    content[place % len(content)] = value
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(DataError):
        assert read_file(tmp_path / name).channels


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,name", "a.npz,s1"], "no column subject; it has: file, name"),
        (["file,subject"], "lists no recordings"),
        (["file,subject", ",s1"], "line 2: file and subject must be given"),
        (["file,subject,fs", "a.npz,s1,fast"], "line 2: fs is 'fast', where a number"),
        (["file,subject,arousal", "a.npz,s1,nan"], "line 2: arousal is 'nan'"),
        (["file,subject,modality", "a.npz,s1,meg"], "line 2: modality is 'meg', where ecg or eeg"),
        (["file,subject,arousel", "a.npz,s1,3"], "'arousel', which is not read. Did you mean 'arousal'"),
        (["file,subject", "a.npz,s1", "b/a.npz,s1"], "session a of subject s1 twice"),
        (["file,subject", "../a.npz,s1"], "lies outside of"),
        (["file,subject", "b/../../a.npz,s1"], "lies outside of"),
        (["file,subject", "/a.npz,s1"], "lies outside of"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    manifest(tmp_path, *lines)
    with pytest.raises(DataError, match=message) as caught:
        read_all(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_may_be_links_to_another_place(tmp_path: Path) -> None:
    folder = tmp_path / "linked"
    folder.mkdir()
    write_npz(tmp_path / "a.npz")
    (folder / "b.npz").symlink_to(tmp_path / "a.npz")
    manifest(folder, "file,subject", "b.npz,s1")
    assert read_one(folder).session == "b"


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no manifest\.csv; write one with the columns file and subject"):
        read_all(tmp_path)


def fingerprint_of(folder: Path) -> str:
    plan = plan_preparation(
        READER,
        folder=folder,
        settings=PrepareSettings(),
        corpus_settings=Folder(),
        scratch=folder,
        options=PrepareOptions(),
    )
    return plan.fingerprint


def test_the_fingerprint_depends_on_every_file_that_is_read(tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name)
    manifest(tmp_path, "file,subject,session", *(f"{name},s1,{name}" for name in WRITERS))
    before = fingerprint_of(tmp_path)
    (tmp_path / "notes.txt").write_text("not read")
    assert fingerprint_of(tmp_path) == before
    for name in (*WRITERS, "a.dat", "manifest.csv"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b" ")
        assert fingerprint_of(tmp_path) != before
        (tmp_path / name).write_bytes(content)


@pytest.mark.parametrize(
    ("given_name", "name", "modality"),
    [
        ("T3", "T7", "eeg"),
        ("t7..", "T7", "eeg"),
        ("EEG T5-Ref", "P7", "eeg"),
        ("Fp1", "FP1", "eeg"),
        ("MLII", "MLII", "ecg"),
        ("aVR", "AVR", "ecg"),
        ("V5", "V5", "ecg"),
        ("ECG ECG", "ECG ECG", "ecg"),
        ("RESP", "RESP", None),
        ("EEG A2-A1", "A2", None),
    ],
)
def test_names_of_channels_are_understood(given_name: str, name: str, modality: str | None) -> None:
    assert (normalise_name(given_name), modality_of_channel(given_name)) == (name, modality)


@pytest.mark.parametrize(
    ("unit", "volts"),
    [("V", 1), ("mV", 1e-3), ("uV", 1e-6), ("µV", 1e-6), ("μV ", 1e-6), ("adu", None), ("", None)],
)
def test_units_are_understood(unit: str, volts: float | None) -> None:
    assert base_units_per(unit, base="V") == volts


def test_original_edf_files_of_two_databases_are_read(real_data: Path) -> None:
    motor = read_file(real_data / "edf_originals/S001R04.edf")
    assert {normalise_name(channel.name) for channel in motor.channels} >= set(TEN_CHANNELS)
    assert (motor.channels[0].fs, len(motor.intervals), motor.intervals[0].condition) == (160, 30, "T0")
    mental = read_file(real_data / "edf_originals/Subject00_2.edf")
    assert [channel.modality for channel in mental.channels].count("ecg") == 1
    assert sum(channel.modality == "eeg" for channel in mental.channels) == 19
