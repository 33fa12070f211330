"""One recording by itself, prepared as a corpus is: there is no more of the person than this."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from emotune.data.corpora.folder import ManifestEntry, recording_of
from emotune.data.corpora.formats import read_file
from emotune.data.modality import MODALITIES, Modality
from emotune.data.prepare.parts import PartWriter
from emotune.data.prepare.segments import PrepareSettings, prepared_recordings
from emotune.data.recording import Exclusion, Recording
from emotune.errors import DataError, SettingsError

REASONS_NAMED = 3
CHANNELS_NAMED = 12


@dataclass(frozen=True, eq=False)
class PreparedSegments:
    """PreparedSegments of one recording, standardised over that recording, and what of it was left out."""

    index: pd.DataFrame
    """As a store's: ``channel`` (an ECG lead, or ``all``) and ``start`` in seconds, for each segment."""
    signals: Float32[np.ndarray, "segment channel time"]
    left_out: tuple[Exclusion, ...] = ()


def standardised_segments(recordings: Iterable[Recording], *, settings: PrepareSettings) -> PreparedSegments:
    """Cut recordings of one person, already filtered and resampled, into standardised segments.

    Each channel gets zero mean and unit variance over all that is given, by the code that makes
    stores.

    Args:
        recordings: As `filter_and_resample` returns them; at least one of a segment's length.
        settings: How long segments are.
    """
    with tempfile.TemporaryFile() as file:
        writer = PartWriter(file, corpus="", samples=settings.samples)
        writer.append(iter(recordings))
        file.seek(0)
        samples = np.frombuffer(file.read(), dtype="<f4").astype(np.float32)
    shape = (writer.segments, len(writer.channels), settings.samples)
    return PreparedSegments(pd.concat(writer.rows, ignore_index=True), samples.reshape(shape))


def read_single(
    path: Path, *, modality: Modality, channels: tuple[str, ...] = (), fs: float | None = None
) -> Recording:
    """Read a file that no manifest tells anything about.

    Args:
        path: A recording in one of `emotune.data.corpora.formats.FORMATS`.
        modality: What to take from it.
        channels: Its channels by name, in this order; of an ECG all leads if there are none.
        fs: Samples per second, where the file does not say.

    Raises:
        SettingsError: There is no such file.
        DataError: It cannot be read, has no such channels, or its rate is not known.
    """
    if not path.is_file():
        raise SettingsError(f"{path} is no file; give a recording")
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
        chosen = [channel for channel in raw.channels if channel.modality == modality]
        if any(channel.fs is None for channel in chosen) and fs is None:
            raise DataError("its sampling rate is not known; give it with --fs")
        recording = recording_of(raw, entry=entry, modality=modality, names=channels)
        if recording is None:
            names = [f"{channel.name} ({channel.modality or 'other'})" for channel in raw.channels]
            label = MODALITIES[modality].label
            more = f" and {len(names) - CHANNELS_NAMED} more" if len(names) > CHANNELS_NAMED else ""
            there = ", ".join(names[:CHANNELS_NAMED]) or "none"
            raise DataError(f"it has no {label} channel, which the model needs; it has: {there}{more}")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return recording


def prepare_single(recording: Recording, *, settings: PrepareSettings) -> PreparedSegments:
    """Check, filter, resample, standardise and cut one recording as the preparation of a store does.

    Dead leads and gaps are left out; start times count from the beginning of the recording.

    Raises:
        DataError: Nothing of it can be used; the message says why, without naming the file.
    """
    parts = list(prepared_recordings([recording], settings=settings))
    left_out = tuple(_short(one, recording=recording) for one in parts if isinstance(one, Exclusion))
    good = [one for one in parts if isinstance(one, Recording)]
    if not good:
        reasons = list(dict.fromkeys(f"{one.what}: {one.reason}" if one.what else one.reason for one in left_out))
        more = f"; and {len(reasons) - REASONS_NAMED} more" if len(reasons) > REASONS_NAMED else ""
        raise DataError("; ".join(reasons[:REASONS_NAMED]) + more)
    made = standardised_segments(good, settings=settings)
    return PreparedSegments(made.index, made.signals, left_out)


def _short(left_out: Exclusion, *, recording: Recording) -> Exclusion:
    """Leave out of a remark what it says of subject and file, which are the same in all of them."""
    return Exclusion(what=left_out.what.removeprefix(str(recording)).removeprefix(", "), reason=left_out.reason)
