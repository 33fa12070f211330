"""Reader of ASCERTAIN (Subramanian et al. 2018): ECG, a MAT file per clip.

``ASCERTAIN_Raw/ECGData/Movie_P01/ECG_Clip1.mat`` holds ``Data_ECG`` of shape (sample, column) at 256 Hz. The
first column is the time in milliseconds. With 3 to 5 columns, the second and third are ECG; with 6 columns,
the last two. Sources disagree about which is left, therefore they are called ECG 1 and ECG 2.
``Dt_SelfReports.mat`` holds ``Ratings`` of shape (question, subject, clip), arousal first, valence second.
``Data_Evaluation.xls`` rates the quality of the signals by subject and clip; clips of poor quality are
excluded, as in the papers.

Not confirmed: the unit (``millivolts_per_unit``); the scales of the ratings (``arousal_scale``,
``valence_scale``), which follow from published thresholds; the sheet and lines of the workbook that rate the
ECG (``quality_sheet``, ``quality_line``); that a larger rating is a worse quality (``poorest``).
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, relative_path
from emotune.data.corpora.ratings import RatingTable, Scale, read_rating_table, valid_ratings
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import describe_value, matrix_at, value_at
from emotune.data.matlab.reader import read_mat
from emotune.data.modality import Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

NAME = r"ECG_Clip(?P<clip>\d+)\.mat"
FOLDER = re.compile(r"Movie_P(?P<subject>\d+)", re.IGNORECASE)
REPORTS = r"Dt_SelfReports\.mat"
QUALITY = r"Data_(Quality_)?Evaluation\.(xls|xlsx|csv)"

QUESTIONS = ("arousal", "valence")
"""The first questions of ``Ratings``, in this order."""
RATE = 256
"""Sampling rate in Hz."""
RATE_TOLERANCE = 0.02
"""Largest relative difference of the rate of the time stamps from `RATE`."""
LEADS = ("ECG 1", "ECG 2")
LEADS_BY_COLUMNS = {3: (1, 2), 4: (1, 2), 5: (1, 2), 6: (4, 5)}


class Ascertain(Settings):
    """Settings of the ASCERTAIN reader: units, scales and the quality that excludes a clip."""

    quality_table: str = ""
    """Table of quality ratings (.xls, .xlsx or .csv) below the corpus's folder; Data_Evaluation.* if empty."""

    quality_sheet: str = "Data Evaluation"
    """Sheet of the workbook."""

    quality_line: int = Field(default=1, ge=1)
    """Line of the table with the subjects' numbers; the ratings are below it, a line per clip."""

    poorest: float = 3.0
    """Smallest quality rating that excludes a clip; larger ratings are worse."""

    arousal_scale: Scale = (0.0, 6.0)
    """Lowest and highest possible arousal."""

    valence_scale: Scale = (-3.0, 3.0)
    """Lowest and highest possible valence."""

    millivolts_per_unit: float | None = Field(default=None, gt=0)
    """mV per unit of the ECG; None: unknown."""

    @property
    def scales(self) -> dict[str, Scale]:
        """Scale of each rating by name."""
        return {"arousal": self.arousal_scale, "valence": self.valence_scale}


@dataclass(frozen=True)
class Clip:
    """A clip that a subject watched, and its ratings."""

    path: Path
    subject: str
    session: str
    given: Mapping[str, float] | None
    """Self-reported ratings; None if the corpus has no file of them."""
    quality: float | None
    """Quality rating of the signal; None if it is not rated."""


def list_parts(folder: Path | None, settings: Ascertain) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject, with self-reported and quality ratings of each clip."""
    assert folder is not None
    found = [(path, FOLDER.fullmatch(path.parent.name), match) for path, match in find_files(folder, name=NAME)]
    sources = [
        SourceFile(path, subject=f"P{int(subject['subject']):02d}", session=str(int(match["clip"])))
        for path, subject, match in found
        if subject
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no clips of ASCERTAIN (Movie_P01/ECG_Clip1.mat …); "
            "give the folder that contains ASCERTAIN_Raw and ASCERTAIN_Features"
        )
    elsewhere = len(found) - len(sources)
    if elsewhere:
        yield ExcludedData(
            subject="", source=f"{elsewhere} files ECG_Clip*.mat", reason="not in a folder like Movie_P01"
        )
    reports, table = _only(folder, name=REPORTS), _table(folder, settings=settings)
    if reports is None:
        yield ExcludedData(subject="", source="Dt_SelfReports.mat", reason="not found: recordings have no ratings")
    if table is None:
        yield ExcludedData(
            subject="", source="quality table", reason="not found: no recording is dropped for its quality"
        )
    ratings = None if reports is None else _ratings(reports)
    quality = (
        {} if table is None else read_rating_table(table, sheet=settings.quality_sheet, line=settings.quality_line)
    )
    tables = tuple(file for file in (reports, table) if file is not None)
    for part in group_by_subject(sources, folder=folder):
        clips = tuple(_clip(entry, ratings=ratings, quality=quality) for entry in part.entries)
        yield dataclasses.replace(part, files=(*part.files, *tables), entries=clips)


def _only(folder: Path, *, name: str) -> Path | None:
    found = [path for path, _ in find_files(folder, name=name)]
    if len(found) > 1:
        names = " and ".join(relative_path(path, folder=folder) for path in found)
        raise DataError(f"{folder} contains {names}, expected one of them; remove the others")
    return found[0] if found else None


def _table(folder: Path, *, settings: Ascertain) -> Path | None:
    if not settings.quality_table:
        return _only(folder, name=QUALITY)
    table = folder / settings.quality_table
    if not table.is_file():
        raise DataError(f"quality_table: {table} does not exist; give a table of quality ratings inside {folder}")
    return table


def _ratings(path: Path) -> Float[np.ndarray, "question subject clip"]:
    try:
        ratings = value_at(read_mat(path, variables=["Ratings"]), "Ratings")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not (
        isinstance(ratings, np.ndarray) and ratings.ndim == 3 and len(ratings) == 5 and ratings.dtype.kind in "fiu"
    ):
        raise DataError(
            f"{path}: Ratings is {describe_value(ratings)}, where 5 questions x subjects x clips were expected"
        )
    return ratings.astype(np.float64, copy=False)


def _clip(
    entry: SourceFile, *, ratings: Float[np.ndarray, "question subject clip"] | None, quality: RatingTable
) -> Clip:
    subject, clip = int(entry.subject[1:]), int(entry.session)
    given: dict[str, float] | None = None
    if ratings is not None:
        _, subjects, clips = ratings.shape
        is_rated = 0 < subject <= subjects and 0 < clip <= clips
        answers = ratings[: len(QUESTIONS), subject - 1, clip - 1].tolist() if is_rated else []
        given = dict(zip(QUESTIONS, answers, strict=False))
    return Clip(
        path=entry.path,
        subject=entry.subject,
        session=entry.session,
        given=given,
        quality=quality.get((subject, clip)),
    )


def read(part: CorpusPart, modality: Modality, settings: Ascertain) -> Iterator[Item]:
    """Yield the recordings of a subject, clip by clip."""
    for clip in part.entries:
        source = relative_path(clip.path, folder=part.folder)
        if clip.quality is not None and clip.quality >= settings.poorest:
            yield ExcludedData(
                subject=clip.subject, source=source, reason=f"the quality is rated {settings.poorest:g} or worse"
            )
            continue
        try:
            leads = _leads(clip.path)
        except DataError as error:
            yield UnreadableRecording(subject=clip.subject, source=source, reason=str(error))
            continue
        scales = {} if clip.given is None else settings.scales
        ratings, excluded = valid_ratings(clip.given or {}, scales=scales, subject=clip.subject, source=source)
        yield from excluded
        yield Recording(
            signal=leads if settings.millivolts_per_unit is None else leads * settings.millivolts_per_unit,
            fs=float(RATE),
            modality=modality,
            subject=clip.subject,
            session=clip.session,
            channels=LEADS,
            ratings=ratings,
            scales=scales,
            source=source,
            calibrated=settings.millivolts_per_unit is not None,
        )


def _leads(path: Path) -> Float[np.ndarray, "lead time"]:
    content = read_mat(path, variables=["Data_ECG"])
    samples = matrix_at(content, "Data_ECG")
    columns = LEADS_BY_COLUMNS.get(samples.shape[1])
    if columns is None:
        raise DataError(f"Data_ECG is {describe_value(samples)}, where 3 to 6 columns were expected")
    fs = rate_of_stamps(samples[:, 0])
    if not abs(fs - RATE) <= RATE_TOLERANCE * RATE:
        raise DataError(f"the rate of its time stamps is {fs:.4g} Hz, where {RATE} Hz was expected")
    return samples.T[list(columns)]


def rate_of_stamps(stamps: Float[np.ndarray, " time"]) -> float:
    """Return the sampling rate in Hz of time stamps in milliseconds; NaN if it cannot be determined.

    It is the median over intervals of 256 samples, so that rounding to milliseconds and gaps do not change it.
    """
    finite = stamps[np.isfinite(stamps)]
    step = min(RATE, len(finite) - 1)
    if step < 1:
        return float("nan")
    length = float(np.median(finite[step:] - finite[:-step]))
    return 1000 * step / length if length > 0 else float("nan")


READER = Reader(
    name="ascertain",
    modalities=("ecg",),
    licence="for research, after signing an agreement",
    where="https://ascertain-dataset.github.io (sign the agreement and send it in)",
    hours="",
    description="ASCERTAIN: 58 people watch 36 film clips, and rate arousal and valence",
    settings=Ascertain,
    list_parts=list_parts,
    read=read,
)
