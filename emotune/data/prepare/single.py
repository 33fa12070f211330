"""Preparation of a single recording, with the same steps as a corpus.

Standardisation uses this recording alone, since no other recording of the subject is known.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from emotune.data.corpora.manifest import MANIFEST, ManifestEntry
from emotune.data.corpora.selection import NoChannelError, recording_of
from emotune.data.formats.file import read_file
from emotune.data.modality import Modality
from emotune.data.prepare.parts import PartWriter
from emotune.data.prepare.segments import PrepareSettings, prepared_recordings
from emotune.data.recording import Exclusion, Note, Recording
from emotune.errors import DataError, SettingsError

REASONS_NAMED = 3
"""Number of reasons in a message."""

CHANNELS_NAMED = 12
"""Number of channels in a message."""


@dataclass(frozen=True, eq=False)
class PreparedSegments:
    """Segments of one recording, standardised over that recording, and what of it was left out."""

    index: pd.DataFrame
    """Index table as that of a store: among others ``channel`` (a lead, or ``all``) and ``start`` in seconds."""
    signals: Float32[np.ndarray, "segment channel time"]
    left_out: tuple[Exclusion, ...] = ()
    notes: tuple[Note, ...] = ()
    """Facts about how the recording was read."""


def standardised_segments(recordings: Iterable[Recording], *, settings: PrepareSettings) -> PreparedSegments:
    """Cut filtered and resampled recordings of one person into standardised segments.

    Each channel gets zero mean and unit variance over all given recordings, or over each segment, as in
    `PartWriter.append`.

    Args:
        recordings: As `filter_and_resample` returns them; at least one of a segment's length.
        settings: Settings of the preparation.
    """
    with tempfile.TemporaryFile() as file:
        by_segment = settings.normalise == "segment"
        writer = PartWriter(file, corpus="", samples=settings.samples, by_segment=by_segment)
        writer.append(iter(recordings))
        file.seek(0)
        samples = np.frombuffer(file.read(), dtype="<f4").astype(np.float32)
    shape = (writer.segments, len(writer.channels), settings.samples)
    return PreparedSegments(pd.concat(writer.rows, ignore_index=True), samples.reshape(shape))


def read_single(
    path: Path, *, modality: Modality, channels: tuple[str, ...] = (), fs: float | None = None
) -> Recording:
    """Read a recording that is in no manifest.

    Args:
        path: A file in one of `emotune.data.formats.file.FORMATS`.
        modality: The modality to take.
        channels: Names of the channels to take, in this order; all channels of the modality if empty.
        fs: Sampling rate in Hz, for a file that does not state it.

    Raises:
        SettingsError: There is no such file.
        DataError: The file cannot be read, lacks a channel, or its rate is not known.
    """
    if not path.is_file():
        raise SettingsError(f"{path} is not a file; give the path of a recording")
    entry = ManifestEntry(
        file=path.name,
        subject="unknown",
        session=path.stem,
        modality=None,
        fs=fs,
        condition="",
        ratings={},
        rating_range=(1.0, 9.0),
        units="",
        channels=(),
    )
    try:
        raw = read_file(path)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    try:
        return recording_of(raw, entry=entry, modality=modality, names=channels)
    except NoChannelError as error:
        names = [f"{channel.name} ({channel.modality or channel.passed_over or 'other'})" for channel in raw.channels]
        more = f" and {len(names) - CHANNELS_NAMED} more" if len(names) > CHANNELS_NAMED else ""
        present = (", ".join(names[:CHANNELS_NAMED]) or "none") + more
        what = str(error).partition(";")[0]
        raise DataError(f"{path}: {what}, which the model needs; it has: {present}") from error
    except DataError as error:
        raise DataError(f"{path}: {str(error).replace(f'in the column fs of {MANIFEST}', 'with --fs')}") from error


def prepare_single(recording: Recording, *, settings: PrepareSettings) -> PreparedSegments:
    """Check, filter, resample, standardise and cut one recording as `prepare` does.

    Dead leads and gaps are excluded. Start times are in seconds from the beginning of the recording.

    Raises:
        DataError: No part of it can be used; the message says why, without naming the file.
    """
    (result,) = prepared_recordings([recording], settings=settings)
    left_out = tuple(_shorten(part, recording=recording) for part in result.left_out)
    if not result.parts:
        reasons = list(dict.fromkeys(f"{item.what}: {item.reason}" if item.what else item.reason for item in left_out))
        more = f"; and {len(reasons) - REASONS_NAMED} more" if len(reasons) > REASONS_NAMED else ""
        raise DataError("; ".join(reasons[:REASONS_NAMED]) + more)
    segments = standardised_segments(result.parts, settings=settings)
    return PreparedSegments(segments.index, segments.signals, left_out, result.notes)


def _shorten(left_out: Exclusion, *, recording: Recording) -> Exclusion:
    """Remove subject and file from an entry, since they are the same in all entries."""
    return Exclusion(what=left_out.what.removeprefix(str(recording)).removeprefix(", "), reason=left_out.reason)
