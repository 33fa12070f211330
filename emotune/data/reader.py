"""What a corpus must offer to be read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from emotune.base import Settings
from emotune.data.recording import Modality, Recording, Unreadable

Item = Recording | Unreadable
"""A recording, or why there is none."""

SettingsOfCorpus = TypeVar("SettingsOfCorpus", bound=Settings)


@dataclass(frozen=True)
class Reader(Generic[SettingsOfCorpus]):
    """How one corpus becomes recordings.

    A reader yields all recordings of a subject one after the other, and in the same order every
    time. A file that cannot be read is yielded as `Unreadable`, so that the others still can be;
    what makes the whole corpus unreadable is raised as `DataError`.
    """

    name: str
    modalities: tuple[Modality, ...]
    licence: str
    where: str
    """Where to get it, and what has to be done before it is handed out."""
    description: str
    settings: type[SettingsOfCorpus]
    read: Callable[[Path | None, Modality, SettingsOfCorpus], Iterator[Item]]
    """Folder (None for one that is made up), modality and settings to recordings."""
    files: Callable[[Path], Iterable[Path]] | None = None
    """All files that are read from a folder; None for a corpus that is made up."""


AnyReader = Reader[Any]
