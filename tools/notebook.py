"""Make the notebook of the tutorial from its page, so that both have the same commands.

    python -m tools.notebook    # writes docs/tutorial.ipynb from docs/tutorial.md

A block ``sh`` becomes a cell that types its commands, a block ``python`` a cell of Python. The block after the comment
``interrupt`` becomes a command that receives SIGINT after two minutes, since a notebook has no Ctrl-C for a command.
"""

import re
from pathlib import Path
from typing import Any

import click
import nbformat
from nbformat import v4

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "tutorial.md"
NOTEBOOK = DOCS / "tutorial.ipynb"
FENCE = re.compile(
    r"(?:^<!-- (?P<purpose>\w+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```\n", re.DOTALL | re.MULTILINE
)
INTERRUPT_S = 120
"""Time after which the notebook interrupts the search (s)."""
TIMED_OUT = 124
"""Exit code of ``timeout`` after it has sent its signal."""


def make_notebook(page: str) -> Any:
    """Return the notebook of a page: its text as Markdown cells, its blocks of code as code cells."""
    cells: list[Any] = []
    end = 0
    for block in FENCE.finditer(page):
        cells += [v4.new_markdown_cell(page[end : block.start()].strip())]
        cells += [v4.new_code_cell(code_cell(**block.groupdict()))]
        end = block.end()
    cells += [v4.new_markdown_cell(page[end:].strip())]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return v4.new_notebook(cells=cells, metadata=kernel)


def code_cell(*, language: str, purpose: str | None, code: str) -> str:
    """Return the code of a cell."""
    if language == "python":
        return code.rstrip()
    if purpose == "interrupt":
        code = f"timeout --signal=INT {INTERRUPT_S} {code.rstrip()} || test $? = {TIMED_OUT}"
    return f"%%bash -e\n{code.rstrip()}"


def encode(notebook: Any) -> str:
    """Return the text of the file, the same for the same page."""
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(encode(make_notebook(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    click.echo(f"{NOTEBOOK} written")
