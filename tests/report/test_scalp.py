"""Errors at electrodes: positions of the 10-20 system, and the error of each channel."""

import numpy as np
import pytest

from emotune.data.modality import TEN_CHANNELS
from emotune.report.scalp import ELECTRODES, position_of, scalp_map


def test_left_is_left_and_front_is_front() -> None:
    for left, right in (("F7", "F8"), ("T7", "T8"), ("O1", "O2"), ("C3", "C4"), ("P3", "P4")):
        (x, y), (other, across) = position_of(left) or (0, 0), position_of(right) or (0, 0)
        assert x < 0 < other
        assert (x, y) == (-other, across)
    heights = [(position_of(name) or (0, 0))[1] for name in ("FPZ", "Fz", "Cz", "Pz", "OZ")]
    assert heights == sorted(heights, reverse=True)
    assert len({position_of(name) for name in ELECTRODES}) == len(ELECTRODES)
    assert all(position_of(name) is not None for name in TEN_CHANNELS)


def test_the_error_is_that_of_the_hidden_values_of_the_electrode() -> None:
    generator = np.random.default_rng(0)
    signals = generator.standard_normal((3, 11, 50)).astype(np.float32)
    hidden = np.zeros((3, 50), dtype=bool)
    hidden[:, 10:20] = True
    offsets = np.arange(11, dtype=np.float32)
    predicted = np.moveaxis(signals, 1, 2) + offsets
    predicted[~hidden] = 99.0
    result = scalp_map([*TEN_CHANNELS, "X1"], signals=signals, predicted=predicted, hidden=hidden)
    assert result is not None
    assert [item.name for item in result.electrodes] == list(TEN_CHANNELS)
    assert [item.error for item in result.electrodes] == pytest.approx((offsets[:10] ** 2).tolist(), abs=1e-4)
    assert result.electrodes[2].zero == pytest.approx(float((signals[:, 2][hidden] ** 2).mean()))
    assert result.unknown == ("X1",)


def test_leads_and_single_channels_have_no_map() -> None:
    signals, hidden = np.zeros((2, 3, 20), dtype=np.float32), np.ones((2, 20), dtype=bool)
    predicted = np.zeros((2, 20, 3), dtype=np.float32)
    assert scalp_map(["I", "II", "III"], signals=signals, predicted=predicted, hidden=hidden) is None
    assert scalp_map(TEN_CHANNELS, signals=signals[:, :1], predicted=predicted[:, :, :1], hidden=hidden) is None
