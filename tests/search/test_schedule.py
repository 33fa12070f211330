import itertools
import math
from types import SimpleNamespace

import pytest
from hpbandster.optimizers.bohb import BOHB
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import SettingsError
from emotune.search.schedule import bracket_sizes, rungs


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ((1, 27, 3), (1, 3, 9, 27)),
        ((3, 27, 3), (3, 9, 27)),
        ((20, 500, 3), (20, 60, 180, 500)),
        ((20, 200, 3), (20, 60, 200)),
        ((1, 100, 3), (1, 3, 9, 27, 100)),
        ((5, 5, 3), (5,)),
        ((5, 6, 3), (5, 6)),
        ((1, 4, 2), (1, 2, 4)),
    ],
)
def test_rungs_of_known_budgets(budgets: tuple[int, int, int], expected: tuple[int, ...]) -> None:
    assert rungs(*budgets) == expected


@given(st.integers(1, 1000), st.integers(0, 5000), st.integers(2, 5))
def test_rungs_climb_from_the_smallest_to_the_largest_budget(low: int, more: int, eta: int) -> None:
    ladder = rungs(low, low + more, eta)
    assert ladder[0] == low
    assert ladder[-1] == low + more
    steps = [after / before for before, after in itertools.pairwise(ladder)]
    assert all(step == eta for step in steps[:-1])
    assert len(steps) < 2 or math.sqrt(eta) <= steps[-1] < eta * math.sqrt(eta)


@pytest.mark.parametrize("budgets", [(0, 27, 3), (9, 3, 3), (1, 27, 1)])
def test_impossible_budgets_are_refused(budgets: tuple[int, int, int]) -> None:
    with pytest.raises(SettingsError):
        rungs(*budgets)


@pytest.mark.parametrize(("rung_count", "eta"), [(1, 3), (2, 3), (4, 3), (5, 3), (4, 2), (3, 4)])
def test_brackets_are_those_of_hpbandster(rung_count: int, eta: int) -> None:
    class Original(BOHB):
        def __init__(self) -> None:
            self.max_SH_iter, self.eta = rung_count, eta
            self.config_generator = SimpleNamespace(get_config=None)
            self.budgets = [float(eta**k) for k in range(rung_count)]

    for bracket in range(2 * rung_count):
        iteration = Original().get_next_iteration(bracket, {"result_logger": None})
        first_rung, sizes = bracket_sizes(bracket, rung_count=rung_count, eta=eta)
        assert list(sizes) == iteration.num_configs
        assert iteration.budgets == [float(eta**k) for k in range(first_rung, rung_count)]
