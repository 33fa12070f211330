"""Reader of MAT files of versions 5 and 7, sequential, so that a large file is never in memory as a whole.

SciPy reads these files as a whole, and some damaged files crash the interpreter in it: 23 of 6000 small
uncompressed files with 1 to 4 changed bytes (SciPy 1.17.1). This reader compares every length with the
length of the element around it before it allocates memory.

Source: The MathWorks, "MAT-File Format", 2019, chapter 1.
"""

import math
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from emotune.data.matlab.values import DEEPEST_NESTING, LARGEST_EXPANSION, NUMBERS, name_of, structs_of, text_of
from emotune.errors import DataError

FAULTS = (OSError, ValueError, LookupError, MemoryError, zlib.error)
"""Exceptions that a damaged file can cause besides `DataError`."""

CHUNK_BYTES = 1 << 18
"""Bytes that are decompressed at a time."""

SHORTEST_ELEMENT_BYTES = 8
"""Size of an element without data: its tag."""

ORDER_OFFSET = 124
"""Position of the version and the byte order in the file's header, in bytes."""

MATRIX, COMPRESSED = 14, 15
"""Types of elements (table 1-1 of the specification)."""
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy's names of the types in which numbers are stored (table 1-1).

MATLAB stores an array in the smallest type that holds its values, for any class of the array.
"""

ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""Encodings of characters by the type in which they are stored."""

CELL, STRUCT, CHARACTERS = 1, 2, 4
CLASSES = {
    6: "double",
    7: "single",
    8: "int8",
    9: "uint8",
    10: "int16",
    11: "uint16",
    12: "int32",
    13: "uint32",
    14: "int64",
    15: "uint64",
}
"""Classes of numeric arrays (table 1-3)."""
OPAQUE = 17
REFUSED = {3: "object", 5: "sparse", 16: "function", OPAQUE: "object"}
"""Classes of arrays that are not read, by the name in the message."""
LOGICAL, COMPLEX = 0x200, 0x800
"""Bits of an array's flags."""

Bytes = UInt8[np.ndarray, "_"]


@runtime_checkable
class ByteSource(Protocol):
    """Bytes of a variable, read sequentially."""

    def take(self, size: int) -> Bytes:
        """Return the next ``size`` bytes.

        Raises:
            DataError: There are fewer.
        """
        ...

    def skip(self, size: int) -> None:
        """Skip the next ``size`` bytes."""
        ...

    def finish(self) -> None:
        """Check the checksum, if the variable has one."""
        ...


class PlainBytes:
    """Bytes of an uncompressed variable."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file

    def take(self, size: int) -> Bytes:
        """Return the next ``size`` bytes."""
        taken = np.empty(size, dtype=np.uint8)
        if self._file.readinto(taken.data) != size:
            raise DataError("the MAT file is truncated")
        return taken

    def skip(self, size: int) -> None:
        """Skip the next ``size`` bytes."""
        self._file.seek(size, 1)

    def finish(self) -> None:
        """Do nothing: an uncompressed variable has no checksum."""


class CompressedBytes:
    """Bytes of a compressed variable, decompressed on demand."""

    def __init__(self, file: BufferedReader, *, size: int) -> None:
        self._file = file
        self._left = size
        self._decoder = zlib.decompressobj()

    def take(self, size: int) -> Bytes:
        """Decompress and return the next ``size`` bytes."""
        taken = np.empty(size, dtype=np.uint8)
        filled = 0
        for part in self._parts(size):
            taken[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
            filled += len(part)
        return taken

    def skip(self, size: int) -> None:
        """Decompress the next ``size`` bytes and discard them; a position cannot be reached otherwise."""
        for _ in self._parts(size):
            pass

    def finish(self) -> None:
        """Decompress the remaining bytes; the decoder then compares the checksum."""
        while not self._decoder.eof:
            self._decompress(CHUNK_BYTES)

    def _parts(self, size: int) -> Iterator[bytes]:
        while size:
            if self._decoder.eof:
                raise DataError("the MAT file is damaged: a variable ends too early")
            part = self._decompress(min(size, CHUNK_BYTES))
            size -= len(part)
            yield part

    def _decompress(self, limit: int) -> bytes:
        """Return up to ``limit`` bytes."""
        packed = self._decoder.unconsumed_tail
        if not packed:
            packed = self._file.read(min(self._left, CHUNK_BYTES))
            self._left -= len(packed)
        part = self._decoder.decompress(packed, limit)
        if not packed and not part and not self._decoder.eof:
            raise DataError("the MAT file is truncated")
        return part


@dataclass(frozen=True)
class ArrayHeader:
    """Class, shape and name of an array: a variable, a field or a cell."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str
    end: int
    """Position after the array, in decompressed bytes of the variable."""

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class ElementReader:
    """Reader of the elements of one variable. Positions are in decompressed bytes."""

    def __init__(self, source: ByteSource, *, order: str) -> None:
        self._source = source
        self._order = order
        self._position = 0

    def header(self, *, end: int) -> ArrayHeader:
        """Read the header of the array at this position; ``end`` is the end of the array around it."""
        kind, size = self._two(self._source.take(8))
        self._position += 8
        if kind != MATRIX or self._position + size > end:
            raise self._damage(f"an element of type {kind} with {size} bytes was found, where an array was expected")
        end = self._position + size
        if size == 0:  # an empty cell
            return ArrayHeader(kind=6, flags=0, shape=(0, 0), name="", end=end)
        flags = self._element(end=end, kinds={5, 6})[:1]
        kind = int(flags[0]) & 0xFF if len(flags) else 0
        shape = (0, 0) if kind == OPAQUE else tuple(self._element(end=end, kinds={5, 6}).tolist())
        if len(shape) < 2 or min(shape) < 0:
            raise self._damage(f"an array has the dimensions {shape}")
        name = name_of(self._element(end=end, kinds={1, 2, 16}).tobytes().decode("latin-1"))
        return ArrayHeader(kind=kind, flags=int(flags[0]), shape=shape, name=name, end=end)

    def value(self, header: ArrayHeader, *, without: Collection[str], depth: int = 0) -> Any:
        """Read the values of an array."""
        if depth > DEEPEST_NESTING:
            raise self._damage(f"cells and structs are nested more than {DEEPEST_NESTING} levels deep")
        if header.kind == CELL:
            value = list(self.cells(header, without=without, depth=depth))
        elif header.kind == STRUCT:
            value = self._struct(header, without=without, depth=depth)
        elif header.kind == CHARACTERS:
            value = self._characters(header)
        else:
            value = self._numbers(header)
        self.skip(header)
        return value

    def cells(self, header: ArrayHeader, *, without: Collection[str], depth: int = 0) -> Iterator[Any]:
        """Yield the cells of an array one by one."""
        self._expect(header, elements=header.count)
        for _ in range(header.count):
            yield self.value(self.header(end=header.end), without=without, depth=depth + 1)

    def fields(self, header: ArrayHeader) -> list[str]:
        """Read the names of a struct's fields. The values of each struct follow in this order."""
        longest = self._element(end=header.end, kinds={5, 6})
        text = self._element(end=header.end, kinds={1, 2, 16}).tobytes().decode("latin-1")
        if len(longest) != 1 or longest[0] < 1 or len(text) % int(longest[0]):
            raise self._damage("the table of a struct's field names has an impossible length")
        step = int(longest[0])
        return [name_of(text[start : start + step].split("\0")[0]) for start in range(0, len(text), step)]

    def skip(self, header: ArrayHeader) -> None:
        """Skip to the end of an array."""
        self._source.skip(header.end - self._position)
        self._position = header.end

    def finish(self) -> None:
        """Check the checksum of the variable."""
        self._source.finish()

    def _struct(self, header: ArrayHeader, *, without: Collection[str], depth: int) -> Any:
        names = self.fields(header)
        self._expect(header, elements=header.count * len(names))
        structs: list[dict[str, Any]] = []
        for _ in range(header.count if names else min(header.count, 1)):
            structs.append({})
            for name in names:
                field = self.header(end=header.end)
                if name in without:
                    self.skip(field)
                else:
                    structs[-1][name] = self.value(field, without=without, depth=depth + 1)
        return structs_of(structs)

    def _characters(self, header: ArrayHeader) -> str | list[str]:
        if header.count == 0:
            return ""
        kind, data = self._leaf(end=header.end)
        if kind not in ENCODINGS:
            raise self._damage(f"characters are stored as type {kind}")
        ends = "" if ENCODINGS[kind] in {"latin-1", "utf-8"} else "-le" if self._order == "<" else "-be"
        text = data.tobytes().decode(ENCODINGS[kind] + ends)
        rows = header.shape[0]
        return text_of([text[row::rows] for row in range(rows)]) if rows <= len(text) else text

    def _numbers(self, header: ArrayHeader) -> np.ndarray:
        if header.kind not in CLASSES:
            name = REFUSED.get(header.kind, header.kind)
            raise DataError(f"it contains a value of class {name}, where plain values were expected")
        name = "logical" if header.flags & LOGICAL else CLASSES[header.kind]
        values = self._array(header, dtype=np.dtype(NUMBERS[name]))
        if header.flags & COMPLEX:
            values = values + 1j * self._array(header, dtype=values.dtype)
        return values

    def _array(self, header: ArrayHeader, *, dtype: np.dtype) -> np.ndarray:
        if header.count == 0:
            return np.zeros(header.shape, dtype=dtype)
        stored = self._element(end=header.end, kinds=STORED)
        if len(stored) != header.count or (stored.dtype.kind == "f" and dtype.kind != "f"):
            raise self._damage(f"an array of {header.shape} has {len(stored)} values of {stored.dtype.name}")
        return stored.astype(dtype, copy=False).reshape(header.shape, order="F")

    def _element(self, *, end: int, kinds: Collection[int]) -> np.ndarray:
        kind, data = self._leaf(end=end)
        if kind not in kinds:
            raise self._damage(f"an element is of type {kind}, where one of {sorted(kinds)} was expected")
        # names may be marked as UTF-8, which NumPy has no type for
        return data.view(self._order + STORED.get(kind, "u1"))

    def _leaf(self, *, end: int) -> tuple[int, Bytes]:
        """Read an element that is no array. The data of a short element are within its tag."""
        start = self._source.take(8)
        kind, size = self._two(start)
        self._position += 8
        if kind >> 16:
            return kind & 0xFFFF, self._short(start, size=kind >> 16)
        if self._position + size > end:
            raise self._damage(f"an element of {size} bytes is larger than the array that contains it")
        data = self._source.take(size)
        padding = min(-size % 8, end - self._position - size)
        self._source.skip(padding)
        self._position += size + padding
        return kind, data

    def _short(self, start: Bytes, *, size: int) -> Bytes:
        if size > 4:
            raise self._damage(f"a short element has {size} bytes, expected at most 4")
        return start[4 : 4 + size]

    def _two(self, tag: Bytes) -> tuple[int, int]:
        first, second = tag.view(self._order + "u4").tolist()
        return first, second

    def _expect(self, header: ArrayHeader, *, elements: int) -> None:
        """Refuse a number of elements that the array is too short for."""
        if elements * SHORTEST_ELEMENT_BYTES > header.end - self._position:
            raise self._damage(f"{elements} cells or fields do not fit into an array that ends at byte {header.end}")

    @staticmethod
    def _damage(reason: str) -> DataError:
        return DataError(f"the MAT file is damaged: {reason}")


@dataclass(frozen=True)
class MatVariable:
    """A variable whose values have not been read."""

    header: ArrayHeader
    elements: ElementReader


def variables_in(file: BufferedReader) -> Iterator[MatVariable]:
    """Yield the variables of a file. The values of a variable can be read until the next one is requested."""
    length = file.seek(0, 2)
    file.seek(ORDER_OFFSET)
    order = "<" if file.read(4)[2:] == b"IM" else ">"
    while (start := file.tell()) < length:
        kind, size = (int(number) for number in PlainBytes(file).take(8).view(order + "u4"))
        if start + 8 + size > length:
            raise DataError(f"the MAT file is truncated: {start + 8 + size} bytes were expected, and {length} found")
        if kind == COMPRESSED:
            elements, end = ElementReader(CompressedBytes(file, size=size), order=order), LARGEST_EXPANSION * size
        else:
            file.seek(start)
            elements, end = ElementReader(PlainBytes(file), order=order), size + 8
        yield MatVariable(elements.header(end=end), elements)
        file.seek(start + 8 + size)


def names(path: Path) -> set[str]:
    """Return the names of a file's variables."""
    with path.open("rb") as file:
        # a variable without a name is the workspace of a function
        return {variable.header.name for variable in variables_in(file)} - {""}


def read(path: Path, *, variables: Collection[str], without: Collection[str]) -> dict[str, Any]:
    """Read the variables; those that the file does not have are left out."""
    content: dict[str, Any] = {}
    with path.open("rb") as file:
        for variable in variables_in(file):
            if variable.header.name in variables:
                content[variable.header.name] = variable.elements.value(variable.header, without=without)
                variable.elements.finish()
            if len(content) == len(variables):
                break
    return content


def cells(path: Path, *, field: Sequence[str], without: Collection[str]) -> Iterator[Any]:
    """Yield the cells of a cell array one by one."""
    with path.open("rb") as file:
        for variable in variables_in(file):
            if variable.header.name == field[0]:
                header = _field(variable, names=field[1:])
                if header.kind != CELL:
                    raise DataError(f"{'.'.join(field)} is no cell array")
                yield from variable.elements.cells(header, without=without)
                variable.elements.finish()
                return
    raise DataError(f"it has no variable {field[0]}")


def _field(variable: MatVariable, *, names: Sequence[str]) -> ArrayHeader:
    """Skip to a field of a variable's struct, and return its header."""
    header, elements = variable.header, variable.elements
    for name in names:
        fields = elements.fields(header) if header.kind == STRUCT else []
        if name not in fields or header.count != 1:
            raise DataError(f"it has no field {name}; it has {', '.join(fields) or 'none'}")
        for other in fields:
            field = elements.header(end=header.end)
            if other == name:
                header = field
                break
            elements.skip(field)
    return header
