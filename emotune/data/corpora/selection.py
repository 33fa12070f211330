"""From the channels of a file and its line of the manifest to a recording of one modality."""

import dataclasses
import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence

import numpy as np

from emotune.data.corpora.labels import labels_of
from emotune.data.corpora.manifest import MANIFEST, ManifestEntry
from emotune.data.formats.columns import passed_over
from emotune.data.formats.file import RawChannel, RawFile
from emotune.data.formats.raw import with_gaps
from emotune.data.formats.time_axis import Hole, holes, rate_of
from emotune.data.leads import is_other_quantity
from emotune.data.modality import MODALITIES, Modality, canonical_name, modality_of_channel
from emotune.data.recording import Recording
from emotune.errors import DataError

OTHER_QUANTITY = "another quantity, by its name"

UNNAMED = "(unnamed)"
"""A channel without a name, in messages."""

CHANNELS_NAMED = 64
"""Largest number of channels in a message."""


class MissingChannelsError(DataError):
    """A file has none of the channels that are to be taken, or not all.

    Attributes:
        modality: The modality that was to be read.
        candidates: Names of the channels that may be taken.
        elsewhere: The modalities that the file has instead.
        unnamed: Whether a channel has no name.
    """

    def __init__(
        self,
        message: str,
        *,
        modality: Modality,
        candidates: Sequence[str] = (),
        elsewhere: Sequence[Modality] = (),
        unnamed: bool = False,
    ) -> None:
        super().__init__(message)
        self.modality = modality
        self.candidates = tuple(candidates)
        self.elsewhere = tuple(elsewhere)
        self.unnamed = unnamed

    def remedy(self) -> str:
        """Return which settings of `emotune data prepare folder` would read the file, as the end of the message."""
        hints = [f"--modality {modality} reads them" for modality in self.elsewhere]
        if self.candidates:
            setting = shlex.quote(f"{self.modality}_channels={json.dumps(self.candidates, ensure_ascii=False)}")
            hints.append(
                f"name the {MODALITIES[self.modality].label} channels to take, if there are any: --set {setting}"
            )
        elif self.unnamed and not self.elsewhere:
            hints.append(f"state modality {self.modality} for it in {MANIFEST}, or name its channels there")
        return "".join(f"; {hint}" for hint in hints)


class NoChannelError(MissingChannelsError):
    """A file has none of the channels that are to be taken."""


def recording_of(raw: RawFile, *, entry: ManifestEntry, modality: Modality, names: Sequence[str]) -> Recording:
    """Return the recording in a file.

    Args:
        raw: Content of the file.
        entry: Its line of the manifest.
        modality: The modality to take.
        names: The channels to take, in this order; all channels of the modality if empty.

    Raises:
        MissingChannelsError: The file has no channel of the modality, or lacks one of ``names``.
        DataError: A channel cannot be used or is there twice, the channels differ in rate or length, the
            sampling rate is not known or is contradicted by time stamps, or a labelled part has no duration.
    """
    channels = _as_manifest_says(raw.channels, entry=entry)
    chosen = _choose(channels, entry=entry, modality=modality, names=names)
    for channel in chosen:
        if channel.fault:
            raise DataError(channel.fault)
    fs = _rate(chosen, raw=raw, modality=modality, table=entry.table)
    missing = _holes(raw, fs=fs)
    factors = [MODALITIES[modality].factor_from(channel.unit) for channel in chosen]
    units = dict.fromkeys(
        channel.unit or "unknown" for channel, factor in zip(chosen, factors, strict=True) if factor is None
    )
    signal = np.stack(
        [
            _filled(channel.samples, missing=missing) * (factor or 1.0)
            for channel, factor in zip(chosen, factors, strict=True)
        ]
    )
    labels = labels_of(raw.intervals, seconds=signal.shape[1] / fs if fs else math.inf, entry=entry)
    return Recording(
        signal=signal,
        fs=fs,
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=tuple(channel.name for channel in chosen),
        ratings=entry.ratings,
        scales=dict.fromkeys(entry.ratings, entry.rating_range),
        condition=labels.condition,
        split=entry.split,
        intervals=labels.intervals,
        source=entry.file,
        calibrated=None not in factors,
        unit=", ".join(units),
        gaps=raw.gaps + _gaps(missing, fs=fs),
        notes=raw.notes
        + tuple(_notes(channels, chosen=chosen))
        + tuple(_replaced(raw, chosen=chosen, entry=entry, modality=modality))
        + labels.notes,
    )


def _as_manifest_says(channels: tuple[RawChannel, ...], *, entry: ManifestEntry) -> list[RawChannel]:
    """Return the channels with rate, unit, modality and names replaced by those that the manifest states."""
    signals = [channel for channel in channels if not channel.passed_over]
    named = list(channels if len(entry.channels) == len(channels) else signals)
    if entry.channels and len(entry.channels) != len(named):
        others = [channel.name for channel in channels if channel.passed_over]
        also = f" (passed over: {', '.join(others)})" if others else ""
        raise DataError(
            f"it has {len(signals)} channels, {_listed(signals)}{also}, but {entry.table} names {len(entry.channels)}"
        )
    given = {id(channel): name for channel, name in zip(named, entry.channels, strict=False)}
    renamed = [
        dataclasses.replace(
            channel,
            name=given.get(id(channel), channel.name),
            modality=(id(channel) in given and modality_of_channel(given[id(channel)])) or channel.modality,
            unit=entry.units or channel.unit,
            fs=entry.fs or channel.fs,
        )
        for channel in channels
    ]
    return _of_stated_modality(renamed, entry=entry) if entry.modality else renamed


def _of_stated_modality(channels: list[RawChannel], *, entry: ManifestEntry) -> list[RawChannel]:
    """Return the channels with the modality that the manifest states for the whole file.

    Indexes, counters, time stamps and other quantities stay out. Channels of another modality stay what they are
    if any channel has the stated one.
    """
    recognised = any(channel.modality == entry.modality for channel in channels) and not entry.channels
    result: list[RawChannel] = []
    for channel in channels:
        why = channel.passed_over or ("" if entry.channels or channel.modality else _no_signal(channel.name))
        keep = bool(why) or (recognised and channel.modality is not None)
        result.append(
            dataclasses.replace(channel, modality=channel.modality if keep else entry.modality, passed_over=why)
        )
    return result


def _no_signal(name: str) -> str:
    """Return why a channel is no signal, by its name; one without a name, or with a number, may be."""
    if not any(letter.isalpha() for letter in name):
        return ""
    return passed_over(name) or (OTHER_QUANTITY if is_other_quantity(name) else "")


def _choose(
    channels: list[RawChannel], *, entry: ManifestEntry, modality: Modality, names: Sequence[str]
) -> list[RawChannel]:
    """Return the channels of these names in this order; all channels of the modality if there are no names.

    Names that are not the default of the modality are taken as given, whatever the channel seems to be.
    """
    label = MODALITIES[modality].label
    if entry.modality not in {None, modality}:
        raise NoChannelError(
            f"{entry.table} states modality {entry.modality} for it; it has {_by_modality(channels)}",
            modality=modality,
            elsewhere=[entry.modality] if entry.modality else [],
        )
    signals = [channel for channel in channels if channel.modality == modality and not channel.passed_over]
    as_given = bool(names) and tuple(names) != MODALITIES[modality].channels
    present = channels if as_given else signals
    if not signals and not any(_matches(present, name=name, as_given=as_given) for name in names):
        raise _nothing(channels, modality=modality, wanted=names if as_given else ())
    if not names:
        _refuse_repeated(signals, label=label, table=entry.table)
        return signals
    matches = {name: _matches(present, name=name, as_given=as_given) for name in names}
    absent = [name for name, found in matches.items() if not found]
    if absent:
        raise MissingChannelsError(
            f"it has no channel {', '.join(absent)}; it has {_listed(present, canonical=not as_given)}",
            modality=modality,
            candidates=() if as_given else _candidates(channels, modality=modality),
        )
    for found in matches.values():
        _refuse_repeated(found, label=label, table=entry.table)
    return [dataclasses.replace(found[0], name=name) for name, found in matches.items()]


def _matches(channels: Sequence[RawChannel], *, name: str, as_given: bool) -> list[RawChannel]:
    """Return the channels of a name: exactly this one if it is taken as given, otherwise in any spelling."""
    exact = [channel for channel in channels if channel.name.strip() == name.strip()]
    if as_given and exact:
        return exact
    return [channel for channel in channels if canonical_name(channel.name) == canonical_name(name)]


def _refuse_repeated(channels: Sequence[RawChannel], *, label: str, table: str) -> None:
    """Raise if two channels are the same electrode or lead."""
    counts = Counter(canonical_name(channel.name) for channel in channels)
    repeated, count = counts.most_common(1)[0]
    if count > 1:
        both = [channel.name for channel in channels if canonical_name(channel.name) == repeated]
        raise DataError(
            f"its channels {' and '.join(both)} are the same {label} channel, {repeated}; give them different names "
            f"in the column channels of {table}, or take one by its name in the file"
        )


def _nothing(channels: Sequence[RawChannel], *, modality: Modality, wanted: Sequence[str]) -> NoChannelError:
    elsewhere = dict.fromkeys(channel.modality for channel in channels if channel.modality not in {None, modality})
    what = (
        f"it has none of the channels {', '.join(wanted)}"
        if wanted
        else f"it has no {MODALITIES[modality].label} channel"
    )
    return NoChannelError(
        f"{what}; it has {_by_modality(channels)}",
        modality=modality,
        candidates=() if wanted else _candidates(channels, modality=None),
        elsewhere=[other for other in elsewhere if other],
        unnamed=any(not channel.name.strip() and not channel.passed_over for channel in channels),
    )


def _by_modality(channels: Sequence[RawChannel]) -> str:
    """Return the names of channels with what they are: ``F7, F3 (EEG), RESP (not recognised)``."""
    groups: dict[str, list[RawChannel]] = {}
    for channel in channels:
        kind = channel.passed_over or (MODALITIES[channel.modality].label if channel.modality else "not recognised")
        groups.setdefault(kind, []).append(channel)
    return ", ".join(f"{_listed(group)} ({kind})" for kind, group in groups.items()) or "no channels"


def _candidates(channels: Sequence[RawChannel], *, modality: Modality | None) -> list[str]:
    """Return the names of signals that are not recognised, or are of the modality, and occur once."""
    counts = Counter(channel.name for channel in channels)
    usable = [
        channel.name
        for channel in channels
        if channel.modality in {None, modality}
        and not channel.passed_over
        and not channel.fault
        and counts[channel.name] == 1
        and any(letter.isalnum() for letter in channel.name)
    ]
    likely = [name for name in usable if not is_other_quantity(name)]
    return likely if likely or any(channel.modality for channel in channels) else usable


def _listed(channels: Sequence[RawChannel], *, canonical: bool = False) -> str:
    names = [(canonical_name(channel.name) if canonical else channel.name.strip()) or UNNAMED for channel in channels]
    more = f" and {len(names) - CHANNELS_NAMED} more" if len(names) > CHANNELS_NAMED else ""
    return (", ".join(names[:CHANNELS_NAMED]) or "no channels") + more


def _rate(chosen: Sequence[RawChannel], *, raw: RawFile, modality: Modality, table: str) -> float:
    """Return the sampling rate of the channels in Hz.

    Raises:
        DataError: It is not known, or the channels differ in rate or length.
    """
    rates = {channel.fs for channel in chosen}
    if len(rates) > 1 or len({len(channel.samples) for channel in chosen}) > 1:
        each = ", ".join(
            f"{channel.name} {channel.fs or 0:g} Hz ({len(channel.samples)} samples)" for channel in chosen
        )
        setting = shlex.quote(f"{modality}_channels={json.dumps([chosen[0].name], ensure_ascii=False)}")
        raise DataError(
            f"its {modality} channels have different rates or lengths: {each}; name those to take: --set {setting}"
        )
    fs = rates.pop()
    if fs is None:
        seen = next((rate for rate in map(rate_of, raw.times) if rate), None)
        hint = f"; its column {raw.times[0].name} shows {seen:.6g} Hz" if seen else ""
        raise DataError(f"its sampling rate is not known; give it in the column fs of {table}{hint}")
    return fs


def _holes(raw: RawFile, *, fs: float) -> list[Hole]:
    """Return the holes that the first column of time stamps shows; all columns are compared with the rate."""
    by_column = [holes(column, fs=fs) for column in raw.times]
    return by_column[0] if by_column else []


def _filled(samples: np.ndarray, *, missing: Sequence[Hole]) -> np.ndarray:
    """Return the samples with NaN in the holes."""
    if not missing:
        return samples
    cuts = [0, *(hole.position for hole in missing), len(samples)]
    lengths = np.diff(cuts).tolist()
    shifts = np.cumsum([0, *(hole.samples for hole in missing)])
    return with_gaps(
        samples, starts=[int(cut + shift) for cut, shift in zip(cuts[:-1], shifts, strict=True)], lengths=lengths
    )


def _gaps(missing: Sequence[Hole], *, fs: float) -> tuple[tuple[float, float], ...]:
    """Return start and end of the holes in seconds."""
    gaps: list[tuple[float, float]] = []
    filled = 0
    for hole in missing:
        first = hole.position + filled
        gaps.append((first / fs, (first + hole.samples) / fs))
        filled += hole.samples
    return tuple(gaps)


def _replaced(raw: RawFile, *, chosen: Sequence[RawChannel], entry: ManifestEntry, modality: Modality) -> list[str]:
    """Return which rates and units of the file the table replaces by others, and a unit that is not known."""
    table = entry.table
    in_file = {id(channel.values): channel for channel in raw.channels}
    notes: dict[str, None] = {}
    if entry.units and MODALITIES[modality].factor_from(entry.units) is None:
        notes[f"{table} states the unit {entry.units}, which is not known: the standard deviation was not checked"] = (
            None
        )
    for channel in chosen:
        before = in_file[id(channel.values)]
        if before.fs is not None and before.fs != channel.fs:
            notes[f"{table} states {channel.fs:g} Hz, the file {before.fs:g} Hz: that of {table} was taken"] = None
        if before.unit and before.unit != channel.unit:
            notes[f"{table} states the unit {channel.unit}, the file {before.unit}: that of {table} was taken"] = None
        elif channel.unit and not entry.units and MODALITIES[modality].factor_from(channel.unit) is None:
            notes[
                f"channel {channel.name} is in {channel.unit}, which is no unit of voltage: the standard deviation was "
                "not checked"
            ] = None
    return list(notes)


def _notes(channels: Sequence[RawChannel], *, chosen: Sequence[RawChannel]) -> list[str]:
    """Return which columns were passed over, and why, unless they were taken by name."""
    taken = {id(channel.values) for channel in chosen}
    notes = [
        f"column {channel.name} was passed over: {channel.passed_over}"
        for channel in channels
        if channel.passed_over and id(channel.values) not in taken
    ]
    labels = {spec.label for spec in MODALITIES.values()}
    return notes + [
        f"channel {channel.name} was passed over: {OTHER_QUANTITY}"
        for channel in channels
        if not channel.passed_over
        and channel.modality is None
        and id(channel.values) not in taken
        and any(label in channel.name.upper() for label in labels)
        and is_other_quantity(channel.name)
    ]
