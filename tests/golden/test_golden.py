"""The results of the package equal the recorded ones."""

import click
import pytest

from tests.golden.items import ITEMS, Item, differences
from tests.golden.options import walk


@pytest.mark.parametrize("item", ITEMS, ids=[item.name for item in ITEMS])
def test_the_present_results_equal_the_recorded_ones(item: Item) -> None:
    assert item.differences() == []


@pytest.mark.parametrize(
    ("known", "now", "count"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-10}, 0),
        ({"a": 1.0}, {"a": 1.0 + 1e-6}, 1),
        ({"a": 1}, {"a": 1.0}, 1),
        ({"a": 1}, {"a": True}, 1),
        ({"a": None}, {}, 1),
        ({}, {"a": None}, 1),
        ([1, 2], [1, 2, 3], 1),
        ([1, [2, "x"]], [0, [2, "y"]], 2),
    ],
)
def test_the_comparison_finds_every_difference(known: object, now: object, count: int) -> None:
    assert len(list(differences(known, now, tolerance=1e-9))) == count


def test_a_command_that_was_called_without_its_group_has_the_help_option_of_the_group() -> None:
    command = click.Command("child")
    command.get_params(click.Context(command))
    group = click.Group("group", commands=[command], context_settings={"help_option_names": ["-h", "--help"]})
    assert dict(walk(group, "group"))["group child"]["options"]["--help"]["names"] == ["-h", "--help"]
