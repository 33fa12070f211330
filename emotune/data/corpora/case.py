"""Reader of CASE (Sharma et al. 2019): ECG while people watch videos and rate them continuously with a joystick.

``data/interpolated/physiological/sub_1.csv`` has the columns ``daqtime`` (ms), ``ecg`` (mV), six other signals and
``video``, at 1000 Hz. ``data/interpolated/annotations/sub_1.csv`` has ``jstime`` (ms), ``valence`` and ``arousal`` from
0.5 to 9.5 and ``video``, at 20 Hz, on the same clock. Videos 1 and 2 are amusing, 3 and 4 boring, 5 and 6 relaxing, 7
and 8 scary; 10, 11 and 12 are the start, a blue screen between the videos, and the end (``s01_v1_loadVideosInfo.m`` of
the corpus). Each showing is a recording. The rating of a video is the mean of its annotations. Start, blue screens and
end have neither rating nor condition.
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, list_other_files, relative_path
from emotune.data.corpora.ratings import Scale, valid_ratings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.formats.raw import one_line
from emotune.data.formats.time_axis import TimeColumn, holes
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

NAME = r"sub_(?P<subject>\d+)\.csv"

RATE = 1000
"""Sampling rate of the interpolated signals, in Hz."""

KINDS = {1: "amusing", 2: "amusing", 3: "boring", 4: "boring", 5: "relaxing", 6: "relaxing", 7: "scary", 8: "scary"}
"""Condition of each emotional video."""

VIDEOS = {
    1: "amusing-1", 2: "amusing-2", 3: "boring-1", 4: "boring-2", 5: "relaxed-1", 6: "relaxed-2", 7: "scary-1",
    8: "scary-2", 10: "start", 11: "blue", 12: "end",
}  # fmt: skip
"""Names of the videos in the corpus, and short names of the others."""

SCALES: dict[str, Scale] = {"valence": (0.5, 9.5), "arousal": (0.5, 9.5)}

REASONS = {
    r"(.*/)?non-interpolated/.*": "the data of interpolated again, at the rates of the loggers",
    r"(.*/)?(raw|initial)/.*": "the data of interpolated again, without the numbers of the videos",
}


class Case(Settings):
    """Settings of the CASE reader: none."""


@dataclass(frozen=True)
class Subject:
    """The files of a subject."""

    signals: SourceFile
    annotations: Path | None


@dataclass(frozen=True, eq=False)
class Showing:
    """A video that a subject watched: its number, and the samples from ``first`` up to ``last``."""

    video: int
    first: int
    last: int


def list_parts(folder: Path | None, settings: Case) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    signals = _files(folder, kind="physiological")
    annotations = {source.subject: source.path for source in _files(folder, kind="annotations")}
    if not signals:
        raise DataError(
            f"{folder} and its subfolders contain no signals of CASE (interpolated/physiological/sub_1.csv …); "
            "unpack CASE_full.zip and give its folder"
        )
    taken = [source.path for source in signals]
    rated = [annotations[source.subject] for source in signals if source.subject in annotations]
    yield from list_other_files(folder, taken=[*taken, *rated], reasons=REASONS, otherwise="no signals")
    for part in group_by_subject(signals, folder=folder):
        table = annotations.get(part.name)
        files = (*part.files, *([table] if table else []))
        yield dataclasses.replace(part, files=files, entries=(Subject(part.entries[0], table),))


def _files(folder: Path, *, kind: str) -> list[SourceFile]:
    """Return the files of a kind, ``physiological`` or ``annotations``, in a folder ``interpolated``."""
    return [
        SourceFile(path, subject=f"sub_{int(match['subject'])}", session="all")
        for path, match in find_files(folder, name=NAME)
        if [path.parent.name.lower(), path.parent.parent.name.lower()] == [kind, "interpolated"]
    ]


def read(part: CorpusPart, modality: Modality, settings: Case) -> Iterator[Item]:
    """Yield the recordings of a subject, video by video."""
    del settings
    for entry in part.entries:
        source = relative_path(entry.signals.path, folder=part.folder)
        try:
            yield from _videos(entry, source=source, modality=modality)
        except DataError as error:
            yield UnreadableRecording(subject=entry.signals.subject, source=source, reason=str(error))


def _videos(entry: Subject, *, source: str, modality: Modality) -> Iterator[Item]:
    subject = entry.signals.subject
    table = read_columns(entry.signals.path, names=("daqtime", "ecg", "video"))
    times = table["daqtime"].to_numpy(dtype=np.float64)
    if holes(TimeColumn("daqtime", times, 1e-3), fs=float(RATE)):
        raise DataError(f"its column daqtime has holes, expected a sample in each of {RATE} parts of a second")
    showings = showings_of(table["video"].to_numpy(dtype=np.float64))
    answers, reason = _annotations(entry.annotations)
    if reason:
        yield ExcludedData(subject=subject, source=source, reason=f"the ratings: {reason}; the recordings are kept")
    signal = table["ecg"].to_numpy(dtype=np.float64)
    counts: Counter[int] = Counter()
    for showing in showings:
        counts[showing.video] += 1
        name = VIDEOS[showing.video]
        rated = showing.video in KINDS
        session = name if rated and counts[showing.video] == 1 else f"{name}-{counts[showing.video]}"
        ratings: dict[str, float] = {}
        if rated and answers is not None:
            given = mean_ratings(answers, start=times[showing.first], end=times[showing.last - 1])
            place = f"{source}, video {session}"
            ratings, excluded = valid_ratings(given, scales=SCALES, subject=subject, source=place)
            yield from excluded
        yield Recording(
            signal=signal[None, showing.first : showing.last],
            fs=float(RATE),
            modality=modality,
            subject=subject,
            session=session,
            channels=("ECG",),
            ratings=ratings,
            scales=SCALES if ratings else {},
            condition=KINDS.get(showing.video, ""),
            source=source,
        )


def mean_ratings(answers: pd.DataFrame, *, start: float, end: float) -> dict[str, float]:
    """Return the mean of each rating from ``start`` to ``end`` (ms); NaN without annotations in between."""
    times = answers["jstime"].to_numpy()
    within = (start <= times) & (times <= end)
    columns = {rating: answers[rating].to_numpy(dtype=np.float64)[within] for rating in SCALES}
    return {rating: float(values.mean()) if len(values) else math.nan for rating, values in columns.items()}


def _annotations(path: Path | None) -> tuple[pd.DataFrame | None, str]:
    """Return the annotations of a subject, or None and the reason why there are none."""
    if path is None:
        return None, "there is no annotations/sub_*.csv of the subject"
    try:
        return read_columns(path, names=("jstime", *SCALES)), ""
    except DataError as error:
        return None, f"the annotations cannot be used: {error}"


def read_columns(path: Path, *, names: Sequence[str]) -> pd.DataFrame:
    """Read columns of numbers from a table.

    Raises:
        DataError: The table cannot be read, lacks a column, or has values that are not numbers.
    """
    try:
        table = pd.read_csv(path, usecols=list(names), low_memory=False)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"it is no table with the columns {', '.join(names)}: {one_line(error)}") from error
    words = [name for name in names if table[name].dtype.kind not in "fiu"]
    if words:
        raise DataError(f"its column {words[0]} contains values that are not numbers")
    return table


def showings_of(videos: Float[np.ndarray, " time"]) -> list[Showing]:
    """Return the parts of a session in which one video was shown.

    Raises:
        DataError: There are no samples, or a number is none of `VIDEOS`.
    """
    if not len(videos):
        raise DataError("it has no samples")
    unknown = sorted(set(np.unique(videos).tolist()) - set(VIDEOS))
    if unknown:
        raise DataError(f"its column video has {unknown[0]:g}, expected {', '.join(map(str, VIDEOS))}")
    edges = [0, *(np.flatnonzero(np.diff(videos)) + 1).tolist(), len(videos)]
    return [Showing(int(videos[first]), first=first, last=last) for first, last in itertools.pairwise(edges)]


READER = Reader(
    name="case",
    modalities=("ecg",),
    licence="CC BY 4.0",
    where="https://doi.org/10.6084/m9.figshare.8869157 (open to everybody): CASE_full.zip",
    hours="ECG about 20 h, one lead",
    description="CASE: 30 people watch 8 videos, and rate arousal and valence continuously",
    settings=Case,
    list_parts=list_parts,
    read=read,
)
