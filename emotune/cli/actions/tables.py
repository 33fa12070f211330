"""Tables, and the consoles that print them."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotune.cli.output import printable
from emotune.data.recording import Exclusion, Note

MAX_EXAMPLES = 2
"""Examples printed per reason why something was left out."""

MAX_REASONS = 20
"""Reasons printed why something was left out."""

WIDTH_WITHOUT_TERMINAL = 120
"""Characters per line if stdout is not a terminal."""


class SafeConsole(Console):
    """Console that replaces control characters in all text: names come from other people's files."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as it is printed; all texts and all cells of tables pass here."""
        return super().render_str(printable(text), **options)


class MessageConsole(SafeConsole):
    """Console on stderr. A terminal or a pipe that is gone and a full disk are no errors: a message decides nothing."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def file(self) -> Any:
        """The stream that the console writes to."""
        return _Tolerant(super().file)

    @file.setter
    def file(self, new_file: Any) -> None:
        self._file = new_file


class _Tolerant:
    """A stream whose errors in writing are ignored."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def console() -> Console:
    """Return a console on stdout that prints text literally: brackets and colons in file names have no meaning."""
    console = SafeConsole(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def message_console() -> Console:
    """Return a console on stderr, for the display of a run and for tables that are no answer."""
    return MessageConsole()


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
