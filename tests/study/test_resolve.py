"""An encoder is used on signals of the kind that it was pre-trained on."""

from pathlib import Path

import pytest

from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.study.resolve import check_signals
from tests.support.stores import prepare_small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SegmentStore:
    return SegmentStore.open(prepare_small_store(tmp_path_factory.mktemp("stores") / "store"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "eeg", "channels": ["F7", "F3"]}, "modality eeg, but .* has ecg"),
        ({"rate": 256}, "rate 256, but .* has 128"),
        ({"channels": ["F7", "F3"]}, "channels F7, F3, but .* has ecg"),
    ],
)
def test_an_encoder_of_other_signals_is_refused(store: SegmentStore, change: dict, message: str) -> None:
    own = {"modality": store.modality, "rate": store.rate, "channels": list(store.channels)}
    check_signals(own, store=store, source="mine")
    check_signals({}, store=store, source=str(Path("of an older version")))
    with pytest.raises(SettingsError, match=f"the encoder mine was pre-trained on signals with {message}"):
        check_signals(own | change, store=store, source="mine")
