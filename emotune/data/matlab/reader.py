"""Reading MAT files: those of versions 5, 7 and 7.3 become the same plain values.

pymatreader reads all of them, too, but drops every dimension of length 1: a single sample of two leads
looks like two samples of one, and a cell array with one cell like its content.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py

from emotune.data.matlab import classic, hdf5
from emotune.errors import DataError


def read_mat(path: Path, *, variables: Collection[str], without: Collection[str] = ()) -> dict[str, Any]:
    """Read variables of a MAT file.

    The values are plain, whatever the file's version:

    - a struct is a dict; an array of several structs, or of none, is a list of dicts;
    - a cell array is a list, whatever its shape (n×1, 1×n, or column by column), empty if it is;
    - characters are a str, several rows of them a list of str without trailing blanks;
    - numbers are an array of MATLAB's class and shape, with two dimensions at least, a 0 among them
      if it is empty.

    Args:
        path: The file.
        variables: Names of what is read; the rest is passed over.
        without: Fields of structs, at any depth, that are passed over as if they were not there.

    Raises:
        DataError: It is missing, damaged, truncated or no MAT file, lacks one of the variables, or holds
            something else in them (a function, an object, a sparse matrix). The message does not name
            the file.
    """
    with _one_line(path) as version:
        content = version.read(path, variables=variables, without=without)
        lacking = [name for name in variables if name not in content]
        if lacking:
            there = ", ".join(sorted(version.names(path))) or "none"
            raise DataError(f"it has no variable {', '.join(lacking)}; it has {there}")
    return content


def iterate_cells(path: Path, *, place: Sequence[str], without: Collection[str] = ()) -> Iterator[Any]:
    """Read a cell array of a MAT file, one cell after the other; only one is in memory at a time.

    Args:
        path: The file.
        place: The name of the variable, and those of the fields that lead to the cell array, if it is
            within a struct.
        without: Fields of structs, at any depth, that are passed over as if they were not there.

    Raises:
        DataError: As `read_mat`; or there is no cell array. Damage may come to light after some cells.
    """
    with _one_line(path) as version:
        yield from version.cells(path, place=place, without=without)


def variables_of(path: Path) -> set[str]:
    """Return the names of a MAT file's variables, without reading them.

    Raises:
        DataError: It is missing, damaged, truncated or no MAT file.
    """
    with _one_line(path) as version:
        return version.names(path)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[ModuleType]:
    """Choose what reads a file's version, and turn what goes wrong into one line."""
    version = _version_of(path)
    try:
        yield version
    except version.FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the MAT file is damaged: {reason}") from error


def _version_of(path: Path) -> ModuleType:
    try:
        with path.open("rb") as file:
            start = file.read(128)
        if h5py.is_hdf5(path):
            return hdf5
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error
    if start[124:] not in {b"\x00\x01IM", b"\x01\x00MI"}:
        raise DataError("it is no MAT file of version 5, 7 or 7.3")
    return classic
