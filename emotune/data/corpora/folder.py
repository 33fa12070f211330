"""Reader of a user's recordings: a folder of .npz, EDF, WFDB, BrainVision or CSV files with a ``manifest.csv``."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.manifest import MANIFEST, ManifestEntry, read_manifest
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.corpora.selection import MissingChannelsError, recording_of
from emotune.data.formats.file import files_of, read_file
from emotune.data.modality import MODALITIES, Modality
from emotune.data.recording import ExcludedData, UnreadableRecording
from emotune.errors import DataError


class Folder(Settings):
    """Settings of the folder reader: the channels to take from the files."""

    eeg_channels: tuple[str, ...] = MODALITIES["eeg"].channels
    """EEG channels, in this order; every recording must have them. Names are taken as the files have them, or in
    another spelling."""

    ecg_channels: tuple[str, ...] = MODALITIES["ecg"].channels
    """ECG leads by name, as the files have them; all that are recognised if empty."""

    def channels_of(self, modality: Modality) -> tuple[str, ...]:
        """Return the channels to take; those of `MODALITIES` if the modality has no setting here."""
        return getattr(self, f"{modality}_channels", MODALITIES[modality].channels)


def list_parts(folder: Path | None, settings: Folder) -> Iterator[CorpusPart]:
    """Yield a part for each subject of the manifest."""
    del settings
    assert folder is not None
    for subject, group in itertools.groupby(read_manifest(folder), key=lambda entry: entry.subject):
        entries = tuple(group)
        files = dict.fromkeys(file for entry in entries for file in files_of(folder / entry.file))
        yield CorpusPart(
            name=subject, folder=folder, files=(folder / MANIFEST, *files), entries=entries, recordings=len(entries)
        )


def read(part: CorpusPart, modality: Modality, settings: Folder) -> Iterator[Item]:
    """Yield exactly one item for each line of the manifest: its recording, or the reason why there is none."""
    folder = part.folder
    assert folder is not None
    for entry in part.entries:
        yield _item(folder, entry, modality=modality, names=settings.channels_of(modality))


def _item(folder: Path, entry: ManifestEntry, *, modality: Modality, names: tuple[str, ...]) -> Item:
    try:
        raw = read_file(folder / entry.file)
        return recording_of(raw, entry=entry, modality=modality, names=names)
    except MissingChannelsError as error:
        kind = ExcludedData if error.elsewhere else UnreadableRecording
        return kind(subject=entry.subject, source=entry.file, reason=f"{error}{error.remedy()}")
    except DataError as error:
        return UnreadableRecording(subject=entry.subject, source=entry.file, reason=str(error))


READER = Reader(
    name="folder",
    modalities=tuple(MODALITIES),
    licence="yours",
    where="your own recordings; the folder needs a manifest.csv with the columns file and subject",
    description="A folder of .npz, EDF, WFDB (.hea), BrainVision (.vhdr) or CSV recordings with a manifest",
    hours="",
    settings=Folder,
    list_parts=list_parts,
    read=read,
)
