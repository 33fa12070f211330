"""Reader of PhysioNet's EEG Motor Movement/Imagery database (Schalk et al. 2004, BCI2000): an EDF+ file per run.

The files are ``S001/S001R01.edf`` to ``S109/S109R14.edf``. Each file states its rate: 160 Hz for most
subjects, 128 Hz for some. EDF records last one second; if a run ends within a record, the record is filled
with zeros (80 samples in S001R04). These zeros are cut off.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, read_each_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.formats.file import RawFile, read_edf
from emotune.data.modality import MODALITIES, TEN_CHANNELS, Modality, channel_positions, normalise_name
from emotune.data.recording import ExcludedData, Interval, Recording
from emotune.errors import DataError

NAME = r"S(?P<subject>\d{3})R(?P<run>\d{2})\.edf"

EYES = {1: "eyes open", 2: "eyes closed"}
"""Condition of the two runs at rest, which applies to the whole run."""

CUES = {
    3: {"T1": "left fist", "T2": "right fist"},
    4: {"T1": "left fist imagined", "T2": "right fist imagined"},
    5: {"T1": "both fists", "T2": "both feet"},
    6: {"T1": "both fists imagined", "T2": "both feet imagined"},
}
"""Meaning of the annotations of the four tasks, by the first run of each; the tasks repeat every four runs."""


class Eegmmidb(Settings):
    """Settings of the eegmmidb reader: none."""


def list_parts(folder: Path | None, settings: Eegmmidb) -> Iterator[CorpusPart]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=f"S{match['subject']}", session=f"R{match['run']}")
        for path, match in find_files(folder, name=NAME)
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no runs of eegmmidb (S001R01.edf …); "
            "give the folder that contains S001, S002 …"
        )
    yield from group_by_subject(sources, folder=folder)


def read(part: CorpusPart, modality: Modality, settings: Eegmmidb) -> Iterator[Item]:
    """Yield the recordings of a subject, run by run."""
    del settings
    return read_each_file(part, lambda entry, source: _read_run(entry, source=source, modality=modality))


def _read_run(entry: SourceFile, *, source: str, modality: Modality) -> Iterator[Item]:
    try:
        raw = read_edf(entry.path, wanted=lambda label: normalise_name(label) in TEN_CHANNELS)
    except (DataError, OSError) as error:
        raise DataError(" ".join(str(error).split())) from error
    recording, padding = _recording(raw, entry=entry, source=source, modality=modality)
    if padding:
        yield ExcludedData(entry.subject, f"{source}, end", "zeros that fill up the last record are cut off")
    yield recording


def _recording(raw: RawFile, *, entry: SourceFile, source: str, modality: Modality) -> tuple[Recording, int]:
    """Return a run, and the number of padding samples that were cut off."""
    positions = channel_positions([channel.name for channel in raw.channels])
    channels = [raw.channels[position] for position in positions]
    rates = {channel.fs for channel in channels}
    factors = {MODALITIES[modality].factor_from(channel.unit) for channel in channels}
    if len(rates) > 1 or len(factors) > 1 or None in rates | factors:
        raise DataError(f"its channels have {_rates_and_units(raw)}, expected one rate and one unit of voltage")
    factor, fs = factors.pop(), rates.pop()
    assert factor is not None
    assert fs is not None
    run = int(entry.session[1:])
    samples = np.stack([channel.samples for channel in channels])
    signal = without_padding(samples)
    recording = Recording(
        signal=signal * factor,
        fs=fs,
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=TEN_CHANNELS,
        condition=EYES.get(run, ""),
        intervals=() if run in EYES else tuple(_interval(part, run=run) for part in raw.intervals),
        source=source,
    )
    return recording, samples.shape[1] - signal.shape[1]


def _rates_and_units(raw: RawFile) -> str:
    return ", ".join(sorted({f"{channel.fs:g} Hz in {channel.unit or 'an unknown unit'}" for channel in raw.channels}))


def _interval(part: Interval, *, run: int) -> Interval:
    """Replace the code of an annotation by its meaning; an unknown code stays."""
    meanings = {"T0": "rest"} | CUES[3 + (run - 3) % 4]
    return Interval(part.start, part.end, meanings.get(part.condition, part.condition))


def without_padding(samples: Float[np.ndarray, "channel time"]) -> Float[np.ndarray, "channel kept"]:
    """Cut off the zeros at the end of all channels.

    Raises:
        DataError: All samples are zero.
    """
    moving = np.flatnonzero(samples.any(axis=0))
    if not moving.size:
        raise DataError("all samples of its ten channels are zero")
    return samples[:, : moving[-1] + 1]


READER = Reader(
    name="eegmmidb",
    modalities=("eeg",),
    licence="ODC-By 1.0",
    where="https://physionet.org/content/eegmmidb/1.0.0/ (open to everybody)",
    hours="EEG about 48 h",
    description="BCI2000's EEG Motor Movement/Imagery database: 109 people, 14 runs of 1 to 2 minutes",
    settings=Eegmmidb,
    list_parts=list_parts,
    read=read,
)
