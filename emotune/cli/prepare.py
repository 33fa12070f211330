"""``emotune data prepare``: a corpus becomes a segment store."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from emotune.cli.options import find_store, set_option
from emotune.cli.tables import page, plain_table, reasons_table
from emotune.data.corpora.reader import AnyReader
from emotune.data.modality import DEFAULT_MODALITY, MODALITIES
from emotune.data.prepare.prepare import PreparationSummary, PrepareOptions, find_reader
from emotune.data.prepare.prepare import prepare as prepare_store
from emotune.data.prepare.segments import PrepareSettings
from emotune.documents import Document, parse
from emotune.errors import SettingsError
from emotune.search.space import suggestion

SECONDS_BETWEEN_LINES = 10.0
"""Where there is no terminal."""


def _default_seconds() -> str:
    """Return the default length of a segment, by modality where it differs."""
    seconds = {name: f"{spec.seconds:g}" for name, spec in MODALITIES.items()}
    if len(set(seconds.values())) == 1:
        return seconds[DEFAULT_MODALITY]
    return ", ".join(f"{name} {length}" for name, length in seconds.items())


@click.command()
@click.argument("corpus")
@click.argument("raw_dir", required=False, type=click.Path(path_type=Path))
@click.option(
    "--store", required=True, envvar="EMOTUNE_STORE", show_envvar=True, help="Folder to write the segments to."
)
@click.option("--modality", type=click.Choice(list(MODALITIES)), help=f"What to take.  [default: {DEFAULT_MODALITY}]")
@click.option("--seconds", type=float, help=f"Length of a segment.  [default: {_default_seconds()}]")
@click.option("--append", is_flag=True, help="Add the corpus to the store, to train on several together.")
@click.option("--strict", is_flag=True, help="Stop at a damaged file or an implausible signal; else they are listed.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes that share the work.  [default: one per core]")
@set_option
def prepare(  # noqa: PLR0913 (the options of the contract)
    corpus: str,
    raw_dir: Path | None,
    *,
    store: str,
    modality: str | None,
    seconds: float | None,
    append: bool,
    strict: bool,
    workers: int | None,
    assignments: tuple[str, ...],
) -> None:
    """Filter, resample, standardise and cut the recordings of CORPUS in RAW_DIR.

    --set takes settings of the preparation (rate, band, order) and of the corpus
    (see `emotune data list CORPUS`). Started again after an interruption, the same command goes on.

    \b
    Example:
      emotune data prepare synthetic --store stores/demo --set subjects=20
      emotune data prepare folder recordings/ --store stores/eeg --modality eeg
      emotune data prepare dreamer downloads/ --store stores/pool
      emotune data prepare pspm-vis downloads/ --store stores/pool --append
    """
    reader = find_reader(corpus)
    document = Document(name="options", content={}, positions={}).overridden(assignments)
    ours = {key: value for key, value in document.content.items() if key in PrepareSettings.model_fields}
    options = {"modality": modality, "seconds": seconds}
    ours |= {key: value for key, value in options.items() if value is not None}
    theirs = {key: value for key, value in document.content.items() if key not in PrepareSettings.model_fields}
    for key in theirs:
        _check_setting(key, reader=reader)
    settings = parse(dataclasses.replace(document, content=ours), PrepareSettings)
    corpus_settings = parse(dataclasses.replace(document, content=theirs), reader.settings)
    cores = len(psutil.Process().cpu_affinity() or [0])
    with progress_bar(reader.name) as progress:
        summary = prepare_store(
            reader,
            folder=raw_dir,
            store=find_store(store),
            settings=settings,
            corpus_settings=corpus_settings,
            options=PrepareOptions(workers=workers or cores, strict=strict, append=append, progress=progress),
        )
    _print_summary(summary)


def _check_setting(key: str, *, reader: AnyReader) -> None:
    """Refuse a setting that neither the preparation nor the corpus has, before one of them does."""
    known = [*reader.settings.model_fields, *PrepareSettings.model_fields]
    if key not in known:
        hint = suggestion(key, among=known) or "."
        raise SettingsError(
            f"--set {key}: neither the preparation nor {reader.name} has such a setting{hint} "
            f"There are: {', '.join(known)}"
        )


@contextmanager
def progress_bar(corpus: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on a terminal, and a line now and then elsewhere."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _lines(corpus)
        return
    columns = (
        TextColumn(corpus),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share, doing: bar.update(task, completed=share, description=doing)


def _lines(corpus: str) -> Callable[[float, str], None]:
    begun = said = time.monotonic()

    def tell(share: float, doing: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            left = f", {(now - begun) * (1 - share) / share:.0f} s left" if share else ""
            click.echo(f"{corpus}: {100 * share:.0f} %{left} ({doing})", err=True)

    return tell


def _print_summary(summary: PreparationSummary) -> None:
    source = summary.source
    console = page()
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
    console.print(table)
    if source.left_out:
        console.print()
        console.print(reasons_table(source.left_out))
    done = "written to" if summary.written else "already there:"
    pool = f" (of {summary.segments} in the pool)" if summary.segments != source.segments else ""
    click.echo(
        f"\n{source.segments} segments{pool} of {source.recordings} recordings ({source.hours:.2f} h) "
        f"{done} {summary.store}"
    )
