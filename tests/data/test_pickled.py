"""Pickle files of arrays are read without executing them; anything else in them is refused in a line."""

import collections
import datetime
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.formats.pickled import MOST_OPERATIONS, read_pickle
from emotune.data.formats.pickled_array import PickledArray, array_at
from emotune.errors import DataError
from tests.data.examples.pickles import python_2

SIGNAL = np.random.default_rng(0).normal(size=(20_000, 1))
CONTENT = {
    "subject": "S2",
    "label": np.arange(300, dtype=np.int32),
    "signal": {"chest": {"ECG": SIGNAL, "by columns": np.asfortranarray(SIGNAL[:12].reshape(3, 4))}},
    "others": [1, -5, 2**70, 2.5, None, True, np.float64(1.5), np.zeros((0, 3)), SIGNAL[:5].astype(">f4")],
}


def write(folder: Path, content: bytes) -> Path:
    file = folder / "content.pkl"
    file.write_bytes(content)
    return file


def plain(value: Any) -> Any:
    """Return the content with arrays as nested lists."""
    if isinstance(value, PickledArray):
        value = value.values()
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("protocol", range(6))
def test_files_of_python_3_are_read_as_they_were_written(tmp_path: Path, protocol: int) -> None:
    file = write(tmp_path, pickle.dumps(CONTENT, protocol=protocol))
    assert plain(read_pickle(file)) == plain(CONTENT)


@pytest.mark.parametrize("protocol", [0, 2])
def test_files_of_python_2_are_read_as_they_were_written(tmp_path: Path, protocol: int) -> None:
    content = {"label": CONTENT["label"], "signal": {"chest": {"ECG": SIGNAL}}}
    file = write(tmp_path, python_2(content, protocol=protocol))
    assert plain(read_pickle(file)) == plain(content)
    assert plain(pickle.loads(file.read_bytes(), encoding="latin1")) == plain(content)


def test_large_arrays_stay_in_the_file_until_they_are_read(tmp_path: Path) -> None:
    content = read_pickle(write(tmp_path, python_2(CONTENT | {"others": 0}, protocol=2)))
    chest = content["signal"]["chest"]
    assert not isinstance(chest["ECG"].content, bytes)
    assert np.array_equal(array_at(content, "signal.chest.ECG"), SIGNAL)


class Payload:
    """Leaves a mark if it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, protocol: int) -> None:
    hidden = {"label": CONTENT["label"], "other": [Payload(tmp_path / "ran")]}
    with pytest.raises(DataError, match=r"names (posix|nt)\.system, which is not part of an array") as caught:
        read_pickle(write(tmp_path, pickle.dumps(hidden, protocol=protocol)))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def objects() -> np.ndarray:
    array = np.empty(2, dtype=object)
    array[:] = ["a", "b"]
    return array


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (objects(), "array of objects"),
        (np.zeros(3, dtype=[("a", "f8")]), "array of 'V8'|a state that is not"),
        (np.array(["text"]), "array of 'U4'"),
        (np.zeros(3, dtype=complex), "array of 'c16'"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "array of 'M8'|a state that is not"),
        (collections.OrderedDict(a=1), "names collections.OrderedDict"),
        (datetime.date(2020, 1, 1), "names datetime.date"),
        ({1.5, 2.5}, "operation|names"),
        (10**200, "too many digits"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, value: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_pickle(write(tmp_path, pickle.dumps({"a": value}, protocol=2)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"time,ecg\n", "damaged|operation|truncated"),
        (b"\x80\x02N" * MOST_OPERATIONS, "more than"),
        (b"\x80\x02]q\x00h\x00a.", ""),
        (b"\x80\x02B\xff\xff\xff\xffabc.", "truncated"),
        (b"\x80\x05\x8e" + b"\xff" * 8 + b".", "truncated"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "too many digits"),
        (b"cnumpy\nndarray\n(I0\ntR.", "a call that is not part"),
        (b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR}S'a'\nI1\nsb.", "a state that is not"),
        (b"cos\nsystem\n(S'true'\ntR.", "names os.system"),
        (b"c\x1b[2J\nsystem\n.", r"names \?\[2J.system"),
    ],
)
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = write(tmp_path, content)
    if not reason:
        assert isinstance(read_pickle(file), list)
        return
    with pytest.raises(DataError, match=reason):
        read_pickle(file)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_truncated_file_is_refused_at_any_length(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps(CONTENT, protocol=protocol)
    for length in range(0, len(whole) - 1, len(whole) // 40):
        with pytest.raises(DataError):
            read_pickle(write(tmp_path, whole[:length]))


SMALL = {"label": np.arange(9, dtype=np.int32), "signal": {"ECG": SIGNAL[:5]}, "names": ["a", 1, 2.5, None]}


@given(
    protocol=st.integers(-1, 5),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_changed_bytes_give_values_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, protocol: int, changes: list[tuple[float, int]]
) -> None:
    content = bytearray(pickle.dumps(SMALL, protocol=protocol) if protocol >= 0 else python_2(SMALL, protocol=2))
    for share, byte in changes:
        content[int(share * len(content))] = byte
    file = write(tmp_path_factory.getbasetemp(), bytes(content))
    for message in faults_of(file):
        assert "\n" not in message


def faults_of(file: Path) -> list[str]:
    try:
        values = read_pickle(file)
        array_at(values, "label")
        array_at(values, "signal.ECG")
    except DataError as error:
        return [str(error)]
    return []


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    content = read_pickle(write(tmp_path, pickle.dumps(SMALL)))
    with pytest.raises(DataError, match="signal has no field EMG; it has ECG"):
        array_at(content, "signal.EMG")
    with pytest.raises(DataError, match="names is a list, expected an array of numbers"):
        array_at(content, "names")
    with pytest.raises(DataError, match="the file cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")
