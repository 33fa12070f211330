"""Compare band-pass and resampling of the preparation with independent implementations, on the same signals.

    python benchmarks/filters.py [--recordings FILE ...] [--out filters.md]

The band-pass is compared with the formula of the Butterworth response applied to the spectrum, and with MNE
if it is installed (`pip install mne`); resampling with the cutting of the spectrum (`scipy.signal.resample`)
and with MNE. Files can be .npz, EDF, WFDB or CSV; noise is always compared.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import signal as dsp

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown
from emotune.data.formats.file import read_file
from emotune.data.signals import band_pass, resample
from emotune.randomness import stream

BAND = (0.8, 50.0)
ORDER = 8
RATE = 128
NOISE_RATES = (256.0, 500.0, 1000.0, 2048.0)
RESPONSE_FREQUENCIES_HZ = (0.1, 0.8, 10.0, 50.0, 60.0)
"""Frequencies at which the response is printed."""

SETTLING_TIME_S = 15.0
"""Time at either end that the start of a filter influences: exp(-15) is left at the 0.8 Hz edge."""

LONGEST_PART_S = 120.0
"""Length of the part of a recording that is compared, at most."""

Signal = Float[np.ndarray, "channel time"]


def formula(frequency: Float[np.ndarray, " bin"], *, fs: float) -> Float[np.ndarray, " bin"]:
    """Return the gain of the band-pass, run forwards and backwards, by the formula of the digital Butterworth filter.

    Source:
        The analogue band-pass of a Butterworth low-pass, with frequencies warped by the bilinear transform
        (Oppenheim and Schafer, Discrete-Time Signal Processing, sections 7.1 and 7.2).
    """
    low, high = (np.tan(np.pi * edge / fs) for edge in BAND)
    warped = np.tan(np.pi * np.minimum(frequency, fs / 2 * (1 - 1e-12)) / fs)
    with np.errstate(divide="ignore", over="ignore"):
        offset = (warped**2 - low * high) / ((high - low) * warped)
        return 1 / (1 + offset ** (2 * ORDER))


def measured(frequency: Float[np.ndarray, " bin"], *, fs: float) -> Float[np.ndarray, " bin"]:
    """Return the measured gain of the preparation's band-pass: the spectrum of its impulse response."""
    impulse = np.zeros((1, round(80 * fs)))
    impulse[0, impulse.shape[1] // 2] = 1
    spectrum = np.abs(np.fft.rfft(band_pass(impulse, fs=fs, low=BAND[0], high=BAND[1], order=ORDER)[0]))
    return np.interp(frequency, np.fft.rfftfreq(impulse.shape[1], 1 / fs), spectrum)


def band_pass_by_formula(signal: Signal, *, fs: float) -> Signal:
    """Multiply the spectrum by the formula's gain, after an odd extension of 30 s at both ends."""
    length = signal.shape[1]
    beyond = min(length - 1, round(30 * fs))
    first, last = signal[:, :1], signal[:, -1:]
    before, after = 2 * first - signal[:, beyond:0:-1], 2 * last - signal[:, -2 : -beyond - 2 : -1]
    longer = np.concatenate([before, signal, after], axis=1)
    gain = formula(np.fft.rfftfreq(longer.shape[1], 1 / fs), fs=fs)
    return np.fft.irfft(np.fft.rfft(longer) * gain, longer.shape[1])[:, beyond : beyond + length]


def noise(fs: float, *, seconds: float = 90.0) -> Signal:
    """Return white noise with a slow drift and a large offset, which a badly scaled filter distorts."""
    random = stream(0, "filters", round(fs))
    white = random.standard_normal((2, round(seconds * fs)))
    return white + np.cumsum(random.standard_normal(white.shape), axis=1) / np.sqrt(fs) + 100


def distance(signal: Signal, expected: Signal, *, fs: float, inside: float = SETTLING_TIME_S) -> float:
    """Return the largest difference in standard deviations of its channel, ``inside`` seconds from the ends."""
    edge = round(inside * fs)
    part = slice(edge, min(signal.shape[1], expected.shape[1]) - edge)
    spread = expected.std(axis=1, keepdims=True)
    return float(np.max(np.abs(signal[:, part] - expected[:, part]) / spread))


def mne_filters() -> Any:
    """Return MNE's module of filters, or None if it is not installed."""
    return importlib.import_module("mne.filter") if importlib.util.find_spec("mne") else None


def compare(signal: Signal, *, fs: float, mne: Any) -> dict[str, float]:
    """Compare the band-pass, and resampling to 128 Hz from another rate; numbers are in standard deviations."""
    ours = band_pass(signal, fs=fs, low=BAND[0], high=BAND[1], order=ORDER)
    filtered = {"formula": band_pass_by_formula(signal, fs=fs)}
    if mne is not None:
        params = {"order": ORDER, "ftype": "butter", "output": "sos"}
        filtered["MNE"] = mne.filter_data(signal, fs, *BAND, method="iir", iir_params=params, verbose="error")
    found: dict[str, float] = {}
    for name, theirs in filtered.items():
        found[f"band-pass: {name}"] = distance(ours, theirs, fs=fs)
        found[f"{name}, with ends"] = distance(ours, theirs, fs=fs, inside=0)
    if fs == RATE:
        return found
    lower = resample(ours, fs=fs, rate=RATE)
    resampled = {"spectrum cut": dsp.resample(ours, round(ours.shape[1] * RATE / fs), axis=1)}
    if mne is not None:
        options = {"up": RATE, "down": fs, "axis": 1, "method": "polyphase", "verbose": "error"}
        resampled["MNE polyphase"] = mne.resample(ours, **options)
    return found | {f"128 Hz: {name}": distance(lower, theirs, fs=RATE) for name, theirs in resampled.items()}


def signals(recordings: Sequence[Path]) -> Iterator[tuple[str, Signal, float]]:
    """Yield every signal that is compared: its name, its samples and its rate in Hz."""
    for fs in NOISE_RATES:
        yield "noise", noise(fs), fs
    for file in recordings:
        channels = [channel for channel in read_file(file).channels if channel.modality and channel.fs]
        for modality in sorted({channel.modality for channel in channels if channel.modality}):
            chosen = [channel for channel in channels if channel.modality == modality]
            fs = chosen[0].fs
            assert fs is not None
            # Whole seconds of 25 are whole numbers of samples at both rates.
            length = round(min(LONGEST_PART_S, len(chosen[0].samples) / fs) // 25 * 25 * fs)
            samples = np.stack([channel.samples[:length] for channel in chosen]).astype(float)
            yield f"{file.name}, {modality}", samples, fs


def response_page() -> str:
    """Return the table of the response in dB, measured and by the formula."""
    rows = []
    for fs in (128.0, 160.0, 200.0, *NOISE_RATES):
        for name, gain in (("measured", measured), ("formula", formula)):
            numbers = 20 * np.log10(np.maximum(gain(np.array(RESPONSE_FREQUENCIES_HZ), fs=fs), 1e-300))
            rows.append([f"{fs:g}", name, *(f"{number:.2f}" if number > -100 else "< -100" for number in numbers)])
    return markdown(["Hz", "dB at", *(f"{frequency:g} Hz" for frequency in RESPONSE_FREQUENCIES_HZ)], rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recordings", type=Path, nargs="*", default=[], help="recordings to compare, besides noise")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    given = parser.parse_args()
    mne = mne_filters()
    found = [(name, fs, compare(signal, fs=fs, mne=mne)) for name, signal, fs in signals(given.recordings)]
    columns = list(found[0][2])
    rows = [
        [name, f"{fs:g}", *(f"{numbers[column]:.1e}" if column in numbers else "" for column in columns)]
        for name, fs, numbers in found
    ]
    version = "not installed, so not compared" if mne is None else importlib.import_module("mne").__version__
    page = f"MNE: {version}\n\n{response_page()}\n\n{markdown(['signal', 'Hz', *columns], rows)}\n"
    if given.out is not None:
        given.out.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
