"""Tables of grades, a row per clip and a column per subject, as .csv, .xls or .xlsx."""

import csv
import io
import math
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import openpyxl
import xlrd
from xlrd.biffh import XLRDError
from xlrd.compdoc import CompDocError

from emotune.errors import DataError

FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    MemoryError,
    RuntimeError,
    EOFError,
    csv.Error,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    ET.ParseError,
    XLRDError,
    CompDocError,
)
"""What xlrd and openpyxl raise, one changed byte at a time, when a table is damaged."""

RatingTable = dict[tuple[int, int], float]
"""By subject and clip."""


def read_rating_table(path: Path, *, sheet: str, line: int) -> RatingTable:
    """Read the grades of a table; cells that are empty or no numbers are passed over.

    The numbers of the subjects are in one line, those of the clips in the first column below it, down
    to the first that is no number.

    Args:
        path: The file.
        sheet: Which sheet of a workbook; a .csv has none.
        line: Where the numbers of the subjects are; the first line is 1.

    Raises:
        DataError: It cannot be read, or no such block is there.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} should be a table that ends in {', '.join(READERS)}")
    try:
        rows = [[_number(cell) for cell in row] for row in read(path, sheet)]
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as a table with a sheet {sheet!r}: {reason}") from error
    subjects = rows[line - 1][1:] if line <= len(rows) else []
    grades: RatingTable = {}
    for row in rows[line:]:
        if not row or math.isnan(row[0]):
            break
        known = ((subject, grade) for subject, grade in zip(subjects, row[1:], strict=False))
        grades |= {(int(subject), int(row[0])): grade for subject, grade in known if math.isfinite(subject + grade)}
    if not grades:
        raise DataError(
            f"{path}: line {line} should hold the numbers of subjects, and the first column below it those of clips"
        )
    return grades


def _number(cell: object) -> float:
    """Return a cell's number; NaN if it has none."""
    if not isinstance(cell, str | int | float):
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _read_csv(path: Path, sheet: str) -> Sequence[Sequence[object]]:
    del sheet
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


def _read_xls(path: Path, sheet: str) -> Sequence[Sequence[object]]:
    # xlrd prints what it finds strange
    with xlrd.open_workbook(str(path), logfile=io.StringIO()) as book:
        cells = book.sheet_by_name(sheet)
        return [cells.row_values(row) for row in range(cells.nrows)]


def _read_xlsx(path: Path, sheet: str) -> Sequence[Sequence[object]]:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        return [list(row) for row in book[sheet].iter_rows(values_only=True)]
    finally:
        book.close()


READERS = {".csv": _read_csv, ".xls": _read_xls, ".xlsx": _read_xlsx}
"""How to read a table, by the ending of its name."""
