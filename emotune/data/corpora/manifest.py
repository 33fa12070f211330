"""The ``manifest.csv`` of a folder of recordings: a line per file, with subject, session and ratings."""

import difflib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emotune.data.formats.delimited import decode, parse_table
from emotune.data.modality import MODALITIES, Modality, split_unit
from emotune.data.recording import HIGHEST_RATE_HZ
from emotune.errors import DataError

MANIFEST = "manifest.csv"
REQUIRED = ("file", "subject")
OPTIONAL = (
    "session",
    "modality",
    "fs",
    "condition",
    "labels",
    "arousal",
    "valence",
    "rating_low",
    "rating_high",
    "units",
    "channels",
)
LIST_SEPARATOR = "|"

OTHER_NAMES = {
    **dict.fromkeys(
        [
            "sampling_rate",
            "samplingrate",
            "sample_rate",
            "samplerate",
            "sfreq",
            "srate",
            "sr",
            "rate",
            "rate_hz",
            "fs_hz",
            "hz",
        ],
        "fs",
    ),
    **dict.fromkeys(["sampling_frequency", "samplingfrequency", "sample_frequency", "frequency", "freq"], "fs"),
    **dict.fromkeys(("unit", "physical_unit"), "units"),
    **dict.fromkeys(("modalities", "signal_type"), "modality"),
    **dict.fromkeys(("session_id", "video", "video_id"), "session"),
    **dict.fromkeys(("channel", "channel_names", "leads", "lead", "electrodes"), "channels"),
    **dict.fromkeys(("filename", "file_name", "path", "filepath", "file_path", "recording"), "file"),
    **dict.fromkeys(
        ["subject_id", "subjectid", "participant", "participant_id", "person", "patient", "patient_id", "sub"],
        "subject",
    ),
}
"""Columns of the manifest by the names that other tools give to them, in small letters."""


@dataclass(frozen=True)
class ManifestEntry:
    """A line of the manifest."""

    file: str
    subject: str
    session: str
    modality: Modality | None
    """None if the manifest does not state it."""
    fs: float | None
    condition: str
    """Label of the whole recording, or names of its labelled parts, separated by ``|``; empty if not stated."""
    ratings: Mapping[str, float]
    rating_range: tuple[float, float]
    units: str
    channels: tuple[str, ...]
    table: str = MANIFEST
    """Name of the table that the entry comes from, for messages."""


def read_manifest(folder: Path) -> list[ManifestEntry]:
    """Return the lines of ``manifest.csv``, grouped by subject, otherwise in their order.

    The columns ``file`` and ``subject`` are required. ``session`` defaults to the file's name without its
    ending. ``condition`` (or ``labels``) labels the whole recording, or lists the labels of its parts, separated
    by ``|``. ``arousal`` and ``valence`` are its ratings, on a scale from ``rating_low`` (1) to ``rating_high``
    (9). ``modality``, ``fs``, ``units`` and ``channels`` (names separated by ``|``) override what the file states.
    Other columns are not read.

    Raises:
        DataError: There is no manifest, or a line of it is invalid; the message names the line.
    """
    file = folder / MANIFEST
    if file.exists() and not file.is_file():
        raise DataError(f"{file} is no ordinary file; write a table with the columns file and subject")
    try:
        table = parse_table(decode(file.read_bytes()), short_rows=True)
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no {MANIFEST}; write one with the columns file and subject") from error
    except (OSError, DataError) as error:
        raise DataError(f"{file} cannot be read as a table: {' '.join(str(error).split())}") from error
    _check_columns(file, columns=table.names)
    entries = [
        _entry(dict(zip(table.names, row, strict=True)), place=f"{file}, line {line}")
        for row, line in zip(table.rows, table.lines, strict=True)
    ]
    _check_entries(file, folder=folder, entries=entries)
    return sorted(entries, key=lambda entry: entry.subject)


def _check_columns(file: Path, *, columns: tuple[str, ...]) -> None:
    repeated = [name for name in (*REQUIRED, *OPTIONAL) if columns.count(name) > 1]
    if repeated:
        raise DataError(f"{file} has the column {repeated[0]} twice; remove one")
    absent = [name for name in (*REQUIRED, *OPTIONAL) if name not in columns]
    meant = {name: _meant(name, absent=absent) for name in columns if name not in (*REQUIRED, *OPTIONAL)}
    missing = [name for name in REQUIRED if name in absent]
    if missing:
        hints = [f" Did you mean {other!r} where it has {name!r}?" for name, other in meant.items() if other in missing]
        raise DataError(f"{file} has no column {' and '.join(missing)}; it has: {', '.join(columns)}.{''.join(hints)}")
    for name, other in meant.items():
        if other:
            raise DataError(f"{file} has a column {name!r}, which is not read. Did you mean {other!r}?")


def _meant(name: str, *, absent: list[str]) -> str:
    """Return the column of the manifest that a name probably stands for; empty if it is another column."""
    plain = split_unit(name)[0].strip().lower().replace(" ", "_").replace("-", "_")
    known = OTHER_NAMES.get(plain, "")
    return known if known in absent else next(iter(difflib.get_close_matches(plain, absent, n=1, cutoff=0.8)), "")


def _check_entries(file: Path, *, folder: Path, entries: list[ManifestEntry]) -> None:
    if not entries:
        raise DataError(f"{file} lists no recordings")
    seen: dict[tuple[str, str], list[Modality | None]] = {}
    owners: dict[str, tuple[str, str]] = {}
    for entry in entries:
        owner = owners.setdefault(os.path.normpath(entry.file), (entry.subject, entry.session))
        if owner != (entry.subject, entry.session):
            raise DataError(
                f"{file} lists {entry.file} as session {owner[1]} of subject {owner[0]} and as session {entry.session} "
                f"of subject {entry.subject}; remove one line"
            )
        others = seen.setdefault((entry.subject, entry.session), [])
        if entry.modality in others or (others and None in (entry.modality, *others)):
            hint = (
                ""
                if entry.modality in others and entry.modality
                else ("; if they hold different modalities, state each in the column modality")
            )
            raise DataError(f"{file} lists session {entry.session} of subject {entry.subject} twice{hint}")
        others.append(entry.modality)
        # The name is checked, not the target of a link: large files are often on another disk.
        if not Path(os.path.normpath(folder / entry.file)).is_relative_to(os.path.normpath(folder)):
            raise DataError(f"{file} lists {entry.file}, which lies outside of {folder}")


def _entry(values: Mapping[str, str], *, place: str) -> ManifestEntry:
    if not values["file"] or not values["subject"]:
        raise DataError(f"{place}: file and subject must be given")
    ratings = {name: _number(values, name, place=place) for name in ("arousal", "valence")}
    low, high = (_number(values, name, place=place) for name in ("rating_low", "rating_high"))
    return ManifestEntry(
        file=values["file"],
        subject=values["subject"],
        session=values.get("session") or Path(values["file"]).stem,
        modality=_modality(values, place=place),
        fs=_rate(values, place=place),
        condition=_condition(values, place=place),
        ratings={name: value for name, value in ratings.items() if value is not None},
        rating_range=(1.0 if low is None else low, 9.0 if high is None else high),
        units=values.get("units", ""),
        channels=tuple(name.strip() for name in values.get("channels", "").split(LIST_SEPARATOR) if name.strip()),
    )


def _condition(values: Mapping[str, str], *, place: str) -> str:
    given = {name: values[name] for name in ("condition", "labels") if values.get(name)}
    if len(set(given.values())) > 1:
        raise DataError(f"{place}: condition is {given['condition']!r}, but labels is {given['labels']!r}; state one")
    return next(iter(given.values()), "")


def _modality(values: Mapping[str, str], *, place: str) -> Modality | None:
    modality = values.get("modality", "").lower()
    if modality and modality not in MODALITIES:
        raise DataError(f"{place}: modality is {modality!r}, where {' or '.join(MODALITIES)} was expected")
    return modality or None


def _rate(values: Mapping[str, str], *, place: str) -> float | None:
    fs = _number(values, "fs", place=place)
    if fs is not None and not 0 < fs <= HIGHEST_RATE_HZ:
        raise DataError(
            f"{place}: fs is {values['fs']!r}, where a rate above 0 and up to {HIGHEST_RATE_HZ:g} Hz was expected"
        )
    return fs


def _number(values: Mapping[str, str], name: str, *, place: str) -> float | None:
    text = values.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        hint = ""
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            hint = "; write it with a point"
        elif name == "fs" and re.match(r"\d+(\.\d+)? *k?Hz$", text, re.IGNORECASE):
            hint = "; write it in Hz, without the unit"
        raise DataError(f"{place}: {name} is {text!r}, where a number was expected{hint}")
    return number
