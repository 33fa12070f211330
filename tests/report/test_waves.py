"""Errors of hidden values by part of the beat."""

import numpy as np
import pytest

from emotune.report.waves import BETWEEN, WINDOWS, parts_of_beat, wave_errors
from tests.data.examples.signals import heart

RATE = 128.0


@pytest.fixture
def signal() -> np.ndarray:
    ecg = heart(10, fs=RATE)[: round(10 * RATE)]
    return (ecg - ecg.mean()) / ecg.std()


def test_each_sample_is_in_one_part(signal: np.ndarray) -> None:
    masks = parts_of_beat(signal, rate=RATE)
    assert masks is not None
    assert list(masks) == [*WINDOWS, BETWEEN]
    assert np.array_equal(sum(mask.astype(int) for mask in masks.values()), np.ones(len(signal)))


def test_the_error_is_that_of_the_hidden_values_of_the_part(signal: np.ndarray) -> None:
    masks = parts_of_beat(signal, rate=RATE)
    assert masks is not None
    hidden = np.zeros((1, len(signal)), dtype=bool)
    hidden[0, 200:900] = True
    wrong = signal + np.where(masks["T wave"], 2.0, 0.5)
    errors = wave_errors(signal[None], hidden=hidden, predicted=wrong[None], interpolated=signal[None] + 1, rate=RATE)
    assert errors is not None
    assert (errors.segments, errors.of) == (1, 1)
    assert sum(part.share for part in errors.parts) == pytest.approx(1)
    for part in errors.parts:
        inside = masks[part.part] & hidden[0]
        assert part.network == pytest.approx(4.0 if part.part == "T wave" else 0.25)
        assert part.interpolated == pytest.approx(1.0)
        assert part.zero == pytest.approx(np.mean(signal[inside] ** 2))
        assert part.share == pytest.approx(inside.sum() / 700)


def test_segments_without_beats_are_left_out_and_counted(signal: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(size=len(signal))
    signals = np.stack([noise, signal])
    hidden = np.ones_like(signals, dtype=bool)
    errors = wave_errors(signals, hidden=hidden, predicted=signals, interpolated=signals, rate=RATE)
    assert errors is not None
    assert (errors.segments, errors.of) == (1, 2)
    assert (
        wave_errors(noise[None], hidden=hidden[:1], predicted=noise[None], interpolated=noise[None], rate=RATE) is None
    )
