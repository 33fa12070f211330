"""Reader of WAY-EEG-GAL (Luciw et al. 2014): grasping and lifting, a MAT file per continuous series.

The files are ``P1/HS_P1_S1.mat`` to ``P12/HS_P12_S9.mat``. Field ``eeg`` of the struct ``hs`` holds the names
of 32 channels, ``sig`` of shape (sample, channel) and the rate, 500 Hz. Files with the same signals cut into
lifts (``WS_P1_S1.mat``) or with the EEG alone (``HS_P1_ST.mat``) are excluded.

Not confirmed: that a unit of ``sig`` is 0.1 uV, as most loaders assume (``microvolts_per_unit``).
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, number_of_files, read_each_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import rate_at, ten_channels_at
from emotune.data.matlab.reader import read_mat
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import ExcludedData, Recording
from emotune.errors import DataError

NAME = r"HS_P(?P<subject>\d+)_S(?P<series>\d+)\.mat"

EXCLUDED = {
    "WS_*.mat": (r"WS_P\d+_S\d+\.mat", "the series of HS_*.mat again, cut into lifts"),
    "HS_*_ST.mat": (r"HS_P\d+_ST\.mat", "the EEG of HS_*_S*.mat again"),
    "*_AllLifts.mat": (r"P\d+_AllLifts\.mat", "times of lifts, no signals"),
}
"""Files that repeat other files or hold no signals: their name in messages, a pattern, and the reason."""

OTHER_BLOCKS = ("emg", "kin", "env", "misc")
"""Fields of ``hs`` without EEG, most of a file; they are not read."""


class WayEegGal(Settings):
    """Settings of the WAY-EEG-GAL reader: the unit of the signals."""

    microvolts_per_unit: float = Field(default=0.1, gt=0)
    """uV per unit of the EEG."""


def list_parts(folder: Path | None, settings: WayEegGal) -> Iterator[CorpusPart | ExcludedData]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=f"P{int(match['subject'])}", session=f"S{int(match['series'])}")
        for path, match in find_files(folder, name=NAME)
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no series of WAY-EEG-GAL (HS_P1_S1.mat …); "
            "unpack P1.zip to P12.zip and give their folder"
        )
    for names, (pattern, reason) in EXCLUDED.items():
        count = len(find_files(folder, name=pattern))
        if count:
            yield ExcludedData(subject="", source=number_of_files(count, names), reason=reason)
    yield from group_by_subject(sources, folder=folder)


def read(part: CorpusPart, modality: Modality, settings: WayEegGal) -> Iterator[Item]:
    """Yield the recordings of a subject, series by series."""
    return read_each_file(
        part, lambda entry, source: [_recording(entry, source=source, modality=modality, settings=settings)]
    )


def _recording(entry: SourceFile, *, source: str, modality: Modality, settings: WayEegGal) -> Recording:
    content = read_mat(entry.path, variables=["hs"], without=OTHER_BLOCKS)
    return Recording(
        signal=ten_channels_at(content, "hs.eeg.sig", names="hs.eeg.names") * settings.microvolts_per_unit,
        fs=rate_at(content, "hs.eeg.samplingrate"),
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=TEN_CHANNELS,
        source=source,
    )


READER = Reader(
    name="way-eeg-gal",
    modalities=("eeg",),
    licence="CC0",
    where="https://doi.org/10.6084/m9.figshare.c.988376 (open to everybody)",
    hours="",
    description="WAY-EEG-GAL: 12 people grasp and lift an object, 9 series each",
    settings=WayEegGal,
    list_parts=list_parts,
    read=read,
)
