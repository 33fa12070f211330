"""Reader of DEAP (Koelstra et al. 2012), the preprocessed release: EEG, a MAT or pickle file per subject.

``data_preprocessed_matlab/s01.mat`` and ``data_preprocessed_python/s01.dat`` hold the same arrays: ``data`` of shape
(video, channel, sample) at 128 Hz, and ``labels`` of shape (video, 4): valence, arousal, dominance and liking, in this
order, from 1 to 9. The videos are in the same order for each subject. 32 of the 40 channels are EEG, in the order of
`COLUMNS`. The first 3 s were recorded before the video. The release is filtered from 4 to 45 Hz and has no ECG.
Where both files of a subject are present, the MAT file is read. Pickles are read by `emotune.data.formats.pickled`,
which executes nothing.

Not confirmed: the unit. Microvolts are plausible, but no source states them (``microvolts_per_unit``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, list_other_files, read_each_file
from emotune.data.corpora.ratings import Scale, valid_ratings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.formats.pickled import read_pickle
from emotune.data.formats.pickled_array import array_at
from emotune.data.matlab.access import describe_value, value_at
from emotune.data.matlab.reader import read_mat
from emotune.data.modality import TEN_CHANNELS, Modality, channel_positions
from emotune.data.recording import ExcludedData, Recording
from emotune.errors import DataError

NAME = r"s(?P<subject>\d{2})\.(?P<ending>mat|dat)"

COLUMNS = (
    "Fp1", "AF3", "F3", "F7", "FC5", "FC1", "C3", "T7", "CP5", "CP1", "P3", "P7", "PO3", "O1", "Oz", "Pz",
    "Fp2", "AF4", "Fz", "F4", "F8", "FC6", "FC2", "Cz", "C4", "T8", "CP6", "CP2", "P4", "P8", "PO4", "O2",
)  # fmt: skip
"""The EEG channels, which come first."""
CHANNELS_IN_FILE = 40
"""Number of channels, those of the face and body included."""

RATE = 128
"""Sampling rate in Hz."""
BASELINE_SAMPLES = 3 * RATE
"""Number of samples before a video begins."""

ANSWERS: tuple[str, ...] = ("valence", "arousal", "dominance", "liking")
"""The ratings, in this order."""
SCALES: dict[str, Scale] = dict.fromkeys(ANSWERS, (1.0, 9.0))

REASONS = {
    r"(.*/)?s\d{2}\.bdf": "the original recordings; data_preprocessed_matlab has them prepared",
    r"(.*/)?face_video.*": "videos of faces",
}


class Deap(Settings):
    """Settings of the DEAP reader: the unit of the signals."""

    microvolts_per_unit: float | None = Field(default=None, gt=0)
    """uV per unit of the EEG; None: unknown."""


@dataclass(frozen=True, eq=False)
class Content:
    """The arrays of a subject's file."""

    data: Float[np.ndarray, "video channel time"]
    labels: Float[np.ndarray, "video answer"]


def list_parts(folder: Path | None, settings: Deap) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    by_ending: dict[str, list[SourceFile]] = {"mat": [], "dat": []}
    for path, match in find_files(folder, name=NAME):
        by_ending[match["ending"].lower()].append(SourceFile(path, subject=f"s{match['subject']}", session="all"))
    prepared = {source.subject for source in by_ending["mat"]}
    sources = by_ending["mat"] + [source for source in by_ending["dat"] if source.subject not in prepared]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no files of DEAP (s01.mat … or s01.dat …); "
            "unpack data_preprocessed_matlab.zip, not the original recordings, and give its folder"
        )
    reasons = {r"(.*/)?s\d{2}\.dat": "the data of s*.mat again", **REASONS}
    taken = [source.path for source in sources]
    yield from list_other_files(folder, taken=taken, reasons=reasons, otherwise="no signals")
    yield from group_by_subject(sources, folder=folder)


def read(part: CorpusPart, modality: Modality, settings: Deap) -> Iterator[Item]:
    """Yield the recordings of a subject, video by video."""
    return read_each_file(
        part, lambda entry, source: _videos(entry, source=source, modality=modality, settings=settings)
    )


def _videos(entry: SourceFile, *, source: str, modality: Modality, settings: Deap) -> Iterator[Item]:
    content = _content(entry.path)
    positions = channel_positions(COLUMNS)
    scale = settings.microvolts_per_unit
    for number, (samples, answers) in enumerate(zip(content.data, content.labels, strict=True), start=1):
        signal = samples[positions] * (1.0 if scale is None else scale)
        video = f"{source}, video {number}"
        given: dict[str, float] = dict(zip(ANSWERS, answers.tolist(), strict=True))
        ratings, excluded = valid_ratings(given, scales=SCALES, subject=entry.subject, source=video)
        yield from excluded
        parts: Mapping[str, Float[np.ndarray, "channel time"]] = {
            f"{number}-baseline": signal[:, :BASELINE_SAMPLES],
            str(number): signal[:, BASELINE_SAMPLES:],
        }
        for session, part in parts.items():
            is_video = session == str(number)
            yield Recording(
                signal=part,
                fs=float(RATE),
                modality=modality,
                subject=entry.subject,
                session=session,
                channels=TEN_CHANNELS,
                ratings=ratings if is_video else {},
                scales=SCALES if is_video else {},
                condition="" if is_video else "baseline",
                source=video,
                calibrated=scale is not None,
            )


def _content(path: Path) -> Content:
    """Read and check the arrays of a file.

    Raises:
        DataError: It cannot be read, or the arrays have other shapes.
    """
    names = ("data", "labels")
    if path.suffix.lower() == ".mat":
        content = read_mat(path, variables=names)
        data, labels = (value_at(content, name) for name in names)
    else:
        content = read_pickle(path)
        data, labels = (array_at(content, name) for name in names)
    if not (isinstance(data, np.ndarray) and data.ndim == 3 and data.dtype.kind in "fiu"):
        raise DataError(f"data is {describe_value(data)}, expected numbers by video, channel and sample")
    videos, channels, length = data.shape
    if channels != CHANNELS_IN_FILE or length <= BASELINE_SAMPLES:
        raise DataError(
            f"data is {describe_value(data)}, expected {CHANNELS_IN_FILE} channels and more samples than the "
            f"{BASELINE_SAMPLES} before the video"
        )
    expected = (videos, len(ANSWERS))
    if not (isinstance(labels, np.ndarray) and labels.shape == expected and labels.dtype.kind in "fiu"):
        raise DataError(f"labels is {describe_value(labels)}, expected {expected[0]} x {expected[1]} ratings")
    return Content(data=data.astype(np.float64, copy=False), labels=labels.astype(np.float64, copy=False))


READER = Reader(
    name="deap",
    modalities=("eeg",),
    licence="for research, after signing an agreement",
    where="https://www.eecs.qmul.ac.uk/mmv/datasets/deap/ (sign the agreement): data_preprocessed_matlab.zip",
    hours="EEG about 21 h",
    description="DEAP: 32 people watch 40 music videos, and rate arousal, valence, dominance and liking",
    settings=Deap,
    list_parts=list_parts,
    read=read,
)
