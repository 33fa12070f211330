"""Reader of WFDB records: a header (.hea), its signal files, and its segments."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from jaxtyping import Bool

from emotune.data.formats.raw import RawChannel, RawFile, one_line
from emotune.data.modality import modality_of_channel
from emotune.errors import DataError

WFDB_FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""Exceptions of wfdb for damaged headers and signal files; RecursionError if segments name each other."""

NO_SEGMENT = "~"
"""Name of a segment in which nothing was recorded."""

SHORTEST_GAP_S = 1.0
"""Shortest part without any sample that counts as not recorded (s). Shorter ones are invalid samples."""


def read_wfdb(path: Path) -> RawFile:
    """Read a WFDB record from its header file; samples marked as invalid become NaN.

    Each signal is read at its own rate: the frame rate times its samples per frame. Segments are joined.

    Raises:
        DataError: The record is damaged, its signal file is missing or truncated, or its segments differ in rate,
            unit or signals, so that they cannot be joined.
    """
    try:
        _check_segments(path)
        record: Any = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
        if not record.sig_name or record.e_p_signal is None:
            raise DataError("the WFDB record has no signals")
        columns = list(
            zip(record.sig_name, record.units, record.e_p_signal, record.samps_per_frame, strict=True),
        )
        fs = float(record.fs)
        uncalibrated = _uncalibrated(path)
    except WFDB_FAULTS as error:
        raise DataError(f"the WFDB record is damaged: {one_line(error)}") from error
    channels = tuple(
        RawChannel(
            name=name or "",
            modality=modality_of_channel(name or ""),
            unit=unit or "",
            fs=fs * per_frame,
            values=np.asarray(samples, dtype=np.float64),
        )
        for name, unit, samples, per_frame in columns
    )
    names = ", ".join(uncalibrated)
    return RawFile(
        channels,
        gaps=_gaps(
            [(channel.samples, int(column[3])) for channel, column in zip(channels, columns, strict=True)], fs=fs
        ),
        notes=(f"signal {names} has no gain in the header: 200 units per mV were assumed",) if uncalibrated else (),
    )


def _uncalibrated(path: Path) -> list[str]:
    """Return the names of the signals whose gain is 0 or missing in a header: wfdb assumes 200 units per mV.

    The headers of the segments are read as well, except the first one of a variable layout, which has no samples.

    Source:
        WFDB Applications Guide, header(5): "ADC gain".
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    first, *lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if "/" in first[0]:
        segments = [line[0] for line in lines if line[0] != NO_SEGMENT and line[1:2] != ["0"]]
        headers = [path.with_name(f"{name}.hea") for name in dict.fromkeys(segments)]
        return list(dict.fromkeys(name for header in headers for name in _uncalibrated(header)))
    gains = [line[2] if len(line) > 2 else "0" for line in lines[: int(first[1])]]
    names: list[str | None] = wfdb.rdheader(str(path.with_suffix(""))).sig_name or []
    return [
        name or f"{number} (unnamed)"
        for number, (name, gain) in enumerate(zip(names, gains, strict=True), start=1)
        if float(re.split("[(/]", gain)[0]) == 0
    ]


def _check_segments(path: Path) -> None:
    """Refuse segments that wfdb would join although their rates, signals or units differ.

    In a fixed layout all segments have the same signals in the same order. In a variable layout, whose first segment
    has no samples, a segment may lack signals, and its gains may differ; a signal's unit may not. The units in the
    first segment of a variable layout mean nothing.

    Source:
        WFDB Applications Guide, header(5), "Multi-segment records".
    """
    record: Any = wfdb.rdheader(str(path.with_suffix("")), rd_segments=True)
    segments = [segment for segment in getattr(record, "segments", None) or () if segment is not None]
    first: dict[str, tuple[str, str]] = {}
    for segment in segments:
        if segment.fs != record.fs:
            raise DataError(
                f"its segment {segment.record_name} has {segment.fs:g} Hz, the record {record.fs:g} Hz; give the "
                "segments as recordings of their own"
            )
        if record.layout == "fixed" and segment.sig_name != segments[0].sig_name:
            names = [", ".join(map(str, other.sig_name or ())) for other in (segments[0], segment)]
            raise DataError(
                f"its segments hold other signals: {segments[0].record_name} has {names[0]}, {segment.record_name} has "
                f"{names[1]}; give the segments as recordings of their own"
            )
        if record.layout == "variable" and segment is segments[0]:
            continue
        for name, unit in zip(segment.sig_name or (), segment.units or (), strict=True):
            other, other_unit = first.setdefault(name, (segment.record_name, unit))
            if unit != other_unit:
                raise DataError(
                    f"its signal {name} is in {other_unit} in segment {other}, in {unit} in "
                    f"{segment.record_name}; write one unit into the headers"
                )


def _gaps(signals: list[tuple[np.ndarray, int]], *, fs: float) -> tuple[tuple[float, float], ...]:
    """Return start and end (s) of the parts in which every signal is missing."""
    frames = min(len(samples) // per_frame for samples, per_frame in signals)
    missing: Bool[np.ndarray, " frame"] = np.logical_and.reduce(
        [
            np.isnan(samples[: frames * per_frame]).reshape(frames, per_frame).all(axis=1)
            for samples, per_frame in signals
        ]
    )
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]))).reshape(-1, 2)
    return tuple((first / fs, last / fs) for first, last in edges if (last - first) / fs >= SHORTEST_GAP_S)


def files_of_record(path: Path) -> list[Path]:
    """Return all files that a record consists of, whether they exist or not.

    They are the header, all files of its name beside it, the signal files that it names, and the headers and
    signal files of its segments. A header that cannot be read names none; wfdb refuses names of other folders.
    """
    files = {path, *path.parent.glob(f"{path.stem}.*")}
    waiting, seen = [path], {path}
    while waiting:
        header = waiting.pop()
        for name in _names_in(header):
            file = path.parent / name
            files.add(file)
            if file.suffix == ".hea" and file not in seen:
                seen.add(file)
                waiting.append(file)
    return sorted(files)


def _names_in(header: Path) -> list[str]:
    """Return the files that a header names; none if it cannot be read."""
    if not header.is_file():
        return []
    try:
        content: Any = wfdb.rdheader(str(header.with_suffix("")))
    except (*WFDB_FAULTS, OSError):
        return []
    segments = [f"{name}.hea" for name in getattr(content, "seg_name", None) or () if name and name != NO_SEGMENT]
    return segments + [str(name) for name in getattr(content, "file_name", None) or () if name and name != NO_SEGMENT]
