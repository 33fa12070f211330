"""The segment store: all segments of a corpus in one memory-mapped array, and a table about them."""

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
from emotune.data.recording import Exclusion
from emotune.errors import DataError
from emotune.files import sha256_of

SIGNAL_FILE = "signal.npy"
INDEX_FILE = "index.parquet"
ABOUT_FILE = "about.json"

FEATURES: Literal["features"] = "features"
"""In place of a modality: the store holds features."""

Content = Modality | Literal["features"]
"""What a store holds: signals of a modality, or features that trained models have made of them."""

ALL_CHANNELS = "all"
"""The ``channel`` of a row that holds every channel of its recording."""


class FileRecord(Settings):
    """What a file of the store must look like."""

    size: int
    """In bytes."""

    sha256: str


class SourceCorpus(Settings):
    """What a store took from one corpus."""

    corpus: str
    settings: dict[str, Any]
    """How the corpus was read."""
    fingerprint: str
    """Hash of the names and contents of the files it was read from."""
    subjects: int
    recordings: int
    segments: int
    hours: float
    """Length of all recordings that were used, however many channels they have."""
    left_out: tuple[Exclusion, ...]
    """What did not become segments, and why."""


class About(Settings):
    """What a store says about itself."""

    format: Literal[2] = 2
    modality: Content
    rate: int
    """Samples per second; 0 where there are features in their place."""
    seconds: float
    """Length of a segment."""
    channels: tuple[str, ...]
    """Names of a segment's channels; just ``ecg`` where each lead is a segment of its own; the folds of features."""
    width: int | None = None
    """Features of a moment, where there are features."""
    settings: dict[str, Any]
    """How the recordings were prepared."""
    segments: int
    sources: tuple[SourceCorpus, ...]
    """A pool has several."""
    software: dict[str, str]
    files: dict[Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")], FileRecord]
    """By name, which leads nowhere else."""
    fingerprint: str
    """Hash of signal, index and settings: equal fingerprints are equal data."""

    @property
    def samples(self) -> int:
        """Length of the last axis of the array."""
        return round(self.seconds * self.rate) if self.width is None else self.width


@dataclass(frozen=True, eq=False)
class SegmentStore:
    """Segments of one corpus and modality, read-only.

    Attributes:
        path: The folder.
        signal: Every segment, mapped from the disk and shared by all processes of a machine.
        index: A row per segment: corpus, subject, session, channel, start (seconds), condition,
            ``rating_*`` and the ends of its scale, ``lowest_*`` and ``highest_*`` (NaN where there is none).
        about: How it was made.
    """

    path: Path
    signal: Float32[np.ndarray, "segment channel time"]
    index: pd.DataFrame
    about: About

    @classmethod
    def open(cls, path: Path) -> "SegmentStore":
        """Open a store. Nothing but the index is read.

        Raises:
            DataError: There is no store, or one of its files is missing or not what was written.
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
            raise _damaged(path / SIGNAL_FILE, reason=f"its shape is {signal.shape} in place of {shape}")
        if len(index) != len(signal):
            raise _damaged(path / INDEX_FILE, reason=f"it has {len(index)} rows in place of {len(signal)}")
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
        """What it holds."""
        return self.about.modality

    @property
    def holds_features(self) -> bool:
        """Whether it holds features in place of signals."""
        return self.modality == FEATURES

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.about.rate

    @property
    def seconds(self) -> float:
        """Length of a segment."""
        return self.about.seconds

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of a segment's channels."""
        return self.about.channels

    def verify(self) -> None:
        """Read every byte and compare it with what was written.

        Raises:
            DataError: A file has changed.
        """
        for name, record in self.about.files.items():
            if sha256_of(self.path / name) != record.sha256:
                raise _damaged(self.path / name, reason="its content has changed since it was written")


def read_about(path: Path) -> About:
    """Read what a store says about itself.

    Raises:
        DataError: There is no store, or its ``about.json`` is damaged.
    """
    file = path / ABOUT_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not a segment store: it has no {ABOUT_FILE}. Make one with `emotune data prepare`."
        ) from error
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
        raise _damaged(file, reason=f"it has {size} bytes in place of {record.size}")


def _damaged(file: Path, *, reason: str) -> DataError:
    return DataError(f"{file} is damaged: {reason}. Remove the store and prepare it again.")
