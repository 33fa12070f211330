"""Tiny data sets in the container of PsPM."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.data.examples.mat import cells


def make_ecg(*, fs: float, seconds: float, rate: float = 70.0) -> np.ndarray:
    """Make an ECG in mV: R and T waves at an even rate, and a little noise, always the same."""
    time = np.arange(round(fs * seconds)) / fs
    phase = time * rate / 60 % 1
    beats = np.exp(-(((phase - 0.5) / 0.015) ** 2)) + 0.2 * np.exp(-(((phase - 0.75) / 0.05) ** 2))
    return beats + 0.02 * np.random.default_rng(0).standard_normal(len(time))


def channel(kind: str, samples: np.ndarray, *, sr: float, units: str, **header: object) -> dict:
    """Make a channel: a header and a column."""
    return {"header": {"chantype": kind, "sr": sr, "units": units, **header}, "data": samples.reshape(-1, 1)}


def recording(*channels: dict, seconds: float = 13.0, rate: float = 70.0) -> dict:
    """Make the variables of a file; without channels, those that the data sets usually have."""
    made = channels or (
        channel("marker", np.array([2.5, 12.0]), sr=1.0, units="events"),
        channel("scr", np.ones(round(100 * seconds)), sr=100.0, units="uS"),
        channel("ecg", make_ecg(fs=1000, seconds=seconds, rate=rate), sr=1000.0, units="mV"),
        channel("resp", np.zeros(round(100 * seconds)), sr=100.0, units="unknown"),
    )
    return {"infos": {"duration": seconds, "sourcefile": f"{rate:g}.smr"}, "data": cells(list(made), column=True)}


def write_pspm(name: str) -> Callable[[Path], Path]:
    """Return a writer of a data set: two subjects."""

    def write(folder: Path) -> Path:
        for number, rate in (("01", 70.0), ("02", 80.0)):
            file = folder / "Data" / f"{name}_spike_{number}.mat"
            file.parent.mkdir(exist_ok=True)
            savemat(file, recording(rate=rate), do_compression=True)
        return folder

    return write
