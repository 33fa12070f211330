"""``emotune data prepare``: prepare a corpus with a progress bar, and print what was written and left out."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from emotune.cli.actions.consoles import console, message_console
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.tables import plain_table, reasons_table
from emotune.cli.data import PrepareRequest
from emotune.cli.output import print_line, print_message, printable
from emotune.data.corpora.reader import AnyReader
from emotune.data.prepare.prepare import PreparationSummary, PrepareOptions, find_reader, prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.documents import Document, parse
from emotune.durations import duration
from emotune.errors import SettingsError, suggestion

LINE_INTERVAL_S = 10.0
"""Least time between two lines of progress if stderr is not a terminal."""


def prepare_and_print(request: PrepareRequest) -> None:
    """Carry out ``emotune data prepare``."""
    _print_summary(prepare_store(request))


def prepare_store(request: PrepareRequest) -> PreparationSummary:
    """Prepare a corpus with a progress bar, and return what was written and left out.

    Raises:
        SettingsError: There is no such corpus or setting.
        DataError: The corpus cannot be used.
    """
    reader = find_reader(request.corpus)
    options = {"modality": request.modality, "seconds": request.seconds}
    given = {key: value for key, value in options.items() if value is not None}
    positions: dict[tuple[str | int, ...], str] = {(): "data prepare"}
    positions |= {(key,): f"--{key} {value}" for key, value in given.items()}
    document = Document(name="", content={}, positions=positions).overridden(request.assignments)
    for key in given.keys() & document.content.keys():
        raise SettingsError(f"--{key} {given[key]} and --set {key} were given; leave one of them out")
    known = PrepareSettings.model_fields
    general = {key: value for key, value in document.content.items() if key in known} | given
    specific = {key: value for key, value in document.content.items() if key not in known}
    for key in specific:
        _check_setting(key, reader=reader)
    settings = parse(dataclasses.replace(document, content=general), PrepareSettings)
    corpus_settings = parse(dataclasses.replace(document, content=specific), reader.settings)
    cores = len(psutil.Process().cpu_affinity() or [0])
    with progress_bar(reader.name) as progress:
        return prepare(
            reader,
            folder=request.raw_dir,
            store=store_path(request.store),
            settings=settings,
            corpus_settings=corpus_settings,
            options=PrepareOptions(
                workers=request.workers or cores,
                strict=request.strict,
                append=request.append,
                collection=request.collection,
                progress=progress,
            ),
        )


def _check_setting(key: str, *, reader: AnyReader) -> None:
    """Raise an error for a setting that neither the preparation nor the corpus has."""
    known = [*reader.settings.model_fields, *PrepareSettings.model_fields]
    if key not in known:
        hint = suggestion(key, among=known) or "."
        raise SettingsError(
            f"--set {key}: neither the preparation nor {reader.name} has such a setting{hint} "
            f"Give one of: {', '.join(known)}"
        )


class TimeLeft:
    """The time that is left of a phase, from the share that is done: of its bytes, not of its files.

    A phase begins when its share is smaller than the last one.
    """

    def __init__(self) -> None:
        self._share = 1.0
        self._begun_at = 0.0

    def update(self, share: float) -> float | None:
        """Return the remaining seconds of the present phase; None if nothing is done yet, or all is.

        Args:
            share: Share that is done, 0 to 1.
        """
        now = time.monotonic()
        if share < self._share or not share:
            self._begun_at = now
        self._share = share
        return (now - self._begun_at) * (1 - share) / share if 0 < share < 1 else None


@contextmanager
def progress_bar(corpus: str) -> Iterator[Callable[[float, str], None]]:
    """Print a progress bar on a terminal, and a line every `LINE_INTERVAL_S` elsewhere."""
    console = message_console()
    if not console.is_terminal:
        yield _lines(corpus)
        return
    columns = (
        TextColumn(corpus, markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
    )
    left = TimeLeft()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def update(share: float, step: str) -> None:
            seconds = left.update(share)
            rest = "" if seconds is None else f"about {duration(seconds)} left, "
            bar.update(task, completed=share, description=printable(f"{rest}{step}"))

        yield update


def _lines(corpus: str) -> Callable[[float, str], None]:
    left = TimeLeft()
    last_line = time.monotonic()

    def print_line(share: float, step: str) -> None:
        nonlocal last_line
        seconds = left.update(share)
        now = time.monotonic()
        if now - last_line >= LINE_INTERVAL_S:
            last_line = now
            rest = "" if seconds is None else f", about {duration(seconds)} left"
            percent = f"; {100 * share:.0f} %" if share else ""
            print_message(f"{corpus}: {step}{percent}{rest}")

    return print_line


def _print_summary(summary: PreparationSummary) -> None:
    source = summary.source
    out = console()
    numbers = ("subjects", "recordings", "hours", "segments", "left out")
    table = plain_table("corpus", *numbers, numbers=numbers)
    table.add_row(
        source.corpus,
        str(source.subjects),
        str(source.recordings),
        f"{source.hours:.2f}",
        str(source.segments),
        str(len(source.left_out)),
    )
    out.print(table)
    if source.left_out:
        out.print()
        out.print(reasons_table(source.left_out))
    if source.notes:
        out.print()
        out.print(reasons_table(source.notes, title="notes"))
    outcome = "written to" if summary.written else "already there:"
    pool = f" (of {summary.segments} in the pool)" if summary.segments != source.segments else ""
    unused = f", {source.unused} left out" if source.unused else ""
    print_line(
        f"\n{source.segments} segments{pool} of {source.recordings} recordings ({source.hours:.2f} h{unused}) "
        f"{outcome} {summary.store}"
    )
