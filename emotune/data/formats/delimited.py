"""Strict reader of delimited text: a line of names, then lines with exactly as many fields.

Nothing is shifted: a line with more fields than there are names, or with fewer, is an error. Commas, semicolons,
tabs, vertical bars and blanks are recognised as delimiters.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from emotune.errors import DataError

DELIMITERS = ("\t", ";", "|", ",")
"""Delimiters, in the order of preference if several fit."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""First bytes of a text and the encoding that they stand for."""

NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.IGNORECASE)
MOMENT = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|\d{1,2}:\d{2}(:.*)?")
"""A date or a time of day."""

DECIMAL_COMMA = re.compile(r'"?[+-]?\d*,\d+([eE][+-]?\d+)?"?')
DECIMAL_COMMA_ONLY = re.compile(r'"?[+-]0+,\d+"?|"?[+-]?\d*,0\d+"?|"?[+-]?\d*,\d+[eE][+-]?\d+"?')
"""Numbers with a decimal comma that cannot be two whole numbers: ``-0,12``, ``0,012``, ``1,2e-05``."""


@dataclass(frozen=True)
class Table:
    """The fields of a delimited text."""

    names: tuple[str, ...]
    """Names of the columns; only the first may be empty."""
    rows: list[list[str]]
    """Fields of each line, without blanks around them; each has the length of ``names``."""
    lines: list[int]
    """Number of each row's line in the text; the first line is 1."""
    notes: tuple[str, ...] = ()

    def column(self, position: int) -> list[str]:
        """Return the fields of a column."""
        return [row[position] for row in self.rows]


def decode(content: bytes) -> str:
    """Decode a text in UTF-8, UTF-16 with a byte order mark, or Latin-1.

    Raises:
        DataError: It holds NUL characters, so that it is no text in any of them.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            text = content[len(mark) :].decode(encoding, errors="replace")
            break
    else:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    if "\0" in text:
        raise DataError("it holds NUL characters; save it as text in UTF-8")
    return text


def parse_table(text: str, *, short_rows: bool = False) -> Table:
    """Parse a text with names in the first line.

    Lines before the names that begin with ``#`` or ``%``, a line ``sep=;``, and empty fields at the end of a line
    are nothing. The last line may be incomplete: it is dropped, with a note.

    Args:
        text: The text.
        short_rows: True: fields that are missing at the end of a line are empty. False: they are an error.

    Raises:
        DataError: There are no names, the names are numbers, a name is missing, or a line has another number of
            fields than there are names.
    """
    header, body, first, delimiter = _split(text)
    names = _names(header, delimiter=delimiter)
    if len(names) == 1 and not short_rows and _is_decimal_comma(body):
        fields, lines = _single_column(body, first=first)
    else:
        fields, lines = _fields(body, delimiter=delimiter, first=first)
    while len(names) > 1 and not names[-1] and all(not any(row[len(names) - 1 :]) for row in fields):
        names = names[:-1]
    _check_names(names)
    return _checked(fields, lines=lines, names=names, short_rows=short_rows)


def parse_numbers(text: str) -> tuple[tuple[str, ...], Float[np.ndarray, "column time"]] | None:
    """Return names and numbers of a plain table, much faster than `parse_table`; None if the table is not plain.

    Plain: no quotes, as many delimiters in every line as in the line of names, and numbers with a point.
    The result is the same as that of `parse_table`.

    Raises:
        DataError: The names are numbers, or a name is missing.
    """
    header, body, _, delimiter = _split(text)
    names = _names(header, delimiter=delimiter)
    if (
        delimiter == " "
        or '"' in text
        or not all(names[1:])
        or not _is_regular(body, delimiter=delimiter, width=len(names))
    ):
        return None
    _check_names(names)
    try:
        table = pd.read_csv(io.StringIO(body), sep=delimiter, header=None, dtype=np.float64, skipinitialspace=True)
    except (ValueError, pd.errors.ParserError):
        return None
    return tuple(names), table.to_numpy().T


def _is_regular(body: str, *, delimiter: str, width: int) -> bool:
    """Return whether every line has as many delimiters, and none is empty."""
    content = np.frombuffer(body.rstrip("\r\n").replace("\r\n", "\n").encode() + b"\n", dtype=np.uint8)
    if (content == ord("\r")).any():
        return False
    ends = np.flatnonzero(content == ord("\n"))
    before = np.searchsorted(np.flatnonzero(content == ord(delimiter)), ends)
    counts, lengths = np.diff(before, prepend=0), np.diff(ends, prepend=-1)
    return bool((counts == width - 1).all() and (lengths > 1).all())


def _split(text: str) -> tuple[str, str, int, str]:
    """Return the line of names, the text after it, the number of its first line, and the delimiter."""
    lines = text.splitlines(keepends=True)
    given, position, comment = "", 0, ""
    while position < len(lines):
        line = lines[position].strip()
        separator = re.fullmatch(r'"?sep=(.|\\t)"?', line, re.IGNORECASE)
        if separator and not position:
            given = separator[1].replace("\\t", "\t")
        elif re.match(r"[#%](?![,;\t|])", line):
            comment = line.lstrip("#% ")
        elif line:
            break
        position += 1
    if position == len(lines):
        raise DataError("it is not a table of numbers with column names in its first line: it is empty")
    header = lines[position]
    if comment and _all_numbers(header, given=given) and not _all_numbers(comment, given=given):
        header = comment  # NumPy's savetxt writes the names as a comment
        position -= 1
    body = "".join(lines[position + 1 :])
    return header, body, position + 2, given or _delimiter(header, body=body)


def _all_numbers(line: str, *, given: str) -> bool:
    delimiter = given or _delimiter(line, body="")
    return _are_numbers([field for field in _names(line, delimiter=delimiter) if field])


def _delimiter(header: str, *, body: str) -> str:
    sample = [line for line in body.splitlines()[:20] if line.strip()]
    counts = {delimiter: _count(header, delimiter=delimiter) for delimiter in DELIMITERS}
    several = [delimiter for delimiter in DELIMITERS if counts[delimiter] > 1]
    for delimiter in several:
        if sample and all(_count(line, delimiter=delimiter) == counts[delimiter] for line in sample):
            return delimiter
    if several:
        return several[0]
    words = len(header.split())
    if words > 1 and sample and all(len(line.split()) == words for line in sample):
        return " "
    return next((delimiter for delimiter in DELIMITERS if sample and delimiter in sample[0]), ",")


def _count(line: str, *, delimiter: str) -> int:
    """Return the number of fields of a line; 0 if its quotes do not fit the delimiter."""
    try:
        return len(_names(line, delimiter=delimiter))
    except DataError:
        return 0


def _names(header: str, *, delimiter: str) -> list[str]:
    fields, _ = _fields(
        header.strip(" \r\n") if delimiter == " " else header.rstrip("\r\n"), delimiter=delimiter, first=1
    )
    return fields[0] if fields else [""]


def _fields(body: str, *, delimiter: str, first: int) -> tuple[list[list[str]], list[int]]:
    """Return the fields of all lines, and the number of each line; an empty line has no fields."""
    rows: list[list[str]] = []
    lines: list[int] = []
    source = re.sub(r"[ \t]+", " ", body) if delimiter == " " else body
    reader = csv.reader(io.StringIO(source, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for row in reader:
            rows.append([field.strip() for field in row])
            lines.append(first + reader.line_num - 1)
    except csv.Error as error:
        line = first + reader.line_num - 1
        raise DataError(f"it is not a table of numbers: line {line}: {error}") from error
    return rows, lines


def _is_decimal_comma(body: str) -> bool:
    """Return whether the lines of a single column are numbers with a decimal comma, and nothing else."""
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    numbers = all(DECIMAL_COMMA.fullmatch(line) or NUMBER.fullmatch(line.strip('"')) for line in lines)
    return numbers and any(DECIMAL_COMMA_ONLY.fullmatch(line) for line in lines)


def _single_column(body: str, *, first: int) -> tuple[list[list[str]], list[int]]:
    lines = body.splitlines()
    return [[line.strip().strip('"')] if line.strip() else [] for line in lines], list(range(first, first + len(lines)))


def _check_names(names: Sequence[str]) -> None:
    present = [name for name in names if name]
    if not present or _are_numbers(present):
        raise DataError(
            f"it has no names in the first line, but {', '.join(present[:4]) or 'nothing'}; "
            "write the names of the columns there"
        )
    unnamed = [position for position, name in enumerate(names) if not name and position]
    if unnamed:
        raise DataError(f"its column {unnamed[0] + 1} of {len(names)} has no name; write it in the first line")


def _are_numbers(names: Sequence[str]) -> bool:
    """Return whether a line holds data: all fields are numbers or moments, or some are numbers with a fraction."""
    numbers = [name for name in names if NUMBER.fullmatch(name) or MOMENT.fullmatch(name)]
    return bool(names) and (len(numbers) == len(names) or any(not name.isdecimal() for name in numbers))


def _checked(rows: list[list[str]], *, lines: list[int], names: Sequence[str], short_rows: bool) -> Table:
    rows, lines = _without_empty_lines(rows, lines=lines, width=len(names), drop=short_rows)
    width, notes, last = len(names), (), len(rows) - 1
    for number, row in enumerate(rows):
        if len(row) > width and any(row[width:]):
            raise DataError(
                f"line {lines[number]} has {len(row)} fields, but the first line has {width} "
                f"name{'s' if width > 1 else ''}; give every column a name, and write numbers with a point"
            )
        if len(row) < width and not short_rows and number < last:
            raise DataError(f"line {lines[number]} has {len(row)} fields, but the first line has {width} names")
    filling = [""] * width if short_rows else []
    rows = [(row + filling)[:width] for row in rows]
    if rows and len(rows[-1]) < width:
        notes = (f"its last line, {lines[-1]}, is incomplete and was dropped",)
        rows, lines = rows[:-1], lines[:-1]
    return Table(tuple(names), rows, lines, notes)


def _without_empty_lines(
    rows: list[list[str]], *, lines: list[int], width: int, drop: bool
) -> tuple[list[list[str]], list[int]]:
    """Remove empty lines at the end, and those after every line. In a single column they are missing samples.

    Raises:
        DataError: A line in the middle of several columns is empty.
    """
    while rows and not any(rows[-1]):
        rows, lines = rows[:-1], lines[:-1]
    empty = [number for number, row in enumerate(rows) if not row]
    if drop or empty in (list(range(1, len(rows), 2)), list(range(0, len(rows), 2))):
        kept = [number for number, row in enumerate(rows) if any(row)]
        return [rows[number] for number in kept], [lines[number] for number in kept]
    if empty and width > 1:
        raise DataError(f"line {lines[empty[0]]} is empty; remove it, or write the missing values as nan")
    return [row or [""] for row in rows], lines
