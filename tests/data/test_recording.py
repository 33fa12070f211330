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
        ({"fs": 60.0}, r"no heart beats were found\. Check that it is ECG, and the sampling rate of 60 Hz"),
    ],
)
def test_an_implausible_recording_is_refused_with_its_name(make_recording: Make, fields: dict, message: str) -> None:
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
def test_volts_are_refused_unless_the_unit_is_unknown(make_recording: Make, modality: str, factor: str) -> None:
    volts = make_recording(modality).signal / float(factor.replace(",", ""))
    with pytest.raises(DataError, match=f"Signals in V need a factor of {factor}"):
        make_recording(modality, signal=volts).check()
    make_recording(modality, signal=volts, calibrated=False).check()


def test_real_recordings_pass_even_if_the_heart_is_irregular(real_data) -> None:
    reader = CORPORA["folder"]
    recordings = list(reader.items(real_data, modality="ecg", settings=reader.settings()))
    with_ecg = [recording for recording in recordings if isinstance(recording, Recording)]
    assert len(with_ecg) > 200
    for recording in with_ecg:
        if recording.source == "eegmat/Subject13_1.npz":  # its ECG channel contains noise
            with pytest.raises(DataError, match="no heart beats were found"):
                recording.check()
        else:
            recording.check()


@pytest.mark.parametrize("fs", [128.0, 256.0, 1000.0])
@pytest.mark.parametrize("kind", ["white noise", "random walk", "respiration", "pulse wave", "mains", "EEG"])
def test_a_recording_without_beats_is_refused_with_this_reason(make_recording: Make, kind: str, fs: float) -> None:
    random = np.random.default_rng(round(fs))
    time = np.arange(round(60 * fs)) / fs
    noise = random.standard_normal(len(time))
    signals = {
        "white noise": noise,
        "random walk": np.cumsum(noise),
        "respiration": np.sin(2 * np.pi * 0.3 * time) + 0.02 * noise,
        "pulse wave": np.sin(2 * np.pi * 1.2 * time) + 0.02 * noise,
        "mains": np.sin(2 * np.pi * 50 * time) + 0.02 * noise,
        "EEG": np.sin(2 * np.pi * 10 * time) + noise,
    }
    with pytest.raises(DataError, match=r"no heart beats were found\. Check that it is ECG"):
        make_recording(signal=signals[kind][None], fs=fs, calibrated=False).check()


@pytest.mark.parametrize("rate", [35, 60, 120, 180, 215])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_beats_are_found_at_every_plausible_rate_and_in_noise(make_recording: Make, rate: float, noise: float) -> None:
    time = np.arange(60 * 256) / 256
    distance = np.mod(time, 60 / rate) - 0.15
    beats = np.exp(-((distance / 0.014) ** 2)) + 0.2 * np.exp(-(((distance - 0.12) / 0.03) ** 2))
    signal = beats + noise * np.random.default_rng(0).standard_normal(len(time))
    make_recording(signal=signal[None]).check()


def test_a_part_has_the_label_of_the_interval_that_holds_all_of_it(make_recording: Make) -> None:
    recording = make_recording(
        intervals=(Interval(0.0, 12.0, "rest"), Interval(12.0, 30.0, "task")), condition="unused"
    )
    labels = [recording.condition_of(start, end=start + 10) for start in (0.0, 5.0, 15.0, 20.5)]
    assert labels == ["rest", "", "task", ""]
    assert make_recording(condition="rest").condition_of(5.0, end=15.0) == "rest"
