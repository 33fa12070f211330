import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from emotune.data.matlab.reader import iterate_cells, read_mat, variables_of
from emotune.errors import DataError
from tests.data.examples.mat import SAVERS, Save, cells

BY_MATLAB = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
"""Files that MATLAB wrote, which come with SciPy."""

WAVES = np.random.default_rng(0).normal(size=(300, 3))
PEOPLE = np.array([[(1.0, "ann"), (2.0, "bob")]], dtype=[("age", object), ("name", object)])
SUBJECTS = [{"ecg": WAVES, "eeg": "no number", "scores": cells([WAVES[:1], WAVES[:2]])}, {"ecg": WAVES[:5]}]
CONTENT = {
    "matrix": WAVES,
    "trials": cells([WAVES, WAVES[:5], np.zeros((0, 0))], column=True),
    "study": {"rate": 256.0, "subjects": cells(SUBJECTS), "names": cells(["F7", "O1"])},
}


@pytest.fixture(params=SAVERS)
def save(request: pytest.FixtureRequest) -> Save:
    return SAVERS[request.param]


def plain(save: Save, folder: Path, value: object) -> Any:
    save(folder / "a.mat", {"before": 1.0, "value": value, "after": 1.0})
    return read_mat(folder / "a.mat", variables=["value"])["value"]


def same(value: Any, other: Any) -> bool:
    if type(value) is not type(other):
        return False
    match value:
        case np.ndarray():
            alike = (value.shape, value.dtype) == (other.shape, other.dtype)
            return alike and np.array_equal(value, other, equal_nan=value.dtype.kind in "fc")
        case list():
            return len(value) == len(other) and all(map(same, value, other))
        case dict():
            return value.keys() == other.keys() and all(same(value[name], other[name]) for name in value)
        case _:
            return value == other


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(5.0)[:, None],
        np.arange(5.0)[None],
        np.array([[np.nan, np.inf]]),
        np.arange(24.0).reshape(2, 3, 4),
        np.zeros((0, 3)),
        np.array([[1.5]], dtype=np.float32),
        np.array([[200, 3]], dtype=np.uint8),
        np.array([[60000]], dtype=np.uint16),
        np.array([[-(2**40)]], dtype=np.int64),
        np.array([[True, False]]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_numbers_keep_their_shape_and_type(save: Save, tmp_path: Path, array: np.ndarray) -> None:
    assert same(plain(save, tmp_path, array), array)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("138", "138"),
        ("Müller µV", "Müller µV"),
        ("", ""),
        (np.array(["ab", "c"]), ["ab", "c"]),
        (cells(["a", "bcd"]), ["a", "bcd"]),
        (cells(["a", "bcd"], column=True), ["a", "bcd"]),
        (cells(["only"]), ["only"]),
        (np.empty((0, 0), dtype=object), []),
        (cells([cells(["a"]), {"b": "c"}]), [["a"], {"b": "c"}]),
        ({"a": "b", "c": {"d": "e"}}, {"a": "b", "c": {"d": "e"}}),
        (PEOPLE[:, :1], {"age": np.array([[1.0]]), "name": "ann"}),
        (PEOPLE, [{"age": np.array([[1.0]]), "name": "ann"}, {"age": np.array([[2.0]]), "name": "bob"}]),
    ],
    ids=repr,
)
def test_values_become_plain(save: Save, tmp_path: Path, value: object, expected: object) -> None:
    assert same(plain(save, tmp_path, value), expected)


def test_cells_of_two_dimensions_come_column_by_column(save: Save, tmp_path: Path) -> None:
    assert plain(save, tmp_path, np.array([["a", "b"], ["c", "d"]], dtype=object)) == ["a", "c", "b", "d"]


def test_a_sample_of_two_leads_is_not_two_samples_of_one(save: Save, tmp_path: Path) -> None:
    (trial,) = plain(save, tmp_path, cells([np.array([[1.0, 2.0]])]))
    assert trial.shape == (1, 2)


def test_numbers_can_be_written_to(save: Save, tmp_path: Path) -> None:
    assert plain(save, tmp_path, WAVES).flags.writeable


MATLABS_OWN = [
    "big_endian",
    "single_empty_string",
    "test3dmatrix_7.4_GLNX86",
    "testbool_8_WIN64",
    "testcellnest_7.4_GLNX86",
    "testemptycell_6.5.1_GLNX86",
    "testmulti_7.4_GLNX86",
    "testscalarcell_7.4_GLNX86",
    "testsimplecell",
    "teststringarray_7.1_GLNX86",
    "teststructarr_7.4_GLNX86",
    "teststructnest_6.1_SOL2",
    "testunicode_7.4_GLNX86",
]


@pytest.mark.parametrize("name", MATLABS_OWN)
def test_what_matlab_wrote_is_read_as_scipy_reads_it(name: str) -> None:
    path = BY_MATLAB / f"{name}.mat"
    by_scipy = {name: value for name, value in scipy.io.loadmat(path, mat_dtype=True).items() if name[:2] != "__"}
    assert variables_of(path) == set(by_scipy)
    assert same(read_mat(path, variables=by_scipy), {name: as_plain(value) for name, value in by_scipy.items()})


def as_plain(value: Any) -> Any:
    """Turn what SciPy returns into what we promise."""
    if value.dtype.names:
        structs = [{name: as_plain(struct[name]) for name in value.dtype.names} for struct in value.ravel(order="F")]
        return structs[0] if len(structs) == 1 else structs
    if value.dtype.kind == "O":
        return [as_plain(cell) for cell in value.ravel(order="F")]
    if value.dtype.kind == "U":
        rows = [str(row).rstrip() for row in value.ravel()]
        return "".join(rows) if len(rows) < 2 else rows
    return value.astype(value.dtype.newbyteorder("="))


def test_complex_numbers_keep_both_parts(save: Save, tmp_path: Path) -> None:
    path = BY_MATLAB / "testcomplex_7.4_GLNX86.mat"
    circle = read_mat(path, variables=["testcomplex"])["testcomplex"]
    assert circle == pytest.approx(np.exp(2j * np.pi * np.arange(9) / 8)[None])


def test_version_7_3_of_matlab_itself() -> None:
    path = BY_MATLAB / "testhdf5_7.4_GLNX86.mat"
    assert read_mat(path, variables=["testdouble"])["testdouble"] == pytest.approx(np.arange(9)[None] * np.pi / 4)


@pytest.mark.parametrize(
    "name",
    ["parabola", "testfunc_7.4_GLNX86", "testobject_7.4_GLNX86", "testsparse_7.4_GLNX86", "testsparse_6.1_SOL2"],
)
def test_functions_objects_and_sparse_matrices_are_refused(name: str) -> None:
    path = BY_MATLAB / f"{name}.mat"
    with pytest.raises(DataError, match="where plain values were expected"):
        read_mat(path, variables=variables_of(path))


def test_only_the_given_variables_are_read(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.mat", CONTENT)
    assert variables_of(tmp_path / "a.mat") == {"matrix", "trials", "study"}
    content = read_mat(tmp_path / "a.mat", variables=["study", "matrix"], without=["eeg", "names", "scores"])
    assert same(content, {"study": {"rate": np.array([[256.0]]), "subjects": [{"ecg": WAVES}, {"ecg": WAVES[:5]}]},
                          "matrix": WAVES})  # fmt: skip


def test_cells_are_read_singly(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.mat", CONTENT)
    trials = list(iterate_cells(tmp_path / "a.mat", field=["trials"]))
    assert same(trials, read_mat(tmp_path / "a.mat", variables=["trials"])["trials"])
    subjects = iterate_cells(tmp_path / "a.mat", field=["study", "subjects"], without=["ecg"])
    assert same(list(subjects), [{"eeg": "no number", "scores": [WAVES[:1], WAVES[:2]]}, {}])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (["nothing"], "it has no variable nothing"),
        (["study", "nothing"], "it has no field nothing"),
        (["matrix"], "matrix is no cell array"),
        (["study", "rate"], "study.rate is no cell array"),
        (["matrix", "deeper"], "it has no field deeper"),
    ],
)
def test_a_value_that_is_no_cell_array_is_reported(save: Save, tmp_path: Path, place: list[str], message: str) -> None:
    save(tmp_path / "a.mat", CONTENT)
    with pytest.raises(DataError, match=message):
        list(iterate_cells(tmp_path / "a.mat", field=place))


def test_cells_are_in_memory_one_at_a_time(save: Save, tmp_path: Path) -> None:
    trials = [np.zeros((100_000, 3)) for _ in range(10)]
    save(tmp_path / "a.mat", {"trials": cells(trials)})
    _, peak = traced(lambda: [len(cell) for cell in iterate_cells(tmp_path / "a.mat", field=["trials"])])
    assert peak < 3 * trials[0].nbytes


def traced(do: Callable[[], Any]) -> tuple[Any, int]:
    tracemalloc.start()
    try:
        return do(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
