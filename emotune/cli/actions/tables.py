"""Tables of answers and messages."""

import itertools
from collections.abc import Mapping, Sequence

from rich.table import Table

from emotune.data.recording import Exclusion, Note

MAX_EXAMPLES = 2
"""Examples printed per reason why something was left out."""

MAX_REASONS = 20
"""Reasons printed why something was left out."""


def plain_table(*titles: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table without lines.

    Args:
        titles: Titles of the columns.
        numbers: Titles of the columns with numbers, which are right-aligned.
    """
    table = Table(box=None, pad_edge=False)
    for title in titles:
        right = title in numbers
        table.add_column(title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def facts_table(facts: Mapping[str, str]) -> Table:
    """Return a table of names and values, without a header."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def reasons_table(left_out: Sequence[Exclusion | Note], *, title: str = "left out") -> Table:
    """Return a table of the reasons why something was left out, or of notes; the most frequent first."""
    ordered = sorted(left_out, key=lambda item: item.reason)
    groups = {reason: list(group) for reason, group in itertools.groupby(ordered, key=lambda item: item.reason)}
    table = plain_table(title, "reason" if title == "left out" else "note", "examples", numbers=(title,))
    by_frequency = sorted(groups.items(), key=lambda item: -len(item[1]))
    for reason, group in by_frequency[:MAX_REASONS]:
        examples = [item.what for item in group[:MAX_EXAMPLES]]
        others = len(group) - len(examples)
        examples += [f"and {others} more"] if others else []
        table.add_row(str(len(group)), reason, "\n".join(examples))
    remaining = sum(len(group) for _, group in by_frequency[MAX_REASONS:])
    if remaining:
        table.add_row(str(remaining), "other reasons", "`emotune data describe STORE --json` lists all")
    return table
