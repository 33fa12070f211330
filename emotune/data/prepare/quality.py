"""Signal quality: dead channels and gaps are excluded before the signal is checked and filtered."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from emotune.data.modality import MODALITIES
from emotune.data.recording import CONSTANT_TOLERANCE, Exclusion, Recording

LARGEST_MISSING_SHARE = 0.5
"""A channel with a larger share of missing samples is dead; a recording with a smaller share is cut at its gaps."""


def clean_parts(recording: Recording, *, seconds: float) -> Iterator[Recording | Exclusion]:
    """Exclude dead channels, and cut a recording at its gaps.

    A channel is dead if it is constant or more than half of its samples are missing (not finite), where the parts
    in which nothing was recorded (`Recording.gaps`) do not count. If each
    lead becomes segments of its own (ECG), a dead lead is excluded alone; otherwise (EEG) a dead channel
    excludes the recording. The remaining channels are cut where a sample of any of them is missing, so
    that they keep the same time stamps; `Recording.start` is the position of a part in the session.

    Args:
        recording: A recording, as the reader returns it.
        seconds: Smallest length of a part, in seconds.
    """
    if recording.signal.size == 0 or len(recording.channels) != len(recording.signal):
        yield recording  # `Recording.check` refuses it
        return
    dead = dict(_dead_channels(recording))
    alive = [number for number in range(len(recording.channels)) if number not in dead]
    separate = MODALITIES[recording.modality].separate_leads
    for number, reason in dead.items():
        if separate:
            yield Exclusion(what=f"{recording}, lead {recording.channels[number]}", reason=f"the lead {reason}")
    if dead and not (separate and alive):
        if not separate:
            names = ", ".join(recording.channels[number] for number in dead)
            yield Exclusion(what=f"{recording}, channel {names}", reason="a channel is constant or mostly missing")
        return
    if dead:
        recording = dataclasses.replace(
            recording, signal=recording.signal[alive], channels=tuple(recording.channels[number] for number in alive)
        )
    yield from _stretches(recording, seconds=seconds)


def _dead_channels(recording: Recording) -> Iterator[tuple[int, str]]:
    recorded = np.ones(recording.signal.shape[1], dtype=bool)
    for start, end in recording.gaps:
        recorded[round(start * recording.fs) : round(end * recording.fs)] = False
    for number, samples in enumerate(recording.signal):
        channel = samples[recorded]
        finite = channel[np.isfinite(channel)]
        if len(finite) < (1 - LARGEST_MISSING_SHARE) * len(channel):
            yield number, "is mostly missing"
        elif len(finite) and np.ptp(finite) <= CONSTANT_TOLERANCE * np.abs(finite).max():
            yield number, "is constant"


def _stretches(recording: Recording, *, seconds: float) -> Iterator[Recording | Exclusion]:
    finite = np.logical_and.reduce(np.isfinite(recording.signal), axis=0)
    if finite.all():
        yield recording
        return
    missing = float(np.count_nonzero(~finite) / recording.fs)
    yield Exclusion(what=f"{recording}, {missing:.2f} s", reason="gaps of missing samples, cut out")
    for first, last in _runs(finite):
        if (last - first) / recording.fs >= seconds:
            yield _part(recording, first=first, last=last)


def _runs(finite: Bool[np.ndarray, " time"]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], finite, [False]])))
    for first, last in edges.reshape(-1, 2):
        yield int(first), int(last)


def _part(recording: Recording, *, first: int, last: int) -> Recording:
    begin = first / recording.fs
    intervals = tuple(
        dataclasses.replace(interval, start=interval.start - begin, end=interval.end - begin)
        for interval in recording.intervals
    )
    return dataclasses.replace(
        recording,
        signal=recording.signal[:, first:last],
        start=recording.start + begin,
        intervals=intervals,
        gaps=(),
    )
