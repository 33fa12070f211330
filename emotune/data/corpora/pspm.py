"""Reader of four data sets of the PsPM group (Bach et al.) in one format: PsPM-FR, -HRM5, -RRM1-2 and -VIS.

A MAT file per recording holds ``infos`` (with ``duration`` in seconds) and ``data``, a cell per channel with
``header`` (``chantype``, or ``channeltype`` in old files; ``sr``; ``units``) and ``data``. The rates of the
channels differ. MAT files without ``infos`` and ``data``, mostly logs of the subjects' behaviour, are excluded,
and so is the folder ``data_pp``, which repeats a part of ``data``.

One folder may hold several sets. Then the path of a file contains the name of its set (``FR``, ``HRM5``,
``RRM1-2``, ``VIS``). If no path contains the name of the requested set, all files are taken whose path
contains no set's name.

Not confirmed: the names of the files, the position of the subject's number in them, and the names of sessions
(setting ``names``); the unit of the ECG, which is taken from the header if it is a voltage there.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import field_validator

from emotune.base import Settings
from emotune.data.corpora.listing import (
    SourceFile,
    find_files,
    group_by_subject,
    number_of_files,
    read_each_file,
    relative_path,
)
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import matrix_at, number_at, rate_at, text_at, value_at
from emotune.data.matlab.reader import iterate_cells, read_mat, variables_of
from emotune.data.modality import MODALITIES, Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

LENGTH_TOLERANCE = 3
"""Largest difference of a channel's length from its duration, in samples (``pspm_check_data.m`` of PsPM)."""

MARKS = {
    "pspm-fr": "FR",
    "pspm-hrm5": "HRM[-_ ]?5",
    "pspm-rrm1-2": "RRM[-_ ]?[12](?:[-_ ]?2)?",
    "pspm-vis": "VIS",
}
"""Pattern of each set's name in a path."""

CHANNEL_TYPES: dict[Modality, str] = {"ecg": "ecg"}
"""The ``chantype`` of a modality's channels."""

DUPLICATES_FOLDER = "data_pp"
"""Folder that repeats recordings of ``data``."""


class Pspm(Settings):
    """Settings of the PsPM readers: the pattern of the files' names."""

    names: str = (
        r"(?:.*/)?(?P<session>[^/]*?)[-_ ]*(?P<subject>\d+)(?P<part>[-_ ]*(?:sn|sess|session|run|block)[-_ ]*\d+)?"
    )
    """Regular expression for a path below the corpus's folder, without ``.mat``. The group ``subject`` is the
    subject, the groups ``session`` and ``part`` (optional) together are the session. By default the last number
    is the subject, unless ``sn``, ``session``, ``run`` or ``block`` is before it."""

    @field_validator("names")
    @classmethod
    def _check(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if not {"subject", "session"} <= set(groups):
            raise ValueError(f"{pattern!r} should have the groups (?P<subject>...) and (?P<session>...)")
        return pattern


@dataclass(frozen=True, eq=False)
class Lead:
    """A channel of the modality, in the modality's unit if the file's unit is known."""

    name: str
    samples: Float[np.ndarray, " time"]
    fs: float
    calibrated: bool


def list_parts(folder: Path | None, settings: Pspm, *, corpus: str) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    assert folder is not None
    counts: Counter[tuple[str, str]] = Counter()
    sources: list[SourceFile] = []
    for path in files_of_set(folder, corpus=corpus):
        source = _source(path, folder=folder, settings=settings)
        if isinstance(source, str):
            counts[re.sub(r"\d+", "*", path.name), source] += 1
        else:
            sources.append(source)
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no recordings of {corpus} (MAT files with infos and data); "
            "unpack Data.zip and give the unpacked folder"
        )
    for (kind, reason), count in counts.items():
        yield ExcludedData(subject="", source=number_of_files(count, kind), reason=reason)
    yield from group_by_subject(sources, folder=folder)


def files_of_set(folder: Path, *, corpus: str) -> list[Path]:
    """Return the MAT files of one of the four sets, as the module's docstring describes.

    Raises:
        DataError: The folder holds files of other sets only.
    """
    sets: dict[str, list[Path]] = {}
    for path, _ in find_files(folder, name=r".*\.mat"):
        sets.setdefault(_set_of(relative_path(path, folder=folder)), []).append(path)
    files = sets.get(corpus) or sets.get("")
    if not files and sets:
        raise DataError(f"{folder} contains files of {', '.join(sorted(sets))}, expected {corpus}")
    return files or []


def _set_of(source: str) -> str:
    """Return the set whose name comes last in a path, empty if there is none."""
    positions = {
        match.end(): corpus
        for corpus, mark in MARKS.items()
        for match in re.finditer(rf"(?<![a-z0-9])(?:pspm)?[-_ ]?{mark}(?![a-z0-9])", source, re.IGNORECASE)
    }
    return positions[max(positions)] if positions else ""


def _source(path: Path, *, folder: Path, settings: Pspm) -> SourceFile | str:
    """Return subject and session of a recording, or the reason why the file is excluded."""
    location = relative_path(path, folder=folder)
    if DUPLICATES_FOLDER in map(str.lower, (folder.name, *Path(location).parts)):
        return f"{DUPLICATES_FOLDER} repeats a part of the recordings"
    match = re.fullmatch(settings.names, location[: -len(".mat")])
    if match is None:
        return "its name has no subject; see the setting names"
    try:
        if not {"infos", "data"} <= variables_of(path):
            return "not a recording: it has no infos and data"
    except DataError:
        pass  # `read` reports the damage
    groups = match.groupdict(default="")
    subject, session = groups["subject"], groups["session"] + groups.get("part", "")
    return SourceFile(path, subject=f"{int(subject):02}" if subject.isdecimal() else subject, session=session or "1")


def read(part: CorpusPart, modality: Modality, settings: Pspm) -> Iterator[Item]:
    """Yield the recordings of a subject, file by file."""
    del settings
    return read_each_file(part, lambda entry, source: _read_file(entry, source=source, modality=modality))


def _read_file(entry: SourceFile, *, source: str, modality: Modality) -> list[Item]:
    duration = number_at(read_mat(entry.path, variables=["infos"]), "infos.duration")
    label = MODALITIES[modality].label
    items: list[Item] = []
    leads: list[Lead] = []
    kinds: Counter[str] = Counter()
    for number, channel in enumerate(iterate_cells(entry.path, field=["data"]), start=1):
        try:
            kind = kind_of_channel(channel)
            kinds[kind] += 1
            if kind != CHANNEL_TYPES[modality]:
                continue
            if matrix_at(channel, "data").size == 0:
                reason = f"the {label} channel is empty"
                items.append(ExcludedData(entry.subject, f"{source}, channel {number}", reason))
            else:
                leads.append(_lead(channel, name=f"{label} {kinds[kind]}", duration=duration, modality=modality))
        except DataError as error:
            items.append(UnreadableRecording(entry.subject, f"{source}, channel {number}", str(error)))
    if not items and not leads:
        beats = ", only the times of heart beats (hb)" if kinds["hb"] else ""
        items.append(ExcludedData(entry.subject, source, f"it has no {label} channel{beats}"))
    return items + _recordings(leads, entry=entry, source=source, modality=modality)


def kind_of_channel(channel: Any) -> str:
    """Return a channel's type in small letters, from ``chantype`` or, in old files, ``channeltype``.

    Raises:
        DataError: The channel has no header, or the header no type.
    """
    header = value_at(channel, "header")
    old = isinstance(header, dict) and "channeltype" in header and "chantype" not in header
    return text_at(channel, "header.channeltype" if old else "header.chantype").strip().lower()


def _lead(channel: Any, *, name: str, duration: float, modality: Modality) -> Lead:
    spec = MODALITIES[modality]
    samples, fs = matrix_at(channel, "data"), rate_at(channel, "header.sr")
    unit = text_at(channel, "header.units") if "units" in channel["header"] else ""
    if unit.strip().lower() == "events":
        raise DataError(f"the {spec.label} channel contains times of events, where a signal was expected")
    if min(samples.shape) != 1:
        raise DataError(
            f"the {spec.label} channel has shape {samples.shape[0]} x {samples.shape[1]}, where a column was expected"
        )
    if abs(samples.size - duration * fs) > LENGTH_TOLERANCE:
        raise DataError(
            f"the {spec.label} channel has {samples.size} samples, expected {duration * fs:.0f} "
            f"({duration:g} s at {fs:g} Hz)"
        )
    factor = spec.factor_from(unit)
    scaled = samples.ravel() * (1.0 if factor is None else factor)
    return Lead(name, samples=scaled, fs=fs, calibrated=factor is not None)


def _recordings(leads: list[Lead], *, entry: SourceFile, source: str, modality: Modality) -> list[Recording]:
    """Return a recording for each sampling rate; if there are several, each is a session."""
    rates = list(dict.fromkeys(lead.fs for lead in leads))
    recordings: list[Recording] = []
    for fs in rates:
        group = [lead for lead in leads if lead.fs == fs]
        length = min(len(lead.samples) for lead in group)
        recordings.append(
            Recording(
                signal=np.stack([lead.samples[:length] for lead in group]),
                fs=fs,
                modality=modality,
                subject=entry.subject,
                session=entry.session if len(rates) == 1 else f"{entry.session}, {fs:g} Hz",
                channels=tuple(lead.name for lead in group),
                source=source,
                calibrated=all(lead.calibrated for lead in group),
            )
        )
    return recordings


def _reader(corpus: str, *, doi: str, description: str) -> Reader[Pspm]:
    return Reader(
        name=corpus,
        modalities=tuple(CHANNEL_TYPES),
        licence="see its page at Zenodo",
        where=f"https://doi.org/{doi} (open to everybody): Data.zip",
        hours="",
        description=description,
        settings=Pspm,
        list_parts=functools.partial(list_parts, corpus=corpus),
        read=read,
    )


READERS = (
    _reader(
        "pspm-fr",
        doi="10.5281/zenodo.1405394",
        description="PsPM-FR: delay fear conditioning with pictures and electric stimulation",
    ),
    _reader(
        "pspm-hrm5",
        doi="10.5281/zenodo.3860807",
        description="PsPM-HRM5: positive and negative pictures, neutral and aversive sounds",
    ),
    _reader(
        "pspm-rrm1-2",
        doi="10.5281/zenodo.3405226",
        description="PsPM-RRM1-2: electric stimulation, or targets to look for",
    ),
    _reader("pspm-vis", doi="10.5281/zenodo.3667714", description="PsPM-VIS: delay fear conditioning, eyes tracked"),
)
