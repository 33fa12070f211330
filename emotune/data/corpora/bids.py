"""Reader of EEG data sets in the Brain Imaging Data Structure (EEG-BIDS): EDF and BrainVision files.

A recording is ``sub-01/[ses-1/]eeg/sub-01[_ses-1]_task-rest[_run-1]_eeg.edf`` or ``….vhdr``. Its tables lie beside it
or in a folder above (`emotune.data.corpora.bids_sidecars`): ``*_channels.tsv`` has the type, unit and status of each
channel, ``*_events.tsv`` the trial types, ``*_eeg.json`` the sampling frequency and the kind of recording. They are
read here and not by mne-bids: the tables are small, and signals are then checked as those of all corpora.

Channels of type EEG or ECG are taken by type, and by name without ``*_channels.tsv``. The unit is that of the
recording's file, or that of the table if the file states none. A trial type with a duration is the condition of its
part of the recording. A recording without such parts has its task as condition. BIDS has no ratings.

Source: Pernet et al. 2019, "EEG-BIDS, an extension to the brain imaging data structure for electroencephalography".
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.bids_sidecars import (
    ChannelRow,
    Sidecars,
    entities_of,
    find_sidecars,
    read_channels,
    read_events,
    read_metadata,
)
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, list_other_files, relative_path
from emotune.data.corpora.manifest import ManifestEntry
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.corpora.selection import MissingChannelsError, recording_of
from emotune.data.formats.file import RawChannel, RawFile, files_of, read_file
from emotune.data.modality import MODALITIES, Modality, canonical_name
from emotune.data.recording import ExcludedData, UnreadableRecording
from emotune.errors import DataError

NAME = r"sub-(?P<subject>[a-zA-Z0-9+]+)_.*eeg\.(edf|vhdr)"
SIDECARS = r"(.*_)?(channels\.tsv|events\.tsv|eeg\.json)"

NOT_RAW = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
"""Folders of a data set that hold no raw recordings."""

TYPES: Mapping[str, Modality] = {"EEG": "eeg", "ECG": "ecg"}
"""Modality of the types of channels that are read."""

RATE_TOLERANCE = 0.02
"""Largest relative difference of the file's sampling rate from that of the metadata."""

REASONS = {
    rf"({'|'.join(NOT_RAW)})/.*": "not raw data",
    r".*_eeg\.(bdf|set|fdt|cnt|eeg|vmrk)": "its format is not read; convert it to EDF or BrainVision",
}


class Bids(Settings):
    """Settings of the BIDS reader: the channels to take."""

    eeg_channels: tuple[str, ...] = MODALITIES["eeg"].channels
    """EEG channels, in this order; every recording must have them. Names are taken as the files have them, or in
    another spelling."""

    ecg_channels: tuple[str, ...] = MODALITIES["ecg"].channels
    """ECG leads by name, as the files have them; all channels of type ECG if empty."""

    read_bad_channels: bool = False
    """Read channels that are marked as bad. Otherwise a bad lead of ECG is left out alone, and a recording whose EEG
    channels are bad is left out."""

    def channels_of(self, modality: Modality) -> tuple[str, ...]:
        """Return the channels to take; those of `MODALITIES` if the modality has no setting here."""
        return getattr(self, f"{modality}_channels", MODALITIES[modality].channels)


@dataclass(frozen=True)
class BidsRecording:
    """A recording and the files that describe it."""

    file: SourceFile
    sidecars: Sidecars


class _BadChannelsError(DataError):
    """Channels that are to be taken are marked as bad."""


def list_parts(folder: Path | None, settings: Bids) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=match["subject"], session=_session(path))
        for path, match in find_files(folder, name=NAME)
        if relative_path(path, folder=folder).partition("/")[0] not in NOT_RAW
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no EEG of a BIDS data set (sub-01/eeg/sub-01_task-rest_eeg.edf or "
            ".vhdr); give the folder that contains sub-01, and convert other formats"
        )
    tables = [path for path, _ in find_files(folder, name=SIDECARS)]
    sidecars = {source.path: find_sidecars(source.path, among=tables) for source in sources}
    used = {file for source in sources for file in (*files_of(source.path), *sidecars[source.path].files)}
    yield from list_other_files(folder, taken=used, reasons=REASONS, otherwise="no EEG")
    for part in group_by_subject(sources, folder=folder):
        entries = tuple(BidsRecording(entry, sidecars[entry.path]) for entry in part.entries)
        files = [file for entry in entries for file in (*files_of(entry.file.path), *entry.sidecars.files)]
        yield dataclasses.replace(part, files=tuple(dict.fromkeys(files)), entries=entries, recordings=len(entries))


def _session(path: Path) -> str:
    """Return the entities of a recording without its subject, for example ``ses-1_task-rest``."""
    names = [f"{key}-{value}" for key, value in entities_of(path).items() if key != "sub"]
    return "_".join(names) or "eeg"


def read(part: CorpusPart, modality: Modality, settings: Bids) -> Iterator[Item]:
    """Yield exactly one item for each recording: the recording, or the reason why there is none."""
    for entry in part.entries:
        source = relative_path(entry.file.path, folder=part.folder)
        yield _item(entry, source=source, modality=modality, settings=settings)


def _item(entry: BidsRecording, *, source: str, modality: Modality, settings: Bids) -> Item:
    subject = entry.file.subject
    names = settings.channels_of(modality)
    try:
        raw = _described(read_file(entry.file.path), sidecars=entry.sidecars)
        if not settings.read_bad_channels:
            raw = _without_bad(raw, sidecars=entry.sidecars, modality=modality, names=names)
        line = _as_line(entry, raw=raw, source=source)
        return recording_of(raw, entry=line, modality=modality, names=names)
    except MissingChannelsError as error:
        kind = ExcludedData if error.elsewhere else UnreadableRecording
        return kind(subject=subject, source=source, reason=f"{error}{error.remedy()}")
    except _BadChannelsError as error:
        return ExcludedData(subject=subject, source=source, reason=str(error))
    except DataError as error:
        return UnreadableRecording(subject=subject, source=source, reason=str(error))


def _as_line(entry: BidsRecording, *, raw: RawFile, source: str) -> ManifestEntry:
    """Return what a manifest would state about a recording."""
    return ManifestEntry(
        file=source,
        subject=entry.file.subject,
        session=entry.file.session,
        modality=None,
        fs=None,
        condition="" if raw.intervals else entities_of(entry.file.path).get("task", ""),
        ratings={},
        rating_range=(1.0, 9.0),
        units="",
        channels=(),
        table="channels.tsv",
    )


def _described(raw: RawFile, *, sidecars: Sidecars) -> RawFile:
    """Return the content of a file with types, units and trial types from its tables.

    Raises:
        DataError: A table cannot be read, or contradicts the file.
    """
    _check_metadata(raw, sidecars=sidecars)
    intervals = raw.intervals if sidecars.events is None else read_events(sidecars.events)
    if sidecars.channels is None:
        return dataclasses.replace(raw, intervals=intervals)
    rows = read_channels(sidecars.channels)
    absent = [channel.name for channel in raw.channels if channel.name not in rows]
    if absent:
        raise DataError(f"{sidecars.channels.name} does not list its channel {', '.join(absent[:8])}")
    channels = tuple(_typed(channel, row=rows[channel.name]) for channel in raw.channels)
    units = [
        f"channel {channel.name} is in {channel.unit}, as its file states; {sidecars.channels.name} has {row.unit}"
        for channel, row in ((channel, rows[channel.name]) for channel in channels if channel.modality)
        if _differ(channel, row=row)
    ]
    return dataclasses.replace(raw, channels=channels, intervals=intervals, notes=(*raw.notes, *units))


def _typed(channel: RawChannel, *, row: ChannelRow) -> RawChannel:
    return dataclasses.replace(channel, modality=TYPES.get(row.kind), unit=channel.unit or row.unit)


def _differ(channel: RawChannel, *, row: ChannelRow) -> bool:
    """Return whether file and table state different units of voltage."""
    assert channel.modality is not None
    spec = MODALITIES[channel.modality]
    factors = (spec.factor_from(channel.unit), spec.factor_from(row.unit))
    return None not in factors and factors[0] != factors[1]


def _check_metadata(raw: RawFile, *, sidecars: Sidecars) -> None:
    metadata = read_metadata(sidecars.metadata)
    if metadata.get("RecordingType", "continuous") != "continuous":
        raise DataError(f"its RecordingType is {str(metadata['RecordingType'])[:20]!r}, expected 'continuous'")
    stated = metadata.get("SamplingFrequency")
    rates = {channel.fs for channel in raw.channels if channel.fs}
    if isinstance(stated, int | float) and rates and max(rates) > 0:
        rate = max(rates)
        if abs(rate - stated) > RATE_TOLERANCE * rate:
            raise DataError(f"its rate is {rate:g} Hz, but its SamplingFrequency in *_eeg.json is {stated:g} Hz")


def _without_bad(raw: RawFile, *, sidecars: Sidecars, modality: Modality, names: tuple[str, ...]) -> RawFile:
    """Return the content without the channels that are marked as bad.

    Raises:
        _BadChannelsError: A channel that must be taken is bad, or all channels of the modality are.
    """
    if sidecars.channels is None:
        return raw
    rows = read_channels(sidecars.channels)
    wanted = {canonical_name(name) for name in names}
    own = [channel for channel in raw.channels if channel.modality == modality]
    bad = [channel.name for channel in own if rows[channel.name].bad]
    needed = [name for name in bad if canonical_name(name) in wanted]
    if needed or (bad and len(bad) == len(own)):
        raise _BadChannelsError(
            f"channel {', '.join(needed or bad)} is marked as bad; --set read_bad_channels=true reads it"
        )
    kept = tuple(channel for channel in raw.channels if channel.name not in bad)
    notes = [f"channel {name} was passed over: it is marked as bad" for name in bad] if not names else []
    return dataclasses.replace(raw, channels=kept, notes=(*raw.notes, *notes))


READER = Reader(
    name="bids",
    modalities=tuple(MODALITIES),
    licence="see the data set",
    where="any data set in EEG-BIDS, for example of https://openneuro.org",
    hours="",
    description="A BIDS data set with EEG (and ECG channels) in EDF or BrainVision files",
    settings=Bids,
    list_parts=list_parts,
    read=read,
)
