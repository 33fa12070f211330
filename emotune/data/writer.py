"""Writing the files of a segment store, segment after segment."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from numpy.lib import format as npy

from emotune.data.recording import Recording
from emotune.data.segments import cut
from emotune.data.store import ALL_CHANNELS, INDEX_FILE, SIGNAL_FILE, FileRecord
from emotune.errors import DataError
from emotune.files import sha256_of


class StoreWriter:
    """Appends subjects to ``signal.npy`` and remembers their index rows until the end.

    The header of the array is written twice, since the number of segments is known last; NumPy
    pads it so that it keeps its length.
    """

    def __init__(self, folder: Path, *, corpus: str, samples: int, rate: int) -> None:
        self.folder = folder
        self.corpus = corpus
        self.samples = samples
        self.rate = rate
        self.channels: tuple[str, ...] = ()
        self.recordings = 0
        self.seconds = 0.0
        self._subjects: set[str] = set()
        self._blocks: list[dict[str, Any]] = []
        self._file = (folder / SIGNAL_FILE).open("w+b")

    @property
    def segments(self) -> int:
        """Number of segments so far."""
        return sum(len(block["start"]) for block in self._blocks)

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, recordings: list[Recording]) -> None:
        """Append all recordings of one subject, standardised, at the store's rate.

        Raises:
            DataError: The subject was appended before, or its channels are not those of the others.
        """
        subject = recordings[0].subject
        if subject in self._subjects:
            raise DataError(
                f"{recordings[0]}: the reader yields this subject's recordings in several places; "
                "they must come one after the other"
            )
        self._subjects.add(subject)
        for recording in recordings:
            self._append(recording)
            self.recordings += 1
            self.seconds += recording.seconds

    def _append(self, recording: Recording) -> None:
        segments = cut(recording, samples=self.samples)
        if recording.modality == "eeg":
            self._write(recording, segments, channels=recording.channels, name=ALL_CHANNELS)
            return
        for number, name in enumerate(recording.channels):
            self._write(recording, segments[:, number : number + 1], channels=("ecg",), name=name)

    def _write(
        self,
        recording: Recording,
        segments: Float32[np.ndarray, "segment channel time"],
        *,
        channels: tuple[str, ...],
        name: str,
    ) -> None:
        if not self.channels:
            self.channels = channels
            self._write_header()
        if channels != self.channels:
            raise DataError(
                f"{recording}: its channels are {', '.join(channels)}, where {', '.join(self.channels)} "
                "came before; all must have the same"
            )
        self._file.write(np.ascontiguousarray(segments).tobytes())
        self._blocks.append(self._describe(recording, count=len(segments), name=name))

    def _describe(self, recording: Recording, *, count: int, name: str) -> dict[str, Any]:
        length = self.samples / self.rate
        starts = np.arange(count) * length
        return {
            "corpus": self.corpus,
            "subject": recording.subject,
            "session": recording.session,
            "channel": name,
            "start": recording.start + starts,
            "condition": [recording.condition_of(start, end=start + length) for start in starts],
            "rating_arousal": np.nan,
            "rating_valence": np.nan,
            **{f"rating_{what}": float(value) for what, value in recording.ratings.items()},
            **{f"lowest_{what}": float(recording.scales[what][0]) for what in recording.ratings},
            **{f"highest_{what}": float(recording.scales[what][1]) for what in recording.ratings},
        }

    def _write_header(self) -> None:
        shape = (self.segments, len(self.channels), self.samples)
        header = {"descr": npy.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": shape}
        self._file.seek(0)
        npy.write_array_header_1_0(self._file, header)

    def finish(self) -> dict[str, FileRecord]:
        """Complete both files.

        Returns:
            Size and hash of each, by name.

        Raises:
            DataError: There is no segment.
        """
        if not self.segments:
            raise DataError("there is no usable recording of at least one segment's length in this corpus")
        self._write_header()
        self._file.close()
        index = pd.concat([pd.DataFrame(block) for block in self._blocks], ignore_index=True)
        # Without pandas' own notes, which hold its version, equal tables are equal files.
        table = pa.Table.from_pandas(index, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, self.folder / INDEX_FILE)
        return {name: _record(self.folder / name) for name in (SIGNAL_FILE, INDEX_FILE)}


def _record(file: Path) -> FileRecord:
    return FileRecord(size=file.stat().st_size, sha256=sha256_of(file))


def fingerprint_store(files: Mapping[str, FileRecord], *, settings: Mapping[str, Any]) -> str:
    """Hash signal, index and settings."""
    content = {"files": {name: record.sha256 for name, record in files.items()}, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
