"""Reader of numbers and arrays in pickle files, which are never executed.

A pickle is a program: Python's own module runs it, and with it whatever function it names. This module has an
interpreter of its own for the part of that language that stores dictionaries, lists, texts, numbers and NumPy
arrays of numbers. A name is compared with `NAMES` and never imported. Any other name, operation or kind of array
is refused. Arrays stay in the file until `PickledArray.values` reads them, so that a file of 1 GB with one wanted
signal needs the memory of that signal. Files of Python 2 and 3 are read, protocols 0 to 5.

Source: the comments on each operation in ``pickletools.py`` of Python 3.11.
"""

import codecs
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from emotune.data.formats.pickled_array import ElementType, Extent, PickledArray
from emotune.data.formats.raw import one_line
from emotune.errors import DataError

MOST_OPERATIONS = 100_000
"""Largest number of operations that are read of a pickle; a file of arrays has some hundred."""

LONGEST_TEXT_BYTES = 65_536
"""Longest text that is read at once (bytes). Longer ones are the content of arrays and stay in the file."""

LONGEST_NUMBER_BYTES = 64
"""Longest whole number or line with a number (bytes)."""

BLOCK_BYTES = 2**20
"""Length of the blocks in which the end of a long line is searched for (bytes)."""

NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "from buffer",
    ("numpy._core.numeric", "_frombuffer"): "from buffer",
    ("numpy", "ndarray"): "array class",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "no bytes",
}
"""The names that a pickle may contain: what NumPy writes for arrays, and Python for bytes in protocols 0 to 2."""

FAULTS = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, EOFError, struct.error)
"""Exceptions for damaged pickles, collected by changing one byte at a time."""


@dataclass(frozen=True)
class Name:
    """A name of `NAMES`."""

    meaning: str


def read_pickle(path: Path) -> Any:
    """Read a pickle file of plain values and arrays, without executing it.

    Returns:
        Dictionaries, lists, tuples, texts (`str`, also for the byte strings of Python 2), numbers, None, and
        `PickledArray` for arrays.

    Raises:
        DataError: The file cannot be read, is damaged, or holds anything else. The message does not name the file.
    """
    try:
        with path.open("rb") as file:
            return _Interpreter(file, path=path).run()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}") from error
    except DataError:
        raise
    except FAULTS as error:
        raise DataError(f"the pickle is damaged: {one_line(error) or type(error).__name__}") from error


class _Interpreter:
    """A stack machine that builds plain values; `HANDLERS` has its operations.

    Args:
        file: The pickle.
        path: Its path, from which arrays are read later.
    """

    def __init__(self, file: BinaryIO, *, path: Path) -> None:
        self.file = file
        self.path = path
        self.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Interpret the file up to its end mark, and return the value."""
        for _ in range(MOST_OPERATIONS):
            code = self.take(1)
            if code == b".":
                return self.stack.pop()
            handler = HANDLERS.get(code)
            if handler is None:
                raise DataError(f"the pickle has the operation {code!r}, which is not part of a file of arrays")
            handler(self)
        raise DataError(f"the pickle has more than {MOST_OPERATIONS} operations, expected a file of arrays")

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        if length > self.size - self.file.tell():
            raise DataError("the pickle is truncated")
        return self.file.read(length)

    def number(self, form: str) -> Any:
        """Return the next number, in a form of the module struct."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        """Return the next short line, without its end."""
        line = self.file.readline(LONGEST_NUMBER_BYTES * 4)
        if not line.endswith(b"\n"):
            raise DataError("the pickle is damaged: a line has no end")
        return line[:-1]

    def line_extent(self) -> tuple[int, int]:
        """Pass over a line of any length; return its start and its length."""
        start = self.file.tell()
        while block := self.file.read(BLOCK_BYTES):
            position = block.find(b"\n")
            if position >= 0:
                end = self.file.tell() - len(block) + position
                self.file.seek(end + 1)
                return start, end - start
        raise DataError("the pickle is truncated")

    def content(self, length: int, *, coding: str) -> "bytes | Extent":
        """Return the next bytes if they are few, otherwise where they are."""
        if length <= LONGEST_TEXT_BYTES:
            return self.take(length)
        start = self.file.tell()
        if length > self.size - start:
            raise DataError("the pickle is truncated")
        self.file.seek(length, io.SEEK_CUR)
        return Extent(start, length, coding)

    def push_text(self, length: int, *, encoding: str) -> None:
        """Push a text; one that is longer than `LONGEST_TEXT_BYTES` stays in the file."""
        content = self.content(length, coding="bytes" if encoding == "latin-1" else encoding)
        self.stack.append(content.decode(encoding) if isinstance(content, bytes) else content)

    def push_bytes(self, length: int) -> None:
        """Push bytes."""
        self.stack.append(self.content(length, coding="bytes"))

    def push_line(self, *, literal: bool) -> None:
        """Push the text of a line: a literal of Python 2, or an escaped text."""
        start, length = self.line_extent()
        extent = Extent(start + literal, length - 2 * literal, "escaped" if literal else "raw-unicode-escape")
        if length <= LONGEST_TEXT_BYTES:
            self.file.seek(start)
            line = self.take(length + 1)[:-1]
            quoted = len(line) > 1 and line[:1] == line[-1:] and line[:1] in {b"'", b'"'}
            if literal and not quoted:
                raise DataError("the pickle is damaged: a text has no quotation marks")
            decoded = codecs.escape_decode(line[1:-1])[0] if literal else b""  # pyright: ignore[reportAttributeAccessIssue]
            self.stack.append(decoded.decode("latin-1") if literal else line.decode("raw-unicode-escape"))
            return
        self.stack.append(extent)

    def push(self, value: Any) -> None:
        """Put a value on top of the stack."""
        self.stack.append(value)

    def open_mark(self) -> None:
        """Begin a group of values."""
        self.outer.append(self.stack)
        self.stack = []

    def close_mark(self) -> list[Any]:
        """Return the values since the last mark."""
        values, self.stack = self.stack, self.outer.pop()
        return values

    def extend(self, values: list[Any]) -> None:
        """Append values to the list on the stack."""
        target = self.stack[-1]
        if not isinstance(target, list):
            raise DataError("the pickle is damaged: values are appended to something that is no list")
        target.extend(values)

    def assign(self, values: list[Any], *, target: Any) -> None:
        """Put keys and values, in turn, into a dictionary."""
        keys = values[::2]
        if not isinstance(target, dict) or not all(isinstance(key, str | int) for key in keys):
            raise DataError("the pickle is damaged: it has a dictionary whose keys are no texts")
        target.update(zip(keys, values[1::2], strict=True))

    def push_tuple(self, length: int) -> None:
        """Replace the last values by a tuple."""
        if len(self.stack) < length:
            raise DataError("the pickle is damaged: a tuple has no values")
        values = tuple(self.stack[-length:])
        self.stack[-length:] = [values]

    def push_name(self, module: Any, name: Any) -> None:
        """Push a name of `NAMES`.

        Raises:
            DataError: It is another name: the pickle would run it.
        """
        meaning = NAMES.get((str(module), str(name)))
        if meaning is None:
            full = "".join(letter if letter.isprintable() else "?" for letter in f"{module}.{name}"[:80])
            raise DataError(f"the pickle names {full}, which is not part of an array of numbers; it was not run")
        self.stack.append(Name(meaning))

    def call(self) -> None:
        """Replace a name and its arguments by the value that they stand for."""
        arguments, name = self.stack.pop(), self.stack.pop()
        meaning = name.meaning if isinstance(name, Name) else ""
        match meaning, arguments:
            case "array", (Name(meaning="array class"), tuple(), _):
                value: Any = PickledArray(self.path)
            case "dtype", (str(code), *_):
                value = ElementType(code)
            case "encode", (str(text), "latin1"):
                value = text.encode("latin-1")
            case "no bytes", ():
                value = b""
            case "encode", (Extent() as extent, "latin1"):
                value = extent
            case "from buffer", (content, ElementType() as element, tuple(shape), str(order)):
                value = self.fill(PickledArray(self.path), (0, shape, element, order == "F", content))
            case "scalar", (ElementType() as element, content):
                array = self.fill(PickledArray(self.path), (0, (), element, False, content))
                value = array.values().item()
            case _:
                raise DataError("the pickle has a call that is not part of an array of numbers; it was not run")
        self.stack.append(value)

    def build(self) -> None:
        """Complete an array or its element type by its state."""
        state, value = self.stack.pop(), self.stack[-1]
        match value, state:
            case ElementType(), (int(), str(order), None, None, None, int(), int(), *_):
                value.order = order
            case PickledArray(), (int(), tuple(), ElementType(), _, _):
                self.fill(value, tuple(state))
            case _:
                raise DataError("the pickle has a state that is not that of an array of numbers")

    def fill(self, array: PickledArray, state: tuple[Any, ...]) -> PickledArray:
        """Set shape, element type, order and content of an array."""
        _, shape, element, by_columns, content = state
        if not all(type(length) is int and length >= 0 for length in shape):
            raise DataError("the pickle is damaged: it has an array whose shape is not a list of lengths")
        if isinstance(content, str):
            content = content.encode("latin-1")
        if not isinstance(content, bytes | Extent):
            raise DataError("it holds an array of objects, expected an array of numbers")
        element.dtype()
        array.shape, array.element, array.by_columns, array.content = shape, element, bool(by_columns), content
        return array


def _integer(interpreter: _Interpreter) -> None:
    line = interpreter.line()
    flags = {b"00": False, b"01": True}
    interpreter.push(flags[line] if line in flags else int(line[:LONGEST_NUMBER_BYTES].rstrip(b"L")))


def _long(interpreter: _Interpreter, length: int) -> None:
    if not 0 <= length <= LONGEST_NUMBER_BYTES:
        raise DataError("the pickle is damaged: it has a number of too many digits")
    interpreter.push(int.from_bytes(interpreter.take(length), "little", signed=True))


def _remember(interpreter: _Interpreter, position: int) -> None:
    interpreter.memo[position] = interpreter.stack[-1]


def _global(interpreter: _Interpreter) -> None:
    module = interpreter.line().decode()
    interpreter.push_name(module, interpreter.line().decode())


def _stack_global(interpreter: _Interpreter) -> None:
    name = interpreter.stack.pop()
    interpreter.push_name(interpreter.stack.pop(), name)


def _dictionary(interpreter: _Interpreter) -> None:
    values = interpreter.close_mark()
    made: dict[Any, Any] = {}
    interpreter.assign(values, target=made)
    interpreter.push(made)


def _set_items(interpreter: _Interpreter) -> None:
    values = interpreter.close_mark()
    interpreter.assign(values, target=interpreter.stack[-1])


def _set_item(interpreter: _Interpreter) -> None:
    value, key = interpreter.stack.pop(), interpreter.stack.pop()
    interpreter.assign([key, value], target=interpreter.stack[-1])


def _append(interpreter: _Interpreter) -> None:
    value = interpreter.stack.pop()
    interpreter.extend([value])


def _append_all(interpreter: _Interpreter) -> None:
    values = interpreter.close_mark()
    interpreter.extend(values)


HANDLERS: dict[bytes, Callable[[_Interpreter], Any]] = {
    b"\x80": lambda machine: machine.take(1),  # protocol
    b"\x95": lambda machine: machine.take(8),  # frame
    b"(": _Interpreter.open_mark,
    b"0": lambda machine: machine.stack.pop(),
    b"1": _Interpreter.close_mark,
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.stack.append(True),
    b"\x89": lambda machine: machine.stack.append(False),
    b"I": _integer,
    b"L": _integer,
    b"J": lambda machine: machine.push(machine.number("<i")),
    b"K": lambda machine: machine.push(machine.number("<B")),
    b"M": lambda machine: machine.push(machine.number("<H")),
    b"\x8a": lambda machine: _long(machine, machine.number("<B")),
    b"\x8b": lambda machine: _long(machine, machine.number("<i")),
    b"F": lambda machine: machine.push(float(machine.line())),
    b"G": lambda machine: machine.push(machine.number(">d")),
    b"S": lambda machine: machine.push_line(literal=True),
    b"V": lambda machine: machine.push_line(literal=False),
    b"U": lambda machine: machine.push_text(machine.number("<B"), encoding="latin-1"),
    b"T": lambda machine: machine.push_text(machine.number("<I"), encoding="latin-1"),
    b"\x8c": lambda machine: machine.push_text(machine.number("<B"), encoding="utf-8"),
    b"X": lambda machine: machine.push_text(machine.number("<I"), encoding="utf-8"),
    b"\x8d": lambda machine: machine.push_text(machine.number("<Q"), encoding="utf-8"),
    b"C": lambda machine: machine.push_bytes(machine.number("<B")),
    b"B": lambda machine: machine.push_bytes(machine.number("<I")),
    b"\x8e": lambda machine: machine.push_bytes(machine.number("<Q")),
    b"\x96": lambda machine: machine.push_bytes(machine.number("<Q")),
    b"}": lambda machine: machine.push({}),
    b"d": _dictionary,
    b"u": _set_items,
    b"s": _set_item,
    b"]": lambda machine: machine.push([]),
    b"l": lambda machine: machine.push(machine.close_mark()),
    b"a": _append,
    b"e": _append_all,
    b")": lambda machine: machine.push(()),
    b"t": lambda machine: machine.push(tuple(machine.close_mark())),
    b"\x85": lambda machine: machine.push_tuple(1),
    b"\x86": lambda machine: machine.push_tuple(2),
    b"\x87": lambda machine: machine.push_tuple(3),
    b"g": lambda machine: machine.push(machine.memo[int(machine.line())]),
    b"h": lambda machine: machine.push(machine.memo[machine.number("<B")]),
    b"j": lambda machine: machine.push(machine.memo[machine.number("<I")]),
    b"p": lambda machine: _remember(machine, int(machine.line())),
    b"q": lambda machine: _remember(machine, machine.number("<B")),
    b"r": lambda machine: _remember(machine, machine.number("<I")),
    b"\x94": lambda machine: _remember(machine, len(machine.memo)),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _Interpreter.call,
    b"b": _Interpreter.build,
}
"""Operations of the pickle language that a file of plain values and arrays has, by their byte."""
