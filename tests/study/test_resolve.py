"""An encoder is used on signals of the kind that it was pre-trained on."""

from pathlib import Path

import pytest

from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.search.pareto import Score
from emotune.study.resolve import check_signals, resolve_study
from emotune.study.resume import make_optimizer
from emotune.study.study import Study
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


def test_a_default_with_too_many_parameters_is_refused_before_the_search(store: SegmentStore) -> None:
    base = {"model": {"channels": (4, 8), "kernels": (3, 3)}, "epochs": 3, "optim": {"warmup_epochs": 0}}
    layers = {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 3, "default_value": 2}
    document = {"base": base, "budget": {"min": 1, "max": 3}, "space": {"hyperparameters": [layers]}}
    plain = resolve_study(Study.model_validate(document), store=store, encoders={})
    sizes = [plain.parameters({"model.layers": number}) for number in (1, 2, 3)]
    assert sizes[0] < sizes[1] < sizes[2]
    limited = Study.model_validate(document | {"constraints": {"parameters": {"max": sizes[1]}}})
    study = resolve_study(limited, store=store, encoders={})
    assert [study.admits({"model.layers": number}) for number in (1, 2, 3)] == [True, True, False]
    optimizer = make_optimizer(study, records=[], concurrency=1)
    layers_asked = set()
    for _ in range(8):
        asked = optimizer.ask()
        assert asked is not None
        layers_asked.add(asked.values["model.layers"])
        optimizer.tell(asked.id, Score((1.0,)))
    assert layers_asked == {1, 2}
    small = Study.model_validate(document | {"constraints": {"parameters": {"max": sizes[0]}}})
    message = f"the default configuration of the space has {sizes[1]} trainable parameters, expected max {sizes[0]}"
    with pytest.raises(SettingsError, match=message):
        resolve_study(small, store=store, encoders={})
