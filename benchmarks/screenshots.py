"""Screenshots of MLflow's pages for the documentation: ``python -m benchmarks.screenshots [FOLDER]``.

The journals are those of `benchmarks.example_journals`; the pages are opened by the links that ``emotune ui`` prints.
"""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.browser import browser, open_charts, open_table
from benchmarks.example_journals import (
    cross_validation_journal,
    search_journal,
    search_study,
    single_run_journal,
)
from benchmarks.servers import free_port
from emotune.search.records import Opened, Record
from emotune.storage import LocalStorage
from emotune.study.folder import SearchFolder
from emotune.study.journal import encode
from emotune.tracking.mlflow import deliver_all

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
"""Where the screenshots of the documentation are."""

COLOURS = 96
"""Colours of a screenshot."""

MAX_BYTES = 200_000
"""Largest size of a screenshot."""

START_TIMEOUT_S = 300.0
"""Longest wait for the links of ``emotune ui``."""

JOURNALS: dict[str, Callable[[], list[Record]]] = {
    "six": lambda: search_journal(search_study(evaluations=8, max_epochs=3), name="six"),
    "sixty": lambda: search_journal(search_study(evaluations=90, max_epochs=27, kind="bohb"), name="sixty"),
    "conditional": lambda: search_journal(
        search_study(evaluations=40, conditional=True), name="conditional", failures=True
    ),
    "folds": lambda: cross_validation_journal(name="folds"),
    "long": lambda: single_run_journal(name="long"),
}


@dataclass(frozen=True)
class Shot:
    """A screenshot."""

    file: str
    journal: str
    table: bool
    height: int
    """Height of the window (px)."""


SHOTS = (
    Shot("mlflow-search-table", "six", table=True, height=560),
    Shot("mlflow-search-charts", "six", table=False, height=2150),
    Shot("mlflow-sixty-table", "sixty", table=True, height=900),
    Shot("mlflow-sixty-charts", "sixty", table=False, height=2150),
    Shot("mlflow-conditional-charts", "conditional", table=False, height=1250),
    Shot("mlflow-folds-charts", "folds", table=False, height=1150),
    Shot("mlflow-folds-table", "folds", table=True, height=640),
    Shot("mlflow-long-charts", "long", table=False, height=1080),
)


def write_screenshots(folder: Path) -> None:
    """Write all screenshots.

    Raises:
        TimeoutError: MLflow's server did not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        storage = Path(scratch) / "results"
        for name, journal in JOURNALS.items():
            deliver(journal(), storage=storage, name=name)
        process, links = start_server(storage)
        try:
            with browser() as context:
                for shot in SHOTS:
                    take(context.new_page(), shot, link=links[shot.journal], folder=folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def deliver(records: list[Record], *, storage: Path, name: str) -> None:
    """Write a journal into a storage, and send it to the database of the storage."""
    folder = SearchFolder.of(name, storage=LocalStorage(storage))
    folder.path.mkdir(parents=True)
    lines = b"".join(encode(record, sequence=number) for number, record in enumerate(records))
    (folder.path / "journal.jsonl").write_bytes(lines)
    opened = records[0]
    assert isinstance(opened, Opened)
    uri = f"sqlite:///{storage / 'mlflow.db'}"
    assert deliver_all(records, tracking_uri=uri, folder=folder.storage, name=name, kind=opened.purpose)


def start_server(storage: Path) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start ``emotune ui`` on a storage, and return its process and the links that it prints, by search.

    Raises:
        TimeoutError: It prints no links.
    """
    output = storage.parent / "ui.txt"
    command = [sys.executable, "-m", "emotune", "ui", "--storage", str(storage), "--port", str(free_port())]
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + START_TIMEOUT_S
    while "press Ctrl-C" not in output.read_text():
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            raise TimeoutError(output.read_text())
        time.sleep(0.2)
    return process, dict(re.findall(r"^(\S+) +(http\S+)$", output.read_text(), flags=re.MULTILINE))


def take(page: "Page", shot: Shot, *, link: str, folder: Path) -> None:
    """Write a screenshot of the page that a link opens."""
    page.set_viewport_size({"width": 1400, "height": shot.height})
    (open_table if shot.table else open_charts)(page, link)
    file = folder / f"{shot.file}.png"
    page.screenshot(path=file, timeout=300_000)
    page.close()
    reduce_colours(file)
    size = file.stat().st_size
    sys.stdout.write(f"{file} {size / 1000:.0f} kB{'' if size <= MAX_BYTES else ', more than allowed'}\n")


def reduce_colours(file: Path) -> None:
    """Write an image again with `COLOURS` colours."""
    with Image.open(file) as image:
        reduced = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(file, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    write_screenshots(parser.parse_args().folder)
