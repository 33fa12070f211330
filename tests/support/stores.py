"""A small segment store of synthetic ECG, for tests that run the program."""

from pathlib import Path

import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small store that no test changes."""
    return prepare_small_store(tmp_path_factory.mktemp("stores") / "small")


def prepare_small_store(path: Path) -> Path:
    """Prepare six subjects with 20 s per state in segments of 1 s, and return the store's folder."""
    prepare(
        "synthetic",
        folder=None,
        store=path,
        settings=PrepareSettings(seconds=1.0),
        corpus_settings=Synthetic(subjects=6, seconds_per_state=20.0),
    )
    return path
