"""Reader of PTB-XL (Wagner et al. 2020, PhysioNet): clinical ECG of 12 leads and 10 s, a WFDB record each.

``ptbxl_database.csv`` has a line per record with ``patient_id`` and the paths of the record at 100 Hz
(``filename_lr``, below ``records100``) and at 500 Hz (``filename_hr``, below ``records500``). The corpus has
diagnoses, no affect: its segments have neither rating nor condition, and are for pre-training.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from emotune.base import Settings
from emotune.data.corpora.listing import number_of_files, relative_path
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.formats.file import read_file
from emotune.data.formats.raw import one_line
from emotune.data.modality import MODALITIES, Modality
from emotune.data.recording import ExcludedData, Recording, UnreadableRecording
from emotune.errors import DataError

TABLE = "ptbxl_database.csv"
COLUMNS = {100: "filename_lr", 500: "filename_hr"}
"""Column of the paths at each sampling rate (Hz)."""
RECORD = re.compile(r"records(100|500)/\d{5}/\d{5}_(lr|hr)")

LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""Names of the leads, in the order of the files."""

PATIENTS_PER_PART = 250
"""Number of patients that one process reads at a time."""

Lead = Literal["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


class Ptbxl(Settings):
    """Settings of the PTB-XL reader: rate and leads."""

    records: Literal[100, 500] = 500
    """Sampling rate of the records that are read, in Hz."""

    leads: tuple[Lead, ...] = LEADS
    """The leads that are read; each becomes segments of its own."""


@dataclass(frozen=True)
class RecordEntry:
    """A record of a patient."""

    header: Path
    subject: str
    session: str


def list_parts(folder: Path | None, settings: Ptbxl) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for every `PATIENTS_PER_PART` patients."""
    assert folder is not None
    table = folder / TABLE
    if not table.is_file():
        raise DataError(f"{folder} contains no {TABLE}; give the folder of PTB-XL that contains it and records500")
    entries = _entries(table, folder=folder, rate=settings.records)
    yield from _others(folder, entries=entries, settings=settings)
    by_patient: dict[str, list[RecordEntry]] = {}
    for entry in entries:
        by_patient.setdefault(entry.subject, []).append(entry)
    patients = sorted(by_patient, key=int)
    for first in range(0, len(patients), PATIENTS_PER_PART):
        group = patients[first : first + PATIENTS_PER_PART]
        records = tuple(record for patient in group for record in by_patient[patient])
        files = [file for record in records for file in (record.header, record.header.with_suffix(".dat"))]
        yield CorpusPart(
            name=f"patients {group[0]} to {group[-1]}",
            folder=folder,
            files=(table, *files),
            entries=records,
            recordings=len(records),
        )


def _entries(table: Path, *, folder: Path, rate: int) -> list[RecordEntry]:
    """Return the records of the table.

    Raises:
        DataError: The table cannot be read, lacks a column, names no record, or one record twice.
    """
    columns = ["ecg_id", "patient_id", COLUMNS[rate]]
    try:
        rows = pd.read_csv(table, usecols=columns, dtype={COLUMNS[rate]: str})[columns]
        numbers = rows[["ecg_id", "patient_id"]].astype("int64")
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{table} cannot be read as a table with {', '.join(columns)}: {one_line(error)}") from error
    paths = [str(path) for path in rows[COLUMNS[rate]]]
    wrong = next((path for path in paths if not RECORD.fullmatch(path)), None)
    if wrong is not None or not paths:
        raise DataError(f"{table} names the record {wrong!r}, expected records{rate}/00000/00001_…")
    ids = numbers["ecg_id"].tolist()
    if len(set(ids)) < len(ids) or len(set(paths)) < len(paths):
        repeated = Counter(paths).most_common(1)[0][0]
        raise DataError(f"{table} lists {repeated} or its number twice; remove one of the lines")
    return [
        RecordEntry(header=folder / f"{path}.hea", subject=str(patient), session=f"{ecg:05d}")
        for path, ecg, patient in zip(paths, ids, numbers["patient_id"].tolist(), strict=True)
    ]


def _others(folder: Path, *, entries: list[RecordEntry], settings: Ptbxl) -> Iterator[ExcludedData]:
    """Yield the records of the other rate, records that are not in the table, and the other files of the folder."""
    known = {entry.header for entry in entries}
    for rate in COLUMNS:
        headers = sorted((folder / f"records{rate}").glob("*/*.hea"))
        if rate != settings.records:
            reason = f"the records at {settings.records} Hz again, at {rate} Hz"
        else:
            reason = f"{TABLE} does not list them"
            headers = [path for path in headers if path not in known]
        if headers:
            yield ExcludedData(
                subject="", source=number_of_files(len(headers), f"records{rate}/*/*.hea"), reason=reason
            )
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != TABLE)
    for name in names:
        if not name.startswith("."):
            yield ExcludedData(subject="", source=name, reason="no signals")


def read(part: CorpusPart, modality: Modality, settings: Ptbxl) -> Iterator[Item]:
    """Yield exactly one item for each record: its recording, or the reason why there is none."""
    for entry in part.entries:
        source = relative_path(entry.header, folder=part.folder)
        try:
            yield _recording(entry, source=source, modality=modality, settings=settings)
        except DataError as error:
            yield UnreadableRecording(subject=entry.subject, source=source, reason=str(error))


def _recording(entry: RecordEntry, *, source: str, modality: Modality, settings: Ptbxl) -> Recording:
    channels = {channel.name.upper(): channel for channel in read_file(entry.header).channels}
    missing = [lead for lead in settings.leads if lead not in channels]
    if missing:
        raise DataError(f"it has no lead {', '.join(missing)}; it has {', '.join(channels) or 'none'}")
    chosen = [channels[lead] for lead in settings.leads]
    factors = [MODALITIES[modality].factor_from(channel.unit) for channel in chosen]
    if {channel.fs for channel in chosen} != {float(settings.records)} or None in factors:
        stated = ", ".join(sorted({f"{channel.fs or 0:g} Hz in {channel.unit or 'no unit'}" for channel in chosen}))
        raise DataError(f"its leads have {stated}, expected {settings.records} Hz in mV")
    return Recording(
        signal=np.stack([channel.samples * (factor or 1.0) for channel, factor in zip(chosen, factors, strict=True)]),
        fs=float(settings.records),
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=settings.leads,
        source=source,
    )


READER = Reader(
    name="ptb-xl",
    modalities=("ecg",),
    licence="CC BY 4.0",
    where="https://physionet.org/content/ptb-xl/1.0.3/ (open to everybody)",
    hours="ECG about 60 h, twelve leads",
    description="PTB-XL: 21,799 clinical ECGs of 18,869 patients, without ratings, for pre-training",
    settings=Ptbxl,
    list_parts=list_parts,
    read=read,
)
