"""Reader of Large-EEG-BCI (Kaya et al. 2018): motor imagery, a MAT file per session.

A file is called ``CLA-SubjectA-160108-3St-LRHand.mat``, in older downloads without dashes. Its struct ``o``
holds ``data`` of shape (sample, channel), ``chnames`` and ``sampFreq``: 200 Hz, or 1000 Hz in files
``…-HFREQ``. The electrodes have names of the old 10-20 system. The references A1 and A2 and the
synchronisation channel X5 are not read.

Not confirmed: that the unit is microvolts; therefore the spread is not checked.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, read_each_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.matlab.access import number_at, rate_at, ten_channels_at
from emotune.data.matlab.reader import read_mat
from emotune.data.modality import TEN_CHANNELS, Modality
from emotune.data.recording import Recording
from emotune.errors import DataError

NAME = r"(?P<paradigm>\w+?)[-_ ]*Subject[-_ ]?(?P<subject>[A-M])[-_ ]*(?P<date>\d{6})?(?P<rest>.*)\.mat"


class LargeEegBci(Settings):
    """Settings of the Large-EEG-BCI reader: none."""


def list_parts(folder: Path | None, settings: LargeEegBci) -> Iterator[CorpusPart]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=match["subject"].upper(), session=session_of(match))
        for path, match in find_files(folder, name=NAME)
    ]
    if not sources:
        raise DataError(
            f"{folder} and its subfolders contain no sessions of Large-EEG-BCI "
            "(CLA-SubjectA-160108-3St-LRHand.mat …); give the folder of the MAT files"
        )
    yield from group_by_subject(sources, folder=folder)


def session_of(match: re.Match[str]) -> str:
    """Return the name of a session, the same for file names with and without dashes."""
    rest = re.sub(r"[-_ ]", "", match["rest"])
    return "-".join(part for part in (match["paradigm"], match["date"], rest) if part)


def read(part: CorpusPart, modality: Modality, settings: LargeEegBci) -> Iterator[Item]:
    """Yield the recordings of a subject, session by session."""
    del settings
    return read_each_file(part, lambda entry, source: [_recording(entry, source=source, modality=modality)])


def _recording(entry: SourceFile, *, source: str, modality: Modality) -> Recording:
    content = read_mat(entry.path, variables=["o"], without=["marker"])
    signal = ten_channels_at(content, "o.data", names="o.chnames")
    expected = number_at(content, "o.nS")
    if signal.shape[1] != expected:
        raise DataError(f"o.data has {signal.shape[1]} samples, but its o.nS is {expected:.0f}")
    return Recording(
        signal=signal,
        fs=rate_at(content, "o.sampFreq"),
        modality=modality,
        subject=entry.subject,
        session=entry.session,
        channels=TEN_CHANNELS,
        source=source,
        calibrated=False,
    )


READER = Reader(
    name="large-eeg-bci",
    modalities=("eeg",),
    licence="CC BY 4.0",
    where="https://doi.org/10.6084/m9.figshare.c.3917698 (open to everybody)",
    hours="EEG about 60 h",
    description="Large-EEG-BCI: motor imagery of 13 people in 77 sessions",
    settings=LargeEegBci,
    list_parts=list_parts,
    read=read,
)
