"""Making MAT files: cell arrays, and version 7.3 as MATLAB writes it, which SciPy cannot."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

TEXT = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
CLASSES = {"O": "cell", "b": "logical", "U": "char"}


def cells(items: Sequence[Any], *, column: bool = False) -> np.ndarray:
    """Make a cell array 1×n, or n×1."""
    made = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        made[place] = item
    return made.reshape((-1, 1) if column else (1, -1))


def save_73(file: Path, variables: Mapping[str, Any]) -> None:
    """Write to HDF5 what `scipy.io.savemat` takes: dimensions reversed, cells as references."""
    with h5py.File(file, "w", userblock_size=512) as opened:
        for name, value in variables.items():
            put(opened, name=name, value=value)
    with file.open("r+b") as raw:
        raw.write(TEXT.ljust(116) + bytes(8) + b"\x00\x02IM")


def put(group: h5py.Group, *, name: str, value: Any) -> None:
    if isinstance(value, dict):
        struct = group.create_group(name)
        for field, content in value.items():
            put(struct, name=field, value=content)
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        return
    array = np.atleast_2d(np.asarray(value))
    if array.dtype.names:
        structs = group.create_group(name)
        for field in array.dtype.names:
            structs.create_dataset(field, data=references(structs, array[field], name=field).T, dtype=h5py.ref_dtype)
        structs.attrs["MATLAB_class"] = np.bytes_("struct")
        return
    kinds = {"float64": "double", "float32": "single"}
    kind = CLASSES.get(array.dtype.kind) or kinds.get(array.dtype.name, array.dtype.name)
    put_array(group, name=name, array=codes(array) if kind == "char" else array, kind=kind)


def put_array(group: h5py.Group, *, name: str, array: np.ndarray, kind: str) -> None:
    if array.size == 0:
        node = group.create_dataset(name, data=np.array(array.shape, dtype=np.uint64))
        node.attrs["MATLAB_empty"] = np.uint8(1)
    elif kind == "cell":
        node = group.create_dataset(name, data=references(group, array, name=name).T, dtype=h5py.ref_dtype)
    else:
        stored = array.astype(np.uint8) if kind == "logical" else array
        node = group.create_dataset(name, data=stored.T, compression="gzip" if array.size > 100 else None)
    node.attrs["MATLAB_class"] = np.bytes_(kind)


def codes(rows: np.ndarray) -> np.ndarray:
    """Return characters as numbers, rows filled up with blanks."""
    texts = [str(row) for row in rows.ravel()]
    width = max(len(text) for text in texts)
    array = np.array([[ord(letter) for letter in text.ljust(width)] for text in texts], dtype=np.uint16)
    return array.reshape(len(texts), width)


def references(group: h5py.Group, cells: np.ndarray, *, name: str) -> np.ndarray:
    made = np.empty(cells.shape, dtype=h5py.ref_dtype)
    store = group.file.require_group("#refs#")
    prefix = f"{group.name}/{name}".replace("/", "_")
    for number, place in enumerate(np.ndindex(cells.shape)):
        put(store, name=f"{prefix}_{number}", value=cells[place])
        made[place] = store[f"{prefix}_{number}"].ref
    return made


Save = Callable[[Path, dict[str, Any]], None]
SAVERS: dict[str, Save] = {
    "5": scipy.io.savemat,
    "7": functools.partial(scipy.io.savemat, do_compression=True),
    "7.3": save_73,
}
"""How to write a file of each version."""
