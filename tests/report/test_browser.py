"""The page in a real browser: no error, no request, no sideways scrolling, and one selection for charts and table."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emotune.report.content import Source
from emotune.report.page import render_report
from tests.report.conftest import NASTY
from tests.support.journals import synthetic_search

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 60_000
"""Longest wait for the page (ms); machines with other work are slow."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FIRST_MARK = """(name) => {
  const {plot, view} = window.report.views.find((drawn) => drawn.node.closest("[data-chart]").dataset.chart === name);
  const {glyph, data_source: {data}} = plot.renderers.find((other) => other.data_source.data.key);
  const box = view.canvas_view.el.getBoundingClientRect();
  const [x, y] = [glyph.x.field, glyph.y.field].map((field) => data[field][0]);
  const {x_scale, y_scale} = view.frame;
  return {x: box.x + x_scale.compute(x), y: box.y + y_scale.compute(y), key: data.key[0]};
}"""
"""JavaScript that returns where the first mark of a chart is in the window, and the key of its configuration."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as program:
        chromium = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    search, other = synthetic_search("one"), synthetic_search("two", seed=1, configurations=20)
    opened = search[0]
    named = [opened.model_copy(update={"name": NASTY}), *search[1:]]
    pages = {"search": [Source(named)], "comparison": [Source(search), Source(other)]}
    for name, sources in pages.items():
        (folder / f"{name}.html").write_bytes(render_report(sources))
    return {name: folder / f"{name}.html" for name in pages}


class Window:
    """A page in the browser that records errors and requests."""

    def __init__(self, browser: Any, file: Path, *, width: int = 1400, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page.set_default_timeout(TIMEOUT_MS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")
        self.page.evaluate("window.report.drawAll()")
        self.page.wait_for_selector("[data-chart]:not([data-drawn=done])", state="detached")

    def selected_row(self) -> str | None:
        """Return the key of the highlighted row of the leaderboard."""
        row = self.page.query_selector("#leaderboard tr.selected")
        return None if row is None else row.get_attribute("data-key")

    def selected_in_charts(self) -> list[set[str]]:
        """Return the selected keys of every data source of the charts."""
        keys = self.page.evaluate(
            "window.report.sources.map((source) => source.selected.indices.map((index) => source.data.key[index]))"
        )
        return [set(part) for part in keys]

    def column(self, title: str) -> list[str]:
        """Return the texts of a column of the leaderboard."""
        headings = [cell.inner_text().strip(" ▲▼") for cell in self.page.query_selector_all("#leaderboard thead th")]
        number = headings.index(title) + 1
        return self.page.eval_on_selector_all(
            f"#leaderboard tbody tr td:nth-child({number})", "(cells) => cells.map((cell) => cell.textContent)"
        )


@pytest.fixture(scope="module")
def window(browser: Any, files: dict[str, Path]) -> Window:
    return Window(browser, files["search"])


@pytest.mark.parametrize("name", ["search", "comparison"])
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (420, "dark")])
def test_the_page_has_no_error_no_request_and_no_sideways_scrolling(
    browser: Any, files: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    window = Window(browser, files[name], width=width, scheme=scheme)
    assert window.errors == []
    assert [request for request in window.requests if not request.startswith(("file:", "data:", "blob:"))] == []
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert window.page.evaluate(overflow) == 0
    paper = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    window.page.close()


EDGES = """() => window.report.views.map(({view}) => {
  const {canvas} = view.canvas_view.primary, {width, height} = canvas, context = canvas.getContext("2d");
  const parts = [context.getImageData(0, 0, 1, height), context.getImageData(0, 0, width, 1)];
  return parts.map(({data}) => data.filter((value, index) => index % 4 === 3 && value > 0).length);
})"""
"""JavaScript that returns how many pixels of the left and of the upper edge are not empty, for each chart."""

PAINTED_AT = "(width) => window.report.views.every(({view}) => view.bbox.width === width)"


def test_a_chart_that_was_narrower_has_no_remains_of_text_at_its_edges(browser: Any, files: dict[str, Path]) -> None:
    window = Window(browser, files["comparison"], width=420)
    before = window.page.evaluate(EDGES)
    width = window.page.evaluate("window.report.views[0].view.bbox.width")
    assert before == [[0, 0]] * len(before)
    assert before
    for change in (-170, 0):
        window.page.set_viewport_size({"width": 420 + change, "height": 900})
        window.page.wait_for_function(PAINTED_AT, arg=width + change)
    assert window.page.evaluate(EDGES) == before
    window.page.close()


def test_text_of_a_journal_stays_text(window: Window) -> None:
    assert window.page.inner_text("h1") == NASTY
    assert window.page.title() == f"{NASTY} · emotune"


def test_a_click_on_a_row_highlights_the_configuration_in_every_chart(window: Window) -> None:
    row = window.page.query_selector_all("#leaderboard tbody tr")[2]
    key = row.get_attribute("data-key")
    row.click()
    assert window.selected_row() == key
    charts = window.selected_in_charts()
    assert len(charts) >= 8
    assert {key} in charts
    assert all(part <= {key} for part in charts)
    config = key.split(":")[1]
    assert f"configuration\t{config}" in window.page.inner_text("#selected")
    window.page.keyboard.press("Escape")
    assert window.selected_row() is None
    assert not any(window.selected_in_charts())


def test_hover_shows_the_configuration_and_a_click_highlights_it(window: Window) -> None:
    window.page.locator("[data-chart=incumbentEpochs]").scroll_into_view_if_needed()
    point = window.page.evaluate(FIRST_MARK, "incumbentEpochs")
    window.page.mouse.move(point["x"] - 3, point["y"])
    window.page.mouse.move(point["x"], point["y"])
    tooltip = window.page.locator("table.hover:visible").first
    tooltip.wait_for()
    config = point["key"].split(":")[1]
    assert f"configuration\t{config}\n" in tooltip.inner_text()
    assert "optim.lr" in tooltip.inner_text()
    window.page.mouse.click(point["x"], point["y"])
    window.page.wait_for_selector("#leaderboard tr.selected")
    assert window.selected_row() == point["key"]
    assert {point["key"]} in window.selected_in_charts()
    window.page.keyboard.press("Escape")


def test_a_click_on_a_heading_sorts_and_a_second_one_reverses(window: Window) -> None:
    heading = window.page.get_by_role("button", name="optim.lr")
    heading.click()
    numbers = [float(text) for text in window.column("optim.lr")]
    assert numbers == sorted(numbers)
    heading.click()
    assert [float(text) for text in window.column("optim.lr")] == sorted(numbers, reverse=True)
    factor = window.page.get_by_role("button", name="optim.step_factor")
    factor.click()
    texts = window.column("optim.step_factor")
    assert "-" in texts
    assert texts == [*(text for text in texts if text != "-"), *("-" for text in texts if text == "-")]
    factor.click()
    factor.click()  # the third click restores the order of the leaderboard
    epochs = [int(text) for text in window.column("epochs")]
    assert epochs == sorted(epochs, reverse=True)


def test_the_filter_takes_words_and_comparisons(window: Window) -> None:
    every = len(window.column("config"))
    window.page.fill("#leaderboard input", "optim.lr<0.001 linear")
    assert 0 < len(window.column("config")) < every
    assert all(float(text) < 0.001 for text in window.column("optim.lr"))
    assert set(window.column("optim.schedule")) == {"linear"}
    window.page.fill("#leaderboard input", "nothing-like-this")
    assert window.column("config") == []
    window.page.fill("#leaderboard input", "")
    assert len(window.column("config")) == every


def test_a_click_in_a_comparison_names_the_search(browser: Any, files: dict[str, Path]) -> None:
    window = Window(browser, files["comparison"])
    window.page.locator("#leaderboard tbody tr[data-key='1:0']").click()
    assert "search\ttwo" in window.page.inner_text("#selected")
    assert set(window.column("search")) == {"one", "two"}
    window.page.close()
