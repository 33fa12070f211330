"""Reader of MAT files of version 7.3, which are HDF5 files.

MATLAB stores arrays with reversed dimensions, cells and arrays of structs as references, and an empty
value as an array of its dimensions.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotune.data.matlab.values import (
    DEEPEST_NESTING,
    LARGEST_CONTENT_BYTES,
    LARGEST_EXPANSION,
    NUMBERS,
    name_of,
    structs_of,
    text_of,
)
from emotune.errors import DataError

FAULTS = (OSError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, AttributeError)
"""Exceptions of h5py for damaged files, collected by changing one byte at a time."""


def names(path: Path) -> set[str]:
    """Return the names of a file's variables."""
    with h5py.File(path, "r") as file:
        return {name_of(str(name)) for name in file if not str(name).startswith("#")}


def read(path: Path, *, variables: Collection[str], without: Collection[str]) -> dict[str, Any]:
    """Read the variables; those that the file does not have are left out."""
    with h5py.File(path, "r") as file:
        values = ValueReader(file, without=without)
        return {name: values.plain(file[name]) for name in variables if name in file}


def cells(path: Path, *, field: Sequence[str], without: Collection[str]) -> Iterator[Any]:
    """Yield the cells of a cell array one by one."""
    with h5py.File(path, "r") as file:
        node: Any = file
        for name in field:
            if not isinstance(node, h5py.Group) or name not in node:
                raise DataError(f"it has no {'variable' if node is file else 'field'} {name}")
            node = node[name]
        if kind_of(node) != "cell":
            raise DataError(f"{'.'.join(field)} is no cell array")
        yield from ValueReader(file, without=without).cells(node)


def kind_of(node: Any) -> str:
    """Return MATLAB's class of a value, empty if the file does not state it."""
    if "MATLAB_sparse" in node.attrs or "MATLAB_object_decode" in node.attrs:
        return "sparse or object"
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode() if isinstance(kind, bytes) else str(kind)


class ValueReader:
    """Reader of plain values. It refuses more bytes than the length of the file can expand to."""

    def __init__(self, file: h5py.File, *, without: Collection[str]) -> None:
        self._file = file
        self._without = without
        self._allowance = min(LARGEST_CONTENT_BYTES, LARGEST_EXPANSION * Path(file.filename).stat().st_size)

    def plain(self, node: Any, *, depth: int = 0) -> Any:
        """Return a variable, a field or a cell."""
        if depth > DEEPEST_NESTING:
            raise DataError(f"cells and structs are nested more than {DEEPEST_NESTING} levels deep")
        kind = kind_of(node)
        if kind == "struct" and isinstance(node, h5py.Group):
            return self._struct(node, depth=depth)
        if isinstance(node, h5py.Group) or kind not in {"cell", "struct", "char", *NUMBERS}:
            raise DataError(f"it contains a value of class {kind or 'unknown'}, where plain values were expected")
        if _is_empty(node):
            return empty(tuple(int(length) for length in node[()].ravel()), kind=kind)
        if kind == "cell":
            return list(self.cells(node, depth=depth))
        values = self._array(node)
        if kind == "char":
            return text_of(["".join(map(chr, row)) for row in np.atleast_2d(values)])
        if values.dtype.names == ("real", "imag"):
            return values["real"] + 1j * values["imag"]
        return values.astype(NUMBERS[kind], copy=False)

    def cells(self, node: Any, *, depth: int = 0) -> Iterator[Any]:
        """Yield the cells one by one, column by column."""
        for reference in () if _is_empty(node) else self._array(node).ravel(order="F"):
            yield self.plain(self._file[reference], depth=depth + 1)

    def _struct(self, node: h5py.Group, *, depth: int) -> Any:
        fields = {name_of(str(name)): field for name, field in node.items() if name not in self._without}
        # the fields of an array of structs are references, which have no MATLAB class
        if fields and all(isinstance(field, h5py.Dataset) and not kind_of(field) for field in fields.values()):
            columns = [list(self.cells(field, depth=depth)) for field in fields.values()]
            return structs_of([dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)])
        return {name: self.plain(field, depth=depth + 1) for name, field in fields.items()}

    def _array(self, node: Any) -> np.ndarray:
        if node.ndim < 2:
            raise DataError(f"an array has {node.ndim} dimensions, where two or more were expected")
        self._allowance -= node.size * node.dtype.itemsize
        if self._allowance < 0:
            raise DataError("the MAT file is damaged: its arrays are larger than a file of its length can unpack to")
        return node[()].T


def _is_empty(node: Any) -> bool:
    return bool(node.attrs.get("MATLAB_empty", 0))


def empty(shape: tuple[int, ...], *, kind: str) -> Any:
    """Return the empty value of a class."""
    if kind == "char":
        return ""
    if kind in {"cell", "struct"}:
        # a struct without fields is stored in the same way
        return [] if kind == "cell" or 0 in shape else {}
    if kind not in NUMBERS or 0 not in shape:
        raise DataError(f"the MAT file is damaged: an empty value has the shape {shape}")
    return np.zeros(shape, dtype=NUMBERS[kind])
