"""What a corpus must offer to be read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from emotune.base import Settings
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording

Item = Recording | UnreadableRecording | ExcludedData
"""A recording, or why there is none."""

SettingsOfCorpus = TypeVar("SettingsOfCorpus", bound=Settings)


@dataclass(frozen=True)
class CorpusPart:
    """What one process reads at a time: all recordings of a subject, or of several subjects."""

    name: str
    """Different in every part of a corpus; the subject's name where it is one subject."""

    folder: Path | None
    """The corpus's folder; None for a corpus that is made up."""

    files: tuple[Path, ...] = ()
    """Every file that is read for it, tables of ratings included, below ``folder``."""

    entries: tuple[Any, ...] = ()
    """What the reader already knows about the recordings, for its own use; can be pickled."""


@dataclass(frozen=True)
class Reader(Generic[SettingsOfCorpus]):
    """How one corpus becomes recordings.

    A corpus is read in list_parts, which may be read in any order and by several processes. All
    recordings of a subject are in one part, one after the other, and in the same order every time.
    A file that cannot be read is yielded as `UnreadableRecording`, what is left out on purpose as `ExcludedData`,
    so that the rest goes on; what makes the whole corpus unreadable is raised as `DataError`.
    """

    name: str
    modalities: tuple[Modality, ...]
    licence: str
    where: str
    """Where to get it, and what has to be done before it is handed out."""
    hours: str
    """About how many hours of signal it has, by modality; empty if that is not known beforehand."""
    description: str
    settings: type[SettingsOfCorpus]
    list_parts: Callable[[Path | None, SettingsOfCorpus], Iterable[CorpusPart | ExcludedData]]
    """Folder (None for a corpus that is made up) to list_parts, always in the same order; nothing is
    read but names and small tables. Files that are passed over on purpose are `ExcludedData`."""
    read: Callable[[CorpusPart, Modality, SettingsOfCorpus], Iterator[Item]]
    """A part to its recordings of a modality."""
    needs_folder: bool = True
    """False for a corpus that is made up."""

    def items(self, folder: Path | None, *, modality: Modality, settings: SettingsOfCorpus) -> Iterator[Item]:
        """Read the whole corpus, part by part.

        Raises:
            DataError: Nothing of this corpus is in the folder.
        """
        for part in self.list_parts(folder, settings):
            if isinstance(part, ExcludedData):
                yield part
            else:
                yield from self.read(part, modality, settings)


AnyReader = Reader[Any]
