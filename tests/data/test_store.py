import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotune.data.store import SegmentStore
from emotune.errors import DataError


@pytest.fixture
def copy(store: SegmentStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "copy"))


def test_the_signal_stays_on_the_disk_and_cannot_be_changed(store: SegmentStore) -> None:
    assert isinstance(store.signal, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.signal[0] = 0


def test_index_and_signal_belong_together(store: SegmentStore) -> None:
    assert len(store) == len(store.index) == len(store.signal) == 72
    assert store.signal.shape[1:] == (len(store.channels), store.rate * store.seconds)
    assert store.modality == "ecg"


def test_a_store_travels_to_another_process_as_its_path(store: SegmentStore) -> None:
    frozen = pickle.dumps(store)
    assert len(frozen) < 1000
    assert pickle.loads(frozen).fingerprint == store.fingerprint


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def scramble(file: Path) -> None:
    file.write_bytes(b"\0" * file.stat().st_size)


@pytest.mark.parametrize("damage", [Path.unlink, cut_off, scramble])
@pytest.mark.parametrize("name", ["signal.npy", "index.parquet", "about.json"])
def test_damage_is_an_error_that_names_the_file(copy: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(copy / name)
    with pytest.raises(DataError, match=name) as caught:
        SegmentStore.open(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["signal.npy", "index.parquet"])
def test_verifying_finds_a_single_changed_byte(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is damaged"):
        SegmentStore.open(copy).verify()


def test_an_untouched_store_verifies(store: SegmentStore) -> None:
    store.verify()


def test_something_else_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a segment store"):
        SegmentStore.open(tmp_path)
