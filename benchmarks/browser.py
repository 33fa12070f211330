"""A headless Chromium, and what it shows of MLflow's pages."""

import contextlib
import importlib.util
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

Content = TypeVar("Content")

WAIT_MS = 60_000
"""Longest wait for an element of a page. MLflow's script has 4 MB, which a busy machine parses slowly."""

ASSISTANT_CLOSED = """
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""
"""Script that closes MLflow's panel of an assistant, which opens once per browser."""

SETTLING_S = 20.0
"""Longest wait for the charts after the first one. A page without the expected charts is read as it is."""

POLL_INTERVAL_MS = 500
"""Interval between two reads of a page. It is read when two reads are equal."""

_HEADER = "[data-testid=experiment-view-compare-runs-section-header]"

_CHARTS_OR_LEFT = """
document.querySelector('[data-testid=experiment-view-compare-runs-card]') !== null
  || !location.hash.includes('viewStateShareKey')
"""
"""MLflow leaves the address of a view that it does not find."""

_ALL_DRAWN = """
[...document.querySelectorAll('[data-testid=experiment-view-compare-runs-card]')].every(
  card => card.querySelector('.parcoords svg .label, .js-plotly-plot .main-svg'))
"""

_SECTIONS = """
sections => sections.map(header => {
  const [title, count] = header.innerText.split('\\n');
  const grid = header.closest('.du-bois-light-collapse-item').querySelector('[data-testid=draggable-chart-cards-grid]');
  const cards = grid ? [...grid.querySelectorAll('[data-testid=experiment-view-compare-runs-card]')] : [];
  return {title, count: Number(count.replace(/[()]/g, '')), charts: cards.map(card => card.innerText.split('\\n')[0])};
})
"""


@dataclass(frozen=True)
class ChartPage:
    """What the page with charts shows."""

    sections: dict[str, list[str]]
    """Titles of the charts by the title of their section."""
    counts: dict[str, int]
    """Number of charts in the header of each section."""
    axes: list[list[str]]
    """Axes of each chart of parallel coordinates."""
    points: int
    """Points in scatter and line charts that are within the window."""
    text: str


@dataclass(frozen=True)
class TablePage:
    """What the page with the table of runs shows."""

    rows: list[dict[str, str]]
    """Cells by the title of their column."""
    text: str


def skip_reason() -> str:
    """Return why no browser can be started; empty if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return "" if shutil.which("chromium") else "there is no program chromium"


@contextlib.contextmanager
def browser(*, width: int = 1400, height: int = 1000) -> Iterator["BrowserContext"]:
    """Run Chromium in a ``with`` statement."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # its absence skips tests

    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            context = program.new_context(viewport={"width": width, "height": height})
            context.set_default_timeout(WAIT_MS)
            context.add_init_script(ASSISTANT_CLOSED)
            yield context
        finally:
            program.close()


def open_charts(page: "Page", link: str) -> ChartPage:
    """Open a link to the charts of an experiment, and return what the page shows."""
    _open(page, link)
    page.wait_for_function(_CHARTS_OR_LEFT)
    return _settled(page, lambda: _read_charts(page), complete=lambda: bool(page.evaluate(_ALL_DRAWN)))


def _read_charts(page: "Page") -> ChartPage:
    sections: list[dict[str, Any]] = page.eval_on_selector_all(_HEADER, _SECTIONS)
    return ChartPage(
        sections={section["title"]: section["charts"] for section in sections},
        counts={section["title"]: section["count"] for section in sections},
        axes=page.eval_on_selector_all(
            ".parcoords", "charts => charts.map(c => [...c.querySelectorAll('.label')].map(e => e.textContent))"
        ),
        points=page.locator(".scatterlayer .point").count(),
        text=page.inner_text("body"),
    )


def open_table(page: "Page", link: str) -> TablePage:
    """Open a link to the table of an experiment, and return what the page shows."""
    _open(page, link.replace("compareRunsMode=CHART", "compareRunsMode=TABLE"))
    page.wait_for_selector(".ag-center-cols-container .ag-row")
    return _settled(page, lambda: _read_table(page), complete=lambda: True)


def _read_table(page: "Page") -> TablePage:
    titles = dict(
        page.eval_on_selector_all(".ag-header-cell", "e => e.map(x => [x.getAttribute('col-id'), x.innerText.trim()])")
    )
    cells: list[tuple[str, str, str]] = page.eval_on_selector_all(
        ".ag-cell",
        "e => e.map(x => [x.closest('.ag-row').getAttribute('row-index'), x.getAttribute('col-id'), x.innerText])",
    )
    rows: dict[int, dict[str, str]] = {}
    for number, column, text in cells:
        rows.setdefault(int(number), {})[titles.get(column) or column] = text.split("\n")[-1].strip()
    return TablePage(rows=[rows[number] for number in sorted(rows)], text=page.inner_text("body"))


def _settled(page: "Page", read: Callable[[], Content], *, complete: Callable[[], bool]) -> Content:
    """Read a page until it does not change any more."""
    deadline = time.monotonic() + SETTLING_S
    before = read()
    while True:
        page.wait_for_timeout(POLL_INTERVAL_MS)
        content = read()
        if (content == before and complete()) or time.monotonic() > deadline:
            return content
        before = content


def _open(page: "Page", link: str) -> None:
    """Open a link anew: MLflow keeps its state if only the part of an address behind ``#`` changes."""
    page.goto("about:blank")
    page.goto(link)
