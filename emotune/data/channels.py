"""Names, kinds and units of channels, as the many file formats write them."""

import re
from typing import Literal

TEN_CHANNELS = ("F7", "F3", "T7", "P7", "O1", "O2", "P8", "T8", "F4", "F8")
"""The EEG channels that all of the papers' data sets have."""

NEWER_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
"""Positions that the 10-20 system renamed."""

VOLTS = {"v": 1.0, "mv": 1e-3, "uv": 1e-6, "nv": 1e-9}

Kind = Literal["ecg", "eeg", "other"]

_ECG = re.compile(r"(ECG|EKG).*|M?L?(I|II|III)|AV[RLF]|V[1-9]")
_EEG = re.compile(r"(FP|AF|F|FT|FC|T|TP|C|CP|P|PO|O|I)(Z|[0-9]|10)")


def normalise_name(name: str) -> str:
    """Return the usual name of an electrode: ``EEG T3-Ref``, ``T7..`` and ``t7`` are all ``T7``.

    Blanks, trailing dots, the word EEG before it and a reference after it go; letters become
    capitals; names of the old 10-20 system become the newer ones.
    """
    bare = name.strip().rstrip(".").upper().removeprefix("EEG ").strip()
    bare = re.sub(r"-(REF|LE|AR|AVG|M1|M2|A1|A2)$", "", bare) if re.match(r"[A-Z]+[0-9Z]*-", bare) else bare
    return NEWER_NAMES.get(bare, bare)


def kind_of(name: str) -> Kind:
    """Tell from a channel's name what it recorded."""
    bare = normalise_name(name)
    if _ECG.fullmatch(bare):
        return "ecg"
    if _EEG.fullmatch(bare):
        return "eeg"
    return "other"


def volts_per(unit: str) -> float | None:
    """Return how many volts a unit is, or None if it is no voltage, for instance ADC counts."""
    return VOLTS.get(unit.strip().lower().replace("µ", "u").replace("μ", "u"))
