"""The consoles that print answers and messages."""

import contextlib
from typing import Any

from rich.console import Console
from rich.text import Text

from emotune.cli.output import printable

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
