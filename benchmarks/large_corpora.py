"""Synthetic corpora with the formats and the sizes of real ones: one recording is generated and copied."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import edfio
import numpy as np
from scipy.io import savemat
from scipy.signal import lfilter

from emotune.data.modality import TEN_CHANNELS
from emotune.randomness import stream

EEG_RATE = 160
RUN_SECONDS = 120
RUNS = 14
AMIGOS_RATE = 128
VIDEO_SECONDS = (90,) * 16 + (1080,) * 4
"""Approximate lengths of the short and long videos of AMIGOS, in seconds."""

MAT_TEXT_OFFSET = 100
"""Byte within the header's text, which no reader uses."""


def make_eeg(name: str, *, channels: int, samples: int) -> np.ndarray:
    """Return noise whose power falls with frequency, in uV."""
    white = stream(0, "preparation", name).standard_normal((channels, samples))
    return 20 * lfilter([1.0], [1.0, -0.9], white, axis=1) / np.sqrt(1 / (1 - 0.9**2))


def make_heart(name: str, *, samples: int) -> np.ndarray:
    """Return heartbeats with noise, in mV."""
    phase = np.mod(1.2 * np.arange(samples) / AMIGOS_RATE, 1) - 0.5
    beats = np.exp(-((phase / 0.02) ** 2)) + 0.2 * np.exp(-(((phase - 0.25) / 0.06) ** 2))
    return beats + 0.03 * stream(0, "preparation", name).standard_normal(samples)


def write_eegmmidb(folder: Path, *, hours: float) -> float:
    """Write runs of two minutes, 64 channels at 160 Hz, 14 for each subject; return the hours that were written."""
    names = [*TEN_CHANNELS, *(f"X{number}" for number in range(54))]
    samples = make_eeg("eeg", channels=64, samples=EEG_RATE * RUN_SECONDS)
    signals = [
        edfio.EdfSignal(channel, EEG_RATE, label=name, physical_dimension="uV", physical_range=(-8092, 8092))
        for name, channel in zip(names, samples, strict=True)
    ]
    template = folder / "template"
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(0, RUN_SECONDS, "T0")]).write(template)
    subjects = round(hours * 3600 / (RUNS * RUN_SECONDS))
    for subject in range(1, subjects + 1):
        place = folder / f"S{subject:03d}"
        place.mkdir()
        for run in range(1, RUNS + 1):
            _copy(
                template,
                place / f"{place.name}R{run:02d}.edf",
                at=256 * (len(signals) + 2),
                number=RUNS * subject + run,
            )
    template.unlink()
    return subjects * RUNS * RUN_SECONDS / 3600


def write_amigos(folder: Path, *, hours: float) -> float:
    """Write a MAT file for each subject, 20 videos of 17 columns at 128 Hz; return the hours that were written."""
    cells = {"joined_data": [], "labels_selfassessment": [], "VideoIDs": []}
    for video, seconds in enumerate(VIDEO_SECONDS):
        length = AMIGOS_RATE * (5 + seconds)
        brain = make_eeg(f"video {video}", channels=14, samples=length)
        hearts = [make_heart(f"{side} {video}", samples=length) for side in ("right", "left")]
        cells["joined_data"].append(np.vstack([brain, *hearts, np.ones((1, length))]).T)
        felt = [float(video % 2)] * 7
        cells["labels_selfassessment"].append(np.array([[1.0 + video % 9] * 5 + felt]))
        cells["VideoIDs"].append(str(video + 1))
    template = folder / "template"
    with template.open("wb") as file:
        savemat(file, {name: _cell_array(values) for name, values in cells.items()}, do_compression=True)
    hours_per_subject = sum(VIDEO_SECONDS) / 3600
    subjects = round(hours / hours_per_subject)
    for subject in range(1, subjects + 1):
        _copy(template, folder / f"Data_Preprocessed_P{subject:02d}.mat", at=MAT_TEXT_OFFSET, number=subject)
    template.unlink()
    return subjects * hours_per_subject


def _copy(template: Path, file: Path, *, at: int, number: int) -> None:
    """Copy a file and write a number into it, because equal files are refused."""
    shutil.copyfile(template, file)
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(number.to_bytes(2, "little"))


def _cell_array(values: Sequence[object]) -> np.ndarray:
    cells = np.empty((1, len(values)), dtype=object)
    cells[0, :] = values
    return cells


WRITERS: dict[str, tuple[str, Callable[..., float]]] = {
    "eegmmidb": ("eeg", write_eegmmidb),
    "amigos": ("ecg", write_amigos),
}
"""Modality and generator of each corpus."""
