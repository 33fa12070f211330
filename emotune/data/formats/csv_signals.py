"""Reader of tables with a column per channel (.csv, .tsv, .txt)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotune.data.formats.columns import is_time, numbers, passed_over
from emotune.data.formats.delimited import Table, decode, parse_numbers, parse_table
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
    text = decode(path.read_bytes())
    plain = parse_numbers(text)
    if plain is not None:
        return _file(plain[0], list(plain[1]))
    table = parse_table(text)
    if not table.rows:
        raise DataError("it is not a table of numbers with column names in its first line: it has no other line")
    columns = [table.column(position) for position in range(len(table.names))]
    values, commas = numbers(columns, names=table.names)
    notes = (*table.notes, *([f"decimal commas were read in column {', '.join(commas)}"] if commas else []))
    return _file(table.names, values, table=table, notes=notes)


def _file(
    names: Sequence[str],
    values: Sequence[np.ndarray | str],
    *,
    table: Table | None = None,
    notes: tuple[str, ...] = (),
) -> RawFile:
    """Return the columns as channels; ``values`` has the first field that is no number, where a column has one."""
    channels: list[RawChannel] = []
    times: list[TimeColumn | None] = []
    for position, (name, value) in enumerate(zip(names, values, strict=True)):
        texts = table.column(position) if table is not None and isinstance(value, str) else []
        line = table.lines[texts.index(value)] if table is not None and isinstance(value, str) else 0
        channels.append(_channel(name or f"{position + 1} (unnamed)", value, named=bool(name), line=line))
        if is_time(name) and modality_of_channel(name) is None:
            times.append(TimeColumn.of(name, value if isinstance(value, np.ndarray) else texts))
    signals = [channel for channel in channels if not channel.passed_over]
    if signals and all(channel.fault for channel in signals):
        raise DataError(signals[0].fault)
    return RawFile(tuple(channels), notes=notes, times=tuple(column for column in times if column is not None))


def _channel(name: str, value: np.ndarray | str, *, named: bool, line: int) -> RawChannel:
    modality = modality_of_channel(name) if named else None
    if isinstance(value, str):
        why = passed_over(name) if modality is None else ""
        fault = f"column {name} contains values that are not numbers: {value[:40]!r} in line {line}"
        return RawChannel(name, modality, unit="", fs=None, values=np.zeros(0), passed_over=why, fault=fault)
    why = "" if modality is not None else "an index or counter" if not named else passed_over(name, value)
    unit = split_unit(name)[1]
    known = any(spec.factor_from(unit) is not None for spec in MODALITIES.values())
    return RawChannel(name, modality, unit=unit if known else "", fs=None, values=value, passed_over=why)
