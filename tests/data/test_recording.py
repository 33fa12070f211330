from collections.abc import Callable

import numpy as np
import pytest

from emotune.data.corpora.table import CORPORA
from emotune.data.recording import Interval, Recording
from emotune.errors import DataError

Make = Callable[..., Recording]


def spoilt(recording: Recording, value: float) -> np.ndarray:
    signal = recording.signal.copy()
    signal[0, 100:103] = value
    return signal


@pytest.mark.parametrize("modality", ["ecg", "eeg"])
def test_a_good_recording_passes(make_recording: Make, modality: str) -> None:
    make_recording(modality).check()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"signal": np.zeros((1, 0))}, "it has no samples"),
        ({"signal": np.full((1, 5000), 7.0)}, "channel ECG is constant"),
        ({"fs": 0.0}, "the sampling rate is 0"),
        ({"fs": float("nan")}, "the sampling rate is nan"),
        (
            {"ratings": {"arousal": 9.5}, "scales": {"arousal": (1.0, 9.0)}},
            "arousal is rated 9.5, where 1 to 9 was expected",
        ),
        ({"ratings": {"valence": float("nan")}, "scales": {"valence": (1.0, 9.0)}}, "valence is rated nan"),
        ({"channels": ("I", "II")}, "1 channels, but 2 names: I, II"),
        ({"fs": 1024.0}, "the heart rate is .* beats per minute.*Check the sampling rate of 1024 Hz"),
        ({"fs": 60.0}, "the heart rate is .* beats per minute.*Check the sampling rate of 60 Hz"),
    ],
)
def test_a_bad_recording_is_refused_in_a_line_that_names_it(make_recording: Make, fields: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make_recording(**fields).check()
    text = str(caught.value)
    assert text.startswith("ecg of subject s03, session v12 (s03/v12.mat): ")
    assert "\n" not in text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gaps_are_counted(make_recording: Make, value: float) -> None:
    signal = spoilt(make_recording(), value)
    with pytest.raises(DataError, match="3 of 7680 samples are not finite"):
        make_recording(signal=signal).check()


@pytest.mark.parametrize(("modality", "factor"), [("ecg", "1,000"), ("eeg", "1,000,000")])
def test_volts_are_noticed_unless_the_unit_is_declared_unknown(
    make_recording: Make, modality: str, factor: str
) -> None:
    volts = make_recording(modality).signal / float(factor.replace(",", ""))
    with pytest.raises(DataError, match=f"Signals in V need a factor of {factor}"):
        make_recording(modality, signal=volts).check()
    make_recording(modality, signal=volts, calibrated=False).check()


def test_every_real_heart_passes_however_irregular(real_data) -> None:
    reader = CORPORA["folder"]
    recordings = list(reader.items(real_data, modality="ecg", settings=reader.settings()))
    assert len(recordings) > 200
    for recording in recordings:
        assert isinstance(recording, Recording), recording
        recording.check()


def test_a_part_has_the_label_of_the_interval_that_holds_all_of_it(make_recording: Make) -> None:
    recording = make_recording(
        intervals=(Interval(0.0, 12.0, "rest"), Interval(12.0, 30.0, "task")), condition="unused"
    )
    labels = [recording.condition_of(start, end=start + 10) for start in (0.0, 5.0, 15.0, 20.5)]
    assert labels == ["rest", "", "task", ""]
    assert make_recording(condition="rest").condition_of(5.0, end=15.0) == "rest"
