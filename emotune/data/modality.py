"""The table of modalities: everything that depends on what kind of signal was recorded.

`MODALITIES` has one entry per modality. No other module compares a modality's name: it reads a field of
the entry. To add a modality (electrodermal activity, photoplethysmogram), write an entry here and offer
its name in the ``modalities`` of a reader; preparation, stores, pages, predictions and the command line
take the rest from the entry.

The module also holds what file formats say about a channel: its name, and from it the modality, and its unit.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from emotune.data.leads import LEAD_NAMES, is_other_quantity, lead_name
from emotune.errors import DataError

PREFIXES = {"": 1.0, "m": 1e-3, "milli": 1e-3, "u": 1e-6, "micro": 1e-6, "n": 1e-9, "nano": 1e-9}
"""Factors of the metric prefixes of units in files."""

UNIT_NAMES = {"V": r"v(olts?)?"}
"""Spellings of the base units, in small letters."""

UNIT_OF_NAME = re.compile(r"\s*(?:\[([^\[\]]*)\]|\(([^()]*)\))\s*$")
"""A unit in brackets at the end of a channel's name: ``ECG (mV)``."""

REFERENCES = r"REF[0-9]?|LE|LER|AR|AVG?|AVE|CAR|CE|LM|M1|M2|A1|A2|A12|A1\+?A2|M1\+?M2"
"""Common references at the end of a channel's name, in capital letters; those of a bipolar pair are not among them."""

TEN_CHANNELS = ("F7", "F3", "T7", "P7", "O1", "O2", "P8", "T8", "F4", "F8")
"""The EEG channels that all corpora of the papers have (10-20 system)."""

NEWER_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
"""Electrode positions that the extended 10-20 system renamed (American Clinical Neurophysiology Society, 2006)."""


@dataclass(frozen=True)
class PlotLayout:
    """Arrangement of the example segments on an inspection page."""

    examples: int
    """Number of segments."""
    columns: int
    """Panels in a row."""
    height: float
    """Height of a panel, in inches."""


@dataclass(frozen=True)
class ModelDefaults:
    """Hyperparameters whose published values depend on the modality."""

    pretraining_lr: float
    """Largest learning rate of the pre-training."""
    hidden: tuple[int, ...]
    """Units of the classifier's hidden layers."""
    dropout: float
    """Dropout of the classifier."""


@dataclass(frozen=True, kw_only=True)
class ModalitySpec:
    """Properties of a modality and the defaults that follow from it."""

    label: str
    """Name in titles and messages."""

    unit: str
    """Unit of `emotune.data.recording.Recording.signal`."""
    base_unit: str
    """The unit without a metric prefix."""
    per_base_unit: float
    """``unit`` per ``base_unit``; a signal in ``base_unit`` is multiplied by it."""
    plausible_spread: tuple[float, float]
    """Smallest and largest plausible standard deviation, in ``unit``."""
    plausible_heart_rate: tuple[float, float] | None = None
    """Smallest and largest plausible heart rate, in beats per minute; None: the heart rate is not estimated."""

    names: re.Pattern[str]
    """Names of its channels, after `normalise_name`. The first entry of the table that matches counts."""
    channels: tuple[str, ...] = ()
    """Channels taken from a file, in this order; empty: all channels of the modality."""
    separate_leads: bool
    """True: each channel becomes segments of one channel, and a dead channel is left out alone.
    False: all channels form one segment, and a recording with a dead channel is left out."""

    band: tuple[float, float] = (0.8, 50.0)
    """Edges of the band-pass filter, in Hz."""
    order: int = 8
    """Order of the Butterworth filter at each edge."""
    rate: int = 128
    """Sampling rate of the segments, in Hz."""
    seconds: float = 10.0
    """Length of a segment, in seconds."""

    plot: PlotLayout
    """Arrangement of the inspection page."""
    model: ModelDefaults
    """Published hyperparameters."""

    def factor_from(self, unit: str) -> float | None:
        """Return the factor from a file's unit to ``unit``; None if it is another quantity, such as ADC counts."""
        per_unit = base_units_per(unit, base=self.base_unit)
        return None if per_unit is None else per_unit * self.per_base_unit


MODALITIES: Mapping[str, ModalitySpec] = {
    "ecg": ModalitySpec(
        label="ECG",
        unit="mV",
        base_unit="V",
        per_base_unit=1e3,
        plausible_spread=(0.01, 20.0),
        plausible_heart_rate=(30.0, 220.0),
        names=LEAD_NAMES,
        separate_leads=True,
        plot=PlotLayout(examples=14, columns=1, height=1.05),
        # Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections IV-C and IV-D
        model=ModelDefaults(pretraining_lr=1e-3, hidden=(1024, 512), dropout=0.3),
    ),
    "eeg": ModalitySpec(
        label="EEG",
        unit="uV",
        base_unit="V",
        per_base_unit=1e6,
        plausible_spread=(0.5, 500.0),
        names=re.compile(r"(FP|AF|F|FT|FC|T|TP|C|CP|P|PO|O|I)(Z|[0-9]|10)"),
        channels=TEN_CHANNELS,
        separate_leads=False,
        plot=PlotLayout(examples=6, columns=2, height=3.3),
        # Vazquez-Rodriguez et al. 2022 (hal-03897400), section 4.3
        model=ModelDefaults(pretraining_lr=5e-4, hidden=(64,), dropout=0.6),
    ),
}
"""All modalities, by the name that settings, stores and manifests use."""

if TYPE_CHECKING:
    Modality = str
else:
    Modality = Literal[tuple(MODALITIES)]
"""Name of a modality. Settings refuse a name that is not in the table."""

DEFAULT_MODALITY: Modality = "ecg"
"""Modality that `emotune data prepare` takes from a corpus."""

FUSED_MODALITIES: tuple[Modality, Modality] = ("ecg", "eeg")
"""The modalities that late fusion joins, in the order of their features."""


def split_unit(name: str) -> tuple[str, str]:
    """Return a channel's name without the unit in brackets at its end, and the unit; empty if there is none."""
    match = UNIT_OF_NAME.search(name)
    return (name[: match.start()], (match[1] or match[2] or "").strip()) if match else (name, "")


def normalise_name(name: str) -> str:
    """Return the usual name of an electrode: ``EEG T3-Ref``, ``EEGT7``, ``T7..`` and ``t7`` all become ``T7``.

    Blanks, trailing dots, a unit in brackets, a leading ``EEG`` and a trailing reference are removed; letters
    become capitals; names of the old 10-20 system become those of the extended one.
    """
    bare = split_unit(name.replace("\0", "").strip())[0].rstrip(".").upper().strip().removeprefix("EEG ").strip()
    match = re.fullmatch(rf"(?:EEG|POL)?[ _:\-]*([A-Z]+(?:[0-9]+|Z))(?:[ _]*-[ _]*(?:{REFERENCES}))?", bare)
    if match and (MODALITIES["eeg"].names.fullmatch(match[1]) or re.match(r"[A-Z]+[0-9Z]*-", bare)):
        bare = match[1]
    return NEWER_NAMES.get(bare, bare)


def canonical_name(name: str) -> str:
    """Return the name by which two channels of a file are the same electrode or lead.

    Electrodes as `normalise_name`, leads as `emotune.data.leads.lead_name`.
    """
    return lead_name(normalise_name(name))


def channel_positions(names: Sequence[str], *, wanted: Sequence[str] = TEN_CHANNELS) -> list[int]:
    """Return the positions of the wanted channels among the names of a file, in the order of ``wanted``.

    Names are compared after `normalise_name`.

    Raises:
        DataError: A wanted channel is missing or occurs twice; the message lists the channels of the file.
    """
    known = [normalise_name(name) for name in names]
    missing = [name for name in wanted if normalise_name(name) not in known]
    if missing:
        present = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(known))
        raise DataError(f"it has no channel {', '.join(missing)}; it has {present or 'none'}")
    repeated = [name for name in wanted if known.count(normalise_name(name)) > 1]
    if repeated:
        raise DataError(f"it has channel {', '.join(repeated)} more than once")
    return [known.index(normalise_name(name)) for name in wanted]


def modality_of_channel(name: str) -> Modality | None:
    """Return the modality that a channel's name stands for; None if it is another quantity or not recognised."""
    if is_other_quantity(name):
        return None
    bare = normalise_name(name)
    return next((modality for modality, spec in MODALITIES.items() if spec.names.fullmatch(bare)), None)


def base_units_per(unit: str, *, base: str) -> float | None:
    """Return how many ``base`` (such as V) one ``unit`` (such as mV) is; None if the unit is of another quantity."""
    text = unit.replace("\0", "").strip().lower().replace("µ", "u").replace("μ", "u")
    match = re.fullmatch(f"({'|'.join(PREFIXES)})[ -]?{UNIT_NAMES.get(base, re.escape(base.lower()))}", text)
    return PREFIXES[match[1]] if match else None
