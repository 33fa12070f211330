"""The commands of docs/tutorial.md work as printed: its notebook runs on a few people, with tiny settings."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.notebook import NOTEBOOK, PAGE, encode, make_notebook

ROOT = Path(__file__).parents[2]
PEOPLE = 8
TINY = {
    "emotune search": "--concurrency 1 --set budget.max=3 --set budget.brackets=1 --set base.model.channels=[4,8] "
    "--set base.model.kernels=[9,5] --set base.model.feedforward=16 --set base.folds.segments=32",
    "emotune finetune": "--set epochs=2 --set folds.segments=32",
    "emotune data prepare": "--workers 1",
}
"""Options that make the commands of the page small."""

INTERRUPT = """
import signal, subprocess, sys, time
from pathlib import Path
journal = Path("results/tutorial/journal.jsonl")
process = subprocess.Popen(sys.argv[1:])
while process.poll() is None and not (journal.is_file() and '"kind":"ended"' in journal.read_text()):
    time.sleep(0.1)
process.send_signal(signal.SIGINT)
sys.exit(124 if process.wait() == 130 else f"exit code {process.returncode}, expected 130")
"""
"""A program in place of ``timeout``: it sends SIGINT to a command after its first evaluation."""


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=None, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""
"""A program that executes the cells of a notebook."""


@pytest.fixture
def people() -> Path:
    """The recordings of the page, which are not part of the checkout."""
    folder = Path(os.environ.get("EMOTUNE_REAL_DATA", ROOT.parent / "shared/data/real")) / "eegmat"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set EMOTUNE_REAL_DATA")
    return folder


@pytest.fixture
def folder(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as after the download of the page, with the recordings of a few people."""
    (tmp_path / "recordings").mkdir()
    for file in sorted(people.glob("Subject*_[12].npz"))[: 2 * PEOPLE]:
        (tmp_path / "recordings" / file.name).symlink_to(file)
    for name in ("search_spaces", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "interrupt.py").write_text(INTERRUPT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("EMOTUNE_STORAGE", raising=False)
    return tmp_path


def small(code: str) -> str:
    """Return a cell with tiny settings."""
    for command, options in TINY.items():
        code = re.sub(rf"({command} .*?)( \|\| .*)?$", rf"\1 {options}\2", code, flags=re.MULTILINE)
    return re.sub(r"timeout --signal=INT \d+", f"{sys.executable} interrupt.py", code)


def executed(notebook: Any, *, folder: Path) -> Any:
    """Return a notebook with its outputs. It is run in a process of its own, whose sockets do not concern the tests."""
    file = folder / "tutorial.ipynb"
    file.write_text(encode(notebook))
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, file], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return nbformat.read(file, as_version=4)


def printed(cell: Any) -> str:
    """Return what a cell printed."""
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


@pytest.mark.ray
@pytest.mark.timeout(1500)
@pytest.mark.usefixtures("cluster")
def test_the_tutorial_works_as_printed(folder: Path) -> None:
    notebook = make_notebook(PAGE.read_text(encoding="utf-8"))
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code" and "wget" not in cell.source]
    for cell in notebook.cells:
        cell.source = small(cell.source)
    notebook = executed(notebook, folder=folder)
    cells = {cell.source: printed(cell) for cell in notebook.cells}
    assert f"{2 * PEOPLE} recordings" in printed(notebook.cells[0])
    for file in ("segments.png", "judged.png", "results/tutorial/report.html"):
        assert (folder / file).is_file(), file
    assert "Resume with:" in next(output for source, output in cells.items() if "interrupt.py" in source)
    assert "arithmetic" in printed(notebook.cells[-1])


def test_the_notebook_is_that_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert NOTEBOOK.read_text(encoding="utf-8") == encode(make_notebook(page)), "run python -m tools.notebook"
