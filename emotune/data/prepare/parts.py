"""Preparation of one part of a corpus: its recordings become segments on the disk.

One recording is in memory at a time. A part consists of three files, ``NAME.signal`` (float32 samples),
``NAME.parquet`` (a row per segment) and ``NAME.json`` (`PreparedPart`), written in this order.
"""

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float32

from emotune.base import Settings
from emotune.data.corpora.reader import AnyReader, CorpusPart
from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings, cut, prepared_recordings
from emotune.data.recording import CONSTANT_TOLERANCE, Exclusion, Note, Recording
from emotune.data.store import ALL_CHANNELS
from emotune.errors import DataError
from emotune.files import write_atomically


@dataclass(frozen=True)
class PreparationJob:
    """The work of one process: a part of a corpus, the settings, and where to write the result."""

    reader: AnyReader
    corpus_part: CorpusPart
    settings: PrepareSettings
    corpus_settings: Settings
    output: Path
    """Path of the result without the endings of its files."""
    strict: bool
    collection: str
    """Name of the corpus in the store."""


class PreparedPart(Settings):
    """Result of the preparation of a part."""

    channels: tuple[str, ...]
    """Channels of its segments; empty if there are no segments."""
    subjects: tuple[str, ...]
    recordings: int
    """Number of recordings that were used, wholly or in part."""
    unused: int = 0
    """Number of recordings that were left out."""
    segments: int
    seconds: float
    """Duration of the recordings that were used, in seconds."""
    left_out: tuple[Exclusion, ...]
    notes: tuple[Note, ...] = ()


@dataclass
class RunningMoments:
    """Mean and variance of a channel, updated block by block.

    Source:
        Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979, equation 2.1.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, samples: Float[np.ndarray, " time"]) -> None:
        """Add a block of samples."""
        count, mean = len(samples), float(samples.mean(dtype=np.float64))
        squares = float(np.square(samples - mean, dtype=np.float64).sum())
        total = self.count + count
        self.squares += squares + (mean - self.mean) ** 2 * self.count * count / total
        self.mean += (mean - self.mean) * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        """Standard deviation of all samples (divisor n)."""
        return float(np.sqrt(self.squares / self.count))


@dataclass
class PartWriter:
    """Writer of segments. The segments of a subject are standardised when the subject is complete."""

    file: BinaryIO
    corpus: str
    samples: int
    by_segment: bool = False
    """Whether each segment is standardised by itself."""
    channels: tuple[str, ...] = ()
    rows: list[pd.DataFrame] = field(default_factory=list)
    segments: int = 0
    notes: list[Note] = field(default_factory=list)

    def append(self, recordings: Iterator[Recording]) -> float:
        """Append all recordings of a subject, at the rate of the store, and return their duration in seconds.

        Each channel gets zero mean and unit variance over all recordings of the subject, or over each segment:
        ``(x - mean) / deviation``. Channels are matched by name. Recordings in an unknown unit are standardised
        apart from those in a known one, and from those in another unknown unit.

        Raises:
            DataError: A recording has other channels than those before.
        """
        spreads: dict[tuple[str, str], RunningMoments] = {}
        blocks: list[tuple[int, int, tuple[str, ...], str]] = []
        seconds, subject = 0.0, ""
        for recording in recordings:
            unit = MODALITIES[recording.modality].unit if recording.calibrated else recording.unit or "unknown"
            for name, samples in zip(recording.channels, recording.signal, strict=True):
                spreads.setdefault((name, unit), RunningMoments()).add(samples)
            blocks += [(*block, unit) for block in self._write(recording)]
            seconds += recording.seconds
            subject = f"{recording.modality} of subject {recording.subject}"
        for first, count, names, unit in blocks if not self.by_segment else ():
            self._standardise(first, count=count, spreads=[spreads[name, unit] for name in names])
        units = dict.fromkeys(unit for *_, unit in blocks)
        if len(units) > 1 and not self.by_segment:
            reason = f"its recordings in different units were standardised apart: {'; '.join(units)}"
            self.notes.append(Note(what=subject, reason=reason))
        return seconds

    def _write(self, recording: Recording) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        segments = cut(recording, samples=self.samples)
        separate = MODALITIES[recording.modality].separate_leads
        if separate:
            shares = [
                (name, (recording.modality,), segments[:, number : number + 1])
                for number, name in enumerate(recording.channels)
            ]
        else:
            shares = [(ALL_CHANNELS, recording.channels, segments)]
        for name, channels, share in shares:
            self._check_channels(recording, channels=channels)
            samples = standardise_each(share) if self.by_segment else share
            self.file.write(np.ascontiguousarray(samples, dtype="<f4").tobytes())
            self.rows.append(self._describe(recording, count=len(share), name=name))
            yield self.segments, len(share), (name,) if separate else recording.channels
            self.segments += len(share)

    def _check_channels(self, recording: Recording, *, channels: tuple[str, ...]) -> None:
        self.channels = self.channels or channels
        if channels != self.channels:
            raise DataError(
                f"{recording}: its channels are {', '.join(channels)}, expected {', '.join(self.channels)} "
                "as in the recordings before it; all must have the same channels"
            )

    def _standardise(self, first: int, *, count: int, spreads: list[RunningMoments]) -> None:
        self.file.flush()
        shape = (count, len(self.channels), self.samples)
        block = np.memmap(self.file, dtype="<f4", mode="r+", offset=4 * first * math.prod(shape[1:]), shape=shape)
        mean = np.array([spread.mean for spread in spreads])[:, None]
        deviation = np.array([spread.deviation for spread in spreads])[:, None]
        block[:] = (block - mean) / deviation

    def _describe(self, recording: Recording, *, count: int, name: str) -> pd.DataFrame:
        length = self.samples / recording.fs
        offset = -recording.start % length
        starts = offset + np.arange(count) * length
        return pd.DataFrame(
            {
                "corpus": self.corpus,
                "subject": recording.subject,
                "session": recording.session,
                "channel": name,
                "start": np.round(recording.start + starts, 6),
                "condition": [recording.condition_of(start, end=start + length) for start in starts],
                **({"split": recording.split} if recording.split else {}),
                "rating_arousal": np.nan,
                "rating_valence": np.nan,
                **{f"rating_{what}": float(value) for what, value in recording.ratings.items()},
                **{f"lowest_{what}": float(recording.scales[what][0]) for what in recording.ratings},
                **{f"highest_{what}": float(recording.scales[what][1]) for what in recording.ratings},
            }
        )


def standardise_each(
    segments: Float32[np.ndarray, "segment channel time"],
) -> Float32[np.ndarray, "segment channel time"]:
    """Return segments of which each channel has zero mean and unit variance; a constant channel is 0."""
    samples = segments.astype(np.float64)
    centred = samples - samples.mean(axis=2, keepdims=True)
    deviation = samples.std(axis=2, keepdims=True)
    flat = deviation <= CONSTANT_TOLERANCE * np.abs(samples).max(axis=2, keepdims=True)
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, deviation)).astype(np.float32)


def prepare_part(job: PreparationJob) -> PreparedPart:
    """Read, filter, resample, standardise and cut a part of a corpus; a finished part is only read.

    Raises:
        DataError: In strict mode, a recording cannot be used; the recordings of a subject are not consecutive; or
            the reader did not account for every recording (`CorpusPart.recordings`).
        OSError: The part cannot be written.
    """
    finished = read_finished_part(job.output)
    if finished is not None:
        return finished
    left_out: list[Exclusion] = []
    notes: list[Note] = []
    subjects: list[str] = []
    seconds, used, unused = 0.0, 0, 0

    def usable_recordings() -> Iterator[Recording]:
        nonlocal used, unused
        items = job.reader.read(job.corpus_part, job.settings.modality, job.corpus_settings)
        for result in prepared_recordings(items, settings=job.settings, strict=job.strict):
            left_out.extend(result.left_out)
            notes.extend(result.notes)
            used += bool(result.parts)
            unused += not result.parts
            yield from result.parts

    with signal_file(job.output).open("w+b") as file:
        by_segment = job.settings.normalise == "segment"
        writer = PartWriter(file, corpus=job.collection, samples=job.settings.samples, by_segment=by_segment)
        for subject, group in itertools.groupby(usable_recordings(), key=lambda recording: recording.subject):
            if subject in subjects:
                raise DataError(
                    f"{job.reader.name}, {job.corpus_part.name}: the reader yields the recordings of subject {subject} "
                    "in several places; they must come one after the other"
                )
            subjects.append(subject)
            seconds += writer.append(group)
        os.fsync(file.fileno())
    expected = job.corpus_part.recordings
    if expected is not None and used + unused != expected:
        raise DataError(
            f"{job.reader.name}, {job.corpus_part.name}: {used} recordings were read and {unused} left out, where the "
            f"corpus lists {expected}; the reader loses recordings"
        )
    part = PreparedPart(
        channels=writer.channels,
        subjects=tuple(subjects),
        recordings=used,
        unused=unused,
        segments=writer.segments,
        seconds=seconds,
        left_out=tuple(left_out),
        notes=(*notes, *writer.notes),
    )
    if writer.rows:
        write_index(pd.concat(writer.rows, ignore_index=True), file=index_file(job.output))
    write_atomically(_about_file(job.output), part.model_dump_json().encode())
    return part


def write_index(index: pd.DataFrame, *, file: Path) -> None:
    """Write an index table. Equal tables give equal files, since pandas' metadata, with its version, are removed."""
    pq.write_table(pa.Table.from_pandas(index, preserve_index=False).replace_schema_metadata(None), file)


def read_finished_part(part: Path) -> PreparedPart | None:
    """Return a part that a previous run finished, or None."""
    try:
        content: Mapping[str, Any] = json.loads(_about_file(part).read_bytes())
    except FileNotFoundError:
        return None
    return PreparedPart.model_validate(content)


def signal_file(part: Path) -> Path:
    """Return the file of a part's segments."""
    return part.with_name(f"{part.name}.signal")


def index_file(part: Path) -> Path:
    """Return the file of a part's index table."""
    return part.with_name(f"{part.name}.parquet")


def _about_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
