"""Ratings: those that subjects gave, and tables of numbers by subject and clip as .csv, .xls or .xlsx."""

import csv
import io
import math
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import openpyxl
import xlrd
from xlrd.biffh import XLRDError
from xlrd.compdoc import CompDocError

from emotune.data.recording import ExcludedData
from emotune.errors import DataError

Scale = tuple[float, float]
"""Lowest and highest possible rating."""

RatingTable = dict[tuple[int, int], float]
"""Rating by number of the subject and number of the clip."""

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
"""Exceptions of xlrd and openpyxl for damaged tables, collected by changing one byte at a time."""


def valid_ratings(
    given: Mapping[str, float], *, scales: Mapping[str, Scale], subject: str, source: str
) -> tuple[dict[str, float], list[ExcludedData]]:
    """Return the ratings that are within their scale, and a note for each that is missing or outside.

    A recording without ratings is kept, since pre-training needs none.

    Args:
        given: Ratings by name. A missing rating has no entry, or one that is not a finite number.
        scales: Scale of each expected rating, by name.
        subject: The subject who gave them.
        source: The recording that was rated, for the notes.
    """
    ratings: dict[str, float] = {}
    excluded: list[ExcludedData] = []
    for name, (low, high) in scales.items():
        value = float(given.get(name, math.nan))
        if low <= value <= high:
            ratings[name] = value
            continue
        reason = f"outside its scale, {low:g} to {high:g}" if math.isfinite(value) else "missing"
        excluded.append(
            ExcludedData(
                subject=subject,
                source=f"{source}, {name}{f' {value:g}' if math.isfinite(value) else ''}",
                reason=f"a rating is {reason}; the recording is kept",
            )
        )
    return ratings, excluded


def read_rating_table(path: Path, *, sheet: str, line: int) -> RatingTable:
    """Read a table with a row per clip and a column per subject; cells without a number are skipped.

    The numbers of the subjects are in one line. The numbers of the clips are in the first column below
    that line, down to the first cell without a number.

    Args:
        path: A .csv, .xls or .xlsx file.
        sheet: The sheet of a workbook; not used for a .csv file.
        line: The line of the subjects' numbers, counted from 1.

    Raises:
        DataError: The file cannot be read, or has no such table.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: a table of ratings must have the ending {' or '.join(READERS)}")
    try:
        rows = [[_number(cell) for cell in row] for row in read(path, sheet)]
    except FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as a table with a sheet {sheet!r}: {reason}") from error
    subjects = rows[line - 1][1:] if line <= len(rows) else []
    ratings: RatingTable = {}
    for row in rows[line:]:
        if not row or math.isnan(row[0]):
            break
        cells = ((subject, rating) for subject, rating in zip(subjects, row[1:], strict=False))
        ratings |= {(int(subject), int(row[0])): rating for subject, rating in cells if math.isfinite(subject + rating)}
    if not ratings:
        raise DataError(
            f"{path}: expected subject numbers in line {line}, and clip numbers in the first column below it"
        )
    return ratings


def _number(cell: object) -> float:
    """Return a cell's number, NaN if it has none."""
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
    # xlrd prints warnings to its log file
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
"""Function that reads a table, by the ending of the file's name."""
