"""A small store of made-up ECG, and an experiment on it that takes milliseconds."""

from pathlib import Path

import pytest

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    path = tmp_path_factory.mktemp("stores") / "synthetic"
    corpus = Synthetic(subjects=6, seconds_per_state=16.0)
    prepare("synthetic", folder=None, store=path, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)
    return SegmentStore.open(path)


@pytest.fixture
def experiment(store: SegmentStore) -> Experiment:
    return tiny_experiment(store.path)


def tiny_experiment(store: Path, **more: object) -> Experiment:
    return Experiment.model_validate(
        {
            "store": str(store),
            "model": {"channels": (4, 8), "kernels": (9, 5), "feedforward": 16},
            "optim": {"warmup_epochs": 1},
            "folds": {"segments": 40},
            "epochs": 6,
            "batch_size": 16,
            **more,
        }
    )
