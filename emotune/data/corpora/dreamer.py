"""Reader of DREAMER (Katsigiannis & Ramzan 2018): one MAT file with all subjects, ECG and EEG.

``DREAMER.mat`` holds a struct. Its field ``Data`` has a cell per subject, with 18 cells each of
``EEG.stimuli``, ``EEG.baseline``, ``ECG.stimuli`` and ``ECG.baseline``, and with ``ScoreArousal``,
``ScoreValence`` and ``ScoreDominance`` from 1 to 5. The file states the rates of EEG and ECG, which
differ; both are assumed to start at the same time. Stimuli differ in length. The file is one part of the
corpus and is read sequentially, with one subject in memory at a time.

Not confirmed: the units, which look like ADC counts (``millivolts_per_unit``, ``microvolts_per_unit``);
which column of the ECG is left and which is right, therefore they are called ECG 1 and ECG 2.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import find_files, relative_path
from emotune.data.corpora.ratings import valid_ratings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import describe_value, matrix_at, number_at, rate_at, texts_at, value_at
from emotune.data.matlab.reader import iterate_cells, read_mat
from emotune.data.modality import TEN_CHANNELS, Modality, channel_positions
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

ECG_COLUMNS = ("ECG 1", "ECG 2")
SCORES = {"arousal": "ScoreArousal", "valence": "ScoreValence", "dominance": "ScoreDominance"}
SCALES = dict.fromkeys(SCORES, (1.0, 5.0))
BLOCKS: dict[Modality, str] = {"ecg": "ECG", "eeg": "EEG"}
"""The fields of a subject's struct that hold the signals."""
CHANNELS: dict[Modality, tuple[str, ...]] = {"ecg": ECG_COLUMNS, "eeg": TEN_CHANNELS}
"""The channels that are taken."""
NAMES_IN_FILE: dict[Modality, str] = {"eeg": "DREAMER.EEG_Electrodes"}
"""Where the file names the columns; the columns of a modality that is not here are its channels."""


class Dreamer(Settings):
    """Settings of the DREAMER reader: the units of the signals."""

    millivolts_per_unit: float | None = Field(default=None, gt=0)
    """mV per unit of the ECG; None: unknown."""

    microvolts_per_unit: float | None = Field(default=None, gt=0)
    """uV per unit of the EEG; None: unknown."""

    def scale_of(self, modality: Modality) -> float | None:
        """Return the factor from the file's unit to that of the modality; None if it is unknown."""
        return {"ecg": self.millivolts_per_unit, "eeg": self.microvolts_per_unit}[modality]


@dataclass(frozen=True)
class SignalInfo:
    """Properties that all signals of a modality have in the file."""

    modality: Modality
    fs: float
    columns: tuple[str, ...]
    """Names of all columns."""
    channels: tuple[str, ...]
    """Names of the columns that are taken."""
    scale: float | None
    """Factor from the file's unit to that of the modality; None if it is unknown."""
    subjects: int
    videos: int

    @property
    def block(self) -> str:
        """Name of the modality's field in the file."""
        return BLOCKS[self.modality]


@dataclass(frozen=True)
class Video:
    """A recording's name, subject, source and ratings."""

    name: str
    subject: str
    source: str
    scores: Mapping[str, float]


def list_parts(folder: Path | None, settings: Dreamer) -> Iterator[CorpusPart]:
    """Yield one part, the file."""
    del settings
    assert folder is not None
    found = [path for path, _ in find_files(folder, name=r"DREAMER\.mat")]
    if not found:
        raise DataError(f"{folder} and its subfolders contain no DREAMER.mat; give the folder of that file")
    if len(found) > 1:
        names = " and ".join(relative_path(path, folder=folder) for path in found)
        raise DataError(f"{folder} contains {names}, expected one of them; remove the others")
    yield CorpusPart(name="DREAMER", folder=folder, files=tuple(found))


def read(part: CorpusPart, modality: Modality, settings: Dreamer) -> Iterator[Item]:
    """Yield the recordings, subject by subject."""
    (path,) = part.files
    source = relative_path(path, folder=part.folder)
    others = [block for name, block in BLOCKS.items() if name != modality]
    try:
        info = _signal_info(path, modality=modality, settings=settings)
        count = 0
        for content in iterate_cells(path, field=["DREAMER", "Data"], without=others):
            count += 1
            yield from _subject(content, subject=f"S{count:02d}", source=source, info=info)
        if count != info.subjects:
            raise DataError(f"it has {count} subjects, but its noOfSubjects is {info.subjects}")
    except DataError as error:
        yield UnreadableRecording(subject="", source=source, reason=str(error))


def _signal_info(path: Path, *, modality: Modality, settings: Dreamer) -> SignalInfo:
    content = read_mat(path, variables=["DREAMER"], without=["Data"])
    named = modality in NAMES_IN_FILE
    columns = tuple(texts_at(content, NAMES_IN_FILE[modality])) if named else CHANNELS[modality]
    channel_positions(columns, wanted=CHANNELS[modality])
    return SignalInfo(
        modality=modality,
        fs=rate_at(content, f"DREAMER.{BLOCKS[modality]}_SamplingRate"),
        columns=columns,
        channels=CHANNELS[modality],
        scale=settings.scale_of(modality),
        subjects=round(number_at(content, "DREAMER.noOfSubjects")),
        videos=round(number_at(content, "DREAMER.noOfVideoSequences")),
    )


def _subject(content: Any, *, subject: str, source: str, info: SignalInfo) -> Iterator[Item]:
    location = f"{source}, subject {int(subject[1:])}"
    try:
        baselines = _cells(content, f"{info.block}.baseline", count=info.videos)
        stimuli = _cells(content, f"{info.block}.stimuli", count=info.videos)
        scores = {name: _scores(content, field, count=info.videos) for name, field in SCORES.items()}
    except DataError as error:
        yield UnreadableRecording(subject=subject, source=location, reason=str(error))
        return
    for number, (baseline, stimulus) in enumerate(zip(baselines, stimuli, strict=True)):
        video = Video(
            name=str(number + 1),
            subject=subject,
            source=f"{location}, video {number + 1}",
            scores={name: values[number] for name, values in scores.items()},
        )
        yield from _before(baseline, video=video, info=info)
        yield from _during(stimulus, video=video, info=info)


def _before(cell: Any, *, video: Video, info: SignalInfo) -> Iterator[Item]:
    baseline = dataclasses.replace(video, name=f"{video.name}-baseline", source=f"{video.source}, baseline")
    for item in _signal(cell, video=baseline, info=info):
        yield dataclasses.replace(item, condition="baseline") if isinstance(item, Recording) else item


def _during(cell: Any, *, video: Video, info: SignalInfo) -> Iterator[Item]:
    ratings, excluded = valid_ratings(video.scores, scales=SCALES, subject=video.subject, source=video.source)
    for item in _signal(cell, video=video, info=info):
        if isinstance(item, Recording):
            yield from excluded
            yield dataclasses.replace(item, ratings=ratings, scales=SCALES)
        else:
            yield item


def _signal(cell: Any, *, video: Video, info: SignalInfo) -> Iterator[Item]:
    """Yield the recording in a cell, or the reason why there is none."""
    if isinstance(cell, np.ndarray) and cell.size == 0:
        yield ExcludedData(subject=video.subject, source=video.source, reason="there is no signal")
        return
    try:
        samples = matrix_at({info.block: cell}, info.block)
        if samples.shape[1] != len(info.columns):
            raise DataError(
                f"{info.block} is {describe_value(cell)}, where {len(info.columns)} columns were expected "
                f"({', '.join(info.columns)})"
            )
    except DataError as error:
        yield UnreadableRecording(subject=video.subject, source=video.source, reason=str(error))
        return
    signal = samples.T[channel_positions(info.columns, wanted=info.channels)]
    yield Recording(
        signal=signal if info.scale is None else signal * info.scale,
        fs=info.fs,
        modality=info.modality,
        subject=video.subject,
        session=video.name,
        channels=info.channels,
        source=video.source,
        calibrated=info.scale is not None,
    )


def _cells(content: Any, field: str, *, count: int) -> list[Any]:
    value = value_at(content, field)
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"{field} is {describe_value(value)}, where a cell array of {count} videos was expected")
    return value


def _scores(content: Any, field: str, *, count: int) -> list[float]:
    """Return a rating per video; all are NaN if the subject has none."""
    if field not in content or not np.size(content[field]):
        return [math.nan] * count
    scores = matrix_at(content, field)
    if scores.size != count:
        raise DataError(
            f"{field} is {describe_value(scores)}, where one number for each of {count} videos was expected"
        )
    return scores.ravel().tolist()


READER = Reader(
    name="dreamer",
    modalities=tuple(BLOCKS),
    licence="for research, after asking for access",
    where="https://zenodo.org/records/546113 (ask for access there)",
    hours="",
    description="DREAMER: 23 people watch 18 film clips, and rate arousal, valence and dominance",
    settings=Dreamer,
    list_parts=list_parts,
    read=read,
)
