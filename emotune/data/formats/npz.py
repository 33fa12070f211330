"""Reader of NumPy archives (.npz) of int16 samples."""

import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotune.data.formats.columns import passed_over
from emotune.data.formats.raw import RawChannel, RawFile, one_line
from emotune.data.modality import MODALITIES, modality_of_channel
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


NUMBERS, TEXTS = "iuf", "UiuS"
"""Kinds of NumPy types of arrays of numbers, and of names and labels."""

ARRAYS = {
    "x": (NUMBERS, ("channel", "time")),
    "scale": (NUMBERS, ("channel",)),
    "offset": (NUMBERS, ("channel",)),
    "channels": (TEXTS, ("channel",)),
    "kinds": (TEXTS, ("channel",)),
    "units": (TEXTS, ("channel",)),
    "fs": (NUMBERS, ()),
    "seg_start": (NUMBERS, ("part",)),
    "seg_end": (NUMBERS, ("part",)),
    "seg_label": (TEXTS, ("part",)),
}
"""Types and axes of the arrays of an archive, by name. Axes of the same name have the same length."""


def read_npz(path: Path) -> RawFile:
    """Read a NumPy archive of int16 samples ``x``; the signal is ``x * scale + offset``.

    The arrays are ``x`` of shape (channel, time); ``scale``, ``offset``, ``channels``, ``kinds`` and ``units``
    of shape (channel,); ``fs`` in Hz; and ``seg_start``, ``seg_end`` (in seconds) and ``seg_label`` of the
    labelled parts. Samples may have another real type. Other arrays are not read.

    Raises:
        DataError: The archive is damaged, lacks an array or has one twice, or an array has another type or shape.
    """
    arrays = _load_arrays(path)
    _check_shapes(arrays)
    samples, scale, offset = (arrays[name] for name in ("x", "scale", "offset"))
    kind = np.result_type(samples, scale, offset, np.float32)  # products of integers would wrap around
    with np.errstate(all="ignore"):  # samples that are not finite are refused later
        physical = samples.astype(kind) * scale[:, None] + offset[:, None]
    fs = float(arrays["fs"])
    names, kinds, units = (_texts(arrays, name) for name in ("channels", "kinds", "units"))
    columns = zip(names, kinds, units, physical, strict=True)
    parts = zip(arrays["seg_start"], arrays["seg_end"], _texts(arrays, "seg_label"), strict=True)
    intervals = tuple(Interval(float(start), float(end), label) for start, end, label in parts)
    return RawFile(tuple(_of_npz(*column, fs=fs) for column in columns), intervals)


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            members = Counter(entry.filename.removesuffix(".npy") for entry in archive.infolist())
        if size > LARGEST_ARCHIVE_BYTES:
            raise DataError(
                f"it would unpack to {size / 2**30:.0f} GiB, expected at most {LARGEST_ARCHIVE_BYTES / 2**30:.0f} GiB"
            )
        for name in ARRAYS:
            if members[name] != 1:
                raise DataError(f"the archive contains {'no' if name not in members else 'more than one'} array {name}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _array_of(arrays, name) for name in ARRAYS}
    except ARCHIVE_FAULTS as error:
        raise DataError(f"the archive is damaged: {one_line(error)}") from error


def _array_of(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    array = archive[name]
    if not isinstance(array, np.ndarray):  # NumPy returns other members of an archive as bytes
        raise DataError(f"the archive is damaged: its member {name} is no array")
    return array


def _check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise if an array has another type, other axes or another length than `ARRAYS` states."""
    lengths: dict[str, int] = {}
    for name, (kinds, axes) in ARRAYS.items():
        array = arrays[name]
        if array.dtype.kind not in kinds and array.size:
            expected = "numbers" if kinds == NUMBERS else "text"
            raise DataError(f"its array {name} has the type {array.dtype}, expected {expected}")
        shape = tuple(lengths.setdefault(axis, length) for axis, length in zip(axes, array.shape, strict=False))
        if array.shape != shape or len(axes) != array.ndim:
            known = ", ".join(f"{axis} {lengths[axis]}" if axis in lengths else axis for axis in axes)
            raise DataError(f"its array {name} has the shape {array.shape}, expected ({known})")


def _texts(arrays: Mapping[str, np.ndarray], name: str) -> list[str]:
    """Return names or labels; bytes are read as UTF-8."""
    try:
        return [item.decode() if isinstance(item, bytes) else str(item) for item in arrays[name].tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"its array {name} is no text in UTF-8: {one_line(error)}") from error


def _of_npz(name: str, kind: str, unit: str, samples: np.ndarray, *, fs: float) -> RawChannel:
    modality = kind.lower() if kind.lower() in MODALITIES else None
    is_lead = modality_of_channel(name) is not None or not any(letter.isalpha() for letter in name)
    why = "" if is_lead else passed_over(name, samples)
    return RawChannel(name=name, modality=modality, unit=unit, fs=fs, values=samples, passed_over=why)
