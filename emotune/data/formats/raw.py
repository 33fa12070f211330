"""Content of a single file, before units are converted and channels are chosen."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from emotune.data.formats.time_axis import TimeColumn
from emotune.data.modality import Modality
from emotune.data.recording import Interval
from emotune.errors import DataError

LONGEST_SIGNAL = 2**30
"""Largest number of samples of a channel, gaps included: 12 days at 1000 Hz."""


@dataclass(frozen=True, eq=False)
class RawChannel:
    """A channel of a file, before units are converted."""

    name: str
    modality: Modality | None
    """A key of `MODALITIES`; None if it is another quantity."""
    unit: str
    fs: float | None
    """Sampling rate in Hz; None if the file does not state it."""
    values: Float[np.ndarray, " time"]
    """The samples, whether the channel can be used or not."""
    passed_over: str = ""
    """Why the channel is no signal, for example ``a counter``; empty for a signal."""
    fault: str = ""
    """Why the channel cannot be used; empty if it can. Other channels of the file are not concerned."""

    @property
    def samples(self) -> Float[np.ndarray, " time"]:
        """The samples.

        Raises:
            DataError: The channel cannot be used.
        """
        if self.fault:
            raise DataError(self.fault)
        return self.values


@dataclass(frozen=True, eq=False)
class RawFile:
    """All channels and labelled parts of a file."""

    channels: tuple[RawChannel, ...]
    intervals: tuple[Interval, ...] = ()
    gaps: tuple[tuple[float, float], ...] = ()
    """Start and end (s) of the parts in which nothing was recorded. All channels are NaN there."""
    times: tuple[TimeColumn, ...] = ()
    """Columns of time stamps, to be compared with the sampling rate."""
    notes: tuple[str, ...] = ()
    """Facts about how the file was read that are not evident, one line each."""


def with_gaps(
    samples: Float[np.ndarray, " time"], *, starts: list[int], lengths: list[int]
) -> Float[np.ndarray, " longer"]:
    """Return the samples with NaN in gaps.

    Args:
        samples: Samples of all blocks, one block after the other.
        starts: Position of each block in the result; rising, the first is 0.
        lengths: Number of samples of each block.

    Raises:
        DataError: Blocks overlap, or the result would be longer than `LONGEST_SIGNAL`.
    """
    total = starts[-1] + lengths[-1]
    if total > LONGEST_SIGNAL:
        raise DataError(f"with its gaps it would have {total} samples; cut it into several files")
    filled = np.full(total, np.nan)
    first = 0
    for start, length in zip(starts, lengths, strict=True):
        filled[start : start + length] = samples[first : first + length]
        first += length
    return filled


def one_line(error: Exception) -> str:
    """Return the message of an exception as one line."""
    return " ".join(str(error).split())
