"""Writing a table as .csv, .xls or .xlsx, into a sheet "Data Evaluation"."""

from collections.abc import Callable
from pathlib import Path

import openpyxl
import xlwt

Table = list[list[float | str]]


def save_csv(path: Path, table: Table) -> None:
    path.with_suffix(".csv").write_text("\n".join(",".join(map(str, line)) for line in table))


def save_xls(path: Path, table: Table) -> None:
    book = xlwt.Workbook()
    book.add_sheet("Notes").write(0, 0, "1 is best")
    sheet = book.add_sheet("Data Evaluation")
    for row, line in enumerate(table):
        for column, cell in enumerate(line):
            sheet.write(row, column, cell)
    book.save(path.with_suffix(".xls"))


def save_xlsx(path: Path, table: Table) -> None:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Data Evaluation")
    for line in table:
        sheet.append(line)
    book.save(path.with_suffix(".xlsx"))


TABLES: dict[str, Callable[[Path, Table], None]] = {"csv": save_csv, "xls": save_xls, "xlsx": save_xlsx}
