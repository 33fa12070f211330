"""Reader of NumPy archives (.npz) of int16 samples."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from emotune.data.formats.raw import RawChannel, RawFile, one_line
from emotune.data.modality import MODALITIES
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
        raise DataError(f"the arrays do not fit together: {one_line(error)}") from error


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
        raise DataError(f"the archive is damaged: {one_line(error)}") from error


def _of_npz(name: str, kind: str, unit: str, samples: np.ndarray, *, fs: float) -> RawChannel:
    modality = str(kind) if kind in MODALITIES else None
    return RawChannel(name=str(name), modality=modality, unit=str(unit), fs=fs, values=samples)
