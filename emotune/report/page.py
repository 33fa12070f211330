"""One self-contained HTML page about a search, or about several side by side.

The page loads nothing: style, scripts, data and the plotting library (Bokeh, compressed) are in it. Its content
security policy forbids everything else, and lists the hash of each script, so that text of a journal cannot run.
"""

import base64
import functools
import gzip
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from emotune.files import write_output
from emotune.report.comparison import comparison_content
from emotune.report.content import Document, Source, page_content
from emotune.report.sections import search_sections

ASSETS = files("emotune.report") / "assets"

LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
"""Bundles of Bokeh that the page needs."""

COMMON_SCRIPTS = ("core.js", "charts.js")
SEARCH_SCRIPTS = ("search_charts.js", "dependence_chart.js", "scalp_chart.js")

PURPOSES = {
    "configuration": "A search",
    "pretrain": "A pre-training",
    "finetune": "A fine-tuning",
    "fold": "A cross-validation",
}


def render_report(sources: Sequence[Source], *, refresh_s: float | None = None) -> bytes:
    """Return the page about one search, or about several side by side, as UTF-8.

    Equal journals give equal pages. All text of the journal is escaped.

    Args:
        sources: The searches.
        refresh_s: Seconds after which the browser loads the page again; None: it does not.
    """
    if len(sources) == 1:
        content = page_content(sources[0])
        data = {"searches": [_embedded(content)]}
        context = {"s": content, "title": content["name"], **search_sections(content)}
        return _render("search.html", context, data=data, scripts=SEARCH_SCRIPTS, refresh_s=refresh_s)
    comparison = comparison_content(sources)
    data = {"searches": comparison["searches"]}
    return _render("comparison.html", comparison, data=data, scripts=("comparison_charts.js",), refresh_s=refresh_s)


def write_report(sources: Sequence[Source], out: Path, *, refresh_s: float | None = None) -> bool:
    """Write the page to a file; returns whether it is a regular file (see `write_output`)."""
    return write_output(out, render_report(sources, refresh_s=refresh_s))


def _embedded(content: Document) -> Document:
    """Return the part of the content that the scripts read."""
    tables = {"study", "software", "failures", "scores", "commands", "data", "rung_weights"}
    return {name: value for name, value in content.items() if name not in tables}


def _render(
    template: str, context: Mapping[str, Any], *, data: Document, scripts: Sequence[str], refresh_s: float | None
) -> bytes:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FunctionLoader(_asset)
    )
    environment.filters |= {"cell": cell, "clock": _clock, "purpose": PURPOSES.__getitem__}
    program = "\n".join(["(() => {", *map(_asset, (*COMMON_SCRIPTS, *scripts, "leaderboard.js", "main.js")), "})();"])
    libraries = [_library(name) for name in LIBRARY]
    hashes = [_script_hash(text) for text in (program, *(library for library, _ in libraries))]
    page = environment.get_template(template).render(
        **context,
        css=Markup(_asset("page.css")),
        script=Markup(program),
        libraries=[packed for _, packed in libraries],
        script_hashes=" ".join(hashes),
        data=_json(data),
        refresh_s=None if refresh_s is None else f"{refresh_s:g}",
    )
    return page.encode("utf-8", "replace")


@functools.cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


@functools.cache
def _library(name: str) -> tuple[str, str]:
    """Return a bundle of Bokeh, and the same compressed with gzip, in base 64."""
    from bokeh.util.paths import static_path

    content = (Path(static_path()) / "js" / name).read_bytes()
    return content.decode(), base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _script_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: Document) -> Markup:
    """Return data as JSON that contains no character with a meaning in HTML."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def cell(value: Any) -> str:
    """Return a value as text: numbers with four significant digits, ``-`` for a missing one."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
