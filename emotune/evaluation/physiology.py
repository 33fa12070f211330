"""Features of segments that need no training: heart-rate variability of ECG, band power and entropy of EEG.

Heart-rate variability, from the times of the beats of a segment and the intervals RR between them:

- time: mean RR, heart rate ``60 / RR``, SDNN (standard deviation of RR), RMSSD (root mean square of the successive
  differences), pNN50 (share of the successive differences above 50 ms), median and range of RR.
  Source: Task Force of the ESC and NASPE 1996, Circulation 93, 1043-1065.
- frequency: power in 0.04 to 0.15 Hz (LF) and 0.15 to 0.4 Hz (HF) of the Lomb-Scargle periodogram of RR, as
  logarithms, and LF / (LF + HF). A band whose lowest frequency has no full period in a segment is not a number.
  Source: Task Force 1996; Scargle 1982, ApJ 263, 835.
- non-linear: SD1 and SD2 of the Poincaré plot, ``SD1^2 = var(RR_n+1 - RR_n) / 2``,
  ``SD2^2 = 2 var(RR) - SD1^2``, their ratio, and the sample entropy with m = 2 and r = 0.2 SDNN.
  Source: Brennan et al. 2001, IEEE TBME 48, 1342; Richman and Moorman 2000, AJP Heart 278, H2039.

EEG, for each channel and each of the bands theta, alpha, beta and gamma, with the variance s^2 of the signal in the
band: the differential entropy of a Gaussian signal, ``log(2 pi e s^2) / 2``, and the share of s^2 in the sum over the
bands.
Source: Shi et al. 2013 (EMBC, 6627-6630); Duan et al. 2013 (NER, 81-84).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import scipy
from jaxtyping import Float, Float32

from emotune.data.modality import Modality
from emotune.data.signals import beat_times

Segments = Float32[np.ndarray, "segment channel time"]
Features = Float[np.ndarray, "segment feature"]

LF_HZ, HF_HZ = (0.04, 0.15), (0.15, 0.4)
"""Bands of heart-rate variability (Hz)."""

FREQUENCIES_PER_BAND = 20
"""Frequencies at which the periodogram of RR is computed in each band."""

EEG_BANDS_HZ: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"theta": (4.0, 8.0), "alpha": (8.0, 14.0), "beta": (14.0, 31.0), "gamma": (31.0, 50.0)}
)
"""Bands of EEG (Hz)."""

HEART_NAMES = (
    "mean_rr", "heart_rate", "sdnn", "rmssd", "pnn50", "median_rr", "range_rr",
    "lf", "hf", "lf_share", "sd1", "sd2", "sd1_sd2", "sample_entropy",
)  # fmt: skip
"""Names of the features of an ECG segment."""

HEART_RATE = HEART_NAMES.index("heart_rate")


def heart_features(segments: Segments, *, rate: int) -> Features:
    """Return the features `HEART_NAMES` of ECG segments; NaN where a segment has too few beats.

    Args:
        segments: Prepared segments, of which the first channel is used.
        rate: Sampling rate (Hz).
    """
    rows = [_of_beats(beat_times(segment[0], fs=float(rate)), seconds=segment.shape[1] / rate) for segment in segments]
    return np.array(rows).reshape(len(segments), len(HEART_NAMES))


def _of_beats(beats: Float[np.ndarray, " beat"], *, seconds: float) -> list[float]:
    intervals = np.diff(beats)
    if len(intervals) < 2:
        return [float("nan")] * len(HEART_NAMES)
    steps, deviation = np.diff(intervals), float(intervals.std())
    mean = float(intervals.mean())
    rmssd = float(np.sqrt(np.mean(steps**2)))
    pnn50, median = float(np.mean(np.abs(steps) > 0.05)), float(np.median(intervals))
    time = [mean, 60 / mean, deviation, rmssd, pnn50, median, float(np.ptp(intervals))]
    low, high = (_power(beats[1:], intervals, band=band, seconds=seconds) for band in (LF_HZ, HF_HZ))
    frequency = [float(np.log(low + 1e-12)), float(np.log(high + 1e-12)), low / (low + high + 1e-12)]
    first = float(np.sqrt(np.var(steps) / 2))
    second = float(np.sqrt(max(0.0, 2 * np.var(intervals) - first**2)))
    return [*time, *frequency, first, second, first / (second + 1e-6), sample_entropy(intervals)]


def _power(
    times: Float[np.ndarray, " beat"],
    intervals: Float[np.ndarray, " beat"],
    *,
    band: tuple[float, float],
    seconds: float,
) -> float:
    if seconds * band[0] < 1 or len(intervals) < 4 or not np.ptp(intervals):
        return float("nan")
    frequencies = np.linspace(*band, FREQUENCIES_PER_BAND)
    power = scipy.signal.lombscargle(times, intervals - intervals.mean(), 2 * np.pi * frequencies)
    return float(power.mean() * (band[1] - band[0]))


def sample_entropy(values: Float[np.ndarray, " value"], *, length: int = 2, tolerance: float = 0.2) -> float:
    """Return the sample entropy, ``-log(A / B)``; NaN where no two templates match.

    B and A are the numbers of pairs of templates of ``length`` and of ``length + 1`` values whose largest difference is
    at most ``tolerance`` times the standard deviation.

    Args:
        values: The series.
        length: Values of a template, m.
        tolerance: Tolerance r, in standard deviations.
    """
    count = len(values) - length
    if count < 2:
        return float("nan")
    limit = tolerance * float(np.std(values))
    pairs = []
    for size in (length, length + 1):
        templates = np.lib.stride_tricks.sliding_window_view(values, size)[:count]
        distance = np.abs(templates[:, None] - templates[None]).max(axis=2)
        pairs.append(int((np.triu(distance <= limit, k=1)).sum()))
    return float(-np.log(pairs[1] / pairs[0])) if all(pairs) else float("nan")


def brain_features(segments: Segments, *, rate: int) -> Features:
    """Return differential entropy and relative power of EEG segments: channels by bands, then the same for power.

    Args:
        segments: Prepared segments.
        rate: Sampling rate (Hz).
    """
    samples = segments.shape[2]
    window = np.hanning(samples + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft(segments * window, axis=2)) ** 2 * 2 / (samples * np.sum(window**2))
    frequencies = np.fft.rfftfreq(samples, 1 / rate)
    variances = np.stack(
        [
            spectrum[:, :, (frequencies >= low) & (frequencies < high)].sum(axis=2)
            for low, high in EEG_BANDS_HZ.values()
        ],
        axis=2,
    )
    entropy = np.log(2 * np.pi * np.e * (variances + 1e-12)) / 2
    share = variances / (variances.sum(axis=2, keepdims=True) + 1e-12)
    return np.concatenate([entropy, share], axis=2).reshape(len(segments), -1)


FEATURES: Mapping[Modality, Callable[..., Features]] = MappingProxyType({"ecg": heart_features, "eeg": brain_features})
"""Function that returns the features of segments, by modality."""
