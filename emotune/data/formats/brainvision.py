"""Reader of BrainVision recordings: a header (.vhdr), a binary file of samples and a file of markers.

Source: BrainVision Core Data Format 1.0, Brain Products GmbH.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emotune.data.formats.delimited import decode
from emotune.data.formats.raw import RawChannel, RawFile
from emotune.data.modality import modality_of_channel
from emotune.errors import DataError

MAGIC = re.compile(r"(Brain ?Vision Data Exchange Header File|Vision Data Exchange Header)", re.IGNORECASE)
"""Begin of the first line of a header."""

DTYPES = {"INT_16": "<i2", "UINT_16": "<u2", "INT_32": "<i4", "IEEE_FLOAT_32": "<f4"}
"""NumPy type of each binary format."""

DEFAULT_UNIT = "µV"
"""Unit of a channel that states none."""

MOST_CHANNELS = 4096
"""Largest number of channels."""

Sections = dict[str, dict[str, str]]
"""Values by key, by section; all names in small letters."""


@dataclass(frozen=True)
class Header:
    """The part of a header that is needed to read the samples."""

    samples: str
    """Name of the file of samples."""
    markers: str
    """Name of the file of markers; empty if there is none."""
    dtype: np.dtype
    channels: tuple[tuple[str, float, str], ...]
    """Name, value per unit of the file, and unit of each channel."""
    by_channel: bool
    """True: all samples of a channel follow each other. False: all channels of a sample do."""
    fs: float


def read_brainvision(path: Path, *, wanted: Callable[[str], bool] | None = None) -> RawFile:
    """Read a BrainVision recording from its header file.

    Args:
        path: The header file.
        wanted: Returns from a channel's name whether to read the channel; None reads all channels.

    Raises:
        DataError: The header is damaged, its files are missing or of another length, the samples are text, or the
            recording was interrupted, so that the length of the gap is not known.
    """
    header = _header(path)
    _refuse_segments(path.parent / header.markers if header.markers else None)
    file = path.parent / header.samples
    try:
        size = file.stat().st_size
        count, remainder = divmod(size, header.dtype.itemsize * len(header.channels))
        if remainder or not count:
            raise DataError(
                f"{file.name} has {size} bytes, expected a multiple of {header.dtype.itemsize} bytes for each of "
                f"{len(header.channels)} channels. Is it truncated?"
            )
        values = np.memmap(file, dtype=header.dtype, mode="r")
    except OSError as error:
        raise DataError(f"{file.name} cannot be read: {error.strerror or error}") from error
    shape = (len(header.channels), count) if header.by_channel else (count, len(header.channels))
    by_channel = values.reshape(shape) if header.by_channel else values.reshape(shape).T
    channels = tuple(
        RawChannel(
            name=name,
            modality=modality_of_channel(name),
            unit=unit,
            fs=header.fs,
            values=samples.astype(np.float64) * resolution,
        )
        for (name, resolution, unit), samples in zip(header.channels, by_channel, strict=True)
        if wanted is None or wanted(name)
    )
    return RawFile(channels)


def files_of_brainvision(path: Path) -> list[Path]:
    """Return the header and the files that it names; the header alone if it cannot be read."""
    try:
        header = _header(path)
    except (DataError, OSError):
        return [path]
    return [path, *(path.parent / name for name in (header.samples, header.markers) if name)]


def _header(path: Path) -> Header:
    sections = _sections(path)
    common = sections.get("common infos", {})
    data_format, orientation = common.get("dataformat", "BINARY").upper(), common.get("dataorientation", "").upper()
    binary = sections.get("binary infos", {}).get("binaryformat", "").upper()
    if data_format != "BINARY" or binary not in DTYPES:
        raise DataError(f"its samples are {binary or data_format}, expected one of {', '.join(DTYPES)}; convert it")
    if orientation not in {"MULTIPLEXED", "VECTORIZED"}:
        raise DataError(f"its DataOrientation is {orientation!r}, expected MULTIPLEXED or VECTORIZED")
    if sections.get("binary infos", {}).get("usebigendianorder", "NO").upper() == "YES":
        raise DataError("its samples have the most significant byte first, which is not read; convert it")
    count = _number(common, "NumberOfChannels")
    if not (count.is_integer() and 1 <= count <= MOST_CHANNELS):
        raise DataError(f"its NumberOfChannels is {count:g}, expected 1 to {MOST_CHANNELS}")
    interval_us = _number(common, "SamplingInterval")
    if interval_us <= 0:
        raise DataError(f"its SamplingInterval is {interval_us:g} us, expected a number above 0")
    named = sections.get("channel infos", {})
    return Header(
        samples=_file_name(common, "DataFile", path=path, required=True),
        markers=_file_name(common, "MarkerFile", path=path, required=False),
        dtype=np.dtype(DTYPES[binary]),
        channels=tuple(_channel(named.get(f"ch{number}"), number=number) for number in range(1, int(count) + 1)),
        by_channel=orientation == "VECTORIZED",
        fs=1e6 / interval_us,
    )


def _sections(path: Path) -> Sections:
    """Return the sections of a header or marker file.

    Raises:
        DataError: The file cannot be read, or is no such file.
    """
    try:
        lines = decode(path.read_bytes()).splitlines()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if not lines or not (MAGIC.match(lines[0]) or "marker file" in lines[0].lower()):
        raise DataError("it is no BrainVision header: its first line is another")
    sections: Sections = {}
    section: dict[str, str] = {}
    for line in lines[1:]:
        if line.startswith("["):
            section = sections.setdefault(line.strip().strip("[]").lower(), {})
        elif "=" in line and not line.startswith(";"):
            key, _, value = line.partition("=")
            section[key.strip().lower()] = value.strip()
    return sections


def _number(values: dict[str, str], key: str) -> float:
    text = values.get(key.lower(), "")
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"its {key} is {text[:20]!r}, expected a number")
    return number


def _file_name(values: dict[str, str], key: str, *, path: Path, required: bool) -> str:
    """Return the name of a file beside the header; ``$b`` in it stands for the header's name without ending."""
    name = values.get(key.lower(), "").replace("$b", path.stem)
    if not name and not required:
        return ""
    if not name or name in {".", ".."} or re.search(r"[/\\\0]", name):
        raise DataError(f"its {key} is {name[:80]!r}, expected the name of a file beside it")
    return name


def _channel(text: str | None, *, number: int) -> tuple[str, float, str]:
    r"""Return name, resolution and unit from ``name,reference,resolution,unit``; ``\1`` stands for a comma."""
    if text is None:
        raise DataError(f"it has no channel Ch{number}, expected one for each of its NumberOfChannels")
    name, _, resolution, unit, *_ = [*text.split(","), "", "", ""]
    try:
        factor = float(resolution) if resolution.strip() else 1.0
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor) or factor == 0:
        raise DataError(f"channel {name} has the resolution {resolution[:20]!r}, expected a number")
    return name.replace("\\1", ",").strip(), factor, unit.strip() or DEFAULT_UNIT


def _refuse_segments(path: Path | None) -> None:
    """Raise if the markers show that the recording was interrupted; the header may name a file that is missing."""
    if path is None or not path.is_file():
        return
    markers = _sections(path).get("marker infos", {}).values()
    starts = sorted({fields[2].strip() for fields in (marker.split(",") for marker in markers) if _is_start(fields)})
    if len(starts) > 1:
        raise DataError(
            f"{path.name} has {len(starts)} markers New Segment: the recording was interrupted; cut it into a file for "
            "each segment"
        )


def _is_start(fields: list[str]) -> bool:
    return len(fields) > 2 and fields[0].strip().lower() == "new segment"
