"""Make the screenshots of the report: ``python docs/screenshots/report.py PAGE.html NAME [PAGE.html NAME ...]``.

Writes ``report_NAME_WIDTH_THEME.png`` for 1400 and 420 px, light and dark, and ``report.png``, the beginning of
the page with the name search. Needs Chromium and playwright. A screenshot above `MAX_BYTES` is reduced to fewer
colours.
"""

import itertools
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
WIDTHS = (1400, 420)
THEMES = ("light", "dark")
MAX_BYTES = 250_000
MAX_HEIGHT = {1400: 5200, 420: 6000}
"""Height of a screenshot at most (px); the end of a longer page is cut off."""

README_HEIGHT = 2200
"""Height of ``report.png`` (px)."""


def main(arguments: list[str]) -> None:
    """Make the screenshots of pages, each with its name."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for file, name in zip(arguments[::2], arguments[1::2], strict=True):
            for width, theme in itertools.product(WIDTHS, THEMES):
                page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
                page.set_default_timeout(120_000)
                page.goto(Path(file).absolute().as_uri())
                page.wait_for_selector("html[data-ready]", state="attached")
                page.evaluate("window.report.drawAll()")
                page.wait_for_timeout(1500)
                out = FOLDER / f"report_{name}_{width}_{theme}.png"
                page.screenshot(path=out, full_page=True)
                page.close()
                if (name, width, theme) == ("search", 1400, "light"):
                    shutil.copy(out, FOLDER / "report.png")
                    shrink(FOLDER / "report.png", height=README_HEIGHT)
                shrink(out, height=MAX_HEIGHT[width])
        browser.close()


def shrink(file: Path, *, height: int) -> None:
    """Cut a screenshot to a height, and reduce its colours and its size until it is small enough."""
    image = Image.open(file).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, height)))
    for colours, scale in itertools.product((128, 48), (1.0, 0.8, 0.65, 0.5)):
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.LANCZOS).quantize(colours, method=Image.Quantize.MAXCOVERAGE).save(
            file, optimize=True
        )
        if file.stat().st_size < MAX_BYTES:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
