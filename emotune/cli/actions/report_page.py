"""``emotune report``."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.actions.folders import existing_records
from emotune.cli.output import print_message
from emotune.errors import SettingsError, StorageAwayError
from emotune.files import check_output
from emotune.report.content import Source
from emotune.report.page import render_report, write_report
from emotune.storage import open_storage
from emotune.study.invocation import read_invocation

REPORT_FILE = "report.html"
"""The report in the folder of a search."""

MAX_NAME_LENGTH = 200
"""Letters of the name of a page about several searches."""


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """The options of ``emotune report``."""

    names: tuple[str, ...]
    out: Path | None
    watch: float | None
    """Seconds between two versions of the page while a search runs; None: write it once."""
    signals: bool
    """Whether held-out segments are drawn."""
    storage: str
    price_per_hour: float | None = None
    """Price of an hour of a GPU or CPU; None: the page has no prices."""
    announce: bool = True
    """Whether the path of the page is printed."""


def write_page(request: ReportRequest) -> None:
    """Carry out ``emotune report``.

    Raises:
        SettingsError: A search does not exist, or the file cannot be written.
        DamageError: A journal is damaged.
    """
    if request.out is not None:
        check_output(request.out)
        if request.watch is not None and request.out.exists() and not request.out.is_file():
            raise SettingsError(
                f"--out {request.out}: with --watch the page is written again and again; give the path of a file"
            )
    if len(set(request.names)) < len(request.names):
        raise SettingsError(f"{', '.join(request.names)}: a search was given twice; give each one once")
    sources = _sources(request)
    if request.watch is None:
        _write(request, sources, announce=request.announce)
    else:
        _watch(request, sources)


def _watch(request: ReportRequest, sources: list[Source]) -> None:
    """Write the page, and again every few seconds until no search runs, or until Ctrl-C."""
    assert request.watch is not None
    try:
        running = _write(request, sources, announce=request.announce)
        while running:
            time.sleep(request.watch)
            try:
                running = _write(request, _sources(request))
            except StorageAwayError as error:
                print_message(f"the page was not written: {error}; trying again in {request.watch:g} s")
    except KeyboardInterrupt:
        _write(request, _sources(request), stops=True)
        print_message("stopped watching; the search itself is not affected")
        return
    print_message("no search is running; the page is complete")


def _sources(request: ReportRequest) -> list[Source]:
    sources = []
    for name in request.names:
        folder, records = existing_records(name, storage=request.storage)
        share = read_invocation(folder.storage).trials_per_gpu
        source = Source(
            records=records,
            folder=folder,
            alive=folder.driver_alive,
            storage=request.storage,
            trials_per_gpu=share if isinstance(share, int) else 1,
            draw_signals=request.signals,
            price_per_hour=request.price_per_hour,
        )
        sources.append(source)
    return sources


def _write(request: ReportRequest, sources: Sequence[Source], *, announce: bool = False, stops: bool = False) -> bool:
    """Write the page, and return whether a search runs.

    Args:
        request: The options.
        sources: The searches.
        announce: Print the path.
        stops: The page is not written again, and does not refresh itself.
    """
    running = any(source.alive for source in sources)
    refresh_s = request.watch if running and not stops else None
    if request.out is not None:
        is_file = write_report(sources, request.out, refresh_s=refresh_s)
        if announce:
            click.echo(request.out, err=not is_file)  # the file may be standard output
        return running
    folder = sources[0].folder
    assert folder is not None
    place, name = (
        (folder.storage, REPORT_FILE) if len(sources) == 1 else (open_storage(request.storage), _name(request))
    )
    place.write(name, render_report(sources, refresh_s=refresh_s))
    if announce:
        click.echo(place / name)
    return running


def _name(request: ReportRequest) -> str:
    """Return the name of the file of a page about several searches."""
    return f"report-{'-'.join(request.names)[:MAX_NAME_LENGTH]}.html"
