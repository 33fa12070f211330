"""Readers of single files: NumPy archives (.npz), EDF, WFDB and CSV become named channels."""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pandas as pd
import wfdb
from jaxtyping import Float

from emotune.data.modality import MODALITIES, Modality, modality_of_channel
from emotune.data.recording import Interval
from emotune.errors import DataError

LARGEST_ARCHIVE_BYTES = 8 * 2**30
"""Largest size of an unpacked archive; a recording of 24 h with 64 channels has half of it."""

ARCHIVE_FAULTS = (
    ValueError,
    LookupError,
    EOFError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of NumPy and zipfile for damaged archives, collected by changing one byte at a time."""

TIME_COLUMNS = {"time", "t", "timestamp", "seconds"}
"""Names of CSV columns that hold the time, in small letters; they are no channels."""


@dataclass(frozen=True, eq=False)
class RawChannel:
    """A channel of a file, before units are converted."""

    name: str
    modality: Modality | None
    """A key of `MODALITIES`; None if it is another quantity."""
    unit: str
    fs: float | None
    """Sampling rate in Hz; None if the file does not state it."""
    samples: Float[np.ndarray, " time"]


@dataclass(frozen=True, eq=False)
class RawFile:
    """All channels and labelled parts of a file."""

    channels: tuple[RawChannel, ...]
    intervals: tuple[Interval, ...] = ()


def read_file(path: Path) -> RawFile:
    """Read a file in the format that the ending of its name stands for (`FORMATS`).

    Raises:
        DataError: The file is missing, damaged, truncated or of an unknown format. The message
            does not name the file.
    """
    read = FORMATS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"the ending of the file is {path.suffix!r}, expected one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise DataError("the file is missing")
    try:
        return read(path)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error


def files_of(path: Path) -> list[Path]:
    """Return all files of a recording: for WFDB the header and the files of the same name beside it."""
    if path.suffix.lower() != ".hea":
        return [path]
    return sorted({path, *path.parent.glob(f"{path.stem}.*")})


def read_npz(path: Path) -> RawFile:
    """Read a NumPy archive of int16 samples ``x``; the signal is ``x * scale + offset``.

    The arrays are ``x`` of shape (channel, time); ``scale``, ``offset``, ``channels``, ``kinds`` and ``units``
    of shape (channel,); ``fs`` in Hz; and ``seg_start``, ``seg_end`` (in seconds) and ``seg_label`` of the
    labelled parts.

    Raises:
        DataError: The archive is damaged, or lacks an array.
    """
    arrays = _load_arrays(path)
    try:
        physical = arrays["x"] * arrays["scale"][:, None] + arrays["offset"][:, None]
        parts = zip(arrays["seg_start"], arrays["seg_end"], arrays["seg_label"], strict=True)
        intervals = tuple(Interval(float(start), float(end), str(label)) for start, end, label in parts)
        columns = zip(arrays["channels"], arrays["kinds"], arrays["units"], physical, strict=True)
        fs = float(arrays["fs"])
        return RawFile(tuple(_of_npz(*column, fs=fs) for column in columns), intervals)
    except KeyError as error:
        raise DataError(f"the archive contains no array {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"the arrays do not fit together: {_line(error)}") from error


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_ARCHIVE_BYTES:
            raise DataError(
                f"it would unpack to {size / 2**30:.0f} GiB, expected at most {LARGEST_ARCHIVE_BYTES / 2**30:.0f} GiB"
            )
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except ARCHIVE_FAULTS as error:
        raise DataError(f"the archive is damaged: {_line(error)}") from error


def _of_npz(name: str, kind: str, unit: str, samples: np.ndarray, *, fs: float) -> RawChannel:
    modality = str(kind) if kind in MODALITIES else None
    return RawChannel(name=str(name), modality=modality, unit=str(unit), fs=fs, samples=samples)


def read_edf(path: Path, *, wanted: Callable[[str], bool] | None = None) -> RawFile:
    """Read an EDF or EDF+ file; annotations with a duration become labelled parts.

    Args:
        path: The file.
        wanted: Returns from a channel's label whether to read the channel; None reads all channels.
            The samples of the other channels are not loaded.

    Raises:
        DataError: The file is damaged, discontinuous (EDF+D), or its length is not that of its header.

    Source:
        Kemp & Olivan 2003, "European data format 'plus' (EDF+)", Clinical Neurophysiology 114.
    """
    _check_edf_size(path)
    try:
        content = edfio.read_edf(path, lazy_load_data=True)
        if not content.is_continuous:
            raise DataError("it has gaps (EDF+D); cut it into continuous files")
        signals = [signal for signal in content.signals if wanted is None or wanted(signal.label)]
        channels = tuple(_of_edf(signal) for signal in signals)
        parts = [(note.onset, note.duration, note.text) for note in content.annotations if note.duration]
    except (ValueError, LookupError, ArithmeticError) as error:
        raise DataError(f"the EDF file is damaged: {_line(error)}") from error
    return RawFile(channels, tuple(Interval(onset, onset + length, text) for onset, length, text in parts))


def _of_edf(signal: edfio.EdfSignal) -> RawChannel:
    lowest, highest = signal.physical_range
    scaled = signal.digital_min < signal.digital_max and lowest != highest and math.isfinite(highest - lowest)
    return RawChannel(
        name=signal.label,
        modality=modality_of_channel(signal.label),
        unit=signal.physical_dimension if scaled else "",
        fs=float(signal.sampling_frequency),
        samples=signal.data if scaled else signal.digital.astype(np.float64),
    )


def _check_edf_size(path: Path) -> None:
    """Compare a file's size with its header, because edfio reads a truncated file without an error."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        fixed = file.read(256)
        try:
            header, records, signals = int(fixed[184:192]), int(fixed[236:244]), int(fixed[252:256])
            file.seek(256 + 216 * signals)
            lengths = [int(file.read(8)) for _ in range(signals)]
        except (ValueError, OSError) as error:
            raise DataError(f"it has no EDF header: {_line(error)}") from error
    expected = header + records * 2 * sum(lengths)
    if records < 0 or header != 256 * (signals + 1) or size != expected:
        raise DataError(f"it has {size} bytes, expected {expected} as in its EDF header. Is it truncated?")


def read_wfdb(path: Path) -> RawFile:
    """Read a WFDB record from its header file; samples marked as invalid become NaN.

    Raises:
        DataError: The record is damaged, or its signal file is missing or truncated.
    """
    try:
        record: Any = wfdb.rdrecord(str(path.with_suffix("")))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise DataError(f"the WFDB record is damaged: {_line(error)}") from error
    if record.p_signal is None or not record.sig_name:
        raise DataError("the WFDB record has no signals of one rate")
    columns = zip(record.sig_name, record.units, record.p_signal.T, strict=True)
    return RawFile(
        tuple(
            RawChannel(
                name=name or "",
                modality=modality_of_channel(name or ""),
                unit=unit or "",
                fs=float(record.fs),
                samples=samples,
            )
            for name, unit, samples in columns
        )
    )


def read_csv(path: Path) -> RawFile:
    """Read a CSV table with a column per channel and their names in the first line.

    Columns named in `TIME_COLUMNS` are skipped. The file states neither rate nor unit.

    Raises:
        DataError: The file is no such table, or a cell is no number.
    """
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"it is not a table of numbers with column names in its first line: {_line(error)}") from error
    table = table.drop(columns=[name for name in table.columns if str(name).strip().lower() in TIME_COLUMNS])
    wrong = [str(name) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    if wrong:
        raise DataError(f"column {', '.join(wrong)} contains values that are not numbers")
    return RawFile(
        tuple(
            RawChannel(
                name=str(name),
                modality=modality_of_channel(str(name)),
                unit="",
                fs=None,
                samples=table[name].to_numpy(dtype=np.float64),
            )
            for name in table.columns
        )
    )


def _line(error: Exception) -> str:
    """Return the message of an exception as one line."""
    return " ".join(str(error).split())


FORMATS: dict[str, Callable[[Path], RawFile]] = {
    ".npz": read_npz,
    ".edf": read_edf,
    ".hea": read_wfdb,
    ".csv": read_csv,
}
"""Function that reads a file, by the ending of its name."""
