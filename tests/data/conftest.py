import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emotune.data.corpora.synthetic import Synthetic, make_ecg, make_eeg, make_person
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Recording
from emotune.data.store import SegmentStore

FACTS = {"ecg": ("ECG",), "eeg": ("F7", "F3", "T7", "P7", "O1", "O2", "P8", "T8", "F4", "F8")}


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Openly licensed recordings: not part of the checkout, so absent on some machines."""
    beside = Path(__file__).parents[3] / "shared/data/real"
    folder = Path(os.environ.get("EMOTUNE_REAL_DATA", beside))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no real recordings at {folder}; set EMOTUNE_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    """6 subjects with 4 recordings of 3 segments each."""
    path = tmp_path_factory.mktemp("stores") / "ecg"
    made_up = Synthetic(subjects=6, seconds_per_state=35)
    prepare("synthetic", folder=None, store=path, settings=PrepareSettings(), corpus_settings=made_up)
    return SegmentStore.open(path)


@pytest.fixture
def make_recording() -> Callable[..., Recording]:
    """Return a maker of 30 s recordings whose fields can be replaced one by one."""

    def make(modality: Modality = "ecg", **fields: object) -> Recording:
        random = np.random.default_rng(0)
        make_signal = make_ecg if modality == "ecg" else make_eeg
        settings = Synthetic(seconds_per_state=30)
        values: dict = {
            "signal": make_signal(make_person(random), state=(1, 1), settings=settings, random=random),
            "fs": 256.0,
            "modality": modality,
            "subject": "s03",
            "session": "v12",
            "channels": FACTS[modality],
            "source": "s03/v12.mat",
        }
        return Recording(**(values | fields))

    return make
