"""Reader of AMIGOS (Miranda-Correa et al. 2018), the preprocessed release: a MAT file per subject, ECG and EEG.

The files are ``Data_Preprocessed_P01.mat`` to ``P40``, with or without a folder of the same name.
``joined_data`` has 20 cells, one per video, with 17 columns at 128 Hz: 14 EEG channels, ECG right and left,
and skin conductance. The first 5 s of a cell were recorded before the video. ``labels_selfassessment``
has arousal, valence, dominance, liking and familiarity from 1 to 9, and then, as 0 or 1, whether the subject
felt neutral, disgust, happiness, surprise, anger, fear and sadness. ``labels_ext_annotation``, by external
annotators, has the opposite order and is not read. ``VideoIDs`` has the names of the videos, in a different
order for each subject. The cells of a subject who did not watch the long videos are empty.

Not confirmed: the units. Millivolts and microvolts are plausible, but no source states them. Without
``millivolts_per_unit`` or ``microvolts_per_unit``, signals are not scaled and their spread is not checked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, read_each_file
from emotune.data.corpora.ratings import Scale, valid_ratings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import describe_value, texts_at, value_at
from emotune.data.matlab.reader import iterate_cells, read_mat
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

NAME = r"Data_Preprocessed_P(?P<subject>\d+)\.mat"
EEG_COLUMNS = ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4")
ECG_COLUMNS = ("ECG Right", "ECG Left")
COLUMNS = (*EEG_COLUMNS, *ECG_COLUMNS, "GSR")
CHANNELS: Mapping[Modality, Sequence[str]] = {"ecg": ECG_COLUMNS, "eeg": TEN_CHANNELS}

VIDEOS = 20
RATE = 128
"""Sampling rate in Hz."""
BASELINE_SAMPLES = 5 * RATE
"""Number of samples before a video begins."""

RATINGS = ("arousal", "valence", "dominance", "liking", "familiarity")
"""The first questions of the self-assessment, in this order."""
EMOTIONS = ("neutral", "disgust", "happiness", "surprise", "anger", "fear", "sadness")
"""The other questions, in this order: 1 if the subject felt the emotion, otherwise 0."""
SCALES: dict[str, Scale] = {**dict.fromkeys(RATINGS, (1.0, 9.0)), **dict.fromkeys(EMOTIONS, (0.0, 1.0))}


class Amigos(Settings):
    """Settings of the AMIGOS reader: the units of the signals."""

    millivolts_per_unit: float | None = Field(default=None, gt=0)
    """mV per unit of the ECG; None: unknown."""

    microvolts_per_unit: float | None = Field(default=None, gt=0)
    """uV per unit of the EEG; None: unknown."""

    def scale_of(self, modality: Modality) -> float | None:
        """Return the factor from the file's unit to that of the modality; None if it is unknown."""
        return {"ecg": self.millivolts_per_unit, "eeg": self.microvolts_per_unit}[modality]


def list_parts(folder: Path | None, settings: Amigos) -> Iterator[CorpusPart]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=f"P{int(match['subject']):02d}", session="all")
        for path, match in find_files(folder, name=NAME)
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no files of AMIGOS (Data_Preprocessed_P01.mat …); "
            "unpack the preprocessed data, not the original, and give their folder"
        )
    yield from group_by_subject(sources, folder=folder)


@dataclass(frozen=True)
class Trial:
    """Data about a cell of ``joined_data`` that are read before its signal."""

    subject: str
    video: str
    source: str
    answers: Any
    """Cell of ``labels_selfassessment``; None if there is no such cell."""


def read(part: CorpusPart, modality: Modality, settings: Amigos) -> Iterator[Item]:
    """Yield the recordings of a subject, video by video."""
    return read_each_file(
        part, lambda entry, source: _videos(entry, source=source, modality=modality, settings=settings)
    )


def _videos(entry: SourceFile, *, source: str, modality: Modality, settings: Amigos) -> Iterator[Item]:
    trials = _trials(entry.path, subject=entry.subject, source=source)
    signals = iterate_cells(entry.path, field=["joined_data"])
    count = 0
    for trial, signal in zip(trials, signals, strict=False):
        count += 1
        yield from _items(signal, trial=trial, modality=modality, settings=settings)
    if count < VIDEOS or next(signals, None) is not None:
        raise DataError(f"joined_data has {count if count < VIDEOS else 'more'} cells, where 20 were expected")


def _trials(path: Path, *, subject: str, source: str) -> list[Trial]:
    content = read_mat(path, variables=["VideoIDs", "labels_selfassessment"])
    videos = [video.strip() for video in texts_at(content, "VideoIDs")]
    if len(videos) != VIDEOS or len(set(videos)) != VIDEOS or "" in videos:
        raise DataError(f"VideoIDs are {', '.join(videos) or 'empty'}, where {VIDEOS} different names were expected")
    answers = value_at(content, "labels_selfassessment")
    if not isinstance(answers, list) or len(answers) > VIDEOS:
        raise DataError(
            f"labels_selfassessment is {describe_value(answers)}, where a cell array of {VIDEOS} was expected"
        )
    padded = answers + [None] * (VIDEOS - len(answers))
    return [
        Trial(subject=subject, video=video, source=f"{source}, video {video}", answers=answer)
        for video, answer in zip(videos, padded, strict=True)
    ]


def _items(signal: Any, *, trial: Trial, modality: Modality, settings: Amigos) -> Iterator[Item]:
    """Yield the recording before a video and the recording during it."""
    if isinstance(signal, np.ndarray) and signal.size == 0:
        yield ExcludedData(subject=trial.subject, source=trial.source, reason="the subject did not watch this video")
        return
    try:
        samples = _channels(signal, modality=modality)
    except DataError as error:
        yield UnreadableRecording(subject=trial.subject, source=trial.source, reason=str(error))
        return
    ratings, excluded = valid_ratings(
        _answers(trial.answers), scales=SCALES, subject=trial.subject, source=trial.source
    )
    yield from excluded
    scale = settings.scale_of(modality)
    parts = [(f"{trial.video}-baseline", samples[:, :BASELINE_SAMPLES]), (trial.video, samples[:, BASELINE_SAMPLES:])]
    for session, part in parts:
        is_video = session == trial.video
        yield Recording(
            signal=part if scale is None else part * scale,
            fs=float(RATE),
            modality=modality,
            subject=trial.subject,
            session=session,
            channels=tuple(CHANNELS[modality]),
            ratings=ratings if is_video else {},
            scales=SCALES if is_video else {},
            condition="" if is_video else "baseline",
            source=trial.source,
            calibrated=scale is not None,
        )


def _channels(signal: Any, *, modality: Modality) -> Float[np.ndarray, "channel time"]:
    if not (isinstance(signal, np.ndarray) and signal.ndim == 2 and signal.dtype.kind in "fiu"):
        raise DataError(f"joined_data holds {describe_value(signal)}, where a matrix of numbers was expected")
    length, columns = signal.shape
    if columns != len(COLUMNS) or length <= BASELINE_SAMPLES:
        raise DataError(
            f"joined_data has {length} x {columns} values, where {len(COLUMNS)} columns and more rows than the "
            f"{BASELINE_SAMPLES} before the video were expected"
        )
    positions = [COLUMNS.index(name) for name in CHANNELS[modality]]
    return signal.T[positions].astype(np.float64, copy=False)


def _answers(cell: Any) -> dict[str, float]:
    """Return the ratings of a video, empty if the subject gave none."""
    if not (isinstance(cell, np.ndarray) and cell.size == len(SCALES) and cell.dtype.kind in "fiu"):
        return {}
    return dict(zip(SCALES, cell.ravel().tolist(), strict=True))


READER = Reader(
    name="amigos",
    modalities=tuple(CHANNELS),
    licence="for research, after signing an agreement",
    where="http://www.eecs.qmul.ac.uk/mmv/datasets/amigos/ (sign the agreement, ask for the preprocessed data)",
    hours="ECG about 65 h, two leads; EEG about 65 h",
    description="AMIGOS: 40 people watch 16 short and 4 long videos, and rate arousal, valence and ten other feelings",
    settings=Amigos,
    list_parts=list_parts,
    read=read,
)
