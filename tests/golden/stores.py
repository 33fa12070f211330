"""The fingerprint of a synthetic store, and the part of its content that does not depend on the kind of CPU."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from tests.golden.content import PrepareSettings, SegmentStore, Synthetic, prepare

SAMPLE_INTERVAL = 997
"""Interval, in samples, of the signal values that are recorded."""


def prepare_store(path: Path) -> None:
    """Prepare the store of the golden losses and journals: six subjects, 480 segments of one second."""
    corpus = Synthetic(subjects=6, seconds_per_state=20.0)
    prepare("synthetic", folder=None, store=path, settings=PrepareSettings(seconds=1.0), corpus_settings=corpus)


def contents() -> dict[str, Any]:
    """Return the fingerprints of an ECG and an EEG store, a hash of the index's values, and samples of the signal."""
    return {modality: _content(modality) for modality in ("ecg", "eeg")}


def _content(modality: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        prepare(
            "synthetic",
            folder=None,
            store=path,
            settings=PrepareSettings.model_validate({"modality": modality, "seconds": 1.0}),
            corpus_settings=Synthetic(subjects=6, seconds_per_state=20.0),
        )
        store = SegmentStore.open(path)
        index = store.index.to_json(orient="split", double_precision=10)
        return {
            "fingerprint": store.fingerprint,
            "signal.npy": store.about.files["signal.npy"].sha256,
            "index.parquet": store.about.files["index.parquet"].sha256,
            "source": store.about.sources[0].fingerprint,
            "software": store.about.software,
            "settings": store.about.settings,
            "channels": list(store.channels),
            "shape": list(store.signal.shape),
            "index": hashlib.sha256(index.encode()).hexdigest(),
            "samples": [float(value) for value in store.signal.reshape(-1)[::SAMPLE_INTERVAL]],
        }
