"""From the recordings of a subject to segments: check, filter, resample, standardise, cut."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32
from pydantic import Field, field_validator, model_serializer, model_validator

from emotune.base import Settings
from emotune.data.corpora.reader import Item
from emotune.data.modality import DEFAULT_MODALITY, MODALITIES, Modality
from emotune.data.prepare.quality import clean_parts
from emotune.data.recording import ExcludedData, Exclusion, Note, Recording, SkippedItem
from emotune.data.signals import band_pass, check_band, resample
from emotune.errors import DataError

NOTHING_LEFT = 1e-6
"""Share of a channel's spread that the filter must leave; less is its rounding."""


DEFAULTS = MODALITIES[DEFAULT_MODALITY]


ADDED_SETTINGS = ("filter",)
"""Settings that older versions did not have; they are written only where they differ from what those versions did."""


class PrepareSettings(Settings):
    """How recordings become segments."""

    modality: Modality = DEFAULT_MODALITY
    """What to take from the corpus: each ECG lead by itself, or all EEG channels together."""

    seconds: float = Field(default=DEFAULTS.seconds, gt=0)
    """Length of a segment."""

    rate: int = Field(default=DEFAULTS.rate, ge=1)
    """Samples per second of the segments."""

    band: tuple[float, float] = DEFAULTS.band
    """Frequencies that are kept, in Hz."""

    order: int = Field(default=DEFAULTS.order, ge=1, le=10)
    """Order of the Butterworth filter at each edge."""

    filter: Literal["zero_phase", "causal", "none"] = "zero_phase"
    """How the band is filtered: ``zero_phase`` (forwards and backwards, as published), ``causal`` (forwards only: a
    sample depends on no later one, as in a device that predicts while it records) or ``none`` (all frequencies up to
    half of ``rate`` are kept, and ``band`` and ``order`` have no effect)."""

    normalise: Literal["subject", "segment"] = "subject"
    """Zero mean and unit variance, channel by channel: over all of a subject's filtered signal (``subject``), or over
    each segment by itself (``segment``)."""

    @model_validator(mode="before")
    @classmethod
    def _take_defaults_of_modality(cls, given: Any) -> Any:
        modality = given.get("modality") if isinstance(given, dict) else None
        spec = MODALITIES.get(modality) if isinstance(modality, str) else None
        if spec is None:
            return given
        return {"seconds": spec.seconds, "rate": spec.rate, "band": spec.band, "order": spec.order, **given}

    @field_validator("band", mode="before")
    @classmethod
    def _list_as_tuple(cls, given: Any) -> Any:
        """Return a list as a tuple: what the validator above returns is no JSON, in which a list would be accepted."""
        return tuple(given) if isinstance(given, list) else given

    @model_validator(mode="after")
    def _check(self) -> "PrepareSettings":
        low, high = self.band
        if not 0 < low < high:
            raise ValueError(f"band: {low:g} to {high:g} Hz was given, expected 0 < lower edge < upper edge")
        if self.filter != "none" and high >= self.rate / 2:
            raise ValueError(
                f"band: it reaches {high:g} Hz, but {self.rate} samples per second hold nothing from "
                f"{self.rate / 2:g} Hz on; lower the edge or raise rate"
            )
        if not (self.seconds * self.rate).is_integer():
            raise ValueError(f"seconds: {self.seconds:g} s at {self.rate} Hz is not a whole number of samples")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_added(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Leave out a setting that older versions did not have, where it means what they did: fingerprints stay."""
        content = dump(self)
        for name in ADDED_SETTINGS:
            if getattr(self, name) == type(self).model_fields[name].default:
                content.pop(name, None)
        return content

    @property
    def filter_text(self) -> str:
        """What the filter does, in words."""
        if self.filter == "none":
            return "not filtered"
        low, high = self.band
        phase = "zero phase" if self.filter == "zero_phase" else "causal"
        return f"filtered from {low:g} to {high:g} Hz (Butterworth, order {self.order} at each edge, {phase})"

    @property
    def band_text(self) -> str:
        """The frequencies that are kept, in few words."""
        low, high = self.band
        return "not filtered" if self.filter == "none" else f"{low:g} to {high:g} Hz"

    @property
    def samples(self) -> int:
        """Samples of a segment."""
        return round(self.seconds * self.rate)


@dataclass(frozen=True, eq=False)
class PreparedRecording:
    """What became of one item of a reader: it is used, or it is left out with a reason."""

    parts: tuple[Recording, ...]
    """The parts that are used, filtered and resampled; none if the recording is left out."""
    left_out: tuple[Exclusion, ...]
    """What is left out, with the reason. There is a reason if there are no parts."""
    notes: tuple[Note, ...] = ()
    """Facts about how it was read, if it is used."""


def prepared_recordings(
    items: Iterable[Item], *, settings: PrepareSettings, strict: bool = False
) -> Iterator[PreparedRecording]:
    """Check, filter and resample recordings one by one; every item gives exactly one result.

    Dead channels and gaps are left out (`emotune.data.prepare.quality`), and so is what is shorter than a
    segment or cannot be used.

    Args:
        items: What a reader yields.
        settings: Band and rate.
        strict: Stop at damaged files and implausible signals.

    Raises:
        DataError: In strict mode, a recording cannot be read or used.
    """
    for item in items:
        if isinstance(item, SkippedItem):
            if strict and not isinstance(item, ExcludedData):
                raise DataError(str(item))
            yield PreparedRecording((), (Exclusion.of(item),))
        else:
            yield _prepared(item, settings=settings, strict=strict)


def _prepared(recording: Recording, *, settings: PrepareSettings, strict: bool) -> PreparedRecording:
    results = [
        _prepare_or_exclude(part, settings=settings, strict=strict)
        for part in clean_parts(recording, seconds=settings.seconds)
    ]
    parts = tuple(result for result in results if isinstance(result, Recording))
    left_out = tuple(result for result in results if isinstance(result, Exclusion))
    if not parts:
        reason = f"no part between its gaps has the length of a segment, {settings.seconds:g} s"
        return PreparedRecording((), left_out or (Exclusion(what=str(recording), reason=reason),))
    notes = tuple(Note(what=str(recording), reason=note) for note in recording.notes)
    return PreparedRecording(parts, tuple(dataclasses.replace(item, partial=True) for item in left_out), notes)


def _prepare_or_exclude(
    part: Recording | Exclusion, *, settings: PrepareSettings, strict: bool
) -> Recording | Exclusion:
    if isinstance(part, Exclusion):
        return part
    try:
        filtered = filter_and_resample(part, settings=settings)
    except DataError as error:
        if strict:
            raise
        return Exclusion(what=str(part), reason=str(error).removeprefix(f"{part}: "))
    if filtered.signal.shape[1] - samples_to_skip(filtered, samples=settings.samples) < settings.samples:
        return Exclusion(
            what=f"{part}, {part.seconds:.1f} s", reason=f"shorter than a segment of {settings.seconds:g} s"
        )
    return filtered


def filter_and_resample(recording: Recording, *, settings: PrepareSettings) -> Recording:
    """Check, filter and resample a recording.

    Raises:
        DataError: It cannot be used (`Recording.check`), does not hold the band, or has nothing in it.
    """
    low, high = settings.band
    try:
        if recording.fs > 0 and settings.filter != "none":
            check_band(fs=recording.fs, high=high)  # first: at a low rate no beats are found either
        recording.check()
        filtered = _filtered(recording, settings=settings)
    except DataError as error:
        raise DataError(f"{recording}: {str(error).removeprefix(f'{recording}: ')}") from error
    before = recording.signal.std(axis=1, dtype=np.float64)
    empty = filtered.std(axis=1) <= NOTHING_LEFT * before
    if empty.any():
        names = ", ".join(np.asarray(recording.channels)[empty])
        raise DataError(f"{recording}: channel {names} has no signal between {low:g} and {high:g} Hz. Leave it out.")
    signal = resample(filtered, fs=recording.fs, rate=settings.rate)
    return dataclasses.replace(recording, signal=signal, fs=float(settings.rate))


def _filtered(recording: Recording, *, settings: PrepareSettings) -> Float[np.ndarray, "channel time"]:
    if settings.filter == "none":
        signal = np.asarray(recording.signal, dtype=np.float64)
        return signal - signal.mean(axis=1, keepdims=True)  # resampling continues a signal by zeros
    low, high = settings.band
    causal = settings.filter == "causal"
    return band_pass(recording.signal, fs=recording.fs, low=low, high=high, order=settings.order, causal=causal)


def samples_to_skip(recording: Recording, *, samples: int) -> int:
    """Return how many samples to drop for the first segment to begin at a multiple of its length in the session.

    So the leads and modalities of a session keep the same time stamps, wherever their gaps are.
    """
    return -round(recording.start * recording.fs) % samples


def cut(recording: Recording, *, samples: int) -> Float32[np.ndarray, "segment channel time"]:
    """Cut a recording into segments, one right after the other; what is left at both ends is dropped."""
    signal = recording.signal[:, samples_to_skip(recording, samples=samples) :]
    count = signal.shape[1] // samples
    parts = signal[:, : count * samples].reshape(len(signal), count, samples)
    return np.ascontiguousarray(parts.transpose(1, 0, 2), dtype=np.float32)
