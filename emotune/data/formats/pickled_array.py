"""Arrays of numbers in pickle files, which stay in the file until they are read."""

import codecs
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotune.data.formats.raw import one_line
from emotune.errors import DataError

DTYPES = {f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248", "b": "1"}.items() for size in sizes}
"""Kinds of numbers and their bytes, in NumPy's notation."""


@dataclass(frozen=True)
class Extent:
    """Bytes that stay in the file."""

    start: int
    length: int
    coding: str
    """``bytes``; ``escaped`` (a literal of Python 2); ``utf-8`` or ``raw-unicode-escape`` (bytes written as text)."""


@dataclass
class ElementType:
    """Kind of an array's numbers, in NumPy's notation: ``f8``, and the byte order."""

    code: str
    order: str = "<"

    def dtype(self) -> np.dtype[Any]:
        """Return the NumPy type.

        Raises:
            DataError: It is no kind of number.
        """
        if self.code not in DTYPES or self.order not in {"<", ">", "|", "="}:
            raise DataError(f"it holds an array of {self.code[:20]!r}, expected an array of numbers")
        return np.dtype(self.order + self.code)


@dataclass
class PickledArray:
    """An array of numbers in a pickle file."""

    path: Path
    shape: tuple[int, ...] = ()
    element: ElementType | None = None
    by_columns: bool = False
    content: "Extent | bytes" = b""

    def values(self) -> np.ndarray:
        """Read the array.

        Raises:
            DataError: Its length is not that of its shape, or the file cannot be read.
        """
        if self.element is None:
            raise DataError("the pickle is damaged: it has an array without content")
        dtype = self.element.dtype()
        content = self.content if isinstance(self.content, bytes) else _read_extent(self.path, self.content)
        if len(content) != math.prod(self.shape) * dtype.itemsize:
            raise DataError(
                f"the pickle is damaged: an array of shape {' x '.join(map(str, self.shape))} has {len(content)} bytes"
            )
        return np.frombuffer(content, dtype=dtype).reshape(self.shape, order="F" if self.by_columns else "C")


def array_at(content: Any, field: str) -> np.ndarray:
    """Return the array in a field such as ``signal.chest.ECG``.

    Raises:
        DataError: There is no such field, or it holds no array of numbers.
    """
    value, parent = content, "the pickle"
    for name in field.split("."):
        if not isinstance(value, dict) or name not in value:
            fields = ", ".join(str(key)[:40] for key in value) if isinstance(value, dict) else "no fields"
            raise DataError(f"{parent} has no field {name}; it has {fields or 'none'}")
        value, parent = value[name], name
    if not isinstance(value, PickledArray):
        raise DataError(f"{field} is a {type(value).__name__}, expected an array of numbers")
    return value.values()


def _read_extent(path: Path, extent: Extent) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(extent.start)
            content = file.read(extent.length)
        match extent.coding:
            case "escaped":
                return codecs.escape_decode(content)[0]  # pyright: ignore[reportAttributeAccessIssue]
            case "utf-8" | "raw-unicode-escape":
                return content.decode(extent.coding).encode("latin-1")
            case _:
                return content
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"the pickle is damaged: {one_line(error)}") from error
