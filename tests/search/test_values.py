"""Promises about configurations from elsewhere: what fits is taken, what does not is named."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotune.errors import DamageError, SettingsError
from emotune.search import Optimizer
from emotune.search.space import values_of
from emotune.search.values import fitted
from tests.search.searching import documents, mixed_space, run_to_the_end, space_of

GOOD = {"optim.lr": 0.01, "task.span": 8, "model.layers": 2, "model.heads": 4, "optim.kind": "sgd",
        "optim.momentum": 0.5, "seed": 3, "model.kind": "transformer"}  # fmt: skip


@given(documents(), st.integers(0, 99))
def test_every_configuration_of_a_space_fits_as_it_is(document: dict[str, Any], seed: int) -> None:
    space = space_of(document)
    space.seed(seed)
    for _ in range(5):
        values = values_of(space.sample_configuration())
        assert fitted(space, values=values) == values
        assert fitted(space, values=dict(reversed(values.items()))) == values


def test_inactive_values_are_left_out_and_types_are_the_spaces() -> None:
    found = fitted(mixed_space(), values={**GOOD, "optim.kind": "adam", "optim.momentum": 99, "task.span": 8.0})
    assert found == {name: value for name, value in GOOD.items() if name != "optim.momentum"} | {"optim.kind": "adam"}
    assert type(found["task.span"]) is int


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optim.lr": 0.5}, r"optim.lr = 0.5 is outside the space, expected a value in 1e-05 to 0.1"),
        ({"optim.lr": "fast"}, r"optim.lr = 'fast'"),
        ({"optim.lr": True}, r"optim.lr = True"),
        ({"optim.lr": float("nan")}, r"optim.lr = nan"),
        ({"task.span": 2.5}, r"task.span = 2.5 is outside the space, expected a value in 1 to 64"),
        ({"model.heads": 3}, r"model.heads = 3 .* 1 or 2 or 4 or 8"),
        ({"optim.kind": "adm"}, r"optim.kind = 'adm'"),
        ({"optim.rate": 0.1}, r"'optim.rate' is not in the space"),
        ({"optim.momentum": None}, r"no value of optim.momentum was given, expected one in 0.0 to 1.0"),
        ({"model.layers": 4, "model.heads": 8}, r"forbids .*model.heads = 8"),
    ],
)
def test_what_does_not_fit_is_named_with_what_may_be(change: dict[str, Any], words: str) -> None:
    values = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(SettingsError, match=words) as caught:
        fitted(mixed_space(), values=values)
    assert "\n" not in str(caught.value)


def test_a_recorded_configuration_that_is_not_in_the_space_is_damage() -> None:
    optimizer = Optimizer(mixed_space(), kind="random", evaluations=6)
    run_to_the_end(optimizer)
    for change in ({"optim.lr": 7.0}, {"model.heads": 3}, {"optim.rate": 1.0}, {"model.layers": "2"}):
        state = optimizer.state()
        last = state["evaluations"][-1]
        state["evaluations"][-1] = last | {"values": last["values"] | change}
        with pytest.raises(DamageError, match="evaluation 5 of the record"):
            Optimizer.from_state(mixed_space(), state)


def test_configurations_known_to_be_good_must_fit() -> None:
    assert Optimizer(mixed_space(), earlier=[GOOD]).settings.earlier == (GOOD,)
    with pytest.raises(SettingsError, match=r"earlier: optim.lr = 9.0"):
        Optimizer(mixed_space(), earlier=[GOOD, GOOD | {"optim.lr": 9.0}])
