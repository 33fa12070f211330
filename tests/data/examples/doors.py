"""Tiny copies of WESAD, DEAP, CASE, PTB-XL and a BIDS data set, as they lie on disk."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import wfdb
from scipy.io import savemat

from emotune.data.corpora.deap import CHANNELS_IN_FILE
from emotune.data.corpora.ptbxl import LEADS
from tests.data.examples.emotion import make_brains, make_hearts
from tests.data.examples.pickles import python_2
from tests.data.examples.signals import TEN, heart, write_edf

LABELS = [(0, 1), (1, 11), (0, 1), (2, 11), (6, 1), (3, 11), (4, 11), (7, 1)]
"""Label and duration (s) of the parts of a session of WESAD."""


def wesad_subject(name: str) -> dict:
    """What a subject's file of WESAD holds, with fewer signals."""
    labels = np.concatenate([np.full(700 * seconds, label) for label, seconds in LABELS]).astype(np.int32)
    lead = make_hearts(f"wesad {name}", fs=700, seconds=sum(seconds for _, seconds in LABELS), leads=1)
    chest = {"ACC": np.zeros((8, 3)), "ECG": lead, "Temp": np.full((8, 1), 31.5, dtype=np.float32)}
    return {"signal": {"chest": chest, "wrist": {"BVP": np.zeros((4, 1))}}, "label": labels, "subject": name}


def write_wesad(folder: Path) -> Path:
    """Two subjects, written by Python 2 in both protocols, with the other files of a subject."""
    for name, protocol in (("S2", 2), ("S13", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.pkl").write_bytes(python_2(wesad_subject(name), protocol=protocol))
    return folder


def deap_subject(number: int, *, videos: int = 2) -> dict:
    """What a subject's file of DEAP holds, with fewer and shorter videos."""
    data = np.zeros((videos, CHANNELS_IN_FILE, 128 * 15))
    for video in range(videos):
        parts = [make_brains(f"deap {number} {video} {part}", fs=128, seconds=15).T for part in range(3)]
        data[video] = np.concatenate(parts)[:CHANNELS_IN_FILE]
    labels = 1 + np.arange(4 * videos).reshape(videos, 4) % 9 + number / 10
    return {"data": data, "labels": labels}


def write_deap(folder: Path) -> Path:
    """A subject as a MAT file, and another one as a pickle of Python 2."""
    (folder / "data_preprocessed_matlab").mkdir(parents=True)
    savemat(folder / "data_preprocessed_matlab" / "s01.mat", deap_subject(1), do_compression=True)
    (folder / "data_preprocessed_python").mkdir()
    (folder / "data_preprocessed_python" / "s02.dat").write_bytes(python_2(deap_subject(2), protocol=2))
    return folder


SHOWINGS = [(10, 2), (11, 1), (1, 11), (11, 1), (7, 11), (11, 1), (12, 2)]
"""Number and duration (s) of the videos of a session of CASE."""


def case_tables(name: str) -> tuple[str, str]:
    """Return the tables of a subject of CASE: signals and annotations."""
    seconds = sum(length for _, length in SHOWINGS)
    lead = make_hearts(f"case {name}", fs=1000, seconds=seconds, leads=1)[:, 0]
    videos = np.concatenate([np.full(1000 * length, video) for video, length in SHOWINGS])
    rows = [f"{time},{value:.3f},0.5,{video}" for time, (value, video) in enumerate(zip(lead, videos, strict=True))]
    moments = range(0, 1000 * seconds, 50)
    answers = [f"{time},{5 + 4 * np.sin(time / 9e3):.3f},{3 + time / 1e4:.3f},{videos[time]}" for time in moments]
    return "\n".join(["daqtime,ecg,bvp,video", *rows]), "\n".join(["jstime,valence,arousal,video", *answers])


def write_case(folder: Path) -> Path:
    """Two subjects with two emotional videos each."""
    for name in ("sub_1", "sub_10"):
        for kind, table in zip(("physiological", "annotations"), case_tables(name), strict=True):
            place = folder / "data" / "interpolated" / kind
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{name}.csv").write_text(table)
    return folder


RECORDS = [(1, "15709.0"), (2, "13243.0"), (1002, "15709.0")]
"""Number and patient of the records of PTB-XL."""


def write_record(folder: Path, number: int, *, rate: int = 500) -> Path:
    """Write a record of PTB-XL; return its header."""
    place = folder / f"records{rate}" / f"{number // 1000 * 1000:05d}"
    place.mkdir(parents=True, exist_ok=True)
    leads = np.stack([heart(10, fs=rate, seed=number + position) for position in range(len(LEADS))], axis=1)
    name = f"{number:05d}_{'hr' if rate == 500 else 'lr'}"
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * len(LEADS),
        sig_name=list(LEADS),
        p_signal=leads,
        fmt=["16"] * len(LEADS),
        write_dir=str(place),
    )
    return place / f"{name}.hea"


def write_ptbxl(folder: Path) -> Path:
    """Three records of two patients."""
    lines = ["ecg_id,patient_id,age,scp_codes,filename_lr,filename_hr"]
    for number, patient in RECORDS:
        write_record(folder, number)
        place = f"{number // 1000 * 1000:05d}/{number:05d}"
        codes = "\"{'NORM': 100.0, 'SR': 0.0}\""
        lines.append(f"{number},{patient},56.0,{codes},records100/{place}_lr,records500/{place}_hr")
    (folder / "ptbxl_database.csv").write_text("\n".join(lines))
    return folder


BIDS_NAMES = (*TEN, "ECG1", "VEOG")
"""Channels of the BIDS data set."""
EVENTS = "onset\tduration\ttrial_type\n0\t12\tcalm\n12\t12\ttense\n13\t0\tbutton\nn/a\tn/a\tn/a\n"


def bids_signals(name: str, *, fs: int, seconds: int) -> np.ndarray:
    """Make the channels of `BIDS_NAMES` in uV."""
    brains = make_brains(name, fs=fs, seconds=seconds).T[:10]
    lead = 1000 * heart(seconds, fs=fs, seed=len(name))
    return np.stack([*brains, lead, 10 * brains[0]])


def write_brainvision(
    header: Path, signals: np.ndarray, *, names: Sequence[str], fs: int, replaced: Mapping[str, str] | None = None
) -> Path:
    """Write a BrainVision recording in uV with a resolution of 0.1 uV.

    Args:
        header: Path of the header file.
        signals: Samples in uV, by channel and sample.
        names: Names of the channels.
        fs: Sampling rate in Hz.
        replaced: Lines of the header that are replaced, by their key.
    """
    values = {
        "Codepage": "UTF-8", "DataFile": f"{header.stem}.eeg", "MarkerFile": f"{header.stem}.vmrk",
        "DataFormat": "BINARY", "DataOrientation": "MULTIPLEXED", "NumberOfChannels": str(len(names)),
        "SamplingInterval": f"{1e6 / fs:g}", "BinaryFormat": "INT_16",
    }  # fmt: skip
    values |= {f"Ch{number}": f"{name},,0.1,µV" for number, name in enumerate(names, start=1)} | (replaced or {})
    sections = {"DataFile": "Common Infos", "BinaryFormat": "Binary Infos", "Ch1": "Channel Infos"}
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "; made up"]
    for key, value in values.items():
        lines += [f"[{sections[key]}]"] if key in sections else []
        lines.append(f"{key}={value}")
    header.write_text("\n".join(lines))
    dtype = {"INT_16": "<i2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}.get(values["BinaryFormat"], "<i2")
    scaled = np.round(signals * 10).astype(dtype)
    by_channel = values["DataOrientation"] == "VECTORIZED"
    header.with_suffix(".eeg").write_bytes((scaled if by_channel else scaled.T).tobytes())
    header.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\nMk1=New Segment,,1,1,0,20260101\n"
    )
    return header


def channels_table(kinds: Mapping[str, str] | None = None, *, bad: Sequence[str] = (), unit: str = "uV") -> str:
    """Return a table of the channels of `BIDS_NAMES`; ``kinds`` replaces types."""
    types = dict.fromkeys(BIDS_NAMES, "EEG") | {"ECG1": "ECG", "VEOG": "EOG"} | dict(kinds or {})
    rows = [f"{name}\t{kind}\t{unit}\t{'bad' if name in bad else 'good'}" for name, kind in types.items()]
    return "\n".join(["name\ttype\tunits\tstatus", *rows])


def write_bids(folder: Path) -> Path:
    """A subject in EDF with sessions and shared tables, and another one in BrainVision."""
    first = folder / "sub-01" / "ses-a" / "eeg"
    second = folder / "sub-02" / "eeg"
    for place in (first, second):
        place.mkdir(parents=True)
    (folder / "task-film_channels.tsv").write_text(channels_table())
    (folder / "task-film_eeg.json").write_text('{"SamplingFrequency": 256, "RecordingType": "continuous"}')
    for run in (1, 2):
        name = f"sub-01_ses-a_task-film_run-{run}"
        labels = [label.encode() for label in BIDS_NAMES]
        signals = list(bids_signals(name, fs=256, seconds=24))
        write_edf(first / f"{name}_eeg.edf", signals, labels=labels, fs=[256] * len(labels), unit=b"uV")
    (first / "sub-01_ses-a_task-film_run-1_events.tsv").write_text(EVENTS)
    signals = bids_signals("sub-02", fs=250, seconds=12)
    write_brainvision(second / "sub-02_task-rest_eeg.vhdr", signals, names=BIDS_NAMES, fs=250)
    (second / "sub-02_task-rest_channels.tsv").write_text(channels_table())
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "wesad": write_wesad,
    "deap": write_deap,
    "case": write_case,
    "ptb-xl": write_ptbxl,
    "bids": write_bids,
}
"""Writer of each corpus."""
