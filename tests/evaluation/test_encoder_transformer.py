"""The encoder as a transformer of scikit-learn, and the objects of MNE as its input."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import emotune
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from tests.data.examples.signals import heart
from tests.evaluation.test_export import checkpoint
from tests.training.conftest import store

__all__ = ["store"]


@pytest.fixture(scope="module")
def encoder(store: SegmentStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("encoder"), store)


def checks() -> list[Any]:
    estimator = emotune.EncoderTransformer("placeholder", other_lengths=True)
    return [check for _, check in estimator_checks_generator(estimator)]


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.func.__name__)
def test_it_passes_the_checks_of_scikit_learn(check: Any, encoder: Path) -> None:
    check(emotune.EncoderTransformer(str(encoder), other_lengths=True))


def test_it_gives_the_embeddings_of_the_encoder(encoder: Path, store: SegmentStore) -> None:
    segments = np.array(store.signal[:5])
    loaded = emotune.load_encoder(encoder)
    for given in (encoder, str(encoder), loaded):
        transformer = emotune.EncoderTransformer(given).fit(segments)
        assert np.array_equal(transformer.transform(segments), loaded.embed_segments(segments))
    flat = segments.reshape(5, -1)
    assert np.array_equal(transformer.transform(flat), transformer.transform(segments))
    assert list(transformer.get_feature_names_out()[:2]) == ["encodertransformer0", "encodertransformer1"]
    assert len(transformer.get_feature_names_out()) == loaded.encoder.width
    copy = clone(transformer).set_params(fs=256.0)
    assert copy.get_params() == transformer.get_params() | {"fs": 256.0, "encoder": copy.encoder}
    assert np.array_equal(pickle.loads(pickle.dumps(transformer)).transform(flat), transformer.transform(flat))


def test_raw_recordings_are_prepared_one_by_one(encoder: Path) -> None:
    recordings = np.stack([heart(8, fs=256, seed=seed)[None] for seed in range(3)])
    loaded = emotune.load_encoder(encoder)
    output = emotune.EncoderTransformer(encoder, fs=256.0).fit_transform(recordings)
    assert np.array_equal(output[1], loaded.embed(recordings[1], 256).mean(axis=0))


def test_it_is_cross_validated_in_a_pipeline(encoder: Path, store: SegmentStore) -> None:
    segments, index = np.array(store.signal), store.index
    labels = (index["rating_arousal"] > 5).to_numpy()
    pipeline = make_pipeline(emotune.EncoderTransformer(encoder), LogisticRegression(max_iter=500))
    scores = cross_val_score(pipeline, segments, labels, groups=index["subject"], cv=GroupKFold(3))
    assert len(scores) == 3
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((2, 3, 128), "X has 3 channels, expected 1"),
        ((2, 1, 100), "X has 100 values per segment, expected 128"),
        ((2, 7), "X has 7 values"),
    ],
)
def test_segments_of_another_shape_are_refused(encoder: Path, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        emotune.EncoderTransformer(encoder).fit(np.ones(shape))


class Raw:
    """What is used of `mne.io.Raw`, for machines without MNE."""

    __module__ = "mne.io.fake"

    def __init__(self, data: np.ndarray, names: list[str], *, kinds: list[str], fs: float, bads: list[str]) -> None:
        self.data, self.ch_names, self.kinds = data, names, kinds
        self.info = {"sfreq": fs, "bads": bads}

    def get_channel_types(self) -> list[str]:
        return self.kinds

    def get_data(self, picks: list[str]) -> np.ndarray:
        return self.data[..., [self.ch_names.index(name) for name in picks], :]


def test_objects_of_mne_are_embedded_with_unit_and_names_matched(encoder: Path) -> None:
    signal = heart(8, fs=256)[None]
    loaded = emotune.load_encoder(encoder)
    expected = loaded.embed(signal, 256)
    both = np.concatenate([np.zeros_like(signal), signal / 1e3])
    raw = Raw(both, ["Cz", "ECG1"], kinds=["eeg", "ecg"], fs=256.0, bads=["Cz"])
    assert loaded.embed(raw) == pytest.approx(expected, abs=1e-6)
    epochs = Raw(np.stack([both[:, :512], both[:, 512:1024]]), raw.ch_names, kinds=raw.kinds, fs=256.0, bads=[])
    assert len(loaded.embed(epochs)) == 4
    assert emotune.EncoderTransformer(loaded).fit(epochs).transform(epochs).shape == (2, loaded.encoder.width)


@pytest.mark.parametrize(
    ("names", "kinds", "bads", "reason"),
    [
        (["Cz"], ["eeg"], [], r"the data have 0 ECG channels \(none\), expected 1; pick one"),
        (["ECG1", "ECG2"], ["ecg", "ecg"], [], r"the data have 2 ECG channels \(ECG1, ECG2\), expected 1; pick one"),
        (["ECG1"], ["ecg"], ["ECG1"], "channel ECG1 is marked as bad"),
    ],
)
def test_objects_of_mne_without_the_channels_are_refused(
    encoder: Path, names: list[str], kinds: list[str], bads: list[str], reason: str
) -> None:
    raw = Raw(np.ones((len(names), 2000)), names, kinds=kinds, fs=256.0, bads=bads)
    with pytest.raises(SettingsError, match=reason):
        emotune.load_encoder(encoder).embed(raw)


def test_a_missing_rate_is_named(encoder: Path) -> None:
    with pytest.raises(SettingsError, match=r"fs is missing; give the sampling rate in Hz"):
        emotune.load_encoder(encoder).embed(np.ones((1, 2000)))


def test_real_objects_of_mne_are_embedded(encoder: Path) -> None:
    mne = pytest.importorskip("mne")
    signal = heart(8, fs=256)[None]
    loaded = emotune.load_encoder(encoder)
    info = mne.create_info(["Cz", "ECG 1"], 256.0, ["eeg", "ecg"])
    raw = mne.io.RawArray(np.concatenate([signal, signal / 1e3]), info, verbose=False)
    assert loaded.embed(raw) == pytest.approx(loaded.embed(signal, 256), abs=1e-6)
    epochs = mne.make_fixed_length_epochs(raw, duration=2.0, preload=True, verbose=False)
    assert len(loaded.embed(epochs)) == 2 * len(epochs)
