"""Reading MAT files: versions 5 and 7 (SciPy) and 7.3 (HDF5) become the same plain values.

pymatreader reads all versions too, but drops every dimension of length 1: a single sample of two leads
looks like two samples of one, and a cell array with one cell like its content.
"""

import warnings
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque, MatReadError

from emotune.errors import DataError

LARGEST_CONTENT = 8 * 2**30
"""Bytes that are read from a file at most; DREAMER, all subjects in one file, has a quarter of that."""

LARGEST_EXPANSION = 1100
"""How many times its length a file may unpack to; deflate cannot shrink anything by more than 1032."""

DEEPEST = 20
"""Cells and structs within each other."""

CLASSIC_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    OSError,
    MemoryError,
    RuntimeError,
    AttributeError,
    MatReadError,
    Warning,
    zlib.error,
)
"""What SciPy raises, one changed byte at a time, when a MAT file is damaged."""

HDF5_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    MemoryError,
    RuntimeError,
    AttributeError,
)
"""What h5py raises when a file is damaged."""

NUMBERS = frozenset(
    ["double", "single", "logical", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)


def read_mat(path: Path, *, variables: Collection[str]) -> dict[str, Any]:
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

    Raises:
        DataError: It is missing, damaged, truncated or no MAT file, lacks one of the variables, or holds
            something else in them (a function, an object, a sparse matrix). The message does not name
            the file.
    """
    if _is_hdf5(path):
        return _read_hdf5(path, variables=variables)
    return _read_classic(path, variables=variables)


def variables_of(path: Path) -> set[str]:
    """Return the names of a MAT file's variables, without reading them.

    Raises:
        DataError: It is missing, damaged, truncated or no MAT file.
    """
    if _is_hdf5(path):
        return _guarded(lambda: _names(path), faults=HDF5_FAULTS)
    return _guarded(lambda: {name for name, _, _ in scipy.io.whosmat(str(path))}, faults=CLASSIC_FAULTS)


def _is_hdf5(path: Path) -> bool:
    """Tell version 7.3 from 5 and 7; anything else is refused."""
    try:
        with path.open("rb") as file:
            start = file.read(128)
        if h5py.is_hdf5(path):
            return True
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error
    if len(start) < 128 or start[124:] not in {b"\x00\x01IM", b"\x01\x00MI"}:
        raise DataError("it is no MAT file of version 5, 7 or 7.3")
    return False


def _guarded(read: Callable[[], Any], *, faults: tuple[type[Exception], ...]) -> Any:
    """Read, and turn what a library raises into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return read()
    except faults as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"the MAT file is damaged or truncated: {reason}") from error


def _missing(variables: Collection[str], *, found: Collection[str]) -> DataError:
    lacking = ", ".join(name for name in variables if name not in found)
    return DataError(f"it has no variable {lacking}; it has {', '.join(sorted(found)) or 'none'}")


def _read_classic(path: Path, *, variables: Collection[str]) -> dict[str, Any]:
    def load() -> dict[str, Any]:
        return scipy.io.loadmat(str(path), variable_names=list(variables), mat_dtype=True)

    content = _guarded(load, faults=CLASSIC_FAULTS)
    if not set(variables) <= set(content):
        raise _missing(variables, found=variables_of(path))
    return {name: _plain(content[name]) for name in variables}


def _plain(value: Any) -> Any:
    """Turn what SciPy returns into plain values; arrays of numbers are not copied."""
    if isinstance(value, MatlabFunction | MatlabObject | MatlabOpaque) or not isinstance(value, np.ndarray | None):
        raise DataError("it holds a function, an object or a sparse matrix, where plain values were expected")
    if value is None:
        return {}
    if value.dtype.names is not None:
        structs = [{name: _plain(one[name]) for name in value.dtype.names} for one in value.ravel(order="F")]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype.kind == "O":
        # SciPy returns a struct without fields like a cell that holds None
        return {} if value.size == 1 and value.item() is None else [_plain(one) for one in value.ravel(order="F")]
    if value.dtype.kind == "U":
        return _text([str(row) for row in value.ravel()])
    return value


def _text(rows: list[str]) -> str | list[str]:
    if len(rows) <= 1:
        return "".join(rows)
    return [row.rstrip() for row in rows]


def _names(path: Path) -> set[str]:
    with h5py.File(path, "r") as file:
        return {str(name) for name in file if not str(name).startswith("#")}


def _read_hdf5(path: Path, *, variables: Collection[str]) -> dict[str, Any]:
    found = variables_of(path)
    if not set(variables) <= found:
        raise _missing(variables, found=found)

    def load() -> dict[str, Any]:
        with h5py.File(path, "r") as file:
            reader = _Hdf5(file, allowance=min(LARGEST_CONTENT, LARGEST_EXPANSION * path.stat().st_size))
            return {name: reader.plain(file[name]) for name in variables}

    return _guarded(load, faults=HDF5_FAULTS)


class _Hdf5:
    """Turns what h5py returns into plain values, up to so many bytes.

    Version 7.3 stores arrays with their dimensions reversed, cells and arrays of structs as references,
    and something empty as its dimensions.
    """

    def __init__(self, file: h5py.File, *, allowance: int) -> None:
        self._file = file
        self._allowance = allowance

    def plain(self, node: Any, *, depth: int = 0) -> Any:
        """Return a variable, a field or a cell."""
        if depth > DEEPEST:
            raise DataError(f"cells and structs are within each other more than {DEEPEST} times")
        kind = self._kind(node)
        if isinstance(node, h5py.Group):
            return self._struct(node, kind=kind, depth=depth)
        if node.attrs.get("MATLAB_empty", 0):
            return _empty(tuple(int(length) for length in node[()].ravel()), kind=kind)
        values = self._values(node)
        if kind == "cell":
            return self._all(values, depth=depth)
        if kind == "char":
            return _text(["".join(map(chr, row)) for row in np.atleast_2d(values)])
        if kind not in NUMBERS:
            raise DataError(f"it holds something of class {kind or 'unknown'}, where plain values were expected")
        if values.dtype.names == ("real", "imag"):
            return values["real"] + 1j * values["imag"]
        return values.astype(np.bool_) if kind == "logical" else values

    @staticmethod
    def _kind(node: Any) -> str:
        kind = node.attrs.get("MATLAB_class", b"")
        if "MATLAB_sparse" in node.attrs or "MATLAB_object_decode" in node.attrs:
            return "sparse or object"
        return kind.decode() if isinstance(kind, bytes) else str(kind)

    def _values(self, node: Any) -> np.ndarray:
        if node.ndim < 2:
            raise DataError(f"an array has {node.ndim} dimensions, where two or more were expected")
        self._spend(node.size * node.dtype.itemsize)
        return node[()].T

    def _spend(self, size: int) -> None:
        self._allowance -= size + 1
        if self._allowance < 0:
            raise DataError("it says that it holds more than its length can unpack to")

    def _all(self, references: np.ndarray, *, depth: int) -> list[Any]:
        return [self.plain(self._file[one], depth=depth + 1) for one in references.ravel(order="F")]

    def _struct(self, node: h5py.Group, *, kind: str, depth: int) -> Any:
        if kind != "struct":
            raise DataError(f"it holds something of class {kind or 'unknown'}, where plain values were expected")
        # the fields of an array of structs are references, which have no class of their own
        several = {name for name, field in node.items() if isinstance(field, h5py.Dataset) and not self._kind(field)}
        if several and several == set(node):
            fields = {name: self._all(self._values(node[name]), depth=depth) for name in node}
            return [dict(zip(fields, one, strict=True)) for one in zip(*fields.values(), strict=True)]
        return {name: self.plain(field, depth=depth + 1) for name, field in node.items()}


def _empty(shape: tuple[int, ...], *, kind: str) -> Any:
    if kind == "char":
        return ""
    if kind in {"cell", "struct"}:
        return [] if kind == "cell" or 0 in shape else {}
    if kind not in NUMBERS or 0 not in shape:
        raise DataError(f"something empty of class {kind or 'unknown'} and shape {shape} is not understood")
    names = {"double": "float64", "single": "float32", "logical": "bool"}
    return np.zeros(shape, dtype=names.get(kind, kind))
