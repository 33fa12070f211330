"""Tables and metadata beside the recordings of a BIDS data set, found by the inheritance principle."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotune.data.formats.delimited import Table, decode, parse_table
from emotune.data.formats.raw import one_line
from emotune.data.recording import Interval
from emotune.errors import DataError

NOT_AVAILABLE = {"", "n/a"}
"""Fields without a value, in small letters."""

LARGEST_TABLE_BYTES = 2**26
"""Largest size of a table or metadata file (bytes)."""


@dataclass(frozen=True)
class Sidecars:
    """The files that describe a recording."""

    channels: Path | None
    events: Path | None
    metadata: tuple[Path, ...]
    """Files ``*_eeg.json``, from the data set's folder down; later ones override earlier ones."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (*self.metadata, *(path for path in (self.channels, self.events) if path))


@dataclass(frozen=True)
class ChannelRow:
    """A row of ``*_channels.tsv``."""

    kind: str
    """Type of the channel, in capital letters."""
    unit: str
    bad: bool


def entities_of(path: Path) -> dict[str, str]:
    """Return the entities of a file's name: ``sub-01_task-rest_eeg.edf`` gives sub and task."""
    parts = path.name.partition(".")[0].split("_")
    return {key: value for key, _, value in (part.partition("-") for part in parts) if value}


def find_sidecars(recording: Path, *, among: Iterable[Path]) -> Sidecars:
    """Return the files that describe a recording.

    A file does if it lies in the recording's folder or above, and all its entities are those of the recording. Of
    several tables, the one in the lowest folder counts, then the one with most entities.

    Args:
        recording: Path of the recording.
        among: All tables and metadata files of the data set.
    """
    own = entities_of(recording).items()
    fitting = [path for path in among if path.parent in recording.parents and entities_of(path).items() <= own]
    ordered = sorted(fitting, key=lambda path: (len(path.parts), len(entities_of(path)), path.name))

    def last(suffix: str) -> Path | None:
        return next((path for path in reversed(ordered) if path.name.endswith(suffix)), None)

    return Sidecars(
        channels=last("channels.tsv"),
        events=last("events.tsv"),
        metadata=tuple(path for path in ordered if path.name.endswith("eeg.json")),
    )


def read_metadata(paths: Sequence[Path]) -> Mapping[str, Any]:
    """Return the merged metadata of a recording.

    Raises:
        DataError: A file cannot be read, or is no JSON object.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            content = json.loads(decode(_bytes(path)))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path.name} is not valid JSON: {one_line(error)}") from error
        if not isinstance(content, dict):
            raise DataError(f"{path.name} is not a JSON object")
        merged |= content
    return merged


def read_channels(path: Path) -> dict[str, ChannelRow]:
    """Return the rows of ``*_channels.tsv`` by the channels' names.

    Raises:
        DataError: The table cannot be read, lacks the columns name and type, or names a channel twice.
    """
    table = _table(path, required=("name", "type"))
    rows: dict[str, ChannelRow] = {}
    for row in table.rows:
        values = dict(zip(table.names, row, strict=True))
        if values["name"] in rows:
            raise DataError(f"{path.name} lists channel {values['name']} twice")
        rows[values["name"]] = ChannelRow(
            kind=values["type"].upper(),
            unit="" if values.get("units", "").lower() in NOT_AVAILABLE else values["units"],
            bad=values.get("status", "").lower() == "bad",
        )
    return rows


def read_events(path: Path) -> tuple[Interval, ...]:
    """Return the parts of a recording with a trial type; events without a duration are no parts.

    Raises:
        DataError: The table cannot be read, lacks the columns onset and duration, or has a field that is no number.
    """
    table = _table(path, required=("onset", "duration"))
    intervals: list[Interval] = []
    for row, line in zip(table.rows, table.lines, strict=True):
        values = dict(zip(table.names, row, strict=True))
        label = values.get("trial_type", "")
        start, length = (_seconds(values[name], place=f"{path.name}, line {line}") for name in ("onset", "duration"))
        if label.lower() not in NOT_AVAILABLE and start is not None and length:
            intervals.append(Interval(start, start + length, label))
    return tuple(intervals)


def _seconds(text: str, *, place: str) -> float | None:
    if text.lower() in NOT_AVAILABLE:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {text[:20]!r} is not a number of seconds")
    return number


def _table(path: Path, *, required: Sequence[str]) -> Table:
    try:
        table = parse_table(decode(_bytes(path)))
    except DataError as error:
        raise DataError(f"{path.name} cannot be read as a table: {one_line(error)}") from error
    missing = [name for name in required if name not in table.names]
    if missing:
        raise DataError(f"{path.name} has no column {' and '.join(missing)}; it has {', '.join(table.names)}")
    return table


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_TABLE_BYTES:
            raise DataError(f"{path.name} has {size} bytes, expected at most {LARGEST_TABLE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from error
