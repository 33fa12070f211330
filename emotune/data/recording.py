"""What a reader hands over: one stretch of one subject's signal, its unit fixed by the modality."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from emotune.data.modality import MODALITIES, Modality
from emotune.data.signals import heart_rates
from emotune.errors import DataError

SMALLEST_MOVE = 1e-7
"""Of a channel's largest value: what moves less is constant but for rounding."""


@dataclass(frozen=True)
class Interval:
    """A labelled part of a recording, in seconds from its start."""

    start: float
    end: float
    condition: str


@dataclass(frozen=True)
class SkippedItem:
    """What a reader yields in place of a recording."""

    subject: str
    """Empty if it is no matter of one subject."""
    source: str
    """The file, below the corpus's folder, and, if it is a part of it, which."""
    reason: str
    """Why, in a line."""

    def __str__(self) -> str:
        return f"{_place(self.subject, source=self.source)}: {self.reason}"


class UnreadableRecording(SkippedItem):
    """A recording is damaged or not as its corpus should be; the reason says what was found and expected."""


class ExcludedData(SkippedItem):
    """A recording, a channel or files are left out on purpose.

    Reasons that are the same word for word are counted together.
    """


@dataclass(frozen=True)
class Exclusion:
    """Something of a corpus that did not become segments."""

    what: str
    reason: str

    @classmethod
    def of(cls, item: SkippedItem) -> "Exclusion":
        """Tell what a reader left out."""
        return cls(what=_place(item.subject, source=item.source), reason=item.reason)

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}"


def _place(subject: str, *, source: str) -> str:
    return f"subject {subject} ({source})" if subject else source


@dataclass(frozen=True, eq=False)
class Recording:
    """One stretch of one subject's signal. ECG is in mV, EEG in uV, unless it says otherwise.

    Attributes:
        signal: The samples.
        fs: Samples per second.
        modality: What was recorded; all channels are of this kind.
        subject: Who; the same name in every recording of a person.
        session: Which recording or video; the same for the ECG and the EEG of one moment, and different
            in recordings that do not follow each other.
        channels: A name per channel. Channels of one recording were recorded at the same time.
        start: Seconds from the beginning of the session to the first sample.
        ratings: What the subject said, by name, for instance arousal and valence; may be empty.
        scales: The lowest and the highest possible value of each rating.
        condition: A label of the whole recording, for instance ``rest``; empty if there is none.
        intervals: Labels of parts of it; they go before ``condition``.
        source: The file it came from, for messages.
        calibrated: False if the unit is not known (ADC counts): then the spread is not checked.
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

    def __str__(self) -> str:
        file = f" ({self.source})" if self.source else ""
        return f"{self.modality} of subject {self.subject}, session {self.session}{file}"

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.signal.shape[1] / self.fs

    def condition_of(self, start: float, *, end: float) -> str:
        """Return the label of the part from ``start`` to ``end``, in seconds.

        It is the label of the interval that holds the whole part, to a sample; nothing if the part
        reaches beyond it, and the recording's own label if there are no intervals at all.
        """
        if not self.intervals:
            return self.condition
        slack = 1 / self.fs
        for interval in self.intervals:
            if interval.start - slack <= start and end <= interval.end + slack:
                return interval.condition
        return ""

    def check(self) -> None:
        """Refuse a recording that would make silent nonsense.

        Raises:
            DataError: It is empty, holds a number that is not finite, has a channel that never moves,
                a spread that hints at another unit, a sampling rate at which no heart beats, or a
                rating outside its scale. The message names subject, session and file.
        """
        self._check_rate()
        self._check_samples()
        self._check_spread()
        self._check_ratings()
        self._check_heart_rate()

    def _check_rate(self) -> None:
        if not (math.isfinite(self.fs) and self.fs > 0):
            raise DataError(f"{self}: the sampling rate is {self.fs}, where a number of Hz above 0 was expected")

    def _check_samples(self) -> None:
        if self.signal.size == 0:
            raise DataError(f"{self}: there is no signal in it. Take it out of the corpus or skip bad recordings.")
        if len(self.channels) != len(self.signal):
            raise DataError(
                f"{self}: {len(self.signal)} channels, but {len(self.channels)} names: {', '.join(self.channels)}"
            )
        bad = int(np.count_nonzero(~np.isfinite(self.signal)))
        if bad:
            raise DataError(
                f"{self}: {bad} of {self.signal.size} samples are not finite numbers. "
                "Fill such gaps or cut them out before."
            )
        flat = np.ptp(self.signal, axis=1) <= SMALLEST_MOVE * np.abs(self.signal).max(axis=1)
        if flat.any():
            names = ", ".join(np.asarray(self.channels)[flat])
            raise DataError(f"{self}: channel {names} never moves. Was the electrode connected? Leave it out.")

    def _check_spread(self) -> None:
        spread = float(np.median(self.signal.std(axis=1, dtype=np.float64)))
        spec = MODALITIES[self.modality]
        low, high = spec.plausible_spread
        if self.calibrated and not low <= spread <= high:
            raise DataError(
                f"{self}: the signal's standard deviation is {spread:.3g}, where {low} to {high} "
                f"{spec.unit} would be plausible. Is the reader handing over another unit? "
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
        known: list[float] = []
        for channel in self.signal:
            rates = heart_rates(channel, fs=self.fs)
            if any(low <= rate <= high for rate in rates):
                return
            known += [rate for rate in rates if math.isfinite(rate)]
        if known:
            raise DataError(
                f"{self}: the heart would beat {float(np.median(known)):.0f} times a minute, where "
                f"{low:g} to {high:g} is plausible. Is the sampling rate of {self.fs:g} Hz right?"
            )
