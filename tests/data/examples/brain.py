"""Tiny EEG corpora as they lie on disk."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import edfio
import numpy as np
from scipy.io import savemat
from scipy.signal import lfilter

from tests.data.examples.mat import cells

EEGMMIDB_NAMES = (
    "Fc5. Fc3. Fc1. Fcz. Fc2. Fc4. Fc6. C5.. C3.. C1.. Cz.. C2.. C4.. C6.. Cp5. Cp3. Cp1. Cpz. Cp2. Cp4. Cp6. "
    "Fp1. Fpz. Fp2. Af7. Af3. Afz. Af4. Af8. F7.. F5.. F3.. F1.. Fz.. F2.. F4.. F6.. F8.. Ft7. Ft8. T7.. T8.. "
    "T9.. T10. Tp7. Tp8. P7.. P5.. P3.. P1.. Pz.. P2.. P4.. P6.. P8.. Po7. Po3. Poz. Po4. Po8. O1.. Oz.. O2.. Iz.."
)
EEGMMIDB_LABELS = EEGMMIDB_NAMES.split()
EEGMMIDB_COLUMNS = [29, 31, 40, 46, 60, 62, 54, 41, 35, 37]
"""Where F7 F3 T7 P7 O1 O2 P8 T8 F4 F8 are."""


def make_eeg(name: str, *, channels: int, samples: int, spread: float = 20.0) -> np.ndarray:
    """Make noise (channel, time) that falls with frequency, always the same for a name; whole numbers."""
    white = np.random.default_rng(zlib.crc32(name.encode())).standard_normal((channels, samples))
    coloured = np.asarray(lfilter([1.0], [1.0, -0.9], white, axis=1))
    return np.round(coloured * (spread / coloured.std()))


def write_run(file: Path, *, fs: int = 160, seconds: int = 13, padding: int = 0) -> np.ndarray:
    """Write a run of eegmmidb and return what is in it, all 64 channels."""
    samples = make_eeg(file.stem, channels=64, samples=fs * seconds)
    samples[:, fs * seconds - padding :] = 0
    signals = [
        edfio.EdfSignal(
            channel,
            fs,
            label=label,
            transducer_type="BCI2000",
            physical_dimension="uV",
            physical_range=(-8092, 8092),
            digital_range=(-8092, 8092),
        )
        for label, channel in zip(EEGMMIDB_LABELS, samples, strict=True)
    ]
    whole = [edfio.EdfAnnotation(0, seconds, "T0")]
    task = [edfio.EdfAnnotation(4 * number, 4, code) for number, code in enumerate(("T0", "T2", "T1"))]
    notes = whole if file.stem[-2:] in {"01", "02"} else task
    file.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(signals, data_record_duration=1, annotations=notes).write(file)
    return samples


def write_eegmmidb(folder: Path) -> Path:
    """Two subjects with two runs each, the second one at 128 Hz."""
    for subject, fs in (("S001", 160), ("S088", 128)):
        for run in ("R01", "R03"):
            file = folder / "files" / subject / f"{subject}{run}.edf"
            write_run(file, fs=fs)
            file.with_suffix(".edf.event").write_bytes(b"\x00\x01")
    return folder


WAY_NAMES = (
    "Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 Pz P4 P8 PO9 O1 Oz O2 PO10"
)
WAY_COLUMNS = [2, 3, 11, 22, 28, 30, 26, 15, 5, 6]


def way_series(name: str, *, seconds: int = 12) -> dict:
    """What a file HS_P1_S1.mat of WAY-EEG-GAL holds: EEG in units of 0.1 uV, and other blocks."""

    def block(names: Sequence[str], samples: np.ndarray, fs: int) -> dict:
        return {"names": cells(names), "sig": samples, "samplingrate": float(fs)}

    eeg = make_eeg(name, channels=32, samples=500 * seconds, spread=200)
    muscles = np.zeros((100, 5))
    return {
        "name": name,
        "participant": 1.0,
        "series": 1.0,
        "eeg": block(WAY_NAMES.split(), eeg.T, 500),
        "emg": block([f"muscle {number}" for number in range(5)], muscles, 4000),
    }


def write_way_eeg_gal(folder: Path) -> Path:
    """Two subjects, the first one with two series, and the files beside them that hold the same again."""
    for subject, series in (("P1", "S1"), ("P1", "S2"), ("P10", "S1")):
        name = f"{subject}_{series}"
        (folder / subject).mkdir(parents=True, exist_ok=True)
        savemat(folder / subject / f"HS_{name}.mat", {"hs": way_series(name)}, do_compression=True)
    return folder


KAYA_NAMES = "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 A1 A2 F7 F8 T3 T4 T5 T6 Fz Cz Pz X5"
KAYA_COLUMNS = [12, 2, 14, 16, 8, 9, 17, 15, 3, 13]


def kaya_session(name: str, *, fs: int = 200, seconds: int = 12) -> dict:
    """What a file of Large-EEG-BCI holds."""
    samples = fs * seconds
    marker = np.zeros((samples, 1), dtype=np.uint8)
    marker[:fs] = 99
    return {
        "id": name,
        "tag": "",
        "nS": np.int32(samples),
        "sampFreq": np.uint8(fs) if fs < 256 else np.uint16(fs),
        "marker": marker,
        "data": make_eeg(name, channels=22, samples=samples).T,
        "chnames": cells(KAYA_NAMES.split(), column=True),
        "binsuV": np.uint8(1),
    }


def write_large_eeg_bci(folder: Path) -> Path:
    """Two subjects; one file at 1000 Hz, one with a name without dashes."""
    for name, fs in (
        ("CLA-SubjectA-160108-3St-LRHand", 200),
        ("5F-SubjectA-160408-5St-SGLHand-HFREQ", 1000),
        ("HaLTSubjectB1602236StLRHandLegTongue", 200),
    ):
        savemat(folder / f"{name}.mat", {"o": kaya_session(name, fs=fs)}, do_compression=True)
    return folder
