"""Reader of a user's recordings: a folder of .npz, EDF, WFDB or CSV files, listed in ``manifest.csv``."""

import dataclasses
import difflib
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emotune.base import Settings
from emotune.data.corpora.formats import RawChannel, RawFile, files_of, read_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.modality import MODALITIES, Modality, normalise_name
from emotune.data.recording import Recording, UnreadableRecording
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


class Folder(Settings):
    """Settings of the folder reader: the channels to take from the files."""

    eeg_channels: tuple[str, ...] = MODALITIES["eeg"].channels
    """EEG channels, in this order; every recording must have them. Old and dotted names are understood."""

    ecg_channels: tuple[str, ...] = MODALITIES["ecg"].channels
    """ECG leads by name; all that a file has if empty."""

    def channels_of(self, modality: Modality) -> tuple[str, ...]:
        """Return the channels to take; those of `MODALITIES` if the modality has no setting here."""
        return getattr(self, f"{modality}_channels", MODALITIES[modality].channels)


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
    ratings: Mapping[str, float]
    rating_range: tuple[float, float]
    units: str
    channels: tuple[str, ...]


def read_manifest(folder: Path) -> list[ManifestEntry]:
    """Return the lines of ``manifest.csv``, grouped by subject, otherwise in their order.

    The columns ``file`` and ``subject`` are required. ``session`` defaults to the file's name without its
    ending. ``condition`` (or ``labels``) labels the whole recording. ``arousal`` and ``valence`` are its
    ratings, on a scale from ``rating_low`` (1) to ``rating_high`` (9). ``modality``, ``fs``, ``units`` and
    ``channels`` (names separated by ``|``) override what the file states. Other columns are not read.

    Raises:
        DataError: There is no manifest, or a line of it is invalid; the message names the line.
    """
    file = folder / MANIFEST
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no {MANIFEST}; write one with the columns file and subject") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{file} cannot be read as a table: {' '.join(str(error).split())}") from error
    _check_columns(file, columns=list(table.columns))
    entries: list[ManifestEntry] = []
    for number, line in enumerate(table.to_dict("records"), start=2):
        values = {str(name): str(value).strip() for name, value in line.items()}
        entries.append(_entry(values, place=f"{file}, line {number}"))
    _check_entries(file, folder=folder, entries=entries)
    return sorted(entries, key=lambda entry: entry.subject)


def _check_columns(file: Path, *, columns: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise DataError(f"{file} has no column {' and '.join(missing)}; it has: {', '.join(columns)}")
    absent = [name for name in OPTIONAL if name not in columns]
    for name in columns:
        meant = difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.8)
        if meant and name not in OPTIONAL:
            raise DataError(f"{file} has a column {name!r}, which is not read. Did you mean {meant[0]!r}?")


def _check_entries(file: Path, *, folder: Path, entries: list[ManifestEntry]) -> None:
    if not entries:
        raise DataError(f"{file} lists no recordings")
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        key = (entry.subject, entry.session)
        if key in seen:
            raise DataError(f"{file} lists session {entry.session} of subject {entry.subject} twice")
        seen.add(key)
        # The name is checked, not the target of a link: large files are often on another disk.
        if not Path(os.path.normpath(folder / entry.file)).is_relative_to(os.path.normpath(folder)):
            raise DataError(f"{file} lists {entry.file}, which lies outside of {folder}")


def _entry(values: Mapping[str, str], *, place: str) -> ManifestEntry:
    if not values["file"] or not values["subject"]:
        raise DataError(f"{place}: file and subject must be given")
    ratings = {name: _number(values, name, place=place) for name in ("arousal", "valence")}
    low, high = (_number(values, name, place=place) for name in ("rating_low", "rating_high"))
    condition = values.get("condition") or values.get("labels", "")
    return ManifestEntry(
        file=values["file"],
        subject=values["subject"],
        session=values.get("session") or Path(values["file"]).stem,
        modality=_modality(values, place=place),
        fs=_number(values, "fs", place=place),
        condition="" if LIST_SEPARATOR in condition else condition,
        ratings={name: value for name, value in ratings.items() if value is not None},
        rating_range=(1.0 if low is None else low, 9.0 if high is None else high),
        units=values.get("units", ""),
        channels=tuple(name.strip() for name in values.get("channels", "").split(LIST_SEPARATOR) if name.strip()),
    )


def _modality(values: Mapping[str, str], *, place: str) -> Modality | None:
    modality = values.get("modality", "").lower()
    if modality and modality not in MODALITIES:
        raise DataError(f"{place}: modality is {modality!r}, where {' or '.join(MODALITIES)} was expected")
    return modality or None


def _number(values: Mapping[str, str], name: str, *, place: str) -> float | None:
    text = values.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {name} is {text!r}, where a number was expected")
    return number


def list_parts(folder: Path | None, settings: Folder) -> Iterator[CorpusPart]:
    """Yield a part for each subject of the manifest."""
    del settings
    assert folder is not None
    for subject, group in itertools.groupby(read_manifest(folder), key=lambda entry: entry.subject):
        entries = tuple(group)
        files = [file for entry in entries for file in files_of(folder / entry.file)]
        yield CorpusPart(name=subject, folder=folder, files=(folder / MANIFEST, *files), entries=entries)


def read(part: CorpusPart, modality: Modality, settings: Folder) -> Iterator[Item]:
    """Yield a subject's recordings of a modality; files without the modality are skipped."""
    folder, names = part.folder, settings.channels_of(modality)
    assert folder is not None
    for entry in part.entries:
        if entry.modality not in {None, modality}:
            continue
        try:
            recording = recording_of(read_file(folder / entry.file), entry=entry, modality=modality, names=names)
        except DataError as error:
            yield UnreadableRecording(subject=entry.subject, source=entry.file, reason=str(error))
            continue
        if recording is not None:
            yield recording


def recording_of(raw: RawFile, *, entry: ManifestEntry, modality: Modality, names: Sequence[str]) -> Recording | None:
    """Return the recording in a file, None if the file has no channel of the modality.

    Args:
        raw: Content of the file.
        entry: Its line of the manifest.
        modality: The modality to take.
        names: The channels to take, in this order; all channels of the modality if empty.

    Raises:
        DataError: A channel is missing, or the channels differ in rate or length.
    """
    named = _as_manifest_says(raw.channels, entry=entry)
    channels = [channel for channel in named if channel.modality == modality]
    if not channels:
        return None
    channels = _choose(channels, names=names)
    rates = {channel.fs for channel in channels}
    if len(rates) > 1 or len({len(channel.samples) for channel in channels}) > 1:
        raise DataError(f"its {modality} channels have different rates or lengths; leave some out")
    fs = rates.pop()
    if fs is None:
        raise DataError(f"its sampling rate is not known; give it in the column fs of {MANIFEST}")
    factors = [MODALITIES[modality].factor_from(channel.unit) for channel in channels]
    return Recording(
        signal=np.stack([channel.samples * (factor or 1.0) for channel, factor in zip(channels, factors, strict=True)]),
        fs=fs,
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=tuple(channel.name for channel in channels),
        ratings=entry.ratings,
        scales=dict.fromkeys(entry.ratings, entry.rating_range),
        condition=entry.condition,
        intervals=raw.intervals,
        source=entry.file,
        calibrated=None not in factors,
    )


def _as_manifest_says(channels: tuple[RawChannel, ...], *, entry: ManifestEntry) -> list[RawChannel]:
    """Return the channels with rate, unit, modality and names replaced by those that the manifest states."""
    names = entry.channels or tuple(channel.name for channel in channels)
    if len(names) != len(channels):
        raise DataError(f"it has {len(channels)} channels, but {MANIFEST} names {len(names)}")
    return [
        dataclasses.replace(
            channel,
            name=name,
            modality=entry.modality or channel.modality,
            unit=entry.units or channel.unit,
            fs=entry.fs or channel.fs,
        )
        for name, channel in zip(names, channels, strict=True)
    ]


def _choose(channels: list[RawChannel], *, names: Sequence[str]) -> list[RawChannel]:
    """Return the channels of these names in this order; all channels unchanged if there are no names."""
    if not names:
        return channels
    by_name = {normalise_name(channel.name): channel for channel in channels}
    missing = [name for name in names if normalise_name(name) not in by_name]
    if missing:
        raise DataError(f"it has no channel {', '.join(missing)}; it has {', '.join(by_name)}")
    return [dataclasses.replace(by_name[normalise_name(name)], name=name) for name in names]


READER = Reader(
    name="folder",
    modalities=tuple(MODALITIES),
    licence="yours",
    where="your own recordings; the folder needs a manifest.csv with the columns file and subject",
    description="A folder of .npz, EDF, WFDB (.hea) or CSV recordings with a manifest",
    hours="",
    settings=Folder,
    list_parts=list_parts,
    read=read,
)
