"""Synthetic ECG and EEG with known effects of arousal and valence, for tests and demonstrations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import Recording
from emotune.randomness import stream

FS = 256
"""Sampling rate in Hz."""

STATES = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Arousal and valence of each recording of a subject, low (-1) or high (1), in this order."""

SCALES = {"arousal": (1.0, 9.0), "valence": (1.0, 9.0)}

WAVES = np.deg2rad([-70.0, -15.0, 0.0, 15.0, 100.0])
"""Phases of the peaks of P, Q, R, S and T in the cardiac cycle, in radians (McSharry et al. 2003, table 1)."""
HEIGHTS = np.array([0.15, -0.1, 1.0, -0.2, 0.3])
"""Heights of P, Q, R, S and T, in mV."""
WIDTHS = np.array([0.25, 0.1, 0.1, 0.1, 0.4])
"""Widths of P, Q, R, S and T, in radians of the cycle at 60 beats per minute (the same table)."""

ALPHA_BY_CHANNEL = np.array([0.5, 0.6, 0.6, 1.1, 1.5, 1.5, 1.1, 0.6, 0.6, 0.5])
LEFT_BY_CHANNEL = np.array([1, 1, 1, 1, 1, -1, -1, -1, -1, -1])

Wave = Float[np.ndarray, " time"]


class Synthetic(Settings):
    """Settings of the synthetic corpus: its size and the strength of the effects."""

    subjects: int = Field(default=12, ge=1)
    """Number of people."""

    seconds_per_state: float = Field(default=120.0, gt=0)
    """Length of a recording, in seconds; each subject has a recording in each of the four states."""

    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers; a subject's signals do not depend on the number of subjects."""

    arousal_heart_rate: float = Field(default=10.0, ge=0)
    """ECG: how much faster the heart beats at high arousal, in beats per minute."""

    arousal_variability: float = Field(default=2.0, ge=1)
    """ECG: how many times larger heart-rate variability is at low arousal."""

    valence_t_wave: float = Field(default=1.6, ge=1)
    """ECG: how many times higher the T wave is at high valence."""

    arousal_alpha: float = Field(default=1.6, ge=1)
    """EEG: how many times larger the alpha rhythm is at low arousal."""

    valence_asymmetry: float = Field(default=1.6, ge=1)
    """EEG: how many times larger alpha is on the right than on the left at high valence."""

    noise: float = Field(default=1.0, ge=0)
    """Noise and baseline wander, as a multiple of the usual."""


@dataclass(frozen=True)
class Person:
    """Properties of a subject. They vary more than the effects of the states."""

    heart_rate: float
    """At rest, in beats per minute."""
    variability: float
    """Relative spread of the heart rate."""
    shape: Float[np.ndarray, " wave"]
    """Factors on the heights of P, Q, R, S and T."""
    gain: float
    """Factor on the whole ECG, as an effect of the electrodes."""
    alpha_frequency: float
    alpha_height: float
    """Standard deviation of the alpha rhythm, in uV."""
    asymmetry: float
    """Ratio of alpha on the right to alpha on the left."""


def make_person(random: np.random.Generator) -> Person:
    """Draw the properties of a subject."""
    return Person(
        heart_rate=float(np.clip(random.normal(70, 12), 48, 100)),
        variability=float(0.03 * np.exp(np.clip(random.normal(0, 0.7), -1.2, 1.2))),
        shape=np.exp(random.normal(0, [0.3, 0.3, 0.1, 0.3, 0.5])),
        gain=float(np.exp(random.normal(0, 0.3))),
        alpha_frequency=float(random.uniform(8.5, 11.5)),
        alpha_height=float(12 * np.exp(random.normal(0, 0.5))),
        asymmetry=float(np.exp(random.normal(0, 0.5))),
    )


def make_ecg(
    person: Person, *, state: tuple[int, int], settings: Synthetic, random: np.random.Generator
) -> Float[np.ndarray, "channel time"]:
    """Return one lead of ECG at 256 Hz, in mV.

    The phase of the cardiac cycle advances with the momentary heart rate, which varies with breathing (about
    0.25 Hz) and blood pressure (0.1 Hz). P, Q, R, S and T are Gaussians of the phase.

    Args:
        person: Properties of the subject.
        state: Arousal and valence, each -1 or 1.
        settings: Length and strength of the effects.
        random: Generator of all other variation.

    Source:
        McSharry et al., "A dynamical model for generating synthetic electrocardiogram signals",
        IEEE Trans. Biomed. Eng. 50(3), 2003. Their equations of motion are replaced by the
        sum of Gaussians that they follow, which can be vectorised.
    """
    arousal, valence = state
    time = np.arange(round(settings.seconds_per_state * FS)) / FS
    rate = person.heart_rate + arousal * settings.arousal_heart_rate / 2
    swing = person.variability * settings.arousal_variability ** (-arousal / 2)
    breath = np.sin(2 * np.pi * (random.uniform(0.2, 0.3) * time + random.uniform()))
    pressure = np.sin(2 * np.pi * (0.1 * time + random.uniform()))
    beats = np.cumsum(rate / 60 * (1 + swing * (1.2 * breath + 0.8 * pressure))) / FS + random.uniform()
    shape = HEIGHTS * person.shape * np.array([1, 1, 1, 1, settings.valence_t_wave ** (valence / 2)])
    clean = _waves(2 * np.pi * beats, heights=shape, widths=WIDTHS * np.sqrt(rate / 60))
    wander = 0.15 * np.sin(2 * np.pi * (0.05 * time + random.uniform())) + 0.05 * breath
    noise = 0.03 * random.standard_normal(len(time))
    return (person.gain * clean + settings.noise * (wander + noise))[None].astype(np.float32)


def _waves(phase: Wave, *, heights: Float[np.ndarray, " wave"], widths: Float[np.ndarray, " wave"]) -> Wave:
    signal = np.zeros_like(phase)
    for centre, height, width in zip(WAVES, heights, widths, strict=True):
        distance = np.mod(phase - centre + np.pi, 2 * np.pi) - np.pi
        signal += height * np.exp(-(distance**2) / (2 * width**2))
    return signal


def make_eeg(
    person: Person, *, state: tuple[int, int], settings: Synthetic, random: np.random.Generator
) -> Float[np.ndarray, "channel time"]:
    """Return ten channels of EEG at 256 Hz, in uV: a background that falls with frequency, and alpha.

    Arousal reduces alpha in all channels; valence shifts alpha to the right side.

    Args:
        person: Properties of the subject.
        state: Arousal and valence, each -1 or 1.
        settings: Length and strength of the effects.
        random: Generator of all other variation.
    """
    arousal, valence = state
    length = round(settings.seconds_per_state * FS)
    frequency = np.fft.rfftfreq(length, 1 / FS)
    background = _coloured(1 / np.maximum(frequency, 0.5), channels=len(TEN_CHANNELS), length=length, random=random)
    rhythm = np.exp(-(((frequency - person.alpha_frequency) / 0.7) ** 2) / 2)
    shared = _coloured(rhythm, channels=1, length=length, random=random)
    own = _coloured(rhythm, channels=len(TEN_CHANNELS), length=length, random=random)
    height = person.alpha_height * settings.arousal_alpha ** (-arousal / 2)
    ratio = person.asymmetry * settings.valence_asymmetry ** (valence / 2)
    sides = ratio ** (-LEFT_BY_CHANNEL / 2)
    alpha = height * (ALPHA_BY_CHANNEL * sides)[:, None] * (0.8 * shared + 0.6 * own)
    return (alpha + 10 * settings.noise * background).astype(np.float32)


def _coloured(
    spectrum: Float[np.ndarray, " frequency"], *, channels: int, length: int, random: np.random.Generator
) -> Float[np.ndarray, "channel time"]:
    """Return noise of unit variance with a given amplitude spectrum."""
    white = np.fft.rfft(random.standard_normal((channels, length)), axis=1)
    signal = np.fft.irfft(white * spectrum, n=length, axis=1)
    return signal / signal.std(axis=1, keepdims=True)


GENERATORS: dict[Modality, tuple[Callable[..., Float[np.ndarray, "channel time"]], tuple[str, ...]]] = {
    "ecg": (make_ecg, ("ECG",)),
    "eeg": (make_eeg, TEN_CHANNELS),
}
"""The function that generates a modality, and the names of the channels it returns."""


def list_parts(folder: Path | None, settings: Synthetic) -> Iterator[CorpusPart]:
    """Yield a part for each subject."""
    for number in range(settings.subjects):
        yield CorpusPart(name=f"s{number + 1:03d}", folder=folder)


def read(part: CorpusPart, modality: Modality, settings: Synthetic) -> Iterator[Item]:
    """Generate a subject's recordings."""
    make, channels = GENERATORS[modality]
    number = int(part.name[1:]) - 1
    person = make_person(stream(settings.seed, "person", number))
    for state in STATES:
        random = stream(settings.seed, modality, number, *state)
        ratings = stream(settings.seed, "ratings", number, *state).uniform(-1.5, 1.5, size=2) + 5
        yield Recording(
            signal=make(person, state=state, settings=settings, random=random),
            fs=float(FS),
            modality=modality,
            subject=part.name,
            session=_name(state),
            channels=channels,
            ratings=dict(zip(SCALES, (ratings + 2 * np.array(state)).tolist(), strict=True)),
            scales=SCALES,
            condition=_name(state),
        )


def _name(state: tuple[int, int]) -> str:
    arousal, valence = ("high" if side > 0 else "low" for side in state)
    return f"{arousal} arousal, {valence} valence"


READER = Reader(
    name="synthetic",
    modalities=tuple(GENERATORS),
    licence="none needed",
    where="generated; give no folder",
    description="Generated ECG and EEG with known effects of arousal, valence and subject",
    hours="as the settings say",
    settings=Synthetic,
    list_parts=list_parts,
    read=read,
    needs_folder=False,
)
