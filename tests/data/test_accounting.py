"""Every line of a manifest ends in exactly one of two: it is read, or it is listed with the reason."""

import os
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.corpora.folder import READER, Folder
from emotune.data.corpora.manifest import read_manifest
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.corpora.table import CORPORA
from emotune.data.modality import Modality, canonical_name, modality_of_channel
from emotune.data.prepare.prepare import PreparationSummary, PrepareOptions, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.data.store import SegmentStore
from emotune.documents import Document
from emotune.errors import DataError, SettingsError
from tests.data.examples.signals import TEN, brain, heart, write_csv, write_edf, write_manifest

FS = 256
LEAD = heart(12, fs=FS)


def write_ecg(folder: Path, name: str) -> str:
    write_edf(folder / f"{name}.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    return f"{name}.edf"


def write_eeg(folder: Path, name: str) -> str:
    labels = [label.encode() for label in TEN]
    write_edf(folder / f"{name}.edf", list(brain(12, fs=FS)), labels=labels, fs=[FS] * 10, unit=b"uV")
    return f"{name}.edf"


def write_both(folder: Path, name: str) -> str:
    columns = {"ECG (mV)": LEAD, **{f"{label} (uV)": row for label, row in zip(TEN, brain(12, fs=FS), strict=True)}}
    write_csv(folder / f"{name}.csv", columns)
    return f"{name}.csv"


def write_neither(folder: Path, name: str) -> str:
    write_edf(folder / f"{name}.edf", [LEAD], labels=[b"Left wrist"], fs=[FS])
    return f"{name}.edf"


def write_noise(folder: Path, name: str) -> str:
    noise = np.random.default_rng(0).standard_normal(12 * FS)
    write_edf(folder / f"{name}.edf", [noise], labels=[b"ECG"], fs=[FS])
    return f"{name}.edf"


def write_short(folder: Path, name: str) -> str:
    write_edf(folder / f"{name}.edf", [LEAD[: 7 * FS]], labels=[b"ECG"], fs=[FS])
    return f"{name}.edf"


def write_torn(folder: Path, name: str) -> str:
    file = write_edf(folder / f"{name}.edf", [LEAD], labels=[b"ECG"], fs=[FS])
    file.write_bytes(file.read_bytes()[:-300])
    return f"{name}.edf"


def write_holes(folder: Path, name: str) -> str:
    kept = np.flatnonzero(np.arange(len(LEAD)) // FS % 4 != 3)
    write_csv(folder / f"{name}.csv", {"time": kept / FS, "ECG": LEAD[kept]})
    return f"{name}.csv"


def write_nothing(folder: Path, name: str) -> str:
    return f"{name}.edf"


def write_pipe(folder: Path, name: str) -> str:
    os.mkfifo(folder / f"{name}.edf")
    return f"{name}.edf"


KINDS: dict[str, tuple[Callable[[Path, str], str], tuple[Modality, ...]]] = {
    "ecg": (write_ecg, ("ecg",)),
    "eeg": (write_eeg, ("eeg",)),
    "both": (write_both, ("ecg", "eeg")),
    "neither": (write_neither, ()),
    "noise": (write_noise, ()),
    "short": (write_short, ()),
    "torn": (write_torn, ()),
    "holes": (write_holes, ()),
    "nothing": (write_nothing, ()),
    "pipe": (write_pipe, ()),
}
"""A writer for each kind of file, and the modalities that can be read from it."""


def prepare_folder(folder: Path, *, store: Path, modality: Modality = "ecg", **options: Any) -> PreparationSummary:
    settings = PrepareSettings(modality=modality)
    return prepare("folder", folder=folder, store=store, settings=settings, options=PrepareOptions(**options))


@given(
    kinds=st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 3)), min_size=1, max_size=6),
    modality=st.sampled_from(["ecg", "eeg"]),
)
def test_every_line_is_read_or_listed_and_never_both(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, int]], modality: Modality
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    names = [KINDS[kind][0](folder, f"r{number}") for number, (kind, _) in enumerate(kinds)]
    rows = [f"{name},s{subject},{FS}" for name, (_, subject) in zip(names, kinds, strict=True)]
    write_manifest(folder, "file,subject,fs", *rows, "good.edf,s9,256", "good2.edf,s9,256")
    write_ecg(folder, "good")
    write_eeg(folder, "good2")
    source = prepare_folder(folder, store=folder / "store", modality=modality).source
    listed = {name for name in names if any(f"({name})" in item.what for item in source.left_out if not item.partial)}
    read = {
        name
        for name in names
        if f"{name.partition('.')[0]}" in set(SegmentStore.open(folder / "store").index["session"])
    }
    assert read == {name for name, (kind, _) in zip(names, kinds, strict=True) if modality in KINDS[kind][1]}
    assert listed == set(names) - read
    assert source.recordings + (source.unused or 0) == len(names) + 2


def test_every_line_of_the_real_manifest_is_read_or_listed(real_data: Path) -> None:
    entries = read_manifest(real_data)
    for modality, read in (("ecg", 208), ("eeg", 57)):
        items = list(READER.items(real_data, modality=modality, settings=Folder()))
        assert [item.source for item in items] == [entry.file for entry in entries]
        assert sum(isinstance(item, Recording) for item in items) == read
        listed = [item for item in items if isinstance(item, ExcludedData)]
        assert len(listed) == 217 - read
        assert all("; it has " in item.reason and "reads them" in item.reason for item in listed)


def test_a_reader_that_loses_a_recording_is_refused(tmp_path: Path, make_recording: Callable[..., Recording]) -> None:
    def list_parts(folder: Path | None, settings: Folder) -> Iterator[CorpusPart]:
        yield CorpusPart(name="s03", folder=None, recordings=2)

    def read(part: CorpusPart, modality: Modality, settings: Folder) -> Iterator[Item]:
        yield make_recording()

    facts = {"licence": "none", "where": "here", "description": "one of two", "hours": ""}
    reader = Reader(
        "careless", ("ecg",), settings=Folder, list_parts=list_parts, read=read, needs_folder=False, **facts
    )
    with pytest.raises(DataError, match="1 recordings were read and 0 left out, where the corpus lists 2"):
        prepare(reader, folder=None, store=tmp_path / "store", settings=PrepareSettings())


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
@pytest.mark.parametrize("name", ["Left wrist", "Ch1", "HR_ECG", "F7-Cz", "it's", "Größe µ", "a, b", "null"])
def test_the_setting_that_is_named_reads_the_file(tmp_path: Path, modality: Modality, name: str) -> None:
    signal = LEAD if modality == "ecg" else brain(12, fs=FS)[0]
    write_edf(tmp_path / "a.edf", [signal], labels=[name.encode()], fs=[FS], unit=b"mV" if modality == "ecg" else b"uV")
    write_manifest(tmp_path, "file,subject", "a.edf,s1")
    (item,) = READER.items(tmp_path, modality=modality, settings=Folder())
    assert isinstance(item, UnreadableRecording)
    assert f"it has {name} (not recognised)" in item.reason
    option, assignment = shlex.split(item.reason[item.reason.index("--set ") :])
    assert option == "--set"
    given_settings = Document(name="options", content={}, positions={}).overridden((assignment,)).content
    (recording,) = READER.items(tmp_path, modality=modality, settings=Folder.model_validate(given_settings))
    assert isinstance(recording, Recording)
    assert recording.channels == (name,)


def test_strict_accepts_a_file_of_the_other_modality_and_refuses_an_unknown_one(tmp_path: Path) -> None:
    write_manifest(tmp_path, "file,subject", f"{write_ecg(tmp_path, 'a')},s1", f"{write_eeg(tmp_path, 'b')},s2")
    assert prepare_folder(tmp_path, store=tmp_path / "store", strict=True).source.unused == 1
    write_manifest(tmp_path, "file,subject", f"{write_ecg(tmp_path, 'a')},s1", f"{write_neither(tmp_path, 'b')},s2")
    with pytest.raises(DataError, match=r"it has no ECG channel; it has Left wrist \(not recognised\)"):
        prepare_folder(tmp_path, store=tmp_path / "other", strict=True)


LEADS = (
    "Lead II,lead_ii,DII,MCL1,V,ML2,ECG_II,EKG-LL,Lead II (mV),vx,CM5,ekg,Ch1 ECG,CC5,I,aVF,-aVR,V3R,ECG1,ECG V5,ecgV5,"
    "EKG aVL,Channel 2 II,LEAD-III,MLIII,MCL6,LL-RA,ECG LL-RA,Vx-RL,ECG ECG,ECG [uV],chest_ecg,ECG-Ref,LeadII"
)
NO_LEADS = (
    "HR_ECG,ECG HR,ECG quality,ecgHeartRate,ECG_timestamp,ECG index,ECG_status,RESP,Accel X,X,Y,C,Sample Index,Marker,"
    "ABP,PLETH,Temp,EXG Channel 0,Unnamed: 0,time,Battery,D1,EOG left,EMG,SpO2,ECG RR"
)


@pytest.mark.parametrize(("names", "modality"), [(LEADS, "ecg"), (NO_LEADS, None)])
def test_usual_names_of_leads_are_recognised_and_no_others(names: str, modality: str | None) -> None:
    wrong = [name for name in names.split(",") if modality_of_channel(name) != modality]
    assert wrong == []


@pytest.mark.parametrize(
    ("names", "same"),
    [
        ("II,Lead II,DII,ECG_II,lead 2,Channel 1 II,ECG II", "II"),
        ("MLII,ML2,mlii", "MLII"),
        ("ECG,EKG,ekg,ECG (mV)", "ECG"),
        ("T7,T3,EEG T3-Ref,EEGT7,t7..,EEG T7-A1A2,POL T3,T3 - LE,EEG T3 [uV]", "T7"),
        ("P8,T6,EEG T6-M1M2", "P8"),
    ],
)
def test_spellings_of_one_lead_or_electrode_are_the_same(names: str, same: str) -> None:
    assert {canonical_name(name) for name in names.split(",")} == {same}


def test_a_bipolar_pair_is_no_electrode() -> None:
    assert [modality_of_channel(name) for name in ("F7-Cz", "EEG F7 - Pz", "FP1-F7", "T3-T7", "-")] == [None] * 5


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("file,subject,sampling_rate", "a column 'sampling_rate', which is not read. Did you mean 'fs'"),
        ("file,subject,Sampling Rate", "Did you mean 'fs'"),
        ("file,subject,sfreq", "Did you mean 'fs'"),
        ("file,subject,Sampling Rate (Hz)", "Did you mean 'fs'"),
        ("file,subject,fs [Hz]", "Did you mean 'fs'"),
        ("file,subject,unit", "Did you mean 'units'"),
        ("file,subject,video", "Did you mean 'session'"),
        (
            "file,participant",
            "no column subject; it has: file, participant. Did you mean 'subject' where it has 'participant'",
        ),
        ("path,subject", "Did you mean 'file' where it has 'path'"),
        ("file,subject,fs,fs", "has the column fs twice"),
    ],
)
def test_a_misnamed_column_is_refused_with_the_right_name(tmp_path: Path, columns: str, message: str) -> None:
    write_manifest(tmp_path, columns, ",".join("1" * columns.count(",") + "1"))
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert message in str(caught.value)


def test_columns_of_a_manifest_never_shift(tmp_path: Path) -> None:
    write_manifest(tmp_path, "file,subject", "a.edf,s1,film1", "b.edf,s2,film1")
    with pytest.raises(DataError, match="line 2 has 3 fields, but the first line has 2 names"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, "file;subject;fs", "a.edf;s1;250")
    (entry,) = read_manifest(tmp_path)
    assert (entry.file, entry.subject, entry.fs) == ("a.edf", "s1", 250)
    write_manifest(tmp_path, "file,subject,session,fs", "a.edf,s1", '"b, c.edf",s2,v1,250,')
    first, second = read_manifest(tmp_path)
    assert (first.session, first.fs, second.file, second.session) == ("a", None, "b, c.edf", "v1")


@pytest.mark.parametrize(
    ("fs", "message"),
    [
        ("0", "line 2: fs is '0', where a rate above 0 and up to 100000 Hz was expected"),
        ("-250", "line 2: fs is '-250', where a rate above 0"),
        ("1e9", "line 2: fs is '1e9', where a rate above 0"),
        ("250 Hz", "line 2: fs is '250 Hz', where a number was expected; write it in Hz, without the unit"),
        ('"250,5"', "line 2: fs is '250,5', where a number was expected; write it with a point"),
    ],
)
def test_an_impossible_rate_is_refused_with_its_line(tmp_path: Path, fs: str, message: str) -> None:
    write_manifest(tmp_path, "file,subject,fs", f"a.csv,s1,{fs}")
    with pytest.raises(DataError) as caught:
        read_manifest(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("second", ["./a.csv,s2,film,ecg", "a.csv,s1,other,ecg"])
def test_a_file_belongs_to_one_session_of_one_subject(tmp_path: Path, second: str) -> None:
    write_manifest(tmp_path, "file,subject,session,modality", "a.csv,s1,film,ecg", second)
    with pytest.raises(DataError, match=r"a\.csv as session film of subject s1 and as session .*; remove one line"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, "file,subject,session,modality", "a.csv,s1,film,ecg", "a.csv,s1,film,eeg")
    assert len(read_manifest(tmp_path)) == 2


def test_session_and_modality_are_the_key_of_a_line(tmp_path: Path) -> None:
    header = "file,subject,session,modality"
    write_manifest(tmp_path, header, "a.csv,s1,film,ecg", "b.edf,s1,film,eeg")
    assert len(read_manifest(tmp_path)) == 2
    for second in ("ecg", ""):
        write_manifest(tmp_path, header, "a.csv,s1,film,ecg", f"b.edf,s1,film,{second}")
        with pytest.raises(DataError, match="lists session film of subject s1 twice"):
            read_manifest(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "loop", "folder"])
def test_a_path_that_is_not_a_file_is_listed_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.edf"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.relpath(path))
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "a.edf")
    write_manifest(tmp_path, "file,subject", "a.edf,s1", f"{write_ecg(tmp_path, 'b')},s2")
    source = prepare_folder(tmp_path, store=tmp_path / "store").source
    (item,) = source.left_out
    named = {
        "pipe": "it is a named pipe",
        "socket": "it is a socket",
        "device": "it is a device",
        "folder": "it is a folder",
    }
    assert item.reason.startswith(named.get(kind, "the file is missing"))


@pytest.mark.parametrize("name", ["a.hea", "a.dat"])
def test_a_pipe_in_a_wfdb_record_is_listed_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.hea").write_text("a 1 250 5000\na.dat 16 200(0)/mV 16 0 0 0 0 II\n")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    write_manifest(tmp_path, "file,subject", "a.hea,s1")
    (item,) = READER.items(tmp_path, modality="ecg", settings=Folder())
    assert "a named pipe, expected a file" in str(item)


FILES = {
    "amigos": "Data_Preprocessed_P01.mat",
    "dreamer": "DREAMER.mat",
    "ascertain": "Movie_P01/ECG_Clip1.mat",
    "eegmmidb": "S001R01.edf",
    "way-eeg-gal": "HS_P1_S1.mat",
    "large-eeg-bci": "CLA-SubjectA-160108-3St-LRHand.mat",
    "pspm-fr": "FR_spike_01.mat",
    "wesad": "S2/S2.pkl",
    "deap": "s01.dat",
    "case": "interpolated/physiological/sub_1.csv",
    "bids": "sub-01/eeg/sub-01_task-rest_eeg.edf",
}


@pytest.mark.parametrize("kind", ["pipe", "device", "loop"])
@pytest.mark.parametrize("corpus", FILES)
def test_a_pipe_a_device_or_a_loop_among_the_files_of_a_corpus_is_refused_at_once(
    tmp_path: Path, corpus: str, kind: str
) -> None:
    path = tmp_path / FILES[corpus]
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    reader = CORPORA[corpus]
    with pytest.raises(DataError, match="remove it"):
        list(reader.items(tmp_path, modality=reader.modalities[0], settings=reader.settings()))


def test_folders_that_link_to_each_other_are_searched_once(tmp_path: Path) -> None:
    for name, other in (("left", "right"), ("right", "left")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside").symlink_to(tmp_path / other)
    (tmp_path / "left/S001R01.edf").write_bytes(b"")
    reader = CORPORA["eegmmidb"]
    with pytest.raises(DataError, match="link to the same file; remove one"):
        list(reader.items(tmp_path, modality="eeg", settings=reader.settings()))


def test_a_store_with_other_settings_is_refused_with_their_names(tmp_path: Path) -> None:
    write_manifest(tmp_path, "file,subject", f"{write_ecg(tmp_path, 'a')},s1", f"{write_eeg(tmp_path, 'b')},s2")
    prepare_folder(tmp_path, store=tmp_path / "store")
    with pytest.raises(
        SettingsError, match=r"holds a store with other settings: modality is ecg, not eeg\. Give another"
    ):
        prepare_folder(tmp_path, store=tmp_path / "store", modality="eeg", append=True)
    changed = PrepareSettings(band=(1.0, 40.0), seconds=5)
    with pytest.raises(SettingsError, match=r"seconds is 10.0, not 5.0, band is \[0.8, 50.0\], not \[1.0, 40.0\]"):
        prepare("folder", folder=tmp_path, store=tmp_path / "store", settings=changed)
    with pytest.raises(SettingsError, match=r"other corpus settings \(ecg_channels is \[\], not \['ECG'\]\)"):
        prepare(
            "folder",
            folder=tmp_path,
            store=tmp_path / "store",
            settings=PrepareSettings(),
            corpus_settings=Folder(ecg_channels=("ECG",)),
        )
