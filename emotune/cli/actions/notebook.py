"""The display of a run in a notebook: one output that is updated in place, as plain text."""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import RenderableType

from emotune.cli.actions.consoles import SafeConsole
from emotune.cli.output import printable

UPDATE_INTERVAL_S = 0.5
"""Least time between two updates of the output."""

WIDTH = 110
"""Characters per line."""


def in_notebook() -> bool:
    """Return whether the program runs in a kernel of Jupyter."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookOutput:
    """An output of the present cell, which is replaced by each update.

    Args:
        render: Returns what the run shows now.
    """

    def __init__(self, render: Callable[[], RenderableType]) -> None:
        self._render = render
        self._lines: list[str] = []
        self._handle: Any = None
        self._updated_at = float("-inf")

    def add(self, line: str) -> None:
        """Add a line that stays above what changes."""
        self._lines.append(line)

    def update(self, *, now: bool = False) -> None:
        """Update the output, unless that was done less than `UPDATE_INTERVAL_S` ago.

        Args:
            now: Update it in any case.
        """
        time_now = time.monotonic()
        if not now and time_now - self._updated_at < UPDATE_INTERVAL_S:
            return
        self._updated_at = time_now
        content = {"text/plain": "\n".join([*self._lines, as_text(self._render())])}
        if self._handle is None:
            display = sys.modules["IPython"].display.display
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def as_text(renderable: RenderableType) -> str:
    """Return what a terminal without colours shows."""
    console = SafeConsole(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as capture:
        console.print(renderable)
    return printable(capture.get()).rstrip()
