"""Writer of the two data files of a segment store."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from emotune.data.prepare.parts import PreparedPart, index_file, signal_file, write_index
from emotune.data.store import INDEX_FILE, SIGNAL_FILE, FileRecord, SegmentStore
from emotune.errors import DataError
from emotune.files import sha256_of


class StoreWriter:
    """Writer of ``signal.npy`` and ``index.parquet``.

    The header of the array is written at the beginning and again at the end, when the number of segments is
    known. NumPy pads the header, so that both have the same length.
    """

    def __init__(self, folder: Path, *, samples: int) -> None:
        self.folder = folder
        self.samples = samples
        self.channels: tuple[str, ...] = ()
        self.segments = 0
        self._rows: list[pd.DataFrame] = []
        self._file = (folder / SIGNAL_FILE).open("w+b")

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append_store(self, store: SegmentStore) -> None:
        """Append all segments of a store unchanged."""
        self._begin(store.channels)
        with (store.path / SIGNAL_FILE).open("rb") as file:
            npy.read_magic(file)
            npy.read_array_header_1_0(file)
            shutil.copyfileobj(file, self._file, 2**22)
        self.segments += len(store)
        self._rows.append(store.index)

    def append_part(self, output: Path, *, part: PreparedPart) -> None:
        """Append a prepared part, whose files are at ``output``.

        Raises:
            DataError: It has other channels than the parts before.
        """
        if not part.segments:
            return
        if self.channels and part.channels != self.channels:
            raise DataError(
                f"subject {', '.join(part.subjects)}: the channels are {', '.join(part.channels)}, expected "
                f"{', '.join(self.channels)} as in the recordings before; all must have the same channels"
            )
        self._begin(part.channels)
        with signal_file(output).open("rb") as file:
            shutil.copyfileobj(file, self._file, 2**22)
        self.segments += part.segments
        self._rows.append(pd.read_parquet(index_file(output)))

    def _begin(self, channels: tuple[str, ...]) -> None:
        if not self.channels:
            self.channels = channels
            self._write_header()

    def _write_header(self) -> None:
        shape = (self.segments, len(self.channels), self.samples)
        header = {"descr": npy.dtype_to_descr(np.dtype("<f4")), "fortran_order": False, "shape": shape}
        self._file.seek(0)
        npy.write_array_header_1_0(self._file, header)

    def finish(self) -> dict[str, FileRecord]:
        """Write the final header and the index, and return size and hash of both files, by name."""
        self._write_header()
        self._file.close()
        write_index(pd.concat(self._rows, ignore_index=True), file=self.folder / INDEX_FILE)
        return file_records(self.folder)


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Return size and hash of the two data files of a store, by name."""
    files = {name: folder / name for name in (SIGNAL_FILE, INDEX_FILE)}
    return {name: FileRecord(size=file.stat().st_size, sha256=sha256_of(file)) for name, file in files.items()}


def fingerprint_store(files: Mapping[str, FileRecord], *, settings: Mapping[str, Any]) -> str:
    """Return the fingerprint of a store: the SHA-256 of the hashes of its files and of its settings."""
    content = {"files": {name: record.sha256 for name, record in files.items()}, "settings": dict(settings)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
