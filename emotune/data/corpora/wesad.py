"""Reader of WESAD (Schmidt et al. 2018): ECG of 15 people in a stress protocol, a pickle file per subject.

``S2/S2.pkl`` holds ``signal.chest.ECG`` in mV, of shape (sample, 1), and ``label``, both at 700 Hz. The labels are 1
baseline, 2 stress, 3 amusement and 4 meditation; 0 is a transition, and 5 to 7 are to be ignored, according to the
corpus's own description. A recording has the whole session, and the conditions are parts of it. By default meditation
has no label, so that ``task.high: stress`` separates stress from baseline and amusement, as in the paper.

The pickle is read by `emotune.data.formats.pickled`, which executes nothing. It is the only file that assigns labels to
samples. ``S2_respiban.txt`` has the same ECG without labels; the wrist device has no ECG.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, list_other_files, read_each_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.formats.pickled import read_pickle
from emotune.data.formats.pickled_array import array_at
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Interval, Recording
from emotune.errors import DataError

NAME = r"S(?P<subject>\d+)\.pkl"

RATE = 700
"""Sampling rate of chest signals and labels, in Hz."""

CONDITIONS = {1: "baseline", 2: "stress", 3: "amusement", 4: "meditation"}
"""Meaning of the labels; the others in `LABELS` are no conditions."""

LABELS = range(8)
"""The labels that occur."""

REASONS = {
    r"(.*/)?S\d+_respiban\.txt": "the ECG of S*.pkl again, without labels",
    r"(.*/)?S\d+_quest\.csv": "answers to questionnaires, no signals",
    r"(.*/)?S\d+_E4_Data(\.zip|/.*)": "signals of the wrist, without ECG",
}

Condition = Literal["baseline", "stress", "amusement", "meditation"]


class Wesad(Settings):
    """Settings of the WESAD reader: the conditions that are labels."""

    conditions: tuple[Condition, ...] = ("baseline", "stress", "amusement")
    """The conditions that become labels; other parts of a session are used without a label."""


def list_parts(folder: Path | None, settings: Wesad) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=f"S{int(match['subject'])}", session="protocol")
        for path, match in find_files(folder, name=NAME)
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no files of WESAD (S2/S2.pkl …); "
            "give the folder that contains S2, S3 …"
        )
    taken = [source.path for source in sources]
    yield from list_other_files(folder, taken=taken, reasons=REASONS, otherwise="no signals")
    yield from group_by_subject(sources, folder=folder)


def read(part: CorpusPart, modality: Modality, settings: Wesad) -> Iterator[Item]:
    """Yield the recording of a subject."""
    return read_each_file(
        part, lambda entry, source: [_recording(entry, source=source, modality=modality, settings=settings)]
    )


def _recording(entry: SourceFile, *, source: str, modality: Modality, settings: Wesad) -> Recording:
    content = read_pickle(entry.path)
    samples = array_at(content, "signal.chest.ECG")
    labels = array_at(content, "label")
    if samples.ndim != 2 or samples.shape[1] != 1 or samples.dtype.kind != "f":
        raise DataError(f"signal.chest.ECG has shape {_shape(samples)}, expected a column of samples")
    if labels.shape != samples.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(f"label has shape {_shape(labels)}, expected a whole number for each of {len(samples)} samples")
    if content.get("subject", entry.subject) != entry.subject:
        raise DataError(f"it holds subject {str(content['subject'])[:20]}, expected {entry.subject} as in its name")
    return Recording(
        signal=samples.T.astype(np.float64, copy=False),
        fs=float(RATE),
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=("ECG",),
        intervals=tuple(_intervals(labels, conditions=settings.conditions)),
        source=source,
    )


def _shape(array: Shaped[np.ndarray, "..."]) -> str:
    return f"{' x '.join(map(str, array.shape)) or '1'} ({array.dtype})"


def _intervals(labels: Shaped[np.ndarray, " time"], *, conditions: tuple[Condition, ...]) -> Iterator[Interval]:
    """Yield the parts of a session with a label; the others have an empty one.

    Raises:
        DataError: A label is none of `LABELS`.
    """
    unknown = sorted(set(np.unique(labels).tolist()) - set(LABELS))
    if unknown:
        raise DataError(f"label has the value {unknown[0]}, expected {LABELS[0]} to {LABELS[-1]}")
    edges = np.flatnonzero(np.diff(labels.astype(np.int64))) + 1
    starts = [0, *edges.tolist(), len(labels)]
    for first, last in itertools.pairwise(starts):
        condition = CONDITIONS.get(int(labels[first]), "")
        yield Interval(first / RATE, last / RATE, condition if condition in conditions else "")


READER = Reader(
    name="wesad",
    modalities=("ecg",),
    licence="for research, not commercial; see its page",
    where="https://archive.ics.uci.edu/dataset/465 (open to everybody): WESAD.zip",
    hours="ECG about 25 h, one lead",
    description="WESAD: 15 people at rest, under social stress, amused and in meditation",
    settings=Wesad,
    list_parts=list_parts,
    read=read,
)
