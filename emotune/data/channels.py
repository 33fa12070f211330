"""Names, kinds and units of channels, as the many file formats write them."""

import re
from collections.abc import Sequence
from typing import Literal

from emotune.errors import DataError

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


def places_of(names: Sequence[str], *, wanted: Sequence[str] = TEN_CHANNELS) -> list[int]:
    """Return where the wanted channels are among the names of a file, in the order of ``wanted``.

    Old and dotted names are understood (`normalise_name`).

    Raises:
        DataError: One is missing or there twice; the message names the channels that there are.
    """
    known = [normalise_name(name) for name in names]
    missing = [name for name in wanted if normalise_name(name) not in known]
    if missing:
        there = "".join(letter if letter.isprintable() else "?" for letter in ", ".join(known))
        raise DataError(f"it has no channel {', '.join(missing)}; it has {there or 'none'}")
    twice = [name for name in wanted if known.count(normalise_name(name)) > 1]
    if twice:
        raise DataError(f"it has channel {', '.join(twice)} more than once")
    return [known.index(normalise_name(name)) for name in wanted]


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
