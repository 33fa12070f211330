"""DREAMER (Katsigiannis & Ramzan 2018): one MAT file with all subjects, ECG and EEG.

``DREAMER.mat``, a struct: ``Data`` has a cell per subject, with 18 cells each of ``EEG.stimuli``,
``EEG.baseline``, ``ECG.stimuli`` and ``ECG.baseline``, and ``ScoreArousal`` and ``ScoreValence`` from 1 to
5. EEG and ECG have rates of their own, which the file tells; they are assumed to start together. Stimuli
are of different lengths. The file is one part, read front to back, a subject in memory at a time.

Not confirmed: the units, which look like those of an analog-to-digital converter
(``millivolts_per_unit``, ``microvolts_per_unit``); which column of the ECG is left and which right, so
that they are called ECG 1 and ECG 2.
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
SCORES = {"arousal": "ScoreArousal", "valence": "ScoreValence"}
SCALES = dict.fromkeys(SCORES, (1.0, 5.0))
BLOCKS: dict[Modality, str] = {"ecg": "ECG", "eeg": "EEG"}
"""The fields of a subject's struct that hold the signals."""
CHANNELS: dict[Modality, tuple[str, ...]] = {"ecg": ECG_COLUMNS, "eeg": TEN_CHANNELS}
"""The channels that are taken."""
NAMES_IN_FILE: dict[Modality, str] = {"eeg": "DREAMER.EEG_Electrodes"}
"""Where the file names the columns; the columns of a modality that is not here are its channels."""


class Dreamer(Settings):
    """What a number in the file stands for."""

    millivolts_per_unit: float | None = Field(default=None, gt=0)
    """mV per unit of the ECG; not known if not given."""

    microvolts_per_unit: float | None = Field(default=None, gt=0)
    """uV per unit of the EEG; not known if not given."""

    def scale_of(self, modality: Modality) -> float | None:
        """Return mV or uV per unit of the file; None if it is not known."""
        return {"ecg": self.millivolts_per_unit, "eeg": self.microvolts_per_unit}[modality]


@dataclass(frozen=True)
class SignalInfo:
    """What the file says about all of its signals of a modality."""

    modality: Modality
    fs: float
    columns: tuple[str, ...]
    """Names of all columns."""
    channels: tuple[str, ...]
    """Names of those that are taken."""
    scale: float | None
    """Of a unit in mV or uV, if known."""
    subjects: int
    videos: int

    @property
    def block(self) -> str:
        """What the modality is called in the file."""
        return BLOCKS[self.modality]


@dataclass(frozen=True)
class Video:
    """Which recording it is, and what the subject said."""

    name: str
    subject: str
    source: str
    scores: Mapping[str, float]


def list_parts(folder: Path | None, settings: Dreamer) -> Iterator[CorpusPart]:
    """Find the file."""
    del settings
    assert folder is not None
    found = [path for path, _ in find_files(folder, name=r"DREAMER\.mat")]
    if not found:
        raise DataError(f"{folder} holds no DREAMER.mat, not even further below; give the folder that it is in")
    if len(found) > 1:
        names = " and ".join(relative_path(path, folder=folder) for path in found)
        raise DataError(f"{folder}: {names} would be read both; take all but one away")
    yield CorpusPart(name="DREAMER", folder=folder, files=tuple(found))


def read(part: CorpusPart, modality: Modality, settings: Dreamer) -> Iterator[Item]:
    """Read one subject after the other."""
    (path,) = part.files
    source = relative_path(path, folder=part.folder)
    others = [block for name, block in BLOCKS.items() if name != modality]
    try:
        facts = _signal_info(path, modality=modality, settings=settings)
        count = 0
        for content in iterate_cells(path, place=["DREAMER", "Data"], without=others):
            count += 1
            yield from _subject(content, subject=f"S{count:02d}", source=source, facts=facts)
        if count != facts.subjects:
            raise DataError(f"it has {count} subjects, where noOfSubjects says {facts.subjects}")
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


def _subject(content: Any, *, subject: str, source: str, facts: SignalInfo) -> Iterator[Item]:
    place = f"{source}, subject {int(subject[1:])}"
    try:
        baselines = _cells(content, f"{facts.block}.baseline", count=facts.videos)
        stimuli = _cells(content, f"{facts.block}.stimuli", count=facts.videos)
        scores = {name: _scores(content, field, count=facts.videos) for name, field in SCORES.items()}
    except DataError as error:
        yield UnreadableRecording(subject=subject, source=place, reason=str(error))
        return
    for number, (baseline, stimulus) in enumerate(zip(baselines, stimuli, strict=True)):
        video = Video(
            name=str(number + 1),
            subject=subject,
            source=f"{place}, video {number + 1}",
            scores={name: values[number] for name, values in scores.items()},
        )
        yield from _before(baseline, video=video, facts=facts)
        yield from _during(stimulus, video=video, facts=facts)


def _before(cell: Any, *, video: Video, facts: SignalInfo) -> Iterator[Item]:
    baseline = dataclasses.replace(video, name=f"{video.name}-baseline", source=f"{video.source}, baseline")
    for item in _signal(cell, video=baseline, facts=facts):
        yield dataclasses.replace(item, condition="baseline") if isinstance(item, Recording) else item


def _during(cell: Any, *, video: Video, facts: SignalInfo) -> Iterator[Item]:
    ratings, left_out = valid_ratings(video.scores, scales=SCALES, subject=video.subject, source=video.source)
    for item in _signal(cell, video=video, facts=facts):
        if isinstance(item, Recording):
            yield from left_out
            yield dataclasses.replace(item, ratings=ratings, scales=SCALES)
        else:
            yield item


def _signal(cell: Any, *, video: Video, facts: SignalInfo) -> Iterator[Item]:
    """Yield a cell's signal, or why there is none."""
    if isinstance(cell, np.ndarray) and cell.size == 0:
        yield ExcludedData(subject=video.subject, source=video.source, reason="there is no signal")
        return
    try:
        samples = matrix_at({facts.block: cell}, facts.block)
        if samples.shape[1] != len(facts.columns):
            raise DataError(
                f"{facts.block} is {describe_value(cell)}, where {len(facts.columns)} columns were expected "
                f"({', '.join(facts.columns)})"
            )
    except DataError as error:
        yield UnreadableRecording(subject=video.subject, source=video.source, reason=str(error))
        return
    signal = samples.T[channel_positions(facts.columns, wanted=facts.channels)]
    yield Recording(
        signal=signal if facts.scale is None else signal * facts.scale,
        fs=facts.fs,
        modality=facts.modality,
        subject=video.subject,
        session=video.name,
        channels=facts.channels,
        source=video.source,
        calibrated=facts.scale is not None,
    )


def _cells(content: Any, place: str, *, count: int) -> list[Any]:
    value = value_at(content, place)
    if not isinstance(value, list) or len(value) != count:
        raise DataError(f"{place} is {describe_value(value)}, where a cell array of {count} videos was expected")
    return value


def _scores(content: Any, place: str, *, count: int) -> list[float]:
    """Return a rating per video; NaN for all of them if there is none."""
    if place not in content or not np.size(content[place]):
        return [math.nan] * count
    scores = matrix_at(content, place)
    if scores.size != count:
        raise DataError(
            f"{place} is {describe_value(scores)}, where one number for each of {count} videos was expected"
        )
    return scores.ravel().tolist()


READER = Reader(
    name="dreamer",
    modalities=tuple(BLOCKS),
    licence="for research, after asking for access",
    where="https://zenodo.org/records/546113 (ask for access there)",
    hours="",
    description="DREAMER: 23 people watch 18 film clips, and rate arousal and valence",
    settings=Dreamer,
    list_parts=list_parts,
    read=read,
)
