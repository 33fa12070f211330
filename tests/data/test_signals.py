from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal as dsp

from benchmarks.filters import band_pass_by_formula, distance, formula, noise
from emotune.data.formats.file import read_file
from emotune.data.signals import band_pass, heart_rates, r_peaks, resample
from emotune.errors import DataError
from tests.data.examples.signals import heart


@pytest.fixture(params=[256.0, 1000.0, 2048.0])
def fs(request: pytest.FixtureRequest) -> float:
    return request.param


def response(fs: float) -> tuple[np.ndarray, np.ndarray]:
    impulse = np.zeros((1, round(80 * fs)))
    impulse[0, impulse.shape[1] // 2] = 1
    return np.fft.rfftfreq(impulse.shape[1], 1 / fs), np.abs(np.fft.rfft(band_pass(impulse, fs=fs)[0]))


def test_the_band_has_its_edges_where_it_says(fs: float) -> None:
    frequency, gain = response(fs)
    assert np.isfinite(gain).all()
    for edge in (0.8, 50.0):  # a single pass has -3 dB there, both together have -6 dB
        assert gain[np.argmin(np.abs(frequency - edge))] == pytest.approx(0.5, rel=0.03)
    assert np.abs(gain[(frequency > 1.2) & (frequency < 40)] - 1).max() < 0.03
    assert gain[frequency < 0.4].max() < 1e-3
    assert gain[frequency > 90].max() < 1e-2


def test_the_response_is_the_formulas_everywhere(fs: float) -> None:
    frequency, gain = response(fs)
    assert np.abs(gain - formula(frequency, fs=fs)).max() < 1e-7


@pytest.mark.parametrize(
    ("frequency", "decibels"),
    [
        (0.8, [-6.02, -6.02, -6.02]),
        (10.0, [0.0, 0.0, 0.0]),
        (50.0, [-6.02, -6.02, -6.02]),
        (60.0, [-35.97, -26.94, -26.57]),
    ],
)
def test_the_gain_at_well_known_frequencies(frequency: float, decibels: list[float]) -> None:
    for fs, expected in zip((256.0, 1000.0, 2048.0), decibels, strict=True):
        bins, gain = response(fs)
        assert 20 * np.log10(gain[np.argmin(np.abs(bins - frequency))]) == pytest.approx(expected, abs=0.01)
        assert gain[np.argmin(np.abs(bins - 0.1))] < 1e-7


def test_filtering_noise_is_multiplying_its_spectrum(fs: float) -> None:
    signal = noise(fs, seconds=60)
    ours, theirs = band_pass(signal, fs=fs), band_pass_by_formula(signal, fs=fs)
    assert distance(ours, theirs, fs=fs) < 1e-7
    assert distance(ours, theirs, fs=fs, inside=0) < 0.05


def test_resampling_noise_is_cutting_its_spectrum(fs: float) -> None:
    filtered = band_pass(noise(fs, seconds=60), fs=fs)
    cut = dsp.resample(filtered, 60 * 128, axis=1)
    assert distance(resample(filtered, fs=fs, rate=128), cut, fs=128, inside=2) < 0.02


@pytest.mark.parametrize("name", ["S001R01.edf", "S001R04.edf", "Subject00_2.edf"])
def test_filters_on_real_recordings(real_data: Path, name: str) -> None:
    channels = [
        channel for channel in read_file(real_data / "edf_originals" / name).channels if channel.modality is not None
    ]
    fs = channels[0].fs
    assert fs is not None
    signal = np.stack([channel.samples[: round(50 * fs)] for channel in channels])
    ours = band_pass(signal, fs=fs)
    assert distance(ours, band_pass_by_formula(signal, fs=fs), fs=fs) < 1e-7
    assert distance(resample(ours, fs=fs, rate=128), dsp.resample(ours, 50 * 128, axis=1), fs=128, inside=2) < 0.02


def test_nothing_is_shifted_in_time(fs: float) -> None:
    impulse = np.zeros((1, round(20 * fs) // 2 * 2 + 1))
    impulse[0, impulse.shape[1] // 2] = 1
    filtered = band_pass(impulse, fs=fs)[0]
    assert np.argmax(filtered) == impulse.shape[1] // 2
    assert filtered == pytest.approx(filtered[::-1], abs=1e-9)


def test_a_large_offset_leaves_no_trace() -> None:
    wave = np.sin(2 * np.pi * 7 * np.arange(2560) / 256)[None]
    assert np.abs(band_pass(wave + 1e4, fs=256.0) - band_pass(wave, fs=256.0)).max() < 1e-6


@pytest.mark.parametrize("low_rate", [80.0, 100.0])
def test_a_rate_too_low_for_the_band_is_refused(low_rate: float) -> None:
    with pytest.raises(DataError, match=r"ends its spectrum at (40|50) Hz.*band ends at 50 Hz"):
        band_pass(np.ones((1, 5000)), fs=low_rate)


@given(
    fs=st.sampled_from([128.0, 160.0, 200.0, 256.0, 360.0, 500.0, 1000.0, 2048.0]),
    frequency=st.floats(1, 50),
    seconds=st.floats(8, 20),
)
def test_resampling_keeps_what_the_new_rate_can_hold(fs: float, frequency: float, seconds: float) -> None:
    length = round(seconds * fs)
    wave = np.sin(2 * np.pi * frequency * np.arange(length) / fs)[None]
    new = resample(wave, fs=fs, rate=128)
    assert new.shape == (1, int(np.ceil(length * 128 / fs)))
    expected = np.sin(2 * np.pi * frequency * np.arange(new.shape[1]) / 128)
    assert new[0, 128:-128] == pytest.approx(expected[128:-128], abs=0.02)


@pytest.mark.parametrize("frequency", [80.0, 100.0, 120.0])
def test_resampling_keeps_aliases_out(frequency: float) -> None:
    wave = np.sin(2 * np.pi * frequency * np.arange(20_000) / 1000)[None]
    assert np.abs(resample(wave, fs=1000.0, rate=128)[0, 128:-128]).max() < 0.03


@given(rate=st.floats(40, 180), fs=st.sampled_from([128.0, 256.0, 1000.0]), scale=st.sampled_from([1e-3, 1, 1e5]))
def test_the_heart_rate_of_a_regular_heart_is_found_in_any_unit(rate: float, fs: float, scale: float) -> None:
    time = np.arange(round(30 * fs)) / fs
    distance = np.mod(time, 60 / rate) - 0.2
    beats = np.exp(-((distance / 0.012) ** 2)) + 0.2 * np.exp(-(((distance - 0.12) / 0.03) ** 2))
    noisy = beats + 0.02 * np.random.default_rng(0).standard_normal(len(time))
    assert heart_rates(scale * noisy, fs=fs) == pytest.approx((rate, rate), rel=0.03)


def test_too_little_signal_has_no_heart_rate() -> None:
    assert np.isnan(heart_rates(np.ones(100), fs=128.0)).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("seconds", "fs"), [(2.5, 128.0), (10.0, 128.0), (10.0, 500.0)])
def test_r_peaks_are_found_up_and_down(seconds: float, fs: float, sign: int) -> None:
    peaks = r_peaks(sign * heart(seconds, fs=fs), fs=fs)
    expected = 0.3 + 60 / 72 * np.arange(seconds * 72 / 60)
    inside = expected[expected < seconds - 0.1]
    assert len(peaks) == len(inside)
    assert np.abs(peaks / fs - inside).max() <= 1.5 / fs


@pytest.mark.parametrize("seconds", [2.5, 10.0])
def test_noise_and_flat_lines_have_no_r_peaks(seconds: float) -> None:
    noise = [np.random.default_rng(seed).normal(size=round(seconds * 128)) for seed in range(100)]
    assert np.mean([len(r_peaks(channel, fs=128.0)) > 0 for channel in noise]) <= 0.05
    assert not len(r_peaks(np.zeros(1280), fs=128.0))
    assert not len(r_peaks(heart(10, fs=30.0), fs=30.0))
    assert not len(r_peaks(heart(0.5, fs=128.0), fs=128.0))
