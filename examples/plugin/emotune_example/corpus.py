"""The corpus ``columns``: text files with one ECG sample in mV per line, named ``SUBJECT_SESSION.txt``.

A first line such as ``# valence 6.5`` is the rating of the recording, from 1 to 9.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from emotune.base import Settings
from emotune.data.corpora.listing import SourceFile, find_files, group_by_subject, read_each_file
from emotune.data.corpora.reader import CorpusPart, Item, Reader
from emotune.data.modality import Modality
from emotune.data.recording import Recording
from emotune.errors import DataError


class Columns(Settings):
    """Settings of the reader."""

    rate: float = Field(default=128, gt=0)
    """Samples per second (Hz)."""


def list_parts(folder: Path | None, settings: Columns) -> Iterator[CorpusPart]:
    """Yield a part for each subject."""
    del settings
    assert folder is not None
    sources = [
        SourceFile(path, subject=match["subject"], session=match["session"])
        for path, match in find_files(folder, name=r"(?P<subject>[^_]+)_(?P<session>[^_]+)\.txt")
    ]
    if not sources:
        raise DataError(f"{folder} and its subfolders contain no files SUBJECT_SESSION.txt; give their folder")
    yield from group_by_subject(sources, folder=folder)


def read(part: CorpusPart, modality: Modality, settings: Columns) -> Iterator[Item]:
    """Yield the recordings of a subject, file by file."""

    def read_file(entry: SourceFile, source: str) -> Iterator[Item]:
        first, _, rest = entry.path.read_text().partition("\n")
        rated = first.startswith("# valence ")
        try:
            samples = np.array((rest if rated else f"{first}\n{rest}").split(), dtype=float)
            ratings = {"valence": float(first.removeprefix("# valence "))} if rated else {}
        except ValueError as error:
            raise DataError(f"{error}; expected one number per line") from error
        yield Recording(
            signal=samples[None],
            fs=settings.rate,
            modality=modality,
            subject=entry.subject,
            session=entry.session,
            channels=("ecg",),
            ratings=ratings,
            scales={name: (1.0, 9.0) for name in ratings},
            source=source,
        )

    return read_each_file(part, read_file)


READER = Reader(
    name="columns",
    modalities=("ecg",),
    licence="yours",
    where="your own text files",
    hours="",
    description="Text files with one ECG sample per line, an example of a plug-in.",
    settings=Columns,
    list_parts=list_parts,
    read=read,
)
