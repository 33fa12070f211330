"""The segment store: all segments of one or several corpora in one memory-mapped array, with an index table.

A store is a folder of three files: ``signal.npy`` (float32, segment x channel x time), ``index.parquet`` (a row
per segment) and ``about.json`` (`About`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Float32
from pydantic import StringConstraints, ValidationError

from emotune.base import Settings
from emotune.data.modality import Modality
from emotune.data.recording import Exclusion, Note
from emotune.errors import DataError, suggestion
from emotune.files import sha256_of

SIGNAL_FILE = "signal.npy"
INDEX_FILE = "index.parquet"
ABOUT_FILE = "about.json"

FEATURES: Literal["features"] = "features"
"""In place of a modality: the store holds features."""

Content = Modality | Literal["features"]
"""What a store holds: signals of a modality, or features that trained models computed from signals."""

ALL_CHANNELS = "all"
"""The ``channel`` of a row that holds every channel of its recording."""


class FileRecord(Settings):
    """Size and hash of a file of a store."""

    size: int
    """Size in bytes."""

    sha256: str


class SourceCorpus(Settings):
    """A corpus that a store was prepared from."""

    corpus: str
    settings: dict[str, Any]
    """Settings of the reader."""
    fingerprint: str
    """Hash of the names and contents of the corpus's files."""
    subjects: int
    recordings: int
    segments: int
    hours: float
    """Duration of all recordings that were used, for any number of channels."""
    left_out: tuple[Exclusion, ...]
    """Data that did not become segments, with the reasons."""
    unused: int | None = None
    """Number of recordings that are left out wholly; None in stores that were written before it was counted."""
    notes: tuple[Note, ...] = ()
    """Facts about how recordings were read."""


class About(Settings):
    """Content of ``about.json``."""

    format: Literal[2] = 2
    modality: Content
    rate: int
    """Sampling rate in Hz; 0 for features."""
    seconds: float
    """Length of a segment in seconds."""
    channels: tuple[str, ...]
    """Channels of a segment; the name of the modality where each lead is a segment; the folds for features."""
    width: int | None = None
    """Number of features of a moment; None for signals."""
    settings: dict[str, Any]
    """Settings of the preparation."""
    segments: int
    sources: tuple[SourceCorpus, ...]
    """The corpora, in the order in which they were added."""
    software: dict[str, str]
    files: dict[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")], FileRecord]
    """Files by name. The pattern excludes paths, so that a name cannot lead out of the folder."""
    fingerprint: str
    """Hash of signal, index and settings. Stores with equal fingerprints hold equal data."""

    @property
    def samples(self) -> int:
        """Length of the last axis of the array: samples of a segment, or number of features."""
        return round(self.seconds * self.rate) if self.width is None else self.width


@dataclass(frozen=True, eq=False)
class SegmentStore:
    """Read-only segments of one modality.

    Attributes:
        path: Folder of the store.
        signal: All segments, memory-mapped and shared by all processes of a machine.
        index: A row per segment: corpus, subject, session, channel, start (in seconds), condition,
            ``rating_*``, and the ends of its scale, ``lowest_*`` and ``highest_*`` (NaN if there is no rating);
            ``split`` if the manifest assigns splits (NaN where it assigns none).
        about: Content of ``about.json``.
    """

    path: Path
    signal: Float32[np.ndarray, "segment channel time"]
    index: pd.DataFrame
    about: About

    @classmethod
    def open(cls, path: Path) -> "SegmentStore":
        """Open a store. Only the index is read into memory.

        Raises:
            DataError: There is no store, or a file is missing or has another size or shape than was written.
        """
        path = Path(path)
        about = read_about(path)
        for name, record in about.files.items():
            _check_size(path / name, record=record)
        try:
            signal = np.load(path / SIGNAL_FILE, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _damaged(path / SIGNAL_FILE, reason=str(error)) from error
        try:
            index = pd.read_parquet(path / INDEX_FILE)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _damaged(path / INDEX_FILE, reason=str(error)) from error
        shape = (about.segments, len(about.channels), about.samples)
        if signal.shape != shape:
            raise _damaged(path / SIGNAL_FILE, reason=f"its shape is {signal.shape}, expected {shape}")
        if len(index) != len(signal):
            raise _damaged(path / INDEX_FILE, reason=f"it has {len(index)} rows, expected {len(signal)}")
        return cls(path=path, signal=signal, index=index, about=about)

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copied memory map would carry all the data; its path is enough to open it again.
        return SegmentStore.open, (self.path,)

    @property
    def fingerprint(self) -> str:
        """Hash of signal, index and settings."""
        return self.about.fingerprint

    @property
    def modality(self) -> Content:
        """Modality of its signals, or ``features``."""
        return self.about.modality

    @property
    def holds_features(self) -> bool:
        """Whether it holds features in place of signals."""
        return self.modality == FEATURES

    @property
    def rate(self) -> int:
        """Sampling rate in Hz."""
        return self.about.rate

    @property
    def seconds(self) -> float:
        """Length of a segment in seconds."""
        return self.about.seconds

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of a segment's channels."""
        return self.about.channels

    def verify(self) -> None:
        """Compare the hash of every file with the hash that was written.

        Raises:
            DataError: A file has changed.
        """
        for name, record in self.about.files.items():
            if sha256_of(self.path / name) != record.sha256:
                raise _damaged(self.path / name, reason="its content has changed since it was written")


def _near_store(path: Path) -> str:
    """Return the ending of a message that names the store around a file, or one beside a path with a similar name."""
    if (path.parent / ABOUT_FILE).is_file():
        return f". Did you mean {str(path.parent)!r}?"
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return suggestion(path.name, among=[folder.name for folder in beside if (folder / ABOUT_FILE).is_file()])


def read_about(path: Path) -> About:
    """Read the ``about.json`` of a store.

    Raises:
        DataError: There is no store, or its ``about.json`` is damaged.
    """
    file = path / ABOUT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        advice = _near_store(path) or ". Create one with `emotune data prepare`."
        raise DataError(f"{path} is not a segment store: it has no {ABOUT_FILE}{advice}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, reason=str(error)) from error
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("format") not in (None, 2):
            raise DataError(f"{path} was written by another version of emotune. Remove it and prepare it again.")
        return About.model_validate(content)
    except (json.JSONDecodeError, ValidationError) as error:
        raise _damaged(file, reason=str(error).splitlines()[0]) from error


def _check_size(file: Path, *, record: FileRecord) -> None:
    if not file.is_file():
        raise _damaged(file, reason="it is missing")
    size = file.stat().st_size
    if size != record.size:
        raise _damaged(file, reason=f"it has {size} bytes, expected {record.size}")


def _damaged(file: Path, *, reason: str) -> DataError:
    return DataError(f"{file} is damaged: {reason}. Remove the store and prepare it again.")
