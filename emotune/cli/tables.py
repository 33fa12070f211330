"""Tables for people, on stdout."""

import itertools
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from emotune.data.recording import Exclusion

EXAMPLES_SHOWN = 2
"""Of each reason why something was left out."""

REASONS_SHOWN = 20

WIDTH_ELSEWHERE = 120
"""Characters of a line where there is no terminal whose width could be asked for."""


def page() -> Console:
    """Return a console that prints text as it is: brackets and colons in names of files mean nothing."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH_ELSEWHERE
    return console


def plain_table(*heads: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table without lines.

    Args:
        heads: Titles of the columns.
        numbers: Those of them that hold numbers, which stand at the right.
    """
    table = Table(box=None, pad_edge=False)
    for head in heads:
        right = head in numbers
        table.add_column(head, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def facts_table(facts: Mapping[str, str]) -> Table:
    """Return a table of names and what is to be said about them."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def reasons_table(left_out: Sequence[Exclusion]) -> Table:
    """Gather what was left out by reason, the most frequent first."""
    ordered = sorted(left_out, key=lambda one: one.reason)
    groups = {reason: list(group) for reason, group in itertools.groupby(ordered, key=lambda one: one.reason)}
    table = plain_table("left out", "why", "what", numbers=("left out",))
    frequent = sorted(groups.items(), key=lambda item: -len(item[1]))
    for reason, group in frequent[:REASONS_SHOWN]:
        examples = [one.what for one in group[:EXAMPLES_SHOWN]]
        more = len(group) - len(examples)
        table.add_row(str(len(group)), reason, "\n".join([*examples, *([f"and {more} more"] if more else [])]))
    rest = sum(len(group) for _, group in frequent[REASONS_SHOWN:])
    if rest:
        table.add_row(str(rest), "other reasons", "all are listed by `emotune data describe STORE --json`")
    return table
