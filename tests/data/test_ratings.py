from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.corpora.ratings import read_rating_table
from emotune.errors import DataError
from tests.data.examples.emotion import grades
from tests.data.examples.tables import TABLES, Table, save_csv, save_xls, save_xlsx


@pytest.mark.parametrize("kind", TABLES)
def test_grades_are_read_by_subject_and_clip(tmp_path: Path, kind: str) -> None:
    TABLES[kind](tmp_path / "a", grades({(7, 3): 4.5}))
    by_place = read_rating_table(tmp_path / f"a.{kind}", sheet="Data Evaluation", line=1)
    assert len(by_place) == 58 * 36
    assert {place for place, grade in by_place.items() if grade != 1} == {(7, 3)}
    assert by_place[7, 3] == 4.5


@pytest.mark.parametrize(("line", "table"), [(1, [["a", "b"], ["c", "d"]]), (99, grades()), (37, grades())])
def test_a_table_without_grades_there_is_reported(tmp_path: Path, line: int, table: Table) -> None:
    save_csv(tmp_path / "a", table)
    with pytest.raises(DataError, match=f"expected subject numbers in line {line}, and clip numbers"):
        read_rating_table(tmp_path / "a.csv", sheet="", line=line)


@pytest.mark.parametrize("save", [save_xls, save_xlsx])
def test_a_missing_sheet_is_reported(tmp_path: Path, save: Callable[[Path, Table], None]) -> None:
    save(tmp_path / "a", grades())
    (path,) = tmp_path.iterdir()
    with pytest.raises(DataError, match=r"cannot be read as a table with a sheet 'ECG'"):
        read_rating_table(path, sheet="ECG", line=1)


@given(
    kind=st.sampled_from(list(TABLES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    kept=st.floats(0.5, 1),
)
def test_a_damaged_table_is_reported_in_one_line(
    tmp_path: Path, kind: str, changes: list[tuple[float, int]], kept: float
) -> None:
    clean = tmp_path / f"clean.{kind}"
    if not clean.exists():
        TABLES[kind](clean, [line[:4] for line in grades()[:4]])
    content = bytearray(clean.read_bytes())
    for share, byte in changes:
        content[int(share * len(content))] = byte
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(content[: round(kept * len(content))])
    try:
        read_rating_table(path, sheet="Data Evaluation", line=1)
    except DataError as error:
        reason = str(error)
    else:
        reason = ""
    assert "\n" not in reason
