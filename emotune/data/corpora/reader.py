"""The interface of a corpus: a `Reader` lists its parts and reads the recordings of a part."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from emotune.base import Settings
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording

Item = Recording | UnreadableRecording | ExcludedData
"""A recording, or the reason why there is none."""

SettingsOfCorpus = TypeVar("SettingsOfCorpus", bound=Settings)


@dataclass(frozen=True)
class CorpusPart:
    """The unit of work of one process: all recordings of one subject or of several subjects."""

    name: str
    """Unique name within the corpus; the subject's name if the part holds one subject."""

    folder: Path | None
    """Folder of the corpus; None for a generated corpus."""

    files: tuple[Path, ...] = ()
    """All files that are read for the part, tables of ratings included. They lie below ``folder``."""

    entries: tuple[Any, ...] = ()
    """Data that the reader passes from ``list_parts`` to ``read``; must be picklable."""

    recordings: int | None = None
    """Number of recordings that the reader must account for: each is read, or listed with the reason why it is not.
    The preparation checks it. None: not known before the files are read."""


@dataclass(frozen=True)
class Reader(Generic[SettingsOfCorpus]):
    """Reader of one corpus.

    A corpus is read in parts, in any order and by several processes. All recordings of a subject are in
    one part, consecutively, and in the same order in every run. For a file that cannot be read, the reader
    yields an `UnreadableRecording`; for data that are excluded on purpose, `ExcludedData`. It raises
    `DataError` only if the whole corpus cannot be read.
    """

    name: str
    modalities: tuple[Modality, ...]
    licence: str
    where: str
    """Where to get the corpus, and what its owners require."""
    hours: str
    """Approximate hours of signal by modality; empty if unknown."""
    description: str
    settings: type[SettingsOfCorpus]
    list_parts: Callable[[Path | None, SettingsOfCorpus], Iterable[CorpusPart | ExcludedData]]
    """Returns the parts of a corpus from its folder (None for a generated corpus), in the same order in every
    run. Reads file names and small tables only. Yields `ExcludedData` for files that are excluded on purpose."""
    read: Callable[[CorpusPart, Modality, SettingsOfCorpus], Iterator[Item]]
    """Yields the recordings of a part, of one modality."""
    needs_folder: bool = True
    """False for a generated corpus."""

    def items(self, folder: Path | None, *, modality: Modality, settings: SettingsOfCorpus) -> Iterator[Item]:
        """Yield all items of the corpus, part by part.

        Raises:
            DataError: The folder holds no file of the corpus.
        """
        for part in self.list_parts(folder, settings):
            if isinstance(part, ExcludedData):
                yield part
            else:
                yield from self.read(part, modality, settings)


AnyReader = Reader[Any]
