"""Comparison of a table's time column with the sampling rate: contradictions are refused, holes become gaps."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotune.data.formats.columns import time_unit
from emotune.errors import DataError

LONGEST_GAP_S = 86_400.0
"""Longest gap within a file that is filled with missing samples, in seconds."""

RATE_TOLERANCE = 0.02
"""Largest relative difference between the rate of the time stamps and the stated rate."""

BLOCK_S = 2.0
"""Duration over which the rate of the time stamps is measured (s): longer than a packet of a wireless device."""

LATEST_S = 10.0
"""Longest delay of a stamp that is not taken for a hole (s)."""

SHORTEST_BLOCK = 32
"""Least number of samples over which the rate is measured."""


@dataclass(frozen=True, eq=False)
class TimeColumn:
    """A column of time stamps."""

    name: str
    stamps: Float[np.ndarray, " time"]
    unit_s: float | None
    """Unit of the stamps in seconds; None if it is not known."""

    @classmethod
    def of(cls, name: str, values: "Float[np.ndarray, ' time'] | list[str]") -> "TimeColumn | None":
        """Return the column with these numbers, dates or times of day; None if they are none of these."""
        if isinstance(values, np.ndarray):
            return cls(name, values, time_unit(name))
        moments = _moments(values)
        return None if moments is None else cls(name, moments, 1.0)


@dataclass(frozen=True)
class Hole:
    """A part of a recording that is missing."""

    position: int
    """Number of samples before it."""
    samples: int
    """Number of samples that are missing."""


def _moments(fields: list[str]) -> Float[np.ndarray, " time"] | None:
    """Return dates or times of day in seconds; None if they are neither."""
    text = pd.Series(fields, dtype=str)
    for parse in (
        lambda: pd.to_datetime(text, format="ISO8601", utc=True),
        lambda: pd.to_timedelta(text),
        lambda: pd.to_datetime(text, utc=True),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pandas warns of dates that it parses one by one
                moments = parse()
        except (ValueError, TypeError, OverflowError, pd.errors.ParserError):
            continue
        first = moments.iloc[0]
        return ((moments - first) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    return None


def holes(column: TimeColumn, *, fs: float) -> list[Hole]:
    """Return the holes of a recording, as its time stamps show them.

    Stamps may be rounded, jitter, or be equal within a packet. With ``r_k = t_k - k * dt``, where ``dt`` is the median
    distance of the stamps, a hole is a step of the smallest ``r`` of the next `LATEST_S`: late stamps make none.

    Args:
        column: The time stamps.
        fs: The stated sampling rate in Hz.

    Raises:
        DataError: The stamps show another rate, or go back.
    """
    stamps = column.stamps
    if len(stamps) < SHORTEST_BLOCK or not np.isfinite(stamps).all() or np.ptp(stamps) == 0:
        return []
    length = min(max(SHORTEST_BLOCK, round(BLOCK_S * fs)), len(stamps) - 1)
    distance = float(np.median(stamps[length:] - stamps[:-length])) / length
    unit = _unit(column, distance=distance, fs=fs)
    seconds = (stamps - stamps[0]) * unit
    residual = seconds - np.arange(len(stamps)) * distance * unit
    blocks = residual[: len(residual) // length * length].reshape(-1, length)
    jitter = float(np.median(np.ptp(blocks, axis=1)))
    threshold = max(0.75 / fs, 2 * jitter)
    back = int(np.argmin(np.diff(seconds)))
    if np.diff(seconds)[back] < -threshold:
        raise DataError(
            f"its column {column.name} goes back from {stamps[back]:.10g} to {stamps[back + 1]:.10g}; "
            "put the samples in order, or remove the column"
        )
    later = pd.Series(residual[::-1]).rolling(max(2, round(LATEST_S * fs)), min_periods=1).min().to_numpy()[::-1]
    steps = np.diff(later)
    found = [Hole(int(at) + 1, max(1, round(float(steps[at]) * fs))) for at in np.flatnonzero(steps > threshold)]
    if sum(hole.samples for hole in found) > LONGEST_GAP_S * fs:
        raise DataError(f"its column {column.name} has holes of more than a day; cut it into several files")
    return found


def _unit(column: TimeColumn, *, distance: float, fs: float) -> float:
    """Return the unit of the stamps in seconds: the stated one, or the one that fits the rate.

    Raises:
        DataError: No unit fits, or the stamps do not rise.
    """
    if distance <= 0:
        raise DataError(f"its column {column.name} does not rise; give the time since the start, or remove the column")
    if distance == 1 and column.unit_s is None:
        return 1 / fs  # a counter of samples that is called time
    units = (1.0, 1e-3, 1e-6, 1e-9) if column.unit_s is None else (column.unit_s,)
    for unit in units:
        if abs(distance * unit * fs - 1) <= RATE_TOLERANCE:
            return unit
    measured = 1 / (distance * units[0])
    hint = "" if column.unit_s else ", write its unit into its name, such as time_ms"
    raise DataError(
        f"its column {column.name} shows a sampling rate of {measured:.6g} Hz{'' if column.unit_s else ' in seconds'}, "
        f"but {fs:g} Hz was stated; correct the rate{hint}, or remove the column"
    )


def rate_of(column: TimeColumn) -> float | None:
    """Return the sampling rate in Hz that the time stamps show; None if their unit is not stated or they show none."""
    if column.unit_s is None or len(column.stamps) < 2:
        return None
    distance = float(np.median(np.diff(column.stamps))) * column.unit_s
    return 1 / distance if distance > 0 else None
