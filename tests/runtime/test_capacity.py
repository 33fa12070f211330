"""The number of evaluations at a time."""

import pytest

from emotune.runtime.cluster.capacity import Capacity, shared


@pytest.mark.parametrize(
    ("slots", "share", "expected"), [(8, 1.0, 8), (8, 0.5, 4), (7, 0.5, 3), (10, 0.3, 3), (2, 0.1, 1)]
)
def test_a_share_is_rounded_down_to_at_least_one_evaluation(slots: int, share: float, expected: int) -> None:
    resources = {"CPU": 1.0}
    assert shared(lambda: Capacity(slots, resources), share)() == Capacity(expected, resources)


def test_a_share_follows_a_cluster_that_grows() -> None:
    slots = iter([4, 8])
    part = shared(lambda: Capacity(next(slots), {}), 0.5)
    assert [part().slots, part().slots] == [2, 4]
