"""Tables of grades, a row per clip and a column per subject, as .csv, .xls or .xlsx."""

import io
import struct
import xml.etree.ElementTree as ET
import zipfile
import zlib
from pathlib import Path

import pandas as pd
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
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    ET.ParseError,
    XLRDError,
    CompDocError,
    pd.errors.ParserError,
)
"""What pandas, xlrd and openpyxl raise when a table is damaged."""

Grades = dict[tuple[int, int], float]
"""By subject and clip."""


def read_grades(path: Path, *, sheet: str, line: int) -> Grades:
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
    try:
        table = _read_table(path, sheet=sheet)
    except FAULTS as error:
        raise DataError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    numbers = table.apply(pd.to_numeric, errors="coerce")
    subjects = numbers.iloc[line - 1, 1:].dropna() if line <= len(numbers) else numbers.iloc[:0, 0]
    clips = numbers.iloc[line:, 0]
    below = clips[: int(clips.notna().cumprod().sum())]
    if not len(subjects) or not len(below):
        raise DataError(
            f"{path}: line {line} should hold the numbers of subjects, and the first column below it those of clips"
        )
    grades = numbers.loc[below.index, subjects.index]
    return {
        (int(subject), int(clip)): float(grades.at[row, column])
        for column, subject in subjects.items()
        for row, clip in below.items()
        if pd.notna(grades.at[row, column])
    }


def _read_table(path: Path, *, sheet: str) -> pd.DataFrame:
    kind = path.suffix.lower()
    if kind == ".csv":
        return pd.read_csv(path, header=None, dtype=str, skip_blank_lines=False, encoding="utf-8-sig")
    # xlrd, which reads .xls, prints what it finds strange
    options = {"logfile": io.StringIO()} if kind == ".xls" else {}
    with pd.ExcelFile(path, engine_kwargs=options) as book:
        table = book.parse(sheet, header=None)
    assert isinstance(table, pd.DataFrame)
    return table
