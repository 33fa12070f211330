"""What of a recording holds a signal: leads that live, stretches without gaps."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool

from emotune.data.modality import MODALITIES
from emotune.data.recording import SMALLEST_MOVE, Exclusion, Recording

MOST_MISSING = 0.5
"""A lead of which a larger share is missing is left out; one with less is cut at its gaps."""


def clean_parts(recording: Recording, *, seconds: float) -> Iterator[Recording | Exclusion]:
    """Leave dead channels out and cut a recording at its gaps.

    A channel is dead if it never moves or more than half of it is missing (not a finite number).
    Dead ECG leads are left out one by one; an EEG recording needs all of its channels. What remains
    is cut where a sample of any channel is missing, so that all leads keep the same time stamps;
    `Recording.start` tells where in the session a stretch begins.

    Args:
        recording: As the reader hands it over.
        seconds: Shorter stretches are left out.
    """
    if recording.signal.size == 0 or len(recording.channels) != len(recording.signal):
        yield recording  # `Recording.check` says what is wrong
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
            yield Exclusion(what=f"{recording}, channel {names}", reason="a channel never moves or is mostly missing")
        return
    if dead:
        recording = dataclasses.replace(
            recording, signal=recording.signal[alive], channels=tuple(recording.channels[number] for number in alive)
        )
    yield from _stretches(recording, seconds=seconds)


def _dead_channels(recording: Recording) -> Iterator[tuple[int, str]]:
    for number, channel in enumerate(recording.signal):
        finite = channel[np.isfinite(channel)]
        if len(finite) < (1 - MOST_MISSING) * len(channel):
            yield number, "is mostly missing"
        elif len(finite) and np.ptp(finite) <= SMALLEST_MOVE * np.abs(finite).max():
            yield number, "never moves"


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
        dataclasses.replace(one, start=one.start - begin, end=one.end - begin) for one in recording.intervals
    )
    return dataclasses.replace(
        recording, signal=recording.signal[:, first:last], start=recording.start + begin, intervals=intervals
    )
