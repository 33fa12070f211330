"""Promises of examples/demo.py: few labelled people train, all others test, and each draw is another one."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from emotune.data.store import SegmentStore
from tests.support.stores import prepare_small_store


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    path = Path(__file__).parents[1] / "examples/demo.py"
    spec = importlib.util.spec_from_file_location("demo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    return SegmentStore.open(prepare_small_store(tmp_path_factory.mktemp("stores") / "synthetic"))


def test_no_person_trains_and_tests(demo: ModuleType, store: SegmentStore) -> None:
    fold = demo.draw_people(store, draw=0)
    train, test = (set(store.index["subject"].iloc[rows]) for rows in (fold.train, fold.test))
    assert len(train) == demo.LABELLED_PEOPLE
    assert not train & test
    states = store.index.iloc[fold.train].groupby(["subject", "session"]).size()
    assert set(states) == {demo.SEGMENTS_PER_STATE}


def test_another_draw_has_other_segments_and_the_same_draw_the_same(demo: ModuleType, store: SegmentStore) -> None:
    first, again, other = (demo.draw_people(store, draw=draw).train for draw in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
