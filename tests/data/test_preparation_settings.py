"""Settings of the preparation beside the published ones: rate, filter, and standardisation by segment."""

from pathlib import Path

import numpy as np
import pytest
import scipy.signal

from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.parts import standardise_each
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.signals import band_pass
from emotune.data.store import SegmentStore

PEOPLE = Synthetic(subjects=2, seconds_per_state=12)


def store_of(path: Path, **settings: object) -> SegmentStore:
    given = PrepareSettings.model_validate({"seconds": 5.0, **settings})
    prepare("synthetic", folder=None, store=path, settings=given, corpus_settings=PEOPLE)
    return SegmentStore.open(path)


def test_a_causal_sample_depends_on_no_later_one() -> None:
    signal = np.random.default_rng(0).standard_normal((2, 4000))
    other = signal.copy()
    other[:, 2000:] = 7.0
    first, second = (band_pass(part, fs=256.0, causal=True) for part in (signal, other))
    assert np.array_equal(first[:, :2000], second[:, :2000])
    assert not np.array_equal(band_pass(signal, fs=256.0)[:, :2000], band_pass(other, fs=256.0)[:, :2000])


@pytest.mark.parametrize("frequency", [0.8, 5.0, 50.0])
def test_the_causal_response_is_that_of_a_single_pass(frequency: float) -> None:
    seconds = np.arange(256 * 60) / 256
    filtered = band_pass(np.sin(2 * np.pi * frequency * seconds)[None], fs=256.0, causal=True)[0, 256 * 20 :]
    gain = filtered.std() * np.sqrt(2)
    expected = np.abs(scipy.signal.sosfreqz(scipy.signal.butter(8, [0.8, 50], "bandpass", fs=256, output="sos"),
                                            worN=[2 * np.pi * frequency / 256])[1][0])  # fmt: skip
    assert gain == pytest.approx(expected, rel=2e-3)


def test_a_causal_filter_starts_without_a_jump() -> None:
    assert np.abs(band_pass(np.full((1, 1000), 4000.0), fs=256.0, causal=True)).max() < 1e-3


def test_without_a_filter_slow_and_fast_parts_are_kept(tmp_path: Path) -> None:
    stores = {name: store_of(tmp_path / name, filter=name, rate=256) for name in ("zero_phase", "causal", "none")}
    assert {store.signal.shape[1:] for store in stores.values()} == {(1, 1280)}
    assert not np.allclose(stores["zero_phase"].signal, stores["causal"].signal, atol=0.1)
    power = {name: np.abs(np.fft.rfft(store.signal[:, 0], axis=1)) ** 2 for name, store in stores.items()}
    fast = {name: values[:, 5 * 60 :].sum() / values.sum() for name, values in power.items()}  # above 60 Hz
    assert fast["zero_phase"] < 0.1 * fast["none"]


def test_without_a_filter_the_band_may_reach_beyond_the_rate() -> None:
    assert PrepareSettings(filter="none", rate=64).rate == 64
    assert PrepareSettings(filter="none").band_text == "not filtered"


def test_each_segment_is_standardised_by_itself(tmp_path: Path) -> None:
    signal = np.array(store_of(tmp_path / "store", normalise="segment").signal, dtype=np.float64)
    assert np.abs(signal.mean(axis=2)).max() < 1e-5
    assert signal.std(axis=2) == pytest.approx(np.ones(signal.shape[:2]), abs=1e-4)


def test_a_constant_channel_of_a_segment_is_zero() -> None:
    segments = np.stack([np.full((1, 20), 1e6, dtype=np.float32), np.arange(20, dtype=np.float32)[None]])
    standardised = standardise_each(segments)
    assert not standardised[0].any()
    assert standardised[1].std() == pytest.approx(1.0)


def test_settings_of_older_versions_have_the_same_content() -> None:
    published = PrepareSettings().model_dump(mode="json")
    assert "filter" not in published
    assert PrepareSettings.model_validate(published) == PrepareSettings()
    for settings in (PrepareSettings(filter="causal"), PrepareSettings(filter="none")):
        assert PrepareSettings.model_validate_json(settings.model_dump_json()) == settings
