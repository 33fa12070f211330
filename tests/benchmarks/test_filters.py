"""The filter benchmark reads recordings."""

from pathlib import Path

import edfio
import numpy as np

from benchmarks.filters import signals


def test_the_ecg_of_a_recording_is_compared(tmp_path: Path) -> None:
    signal = edfio.EdfSignal(np.sin(np.arange(2600.0)), 100, label="ECG", physical_dimension="mV")
    edfio.Edf([signal]).write(tmp_path / "a.edf")
    *_, (name, samples, fs) = signals([tmp_path / "a.edf"])
    assert (name, samples.shape, fs) == ("a.edf, ecg", (1, 2500), 100.0)
