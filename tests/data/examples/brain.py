"""Tiny EEG corpora as they lie on disk."""

import zlib
from pathlib import Path

import edfio
import numpy as np
from scipy.signal import lfilter

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
    coloured = lfilter([1.0], [1.0, -0.9], white, axis=1)
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
