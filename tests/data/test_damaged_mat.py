import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.matlab.reader import iterate_cells, read_mat
from emotune.errors import DataError
from tests.data.examples.mat import SAVERS, Save, cells, put, save_73

WAVES = np.random.default_rng(0).normal(size=(300, 3))


@pytest.fixture(params=SAVERS)
def save(request: pytest.FixtureRequest) -> Save:
    return SAVERS[request.param]


def message_of(path: Path, **asked: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_mat(path, **{"variables": ["matrix"], **asked})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_variable_is_reported_with_the_existing_ones(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.mat", {"matrix": WAVES, "trials": cells(["a"]), "study": {"rate": 256.0}})
    assert message_of(tmp_path / "a.mat", variables=["matrix", "hs"]) == (
        "it has no variable hs; it has matrix, study, trials"
    )


@pytest.mark.parametrize("content", [b"", b"\x00" * 200, b"time,ecg\n" * 50, b"MATLAB 5.0 MAT-file".ljust(126) + b"??"])
def test_a_file_that_is_not_a_mat_file_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    assert message_of(tmp_path / "a.mat") == "it is not a MAT file of version 5, 7 or 7.3"


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert message_of(tmp_path / "a.mat") == "the file cannot be read: No such file or directory"


@pytest.mark.parametrize("name", ["5", "7", "7.3"])
def test_a_truncated_file_is_reported_at_any_length(tmp_path: Path, name: str) -> None:
    SAVERS[name](tmp_path / "a.mat", {"matrix": WAVES})
    whole = (tmp_path / "a.mat").read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 40):
        (tmp_path / "a.mat").write_bytes(whole[:length])
        assert message_of(tmp_path / "a.mat")


SMALL = {"study": {"rate": 256.0, "cells": cells([WAVES[:4], "text", np.zeros((0, 0))])}}


@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_lead_to_nothing_but_values_or_one_line(
    save: Save, tmp_path: Path, changes: list[tuple[float, int]]
) -> None:
    clean = tmp_path / "clean.mat"
    if not clean.exists():
        save(clean, SMALL)
    damaged = bytearray(clean.read_bytes())
    for share, byte in changes:
        damaged[int(share * len(damaged))] = byte
    (tmp_path / "a.mat").write_bytes(damaged)
    with contextlib.suppress(DataError):
        read_mat(tmp_path / "a.mat", variables=list(SMALL))
    with contextlib.suppress(DataError):
        list(iterate_cells(tmp_path / "a.mat", field=["study", "cells"]))


def test_a_length_of_gigabytes_is_not_believed(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"matrix": WAVES})
    content = bytearray((tmp_path / "a.mat").read_bytes())
    content[160:164] = (2**30).to_bytes(4, "little")  # the number of rows
    (tmp_path / "a.mat").write_bytes(content)
    assert "an array of (1073741824, 3) has 900 values" in message_of(tmp_path / "a.mat")


def test_a_damaged_name_does_not_break_the_message(save: Save, tmp_path: Path) -> None:
    save(tmp_path / "a.mat", {"a\nb": 1.0, "study": {"a\nb": 1.0}})
    assert message_of(tmp_path / "a.mat") == "it has no variable matrix; it has a?b, study"
    assert list(read_mat(tmp_path / "a.mat", variables=["study"])["study"]) == ["a?b"]


def test_an_hdf5_array_that_was_never_written_is_not_made_up(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("matrix", shape=(4, 2**30), dtype="f8", chunks=(4, 1024))
        file["matrix"].attrs["MATLAB_class"] = np.bytes_("double")
    assert "than a file of its length can unpack to" in message_of(tmp_path / "a.mat")


def test_a_cell_that_contains_itself_is_reported(tmp_path: Path) -> None:
    save_73(tmp_path / "a.mat", {"matrix": cells(["a"])})
    with h5py.File(tmp_path / "a.mat", "r+") as file:
        file["matrix"][0, 0] = file["matrix"].ref
    assert "nested more than 20 levels deep" in message_of(tmp_path / "a.mat")


def test_an_unknown_hdf5_class_is_reported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        put(file, name="matrix", value=WAVES)
        file["matrix"].attrs["MATLAB_class"] = np.bytes_("table")
    assert message_of(tmp_path / "a.mat") == "it contains a value of class table, where plain values were expected"
