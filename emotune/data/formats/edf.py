"""Reader of EDF and EDF+ files, continuous and discontinuous."""

import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import edfio
import numpy as np
from jaxtyping import Float

from emotune.data.formats.raw import RawChannel, RawFile, one_line, with_gaps
from emotune.data.formats.time_axis import LONGEST_GAP_S
from emotune.data.modality import modality_of_channel
from emotune.data.recording import Interval
from emotune.errors import DataError

FIXED_BYTES = 256
"""Bytes of the header before those of the signals, and bytes of the header per signal."""

BDF_MARK = b"\xffBIOSEMI"
"""First bytes of a BDF file, whose header is otherwise that of an EDF file."""

NUMBERS = {"header bytes": (184, 8), "records": (236, 8), "record duration": (244, 8), "signals": (252, 4)}
"""Position and width of the numbers in the first part of the header."""

SIGNAL_NUMBERS = ((104, True), (112, True), (120, False), (128, False), (216, False))
"""Offset (bytes per signal) of the numbers of 8 bytes in the second part, and whether they may have a fraction:
physical minimum and maximum, digital minimum and maximum, samples per record."""

ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)[\x14\x15]")
"""Start of a record in an annotation signal, in seconds."""


@dataclass(frozen=True)
class EdfLayout:
    """A header with numbers in the notation of the standard, and what follows from it."""

    header: bytes
    repaired: bool
    """True: ``header`` differs from the file's."""
    records: int
    seconds: float
    """Duration of a record."""


def read_edf(path: Path, *, wanted: Callable[[str], bool] | None = None) -> RawFile:
    """Read an EDF or EDF+ file; annotations with a duration become labelled parts, gaps become NaN.

    Decimal commas and NUL bytes in the header are read, names and units in Latin-1 and in UTF-8. A record count
    of -1 is replaced by the number of records that the file holds.

    Args:
        path: The file.
        wanted: Returns from a channel's label whether to read the channel; None reads all channels.
            The samples of the other channels are not loaded.

    Raises:
        DataError: The file is damaged, its length is not that of its header, or its records overlap in time.

    Source:
        Kemp & Olivan 2003, "European data format 'plus' (EDF+)", Clinical Neurophysiology 114.
    """
    layout = _layout(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # edfio warns about what `_layout` has checked
            source = layout.header + path.read_bytes()[len(layout.header) :] if layout.repaired else path
            content = edfio.read_edf(source, lazy_load_data=True, header_encoding="latin-1")
            signals = [signal for signal in content.signals if wanted is None or wanted(_text(signal.label))]
            onsets = _onsets(content, layout=layout)
            channels = tuple(_channel(signal, onsets=onsets, layout=layout) for signal in signals)
            parts = [(note.onset, note.duration, note.text) for note in content.annotations if note.duration]
    except (ValueError, LookupError, ArithmeticError, TypeError) as error:
        raise DataError(f"the EDF file is damaged: {one_line(error)}") from error
    intervals = tuple(Interval(onset, onset + length, text) for onset, length, text in parts)
    return RawFile(channels, intervals, gaps=_gaps(onsets, seconds=layout.seconds))


def _layout(path: Path) -> EdfLayout:
    """Read and repair the header, and compare the file's size with it: edfio reads a truncated file without an error.

    Raises:
        DataError: There is no header, or the file has another size.
    """
    with path.open("rb") as file:
        fixed = file.read(FIXED_BYTES)
        if fixed.startswith(BDF_MARK):
            raise DataError("it is a BDF file with samples of 24 bits, which is not read; convert it to EDF")
        try:
            signals = _whole(_number(fixed[252:256]))
            header = bytearray(fixed + file.read(FIXED_BYTES * signals))
            _repair(header, signals=signals)
            length, records, seconds, _ = (_number(header[at : at + width]) for at, width in NUMBERS.values())
            samples = sum(_whole(_number(field)) for field in _fields(header, offset=216, signals=signals))
        except (ValueError, OverflowError) as error:
            raise DataError(f"it has no EDF header: {one_line(error)}") from error
        file.seek(0)
        repaired = file.read(len(header)) != header
        size = file.seek(0, io.SEEK_END)
    if seconds <= 0:
        raise DataError(
            f"its records last {seconds:g} s, as its EDF header says, so that its sampling rate is not known"
        )
    data, record_bytes = size - len(header), 2 * samples
    if records == -1 and record_bytes and data >= 0 and data % record_bytes == 0:
        records = data // record_bytes
        header[236:244] = str(int(records)).encode().ljust(8)
        repaired = True
    expected = len(header) + int(records) * record_bytes
    if records == -1:
        raise DataError(
            f"it has {size} bytes: after its EDF header of {len(header)} bytes, no whole number of records of "
            f"{record_bytes} bytes follows. Is it truncated?"
        )
    if length != FIXED_BYTES * (signals + 1) or size != expected:
        why = "Is it truncated?" if size < expected else "Was something appended to it?"
        raise DataError(f"it has {size} bytes, expected {expected} as in its EDF header. {why}")
    return EdfLayout(header=bytes(header), repaired=repaired, records=int(records), seconds=seconds)


def _repair(header: bytearray, *, signals: int) -> None:
    """Replace NUL bytes by blanks, and write all numbers in the notation of the standard."""
    header[:] = header.replace(b"\0", b" ")
    for at, width in NUMBERS.values():
        header[at : at + width] = _written(header[at : at + width], fraction=at == NUMBERS["record duration"][0])
    for offset, fraction in SIGNAL_NUMBERS:
        for number, field in enumerate(_fields(header, offset=offset, signals=signals)):
            at = FIXED_BYTES + offset * signals + 8 * number
            header[at : at + 8] = _written(field, fraction=fraction)


def _fields(header: bytes | bytearray, *, offset: int, signals: int) -> list[bytes]:
    first = FIXED_BYTES + offset * signals
    return [bytes(header[at : at + 8]) for at in range(first, first + 8 * signals, 8)]


def _written(field: bytes | bytearray, *, fraction: bool) -> bytes:
    """Return a number in the notation of the standard; a number that is in it already stays as it is."""
    text = bytes(field).replace(b",", b".").strip()
    if not fraction and re.fullmatch(rb"[+-]?\d+\.0*", text):
        text = text.partition(b".")[0]
    return text.ljust(len(field))


def _number(field: bytes | bytearray) -> float:
    number = float(bytes(field).replace(b"\0", b" ").replace(b",", b".").decode("ascii"))
    if not math.isfinite(number):
        raise ValueError(f"{bytes(field)!r} is not a finite number")
    return number


def _whole(number: float) -> int:
    if not number.is_integer() or number < 0:
        raise ValueError(f"{number:g} is not a count")
    return int(number)


def _text(text: str) -> str:
    """Return a text that was read as Latin-1, read as UTF-8 if it is UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8").strip()
    except UnicodeDecodeError:
        return text.strip()


def _channel(signal: edfio.EdfSignal, *, onsets: Sequence[float], layout: EdfLayout) -> RawChannel:
    lowest, highest = signal.physical_range
    fault = ""
    if signal.digital_min > signal.digital_max:
        fault = (
            f"channel {_text(signal.label)} has the digital minimum {signal.digital_min}, which is above its digital "
            f"maximum {signal.digital_max}; correct the EDF header"
        )
    scaled = not fault and signal.digital_min < signal.digital_max and lowest != highest
    scaled = scaled and math.isfinite(highest - lowest)
    samples = signal.data if scaled else signal.digital.astype(np.float64)
    return RawChannel(
        name=_text(signal.label),
        modality=modality_of_channel(_text(signal.label)),
        unit=_text(signal.physical_dimension) if scaled else "",
        fs=float(signal.sampling_frequency),
        values=_placed(samples, onsets=onsets, layout=layout),
        fault=fault,
    )


def _placed(
    samples: Float[np.ndarray, " time"], *, onsets: Sequence[float], layout: EdfLayout
) -> Float[np.ndarray, " longer"]:
    """Put each record at its onset; samples between records are NaN."""
    if not _gaps(onsets, seconds=layout.seconds):
        return samples
    length = len(samples) // layout.records
    starts: list[int] = []
    for onset in onsets:
        start = round((onset - onsets[0]) / layout.seconds * length)
        starts.append(max(start, starts[-1] + length if starts else 0))  # a jitter below the tolerance
    return with_gaps(samples, starts=starts, lengths=[length] * layout.records)


def _onsets(content: edfio.Edf, *, layout: EdfLayout) -> list[float]:
    """Return the start of each record in seconds, as the annotations state it; an empty list for plain EDF.

    Raises:
        DataError: The file is discontinuous (EDF+D) and a record states no start, or records overlap.
    """
    times = next((signal for signal in content._signals if signal._is_annotation_signal), None)
    discontinuous = content.reserved.startswith("EDF+D")
    if times is None or layout.records < 1:
        if discontinuous:
            raise DataError("it is discontinuous (EDF+D), but has no annotations that state the time of its records")
        return []
    blocks = np.ascontiguousarray(times.digital).view(np.uint8).reshape(layout.records, -1)
    matches = [ONSET.match(block.tobytes()) for block in blocks]
    onsets = [float(match[1]) for match in matches if match]
    if len(onsets) < layout.records:
        if discontinuous:
            raise DataError(f"it is discontinuous (EDF+D), but {layout.records - len(onsets)} records state no time")
        return []
    steps = np.diff(onsets)
    if len(steps) and steps.min() < 0.9 * layout.seconds:
        number = int(steps.argmin()) + 2
        raise DataError(
            f"its record {number} of {layout.seconds:g} s begins {steps.min():g} s after the one before: they overlap"
        )
    if len(steps) and onsets[-1] - onsets[0] - layout.seconds * (layout.records - 1) > LONGEST_GAP_S:
        raise DataError("its gaps are longer than a day; cut it into several files")
    return onsets


def _gaps(onsets: Sequence[float], *, seconds: float) -> tuple[tuple[float, float], ...]:
    """Return start and end of the parts between records, in seconds from the first record."""
    tolerance = 1e-3 + 1e-3 * seconds
    return tuple(
        (before - onsets[0] + seconds, after - onsets[0])
        for before, after in itertools.pairwise(onsets)
        if after - before > seconds + tolerance
    )
