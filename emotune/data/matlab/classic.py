"""Reading MAT files of versions 5 and 7, front to back, so that a large one is never in memory as a whole.

SciPy reads them as well, but only as a whole, and some damaged files crash the interpreter in it: 23 of
6000 small uncompressed ones with 1 to 4 changed bytes (SciPy 1.17.1). Here every length is held against
what surrounds it.

Source: The MathWorks, "MAT-File Format", 2019, chapter 1.
"""

import math
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from emotune.data.matlab.byte_source import Bytes, Packed, Plain, Source
from emotune.data.matlab.values import DEEPEST, LARGEST_EXPANSION, NUMBERS, name_of, structs_of, text_of
from emotune.errors import DataError

FAULTS = (OSError, ValueError, LookupError, MemoryError, zlib.error)
"""What a damaged file can lead to besides `DataError`."""

SHORTEST_ELEMENT = 8

MATRIX, COMPRESSED = 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How numbers are stored: MATLAB takes the smallest type that holds them, whatever their class."""

ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
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
OPAQUE = 17
REFUSED = {3: "object", 5: "sparse", 16: "function", OPAQUE: "object"}
LOGICAL, COMPLEX = 0x200, 0x800


@dataclass(frozen=True)
class Header:
    """What stands before the values of a variable, a field or a cell."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str
    end: int
    """Where the next one begins."""

    @property
    def count(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)


class Elements:
    """The elements of one variable; positions are in unpacked bytes."""

    def __init__(self, source: Source, *, order: str) -> None:
        self._source = source
        self._order = order
        self._position = 0

    def header(self, *, end: int) -> Header:
        """Read what stands before the values of the array that begins here."""
        kind, size = self._two(self._source.take(8))
        self._position += 8
        if kind != MATRIX or self._position + size > end:
            raise self._damage(f"an array was expected, and {kind} with {size} bytes found")
        end = self._position + size
        if size == 0:  # an empty cell
            return Header(kind=6, flags=0, shape=(0, 0), name="", end=end)
        flags = self._element(end=end, kinds={5, 6})[:1]
        kind = int(flags[0]) & 0xFF if len(flags) else 0
        shape = (0, 0) if kind == OPAQUE else tuple(self._element(end=end, kinds={5, 6}).tolist())
        if len(shape) < 2 or min(shape) < 0:
            raise self._damage(f"an array has the dimensions {shape}")
        name = name_of(self._element(end=end, kinds={1, 2, 16}).tobytes().decode("latin-1"))
        return Header(kind=kind, flags=int(flags[0]), shape=shape, name=name, end=end)

    def value(self, header: Header, *, without: Collection[str], depth: int = 0) -> Any:
        """Read the values after a header."""
        if depth > DEEPEST:
            raise self._damage(f"cells and structs are within each other more than {DEEPEST} times")
        if header.kind == CELL:
            value = list(self.cells(header, without=without, depth=depth))
        elif header.kind == STRUCT:
            value = self._struct(header, without=without, depth=depth)
        elif header.kind == CHARACTERS:
            value = self._characters(header)
        else:
            value = self._numbers(header)
        self.pass_over(header)
        return value

    def cells(self, header: Header, *, without: Collection[str], depth: int = 0) -> Iterator[Any]:
        """Read the cells after a header, one by one."""
        self._expect(header, elements=header.count)
        for _ in range(header.count):
            yield self.value(self.header(end=header.end), without=without, depth=depth + 1)

    def fields(self, header: Header) -> list[str]:
        """Read the names of a struct's fields; for each struct, their values follow in this order."""
        longest = self._element(end=header.end, kinds={5, 6})
        text = self._element(end=header.end, kinds={1, 2, 16}).tobytes().decode("latin-1")
        if len(longest) != 1 or longest[0] < 1 or len(text) % int(longest[0]):
            raise self._damage("the names of a struct's fields are not as long as they should be")
        step = int(longest[0])
        return [name_of(text[start : start + step].split("\0")[0]) for start in range(0, len(text), step)]

    def pass_over(self, header: Header) -> None:
        """Go to the end of an array."""
        self._source.skip(header.end - self._position)
        self._position = header.end

    def finish(self) -> None:
        """Check what can only be checked at the end."""
        self._source.finish()

    def _struct(self, header: Header, *, without: Collection[str], depth: int) -> Any:
        names = self.fields(header)
        self._expect(header, elements=header.count * len(names))
        structs: list[dict[str, Any]] = []
        for _ in range(header.count if names else min(header.count, 1)):
            structs.append({})
            for name in names:
                field = self.header(end=header.end)
                if name in without:
                    self.pass_over(field)
                else:
                    structs[-1][name] = self.value(field, without=without, depth=depth + 1)
        return structs_of(structs)

    def _characters(self, header: Header) -> str | list[str]:
        if header.count == 0:
            return ""
        kind, data = self._leaf(end=header.end)
        if kind not in ENCODINGS:
            raise self._damage(f"characters are stored as {kind}")
        ends = "" if ENCODINGS[kind] in {"latin-1", "utf-8"} else "-le" if self._order == "<" else "-be"
        text = data.tobytes().decode(ENCODINGS[kind] + ends)
        rows = header.shape[0]
        return text_of([text[row::rows] for row in range(rows)]) if rows <= len(text) else text

    def _numbers(self, header: Header) -> np.ndarray:
        if header.kind not in CLASSES:
            name = REFUSED.get(header.kind, header.kind)
            raise DataError(f"it holds something of class {name}, where plain values were expected")
        name = "logical" if header.flags & LOGICAL else CLASSES[header.kind]
        values = self._array(header, dtype=np.dtype(NUMBERS[name]))
        if header.flags & COMPLEX:
            values = values + 1j * self._array(header, dtype=values.dtype)
        return values

    def _array(self, header: Header, *, dtype: np.dtype) -> np.ndarray:
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
        """Read an element that is no array; a short one stands within its own tag."""
        start = self._source.take(8)
        kind, size = self._two(start)
        self._position += 8
        if kind >> 16:
            return kind & 0xFFFF, self._short(start, size=kind >> 16)
        if self._position + size > end:
            raise self._damage(f"an element of {size} bytes is larger than what it is in")
        data = self._source.take(size)
        padding = min(-size % 8, end - self._position - size)
        self._source.skip(padding)
        self._position += size + padding
        return kind, data

    def _short(self, start: Bytes, *, size: int) -> Bytes:
        if size > 4:
            raise self._damage(f"a short element has {size} bytes")
        return start[4 : 4 + size]

    def _two(self, tag: Bytes) -> tuple[int, int]:
        first, second = tag.view(self._order + "u4").tolist()
        return first, second

    def _expect(self, header: Header, *, elements: int) -> None:
        """Refuse a number of elements that cannot follow."""
        if elements * SHORTEST_ELEMENT > header.end - self._position:
            raise self._damage(f"{elements} cells or fields do not fit into an array of {header.end} bytes")

    @staticmethod
    def _damage(reason: str) -> DataError:
        return DataError(f"the MAT file is damaged: {reason}")


@dataclass(frozen=True)
class Variable:
    """A variable whose values are yet to be read."""

    header: Header
    elements: Elements


def variables_in(file: BufferedReader) -> Iterator[Variable]:
    """Find a file's variables; the values of one can be read until the next is asked for."""
    length = file.seek(0, 2)
    file.seek(124)
    order = "<" if file.read(4)[2:] == b"IM" else ">"
    while (start := file.tell()) < length:
        kind, size = (int(number) for number in Plain(file).take(8).view(order + "u4"))
        if start + 8 + size > length:
            raise DataError(f"the MAT file is truncated: {start + 8 + size} bytes were expected, and {length} found")
        if kind == COMPRESSED:
            elements, end = Elements(Packed(file, size=size), order=order), LARGEST_EXPANSION * size
        else:
            file.seek(start)
            elements, end = Elements(Plain(file), order=order), size + 8
        yield Variable(elements.header(end=end), elements)
        file.seek(start + 8 + size)


def names(path: Path) -> set[str]:
    """Return the names of a file's variables."""
    with path.open("rb") as file:
        # what has no name are the workspaces of functions
        return {variable.header.name for variable in variables_in(file)} - {""}


def read(path: Path, *, variables: Collection[str], without: Collection[str]) -> dict[str, Any]:
    """Read those of the variables that are there."""
    content: dict[str, Any] = {}
    with path.open("rb") as file:
        for variable in variables_in(file):
            if variable.header.name in variables:
                content[variable.header.name] = variable.elements.value(variable.header, without=without)
                variable.elements.finish()
            if len(content) == len(variables):
                break
    return content


def cells(path: Path, *, place: Sequence[str], without: Collection[str]) -> Iterator[Any]:
    """Read a cell array, one cell after the other."""
    with path.open("rb") as file:
        for variable in variables_in(file):
            if variable.header.name == place[0]:
                header = _field(variable, names=place[1:])
                if header.kind != CELL:
                    raise DataError(f"{'.'.join(place)} is no cell array")
                yield from variable.elements.cells(header, without=without)
                variable.elements.finish()
                return
    raise DataError(f"it has no variable {place[0]}")


def _field(variable: Variable, *, names: Sequence[str]) -> Header:
    """Go to a field of a field of a variable."""
    header, elements = variable.header, variable.elements
    for name in names:
        there = elements.fields(header) if header.kind == STRUCT else []
        if name not in there or header.count != 1:
            raise DataError(f"it has no field {name}; it has {', '.join(there) or 'none'}")
        for other in there:
            field = elements.header(end=header.end)
            if other == name:
                header = field
                break
            elements.pass_over(field)
    return header
