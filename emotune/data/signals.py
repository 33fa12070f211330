"""Signal processing as pure functions: band-pass, resampling, heart rate, R peaks."""

from fractions import Fraction

import numpy as np
import scipy  # its signal is loaded when it is used: workers never do
from jaxtyping import Float, Int64

from emotune.errors import DataError

Signal = Float[np.ndarray, "channel time"]

PADDING_S = 5.0
"""Odd extension at both ends before filtering: several time constants of the 0.8 Hz edge."""

HEART_DURATION_S = 300.0
"""Length of the part of a recording in which the heart rate is measured, in seconds."""

HEART_WINDOW_S = 5.0
"""Length of a window, in seconds: it contains a beat even at a sixth of the usual rate."""

LONGEST_BEAT_S = 6.0
"""Longest interval between beats that is detected, in seconds."""

BEAT_WINDOW_S = 2.0
"""Window in which the largest energy is compared with the median (s): it contains a beat at 30 per minute."""

BEAT_RATIO = 3.5
"""Smallest ratio of the largest to the median energy of QRS complexes of a segment with beats: 1 % of segments of white
noise have more than 3.3, and 1 % of segments of 184 real people less than 4.3."""

PEAK_SHARE = 0.4
"""Smallest energy of a beat, as a share of the largest of the segment."""

QRS_HALF_S = 0.06
"""Half of the usual width of a QRS complex (s)."""

SHORTEST_BEAT_S = 0.25
"""Shortest interval between two R peaks of a segment (s): 240 per minute."""

HEART_BAND_HZ = (8.0, 20.0)
"""Band in which the QRS complex is stronger than T waves, baseline wander and muscle noise, in Hz."""


def check_band(*, fs: float, high: float) -> None:
    """Raise `DataError` if the upper edge of a band is not below half the sampling rate (both in Hz)."""
    if high >= fs / 2:
        raise DataError(
            f"its sampling rate is {fs:g} Hz, which ends its spectrum at {fs / 2:g} Hz; the band ends at {high:g} Hz. "
            "Lower the upper edge of the band, or leave the recording out."
        )


def band_pass(
    signal: Signal, *, fs: float, low: float = 0.8, high: float = 50.0, order: int = 8, causal: bool = False
) -> Float[np.ndarray, "channel time"]:
    """Keep the frequencies between two edges, by default without shifting anything in time.

    A Butterworth filter of ``order`` at each edge, run forwards and backwards over the whole
    signal: its response is the square of a single pass, 1/2 (-6 dB) at both edges.

    With ``causal`` it is run forwards only, so that a sample depends on no later one: its response is 0.71 (-3 dB) at
    both edges, and it delays the signal. It starts in the state that a constant signal of the first sample's value
    would have left.

    Args:
        signal: The samples of each channel.
        fs: Samples per second.
        low: Lower edge, in Hz.
        high: Upper edge, in Hz; below half the sampling rate.
        order: Order at each edge, so the filter has ``2 * order`` poles.
        causal: Whether to filter forwards only.

    Raises:
        DataError: The upper edge is not below half the sampling rate. Such a signal does not contain the whole
            band, and a model could recognise its sampling rate.

    Source:
        The papers' pre-processing, with second-order sections: as a quotient of polynomials this
        filter overflows.
    """
    check_band(fs=fs, high=high)
    sections = scipy.signal.butter(order, [low, high], btype="bandpass", fs=fs, output="sos")
    samples = np.asarray(signal, dtype=np.float64)
    if causal:
        state = scipy.signal.sosfilt_zi(sections)[:, None] * samples[None, :, :1]
        return scipy.signal.sosfilt(sections, samples, axis=1, zi=state)[0]
    padding = min(signal.shape[1] - 1, round(PADDING_S * fs))
    return scipy.signal.sosfiltfilt(sections, samples, axis=1, padlen=padding)


def resample(signal: Signal, *, fs: float, rate: int) -> Float[np.ndarray, "channel new_time"]:
    """Bring a signal to another rate, with a polyphase filter that keeps aliases out.

    ``n`` samples become ``ceil(n * rate / fs)``. The signal should be free of an offset, since it
    is continued by zeros at both ends.

    Args:
        signal: The samples of each channel.
        fs: Samples per second; taken as the nearest fraction with a denominator up to 1000.
        rate: Samples per second that are wanted.
    """
    ratio = Fraction(rate) / Fraction(fs).limit_denominator(1000)
    if ratio == 1:
        return signal
    return scipy.signal.resample_poly(signal, ratio.numerator, ratio.denominator, axis=1)


def heart_rates(channel: Float[np.ndarray, " time"], *, fs: float) -> tuple[float, float]:
    """Estimate the heart rate of one ECG channel in two ways, in beats per minute.

    The first estimate is the median distance of the peaks of the energy between 8 and 20 Hz, where the QRS complex
    dominates. The second is the shortest shift at which that energy correlates with itself. Arrhythmia or noise can
    make one of them wrong. Of 208 real recordings, many of them arrhythmic, none had both outside 30 to 220. With a
    declared rate that is four times too high or too low three of four recordings have, with twice the rate one of
    five. The first five minutes of a recording are used.

    Args:
        channel: The samples, in any unit.
        fs: Samples per second.

    Returns:
        Both estimates; NaN where there are too few beats, or the sampling rate is too low to detect any.
    """
    energy = _beat_energy(channel, fs=fs)
    if energy is None:
        return float("nan"), float("nan")
    return _rate_of_peaks(energy, fs=fs), _rate_of_repetition(energy, fs=fs)


def beat_prominence(channel: Float[np.ndarray, " time"], *, fs: float) -> float:
    """Return the ratio of the largest to the median energy of QRS complexes in 2 s, as the median over the recording.

    The energy is that between 8 and 20 Hz, within 0.1 s; the result is the median over windows of
    `BEAT_WINDOW_S`. White noise, EEG, respiration and mains give 1.7 to 2.5; of 207 real recordings with ECG, many of
    them arrhythmic or noisy, each has a lead with at least 4.

    Args:
        channel: The samples, in any unit.
        fs: Samples per second.

    Returns:
        The ratio; NaN where the signal is too short, or its sampling rate too low to detect a beat.
    """
    energy = _beat_energy(channel, fs=fs)
    if energy is None:
        return float("nan")
    window = round(BEAT_WINDOW_S * fs)
    windows = energy[: len(energy) // window * window].reshape(-1, window)
    medians = np.median(windows, axis=1)
    moving = medians > 0
    return float(np.median(windows[moving].max(axis=1) / medians[moving])) if moving.any() else float("nan")


def r_peaks(channel: Float[np.ndarray, " time"], *, fs: float) -> Int64[np.ndarray, " peak"]:
    """Return the samples of the R peaks of one channel of a segment of ECG, in ascending order.

    Peaks of the energy of QRS complexes that have at least `PEAK_SHARE` of the largest one are beats. The R peak is the
    sample within `QRS_HALF_S` that is farthest from the median, up or down.

    Args:
        channel: The samples of some seconds, in any unit.
        fs: Samples per second.

    Returns:
        The indices; none if nothing stands out, see `BEAT_RATIO`, or the sampling rate is too low to detect a beat.
    """
    sample = np.asarray(channel, dtype=np.float64)
    energy = _qrs_energy(sample, fs=fs) if len(sample) >= fs else None
    if energy is None or energy.max() <= BEAT_RATIO * np.median(energy):
        return np.array([], dtype=np.int64)
    beats, _ = scipy.signal.find_peaks(energy, height=PEAK_SHARE * energy.max(), distance=round(SHORTEST_BEAT_S * fs))
    deviation, reach = np.abs(sample - np.median(sample)), round(QRS_HALF_S * fs)
    firsts = [max(0, beat - reach) for beat in beats]
    tops = [first + int(np.argmax(deviation[first : first + 2 * reach + 1])) for first in firsts]
    return np.unique(np.array(tops, dtype=np.int64))


def _beat_energy(channel: Float[np.ndarray, " time"], *, fs: float) -> Float[np.ndarray, " shorter"] | None:
    """Return the energy of QRS complexes; None if the signal is too short to detect beats."""
    sample = np.asarray(channel[: round(HEART_DURATION_S * fs)], dtype=np.float64)
    return None if len(sample) < HEART_WINDOW_S * fs else _qrs_energy(sample, fs=fs)


def _qrs_energy(sample: Float[np.ndarray, " time"], *, fs: float) -> Float[np.ndarray, " time"] | None:
    """Return the root of the mean power between 8 and 20 Hz within 0.1 s; None if the sampling rate is too low."""
    if fs <= 2 * HEART_BAND_HZ[1]:
        return None
    sections = scipy.signal.butter(2, HEART_BAND_HZ, btype="bandpass", fs=fs, output="sos")
    power = scipy.signal.sosfiltfilt(sections, sample) ** 2
    window = round(0.1 * fs)
    return np.sqrt(scipy.signal.oaconvolve(power, np.full(window, 1 / window), mode="same").clip(min=0))


def beat_times(channel: Float[np.ndarray, " time"], *, fs: float) -> Float[np.ndarray, " beat"]:
    """Return the times of the beats of one ECG channel (s), at the peaks of the energy of QRS complexes.

    A peak is at least 0.4 of the median of the largest energies in 2 s, and 0.25 s from the next. Its time is that of
    the vertex of a parabola through three samples, so that it is not limited to the sampling interval.

    Args:
        channel: The samples, in any unit.
        fs: Samples per second.

    Returns:
        The times; none where the signal is too short, or its sampling rate too low to detect a beat.
    """
    energy = _beat_energy(channel, fs=fs)
    if energy is None:
        return np.zeros(0)
    peaks = _energy_peaks(energy, window_s=BEAT_WINDOW_S, shortest_s=SHORTEST_BEAT_S, fs=fs)
    before, at, after = energy[peaks - 1], energy[peaks], energy[peaks + 1]
    curvature = before - 2 * at + after
    shift = np.where(curvature < 0, (before - after) / (2 * np.where(curvature < 0, curvature, 1.0)), 0.0)
    return (peaks + np.clip(shift, -0.5, 0.5)) / fs


def _energy_peaks(
    energy: Float[np.ndarray, " time"], *, window_s: float, shortest_s: float, fs: float
) -> Int64[np.ndarray, " peak"]:
    """Return the peaks of the energy of QRS complexes.

    A peak has at least `PEAK_SHARE` of the median, over windows of ``window_s``, of the largest energies, and is
    ``shortest_s`` from the next.
    """
    window = round(window_s * fs)
    tops = energy[: len(energy) // window * window].reshape(-1, window).max(axis=1)
    peaks, _ = scipy.signal.find_peaks(
        energy, height=PEAK_SHARE * np.median(tops), distance=max(1, round(shortest_s * fs))
    )
    return peaks


def _rate_of_peaks(energy: Float[np.ndarray, " time"], *, fs: float) -> float:
    peaks = _energy_peaks(energy, window_s=HEART_WINDOW_S, shortest_s=0.15, fs=fs)
    return float(60 * fs / np.median(np.diff(peaks))) if len(peaks) > 2 else float("nan")


def _rate_of_repetition(energy: Float[np.ndarray, " time"], *, fs: float) -> float:
    clipped = np.minimum(energy, np.quantile(energy, 0.98))
    clipped = clipped - clipped.mean()
    shifts = scipy.signal.correlate(clipped, clipped, mode="full", method="fft")[len(clipped) - 1 :]
    first, last = round(0.15 * fs), round(LONGEST_BEAT_S * fs)
    peaks, _ = scipy.signal.find_peaks(shifts[first:last])
    if not len(peaks):
        return float("nan")
    heights = shifts[first:last][peaks]
    return float(60 * fs / (first + peaks[np.argmax(heights > 0.8 * heights.max())]))
