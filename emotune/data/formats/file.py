"""Reading of single files: NumPy archives (.npz), EDF, WFDB, CSV and BrainVision become named channels."""

import stat
from collections.abc import Callable
from pathlib import Path

from emotune.data.formats.brainvision import files_of_brainvision, read_brainvision
from emotune.data.formats.csv_signals import read_csv
from emotune.data.formats.edf import read_edf
from emotune.data.formats.npz import read_npz
from emotune.data.formats.raw import RawChannel, RawFile
from emotune.data.formats.wfdb_record import files_of_record, read_wfdb
from emotune.errors import DataError

__all__ = [
    "FORMATS",
    "RawChannel",
    "RawFile",
    "files_of",
    "read_brainvision",
    "read_csv",
    "read_edf",
    "read_file",
    "read_npz",
    "read_wfdb",
]

FORMATS: dict[str, Callable[[Path], RawFile]] = {
    ".npz": read_npz,
    ".edf": read_edf,
    ".hea": read_wfdb,
    ".csv": read_csv,
    ".vhdr": read_brainvision,
}
"""Function that reads a file, by the ending of its name."""

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
"""Names of the kinds of files that hold no recording."""


def read_file(path: Path) -> RawFile:
    """Read a file in the format that the ending of its name stands for (`FORMATS`).

    Raises:
        DataError: The file is missing, damaged, truncated, of an unknown format, or a pipe or device, which would
            never end. The message does not name the file.
    """
    read = FORMATS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"the ending of the file is {path.suffix!r}, expected one of {', '.join(FORMATS)}")
    for file in files_of(path):
        kind = special_kind(file)
        if kind and file == path:
            raise DataError(f"it is {kind}, expected a file")
        if kind:
            raise DataError(f"{file.name} is {kind}, expected a file")
    if not path.is_file():
        raise DataError("the file is missing")
    try:
        return read(path)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error


def files_of(path: Path) -> list[Path]:
    """Return all files of a recording: for WFDB and BrainVision the header and all files that it names."""
    several = {".hea": files_of_record, ".vhdr": files_of_brainvision}.get(path.suffix.lower())
    return [path] if several is None else several(path)


def special_kind(path: Path) -> str:
    """Return what a path is if it is no ordinary file, for example ``a named pipe``; empty if it is one or missing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no file")
