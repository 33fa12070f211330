"""Signals of MNE-Python: `mne.io.Raw` and `mne.Epochs` as recordings with an encoder's channels and unit.

MNE is not imported: its objects are recognised by their class, and have all that is read here.
"""

from typing import Any

import numpy as np

from emotune.data.modality import MODALITIES, Modality, canonical_name, modality_of_channel
from emotune.data.recording import Recording
from emotune.errors import SettingsError

UNSPECIFIC_TYPES = frozenset({"bio", "eeg", "misc"})
"""MNE's types of channels whose type a file does not state; ``eeg`` is its default."""


def is_mne(value: object) -> bool:
    """Return whether a value is a Raw or Epochs object of MNE."""
    return any(parent.__module__.partition(".")[0] == "mne" for parent in type(value).__mro__) and hasattr(
        value, "get_data"
    )


def recordings_of_mne(instance: Any, *, channels: tuple[str, ...], modality: Modality) -> list[Recording]:
    """Return the recording of a Raw object, or one recording for each epoch.

    Signals are converted from V. EEG channels are matched by name in any spelling. Annotations are not used: parts
    that are marked as bad are included.

    Args:
        instance: An `mne.io.Raw` or `mne.Epochs`.
        channels: Channels of the encoder, in this order; one lead may have any name.
        modality: Modality of the encoder.

    Raises:
        SettingsError: A channel is missing, is marked as bad, or several leads might be meant.
    """
    names = _pick(instance, channels=channels, modality=modality)
    bad = [name for name in names if name in instance.info["bads"]]
    if bad:
        raise SettingsError(
            f"channel {', '.join(bad)} is marked as bad; interpolate it, or remove it from info['bads']"
        )
    data = np.asarray(instance.get_data(picks=names), dtype=np.float64) * MODALITIES[modality].per_base_unit
    return [
        Recording(
            signal=signal,
            fs=float(instance.info["sfreq"]),
            modality=modality,
            subject="embedded",
            session=f"epoch {number}" if data.ndim == 3 else "signal",
            channels=channels,
            source="MNE",
        )
        for number, signal in enumerate(data if data.ndim == 3 else data[None])
    ]


def _pick(instance: Any, *, channels: tuple[str, ...], modality: Modality) -> list[str]:
    """Return the names of the channels of an MNE object that an encoder needs, in its order."""
    present = list(instance.ch_names)
    label = MODALITIES[modality].label
    if MODALITIES[modality].separate_leads:
        types = instance.get_channel_types()
        leads = [
            name
            for name, kind in zip(present, types, strict=True)
            if kind == modality or (kind in UNSPECIFIC_TYPES and modality_of_channel(name) == modality)
        ]
        if len(leads) != len(channels):
            raise SettingsError(
                f"the data have {len(leads)} {label} channels ({', '.join(leads) or 'none'}), expected "
                f"{len(channels)}; pick one: raw.copy().pick(['ECG'])"
            )
        return leads
    by_name: dict[str, str] = {}
    for name in present:
        by_name.setdefault(canonical_name(name), name)
    missing = [name for name in channels if canonical_name(name) not in by_name]
    if missing:
        raise SettingsError(f"the data have no channel {', '.join(missing)}; they have {', '.join(present[:64])}")
    return [by_name[canonical_name(name)] for name in channels]
