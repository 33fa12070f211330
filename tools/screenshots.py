"""Take screenshots of pages with Chromium, for README and docs.

    python -m tools.screenshots results/first/report.html docs/screenshots/report.png --height 1100

It needs ``pip install playwright`` and Chromium.
"""

import argparse
import shutil
from pathlib import Path

import click
from playwright.sync_api import sync_playwright


def take(page: str, out: Path, *, width: int, height: int, dark: bool = False) -> None:
    """Write a PNG of the top of a page, an address or a file."""
    address = page if "://" in page else Path(page).absolute().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        tab.goto(address)
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=out)
        browser.close()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="address or file of a page")
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()
    take(given.page, given.out, width=given.width, height=given.height, dark=given.dark)
    click.echo(f"{given.out} written")


if __name__ == "__main__":
    main()
