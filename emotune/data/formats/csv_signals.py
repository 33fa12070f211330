"""Reader of tables with a column per channel (.csv, .tsv, .txt)."""

from pathlib import Path

import numpy as np

from emotune.data.formats.columns import is_time, numbers, passed_over
from emotune.data.formats.delimited import Table, decode, parse_table
from emotune.data.formats.raw import RawChannel, RawFile
from emotune.data.formats.time_axis import TimeColumn
from emotune.data.modality import MODALITIES, modality_of_channel, split_unit
from emotune.errors import DataError


def read_csv(path: Path) -> RawFile:
    """Read a table with a column per channel and their names in the first line.

    Indexes, counters, markers and time stamps are no signals; a time column is compared with the sampling rate
    when the recording is made. The file does not state its rate. It states a unit only in brackets after a name.

    Raises:
        DataError: The file is no such table (`emotune.data.formats.delimited`), or its numbers are ambiguous.
    """
    table = parse_table(decode(path.read_bytes()))
    if not table.rows:
        raise DataError("it is no table of numbers with names in the first line: it has no other line")
    columns = [table.column(position) for position in range(len(table.names))]
    values, commas = numbers(columns, names=table.names)
    notes = [*table.notes]
    if commas:
        notes.append(f"decimal commas were read in column {', '.join(commas)}")
    channels = [
        _channel(name or f"column {position + 1}", value, named=bool(name), line=_line_of(table, position, value))
        for position, (name, value) in enumerate(zip(table.names, values, strict=True))
    ]
    times = [
        TimeColumn.of(name, value if isinstance(value, np.ndarray) else columns[position])
        for position, (name, value) in enumerate(zip(table.names, values, strict=True))
        if is_time(name) and modality_of_channel(name) is None
    ]
    return RawFile(tuple(channels), notes=tuple(notes), times=tuple(column for column in times if column is not None))


def _line_of(table: Table, position: int, value: np.ndarray | str) -> int:
    """Return the line of the first field that is no number; 0 if all are numbers."""
    return table.lines[table.column(position).index(value)] if isinstance(value, str) else 0


def _channel(name: str, value: np.ndarray | str, *, named: bool, line: int) -> RawChannel:
    modality = modality_of_channel(name) if named else None
    if isinstance(value, str):
        why = passed_over(name) if modality is None else ""
        fault = f"column {name} holds something that is not a number: {value[:40]!r} in line {line}"
        return RawChannel(name, modality, unit="", fs=None, samples=np.zeros(0), passed_over=why, fault=fault)
    why = "" if modality is not None else "an index or counter" if not named else passed_over(name, value)
    unit = split_unit(name)[1]
    known = any(spec.factor_from(unit) is not None for spec in MODALITIES.values())
    return RawChannel(name, modality, unit=unit if known else "", fs=None, samples=value, passed_over=why)
