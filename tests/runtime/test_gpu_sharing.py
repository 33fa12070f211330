"""The number of evaluations that share a GPU: the largest that raises the throughput and fits."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from emotune.runtime.cluster.gpu_sharing import (
    COUNTS,
    MAX_MEMORY_SHARE,
    MIN_SPEEDUP,
    SharingMeasurement,
    as_lines,
    choose,
    probe,
)

speeds = st.lists(st.floats(1, 1e5), min_size=len(COUNTS), max_size=len(COUNTS))


def measured_with(speeds: list[float], *, memory: float = 0.0) -> list[SharingMeasurement]:
    by_count = dict(zip(COUNTS, speeds, strict=True))
    return list(probe(lambda trials: SharingMeasurement(trials, float(by_count[trials]), memory * trials)))


def test_the_number_grows_while_the_joint_throughput_does() -> None:
    assert choose(measured_with([100, 190, 350, 600])) == 8
    assert choose(measured_with([100, 190, 200, 600])) == 2
    assert choose(measured_with([100, 105, 200, 600])) == 1


def test_the_probe_ends_with_the_first_number_without_gain() -> None:
    assert [measurement.trials for measurement in measured_with([100, 190, 200, 600])] == [1, 2, 4]


def test_a_number_that_would_not_fit_is_not_measured() -> None:
    assert [measurement.trials for measurement in measured_with([100, 200, 400, 800], memory=0.2)] == [1, 2, 4]
    assert [measurement.trials for measurement in measured_with([100, 200, 400, 800], memory=0.9)] == [1]


def test_a_number_that_did_not_fit_ends_the_probe() -> None:
    measured = list(probe(lambda trials: SharingMeasurement(trials, 100.0 * trials) if trials < 4 else None))
    assert choose(measured) == 2
    assert choose(list(probe(lambda trials: None))) == 1


@given(speeds=speeds, memory=st.floats(0, 1))
def test_every_step_up_to_the_chosen_number_has_a_gain_and_fits(speeds: list[float], memory: float) -> None:
    measured = measured_with(speeds, memory=memory)
    chosen = choose(measured)
    assert chosen == 1 or chosen * memory <= MAX_MEMORY_SHARE * (1 + 1e-9)
    accepted = [measurement for measurement in measured if measurement.trials <= chosen]
    assert all(
        more.segments_per_second > MIN_SPEEDUP * fewer.segments_per_second
        for fewer, more in itertools.pairwise(accepted)
    )


def test_the_table_has_a_line_for_each_number() -> None:
    head, *lines = as_lines([SharingMeasurement(1, 100.0, 0.1), SharingMeasurement(2, 180.0, 0.2)])
    assert "segments/s" in head
    assert [line.split() for line in lines] == [["1", "100", "1.00", "10%"], ["2", "180", "1.80", "20%"]]
