"""The comparison with and without centring runs on a tiny store, and tests each segment once."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.centre import CENTRES, linear_probe
from benchmarks.real_recordings import logits_of_folds
from emotune.data.store import SegmentStore
from emotune.storage import LocalStorage
from emotune.training.checkpoints import save_checkpoint


def test_each_segment_has_a_logit_of_the_fold_that_tests_it(small_store: Path, tmp_path: Path) -> None:
    whole = SegmentStore.open(small_store)
    rows = np.arange(0, len(whole), 16)
    conditions = np.where(np.arange(len(rows)) % 2, "rest", "arithmetic")
    index = whole.index.iloc[rows].reset_index(drop=True).assign(condition=conditions)
    store = replace(whole, signal=np.array(whole.signal[rows]), index=index)
    logits = []
    for centre in CENTRES:
        experiment = linear_probe(store, centre=centre, folds=2, epochs=2, seed=0)
        state = experiment.begin_untrained(experiment.training_data(store))
        encoder = save_checkpoint(LocalStorage(tmp_path / f"encoder-{centre}"), state, about={})
        logits.append(logits_of_folds(experiment, store, folder=tmp_path / centre, encoder=encoder))
    assert all((values != 0).all() for values in logits)
    assert not np.allclose(*logits)
