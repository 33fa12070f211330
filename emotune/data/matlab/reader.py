"""Reader of MAT files of versions 5, 7 and 7.3, which gives the same plain values for all versions.

pymatreader drops every dimension of length 1: one sample of two leads becomes two samples of one lead,
and a cell array of one cell becomes its content. Therefore it is not used.
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

    The values do not depend on the version of the file:

    - a struct is a dict; an array of several structs, or of none, is a list of dicts;
    - a cell array of any shape is a list, column by column;
    - characters are a str; several rows of characters are a list of str without trailing blanks;
    - numbers are an array of MATLAB's class and shape, with at least two dimensions; an empty array has a
      dimension of length 0.

    Args:
        path: The file.
        variables: Names of the variables to read; the others are skipped.
        without: Names of fields to skip, in structs at any depth.

    Raises:
        DataError: The file is missing, damaged, truncated or no MAT file, lacks one of the variables, or
            a variable holds a function, an object or a sparse matrix. The message does not name the file.
    """
    with _one_line(path) as version:
        content = version.read(path, variables=variables, without=without)
        missing = [name for name in variables if name not in content]
        if missing:
            present = ", ".join(sorted(version.names(path))) or "none"
            raise DataError(f"it has no variable {', '.join(missing)}; it has {present}")
    return content


def iterate_cells(path: Path, *, field: Sequence[str], without: Collection[str] = ()) -> Iterator[Any]:
    """Yield the cells of a cell array of a MAT file; one cell is in memory at a time.

    Args:
        path: The file.
        field: Name of the variable, followed by the names of the fields that lead to the cell array if it
            is within a struct.
        without: Names of fields to skip, in structs at any depth.

    Raises:
        DataError: As `read_mat`, or there is no cell array. Damage may be found after some cells were yielded.
    """
    with _one_line(path) as version:
        yield from version.cells(path, field=field, without=without)


def variables_of(path: Path) -> set[str]:
    """Return the names of a MAT file's variables without reading their values.

    Raises:
        DataError: The file is missing, damaged, truncated or no MAT file.
    """
    with _one_line(path) as version:
        return version.names(path)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[ModuleType]:
    """Yield the module that reads a file's version; turn its exceptions into a message of one line."""
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
        raise DataError("it is not a MAT file of version 5, 7 or 7.3")
    return classic
