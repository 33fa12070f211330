"""Recordings, as readers return them, and the checks that every recording must pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from emotune.data.modality import MODALITIES, Modality
from emotune.data.signals import beat_prominence, heart_rates
from emotune.errors import DataError

HIGHEST_RATE_HZ = 100_000.0
"""Largest sampling rate of a recording (Hz)."""

CONSTANT_TOLERANCE = 1e-7
"""A channel is constant if its range is at most this share of its largest absolute value (rounding of float32)."""

LEAST_BEAT_PROMINENCE = 2.7
"""Smallest `emotune.data.signals.beat_prominence` of a signal with heart beats. Noise has up to 2.5."""

RATE_AGREEMENT = 0.05
"""Largest relative difference of two estimates of the heart rate that confirm each other, where beats hardly stand out:
above 190 per minute they follow each other so closely."""


@dataclass(frozen=True)
class Interval:
    """A labelled part of a recording; ``start`` and ``end`` are in seconds from the start of the recording."""

    start: float
    end: float
    condition: str


@dataclass(frozen=True)
class SkippedItem:
    """An item that a reader yields where a recording cannot or shall not be used."""

    subject: str
    """Name of the subject; empty if the item concerns no single subject."""
    source: str
    """Path of the file below the folder of the corpus, and the part of the file where it is only a part."""
    reason: str
    """The reason in one line."""

    def __str__(self) -> str:
        return f"{_place(self.subject, source=self.source)}: {self.reason}"


class UnreadableRecording(SkippedItem):
    """A damaged recording. The reason says what the file holds and what was expected."""


class ExcludedData(SkippedItem):
    """A recording, a channel or files that are excluded on purpose.

    Descriptions of stores count equal reasons together, so a reason must not name the item.
    """


@dataclass(frozen=True)
class Exclusion:
    """Data of a corpus that did not become segments, as ``left_out`` of a store lists them."""

    what: str
    """Subject, session and file, and the channel or part."""
    reason: str
    """The reason in one line; equal reasons are counted together."""
    partial: bool = False
    """True: another part of the same recording is used."""

    @classmethod
    def of(cls, item: SkippedItem) -> "Exclusion":
        """Return the entry for an item of a reader."""
        return cls(what=_place(item.subject, source=item.source), reason=item.reason)

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


@dataclass(frozen=True)
class Note:
    """A fact about how a recording was read, as ``notes`` of a store lists them. The recording is used."""

    what: str
    """Subject, session and file."""
    reason: str
    """The fact in one line; equal facts are counted together."""


def _place(subject: str, *, source: str) -> str:
    return f"subject {subject} ({source})" if subject else source


@dataclass(frozen=True, eq=False)
class Recording:
    """A continuous recording of one subject, in the unit of its modality (ECG in mV, EEG in uV).

    Attributes:
        signal: Samples of each channel. Missing samples are NaN.
        fs: Sampling rate in Hz.
        modality: Name of the modality of all channels, a key of `MODALITIES`.
        subject: Name of the subject, the same in every recording of a person.
        session: Name of the recording or video: the same for ECG and EEG of one moment, and different for
            recordings that do not follow each other.
        channels: Name of each channel. The channels were recorded at the same time.
        start: Time from the beginning of the session to the first sample, in seconds.
        ratings: The subject's ratings by name, for example arousal and valence; may be empty.
        scales: Lowest and highest possible value of each rating, by name.
        condition: Label of the whole recording, for example ``rest``; empty if there is none.
        intervals: Labels of parts of the recording. If there are any, ``condition`` is not used.
        source: The file, for messages.
        calibrated: False if the unit is not known (ADC counts). Then the spread is not checked.
        unit: The unit that the file states, if ``calibrated`` is False. A person's recordings in different units
            are standardised apart.
        gaps: Start and end (s) of the parts in which nothing was recorded. All channels are NaN there.
        notes: Facts about how the file was read that are not evident, for example a column that was passed over.
    """

    signal: Float[np.ndarray, "channel time"]
    fs: float
    modality: Modality
    subject: str
    session: str
    channels: tuple[str, ...]
    start: float = 0.0
    ratings: Mapping[str, float] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    condition: str = ""
    intervals: tuple[Interval, ...] = ()
    source: str = ""
    calibrated: bool = True
    unit: str = ""
    gaps: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        file = f" ({self.source})" if self.source else ""
        return f"{self.modality} of subject {self.subject}, session {self.session}{file}"

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.signal.shape[1] / self.fs

    def condition_of(self, start: float, *, end: float) -> str:
        """Return the label of the part from ``start`` to ``end``, in seconds from the start of the recording.

        It is the label of the interval that contains the part, with a tolerance of one sample; empty if no
        interval contains it. Without intervals it is ``condition``.
        """
        if not self.intervals:
            return self.condition
        tolerance = 1 / self.fs
        for interval in self.intervals:
            if interval.start - tolerance <= start and end <= interval.end + tolerance:
                return interval.condition
        return ""

    def check(self) -> None:
        """Check that the recording is plausible.

        Raises:
            DataError: The recording is empty, has a sample that is not finite, a constant channel, a standard
                deviation that is plausible only in another unit, a heart rate that is plausible only at another
                sampling rate, or a rating outside its scale. The message names subject, session and file.
        """
        self._check_rate()
        self._check_samples()
        self._check_spread()
        self._check_ratings()
        self._check_heart_rate()

    def _check_rate(self) -> None:
        if not (math.isfinite(self.fs) and 0 < self.fs <= HIGHEST_RATE_HZ):
            raise DataError(
                f"{self}: the sampling rate is {self.fs:g} Hz, expected more than 0 and up to {HIGHEST_RATE_HZ:g} Hz"
            )

    def _check_samples(self) -> None:
        if self.signal.size == 0:
            raise DataError(f"{self}: it has no samples. Remove it from the corpus, or let the reader exclude it.")
        if len(self.channels) != len(self.signal):
            raise DataError(
                f"{self}: {len(self.signal)} channels, but {len(self.channels)} names: {', '.join(self.channels)}"
            )
        bad = int(np.count_nonzero(~np.isfinite(self.signal)))
        if bad:
            raise DataError(
                f"{self}: {bad} of {self.signal.size} samples are not finite numbers. Fill such gaps or cut them out."
            )
        flat = np.ptp(self.signal, axis=1) <= CONSTANT_TOLERANCE * np.abs(self.signal).max(axis=1)
        if flat.any():
            names = ", ".join(np.asarray(self.channels)[flat])
            raise DataError(f"{self}: channel {names} is constant. Check the electrode, or leave the channel out.")

    def _check_spread(self) -> None:
        spread = float(np.median(self.signal.std(axis=1, dtype=np.float64)))
        spec = MODALITIES[self.modality]
        low, high = spec.plausible_spread
        if self.calibrated and not low <= spread <= high:
            raise DataError(
                f"{self}: the signal's standard deviation is {spread:.3g}, where {low} to {high} "
                f"{spec.unit} would be plausible. Check the unit that the reader returns. "
                f"Signals in {spec.base_unit} need a factor of {spec.per_base_unit:,.0f}."
            )

    def _check_ratings(self) -> None:
        for name, value in self.ratings.items():
            low, high = self.scales[name]
            if not low <= value <= high:
                raise DataError(f"{self}: {name} is rated {value}, where {low:g} to {high:g} was expected")

    def _check_heart_rate(self) -> None:
        plausible = MODALITIES[self.modality].plausible_heart_rate
        if plausible is None:
            return
        low, high = plausible
        pairs = [heart_rates(channel, fs=self.fs) for channel in self.signal]
        known = [rate for pair in pairs for rate in pair if math.isfinite(rate)]
        if not known:
            return
        prominent = any(beat_prominence(channel, fs=self.fs) >= LEAST_BEAT_PROMINENCE for channel in self.signal)
        agreed = [pair[0] for pair in pairs if abs(pair[0] - pair[1]) <= RATE_AGREEMENT * min(pair)]
        candidates = known if prominent else agreed
        if any(low <= rate <= high for rate in candidates):
            return
        if candidates:
            raise DataError(
                f"{self}: the heart rate is {float(np.median(known)):.0f} beats per minute, where "
                f"{low:g} to {high:g} is plausible. Check the sampling rate of {self.fs:g} Hz."
            )
        raise DataError(
            f"{self}: no heart beats were found. Check that it is {MODALITIES[self.modality].label}, and the sampling "
            f"rate of {self.fs:g} Hz."
        )
