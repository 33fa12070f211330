"""From the recordings of a subject to segments: check, filter, resample, standardise, cut."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field, model_validator

from emotune.base import Settings
from emotune.data.reader import Item
from emotune.data.recording import Modality, Omitted, Recording, Unreadable
from emotune.data.signals import band_pass, resample, standardise
from emotune.errors import DataError

NOTHING_LEFT = 1e-6
"""Share of a channel's spread that the filter must leave; less is its rounding."""


class PrepareSettings(Settings):
    """How recordings become segments."""

    modality: Modality = "ecg"
    """What to take from the corpus: each ECG lead by itself, or all EEG channels together."""

    seconds: float = Field(default=10.0, gt=0)
    """Length of a segment."""

    rate: int = Field(default=128, ge=1)
    """Samples per second of the segments."""

    band: tuple[float, float] = (0.8, 50.0)
    """Frequencies that are kept, in Hz."""

    order: int = Field(default=8, ge=1, le=10)
    """Order of the Butterworth filter at each edge."""

    normalise: Literal["subject"] = "subject"
    """Zero mean and unit variance over all of a subject's filtered signal, channel by channel."""

    skip_bad: bool = False
    """Leave out what cannot be used, and list it, rather than stop."""

    @model_validator(mode="after")
    def _check(self) -> "PrepareSettings":
        low, high = self.band
        if not 0 < low < high:
            raise ValueError(f"band: {low:g} to {high:g} Hz was given; the edges must be above 0 and rise")
        if high >= self.rate / 2:
            raise ValueError(
                f"band: it reaches {high:g} Hz, but {self.rate} samples per second hold nothing from "
                f"{self.rate / 2:g} Hz on; lower the edge or raise rate"
            )
        if not (self.seconds * self.rate).is_integer():
            raise ValueError(f"seconds: {self.seconds:g} s at {self.rate} Hz is not a whole number of samples")
        return self

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return round(self.seconds * self.rate)


def usable(items: Iterable[Item], *, settings: PrepareSettings, skipped: list[str]) -> Iterator[Recording]:
    """Check, filter and resample recordings one by one.

    Args:
        items: What a reader yields.
        settings: Band, rate, and what happens to a bad recording.
        skipped: What is left out is noted here, in a line each: recordings shorter than a segment
            and, if the settings allow it, bad ones.

    Raises:
        DataError: A recording cannot be used.
    """
    for item in items:
        if isinstance(item, Omitted):
            skipped.append(str(item))
            continue
        try:
            recording = _ready(item, settings=settings)
        except DataError as error:
            if not settings.skip_bad:
                raise
            skipped.append(str(error))
            continue
        if recording.signal.shape[1] < settings.samples:
            skipped.append(f"{recording}: {recording.seconds:.1f} s, shorter than a segment of {settings.seconds:g} s")
            continue
        yield recording


def _ready(item: Recording | Unreadable, *, settings: PrepareSettings) -> Recording:
    if isinstance(item, Unreadable):
        raise DataError(str(item))
    item.check()
    low, high = settings.band
    try:
        filtered = band_pass(item.signal, fs=item.fs, low=low, high=high, order=settings.order)
    except DataError as error:
        raise DataError(f"{item}: {error}") from error
    before = item.signal.std(axis=1, dtype=np.float64)
    empty = filtered.std(axis=1) <= NOTHING_LEFT * before
    if empty.any():
        names = ", ".join(np.asarray(item.channels)[empty])
        raise DataError(f"{item}: channel {names} has nothing between {low:g} and {high:g} Hz. Leave it out.")
    signal = resample(filtered, fs=item.fs, rate=settings.rate)
    return dataclasses.replace(item, signal=signal, fs=float(settings.rate))


def standardise_subject(recordings: list[Recording]) -> list[Recording]:
    """Give each channel of a subject zero mean and unit variance over all recordings together.

    Channels belong together by name.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for recording in recordings:
        for name, samples in zip(recording.channels, recording.signal, strict=True):
            parts.setdefault(name, []).append(samples)
    joined = {name: np.concatenate(samples) for name, samples in parts.items()}
    means = {name: samples.mean() for name, samples in joined.items()}
    spreads = {name: samples.std() for name, samples in joined.items()}
    return [_standardise(recording, means=means, spreads=spreads) for recording in recordings]


def _standardise(recording: Recording, *, means: dict[str, np.float64], spreads: dict[str, np.float64]) -> Recording:
    mean = np.array([means[name] for name in recording.channels])
    spread = np.array([spreads[name] for name in recording.channels])
    return dataclasses.replace(recording, signal=standardise(recording.signal, mean=mean, spread=spread))


def cut(recording: Recording, *, samples: int) -> Float32[np.ndarray, "segment channel time"]:
    """Cut a recording into segments, one right after the other; the remainder is dropped."""
    channels, length = recording.signal.shape
    count = length // samples
    parts = recording.signal[:, : count * samples].reshape(channels, count, samples)
    return np.ascontiguousarray(parts.transpose(1, 0, 2), dtype=np.float32)
