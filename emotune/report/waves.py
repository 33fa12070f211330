"""How well hidden values of ECG are predicted in each part of a beat.

The parts are windows around the R peaks, not delineated waves: a time that fits several belongs to the first of
`WINDOWS`, and what fits none lies between the waves.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from emotune.base import Settings
from emotune.data.signals import QRS_HALF_S, r_peaks

WINDOWS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"QRS complex": (-QRS_HALF_S, QRS_HALF_S), "P wave": (-0.2, -QRS_HALF_S), "T wave": (0.1, 0.4)}
)
"""Begin and end of each part, in seconds from an R peak."""

BETWEEN = "between waves"


class WaveError(Settings):
    """The mean squared error of the hidden values in a part of the beat."""

    part: str
    window: str
    """Where the part lies, in words."""
    share: float
    """Share of the hidden values (0 to 1)."""
    network: float
    interpolated: float
    """That of straight lines between the shown samples."""
    zero: float
    """That of predicting zero: the mean square of the values."""


class WaveErrors(Settings):
    """The errors of all parts of the beat."""

    segments: int
    """Segments in which R peaks were found."""
    of: int
    parts: tuple[WaveError, ...]


def wave_errors(
    signals: Float[np.ndarray, "segment time"],
    *,
    hidden: Bool[np.ndarray, "segment time"],
    predicted: Float[np.ndarray, "segment time"],
    interpolated: Float[np.ndarray, "segment time"],
    rate: float,
) -> WaveErrors | None:
    """Return the errors of the hidden values by part of the beat; None if no segment has R peaks.

    Args:
        signals: One channel of each segment.
        hidden: The values that were predicted.
        predicted: The predictions.
        interpolated: Straight lines between the shown samples.
        rate: Samples per second.
    """
    parts = [parts_of_beat(signal, rate=rate) for signal in signals]
    rows = [row for row, masks in enumerate(parts) if masks is not None]
    if not rows:
        return None
    errors = {
        "network": (predicted - signals)[rows] ** 2,
        "interpolated": (interpolated - signals)[rows] ** 2,
        "zero": signals[rows] ** 2,
    }
    total = int(hidden[rows].sum())
    results = []
    for name in (*WINDOWS, BETWEEN):
        inside = np.stack([masks[name] for masks in parts if masks is not None]) & hidden[rows]
        if inside.any():
            means = {kind: float(error[inside].mean()) for kind, error in errors.items()}
            results.append(WaveError(part=name, window=_in_words(name), share=float(inside.sum() / total), **means))
    return WaveErrors(segments=len(rows), of=len(signals), parts=tuple(results))


def parts_of_beat(signal: Float[np.ndarray, " time"], *, rate: float) -> dict[str, Bool[np.ndarray, " time"]] | None:
    """Return which samples belong to each part of a beat; None without R peaks."""
    peaks = r_peaks(signal, fs=rate)
    if not len(peaks):
        return None
    seconds = (np.arange(len(signal))[:, None] - peaks) / rate
    free = np.ones(len(signal), dtype=bool)
    masks = {}
    for name, (begin, end) in WINDOWS.items():
        masks[name] = ((seconds >= begin) & (seconds <= end)).any(axis=1) & free
        free &= ~masks[name]
    return {**masks, BETWEEN: free}


def _in_words(name: str) -> str:
    if name == BETWEEN:
        return "all other times"
    begin, end = (round(1000 * second) for second in WINDOWS[name])
    return f"{begin} to {end} ms from an R peak"


def peak_times(signal: Float[np.ndarray, " time"], *, rate: float) -> tuple[float, ...]:
    """Return the times of the R peaks (s)."""
    return tuple(round(float(peak / rate), 4) for peak in r_peaks(signal, fs=rate))
