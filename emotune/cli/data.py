"""``emotune data``: corpora and segment stores."""

from dataclasses import dataclass
from pathlib import Path

import click

from emotune.cli.options import INPUT_PATH, OUTPUT_PATH, json_option, run_options, set_option

MODALITIES = ("ecg", "eeg")
"""Choices of ``--modality``: `emotune.data.recording.Modality`, which is slow to import."""


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """The options of ``emotune data prepare``."""

    corpus: str
    """Name of the corpus."""

    raw_dir: Path | None
    """Folder with its files."""

    store: str
    """Path of the store to write."""

    modality: str | None
    """Signals to read."""

    seconds: float | None
    """Length of a segment."""

    append: bool
    """Add to an existing store."""

    strict: bool
    """Stop at the first recording that cannot be used."""

    collection: str
    """Name of the collection of people; empty: that of the corpus."""

    workers: int | None
    """Number of processes."""

    assignments: tuple[str, ...]
    """Settings to replace, as ``KEY=VALUE``."""


@click.group()
def data() -> None:
    """Prepare and describe segment stores.

    \b
    Example:
      emotune data list
      emotune data prepare folder recordings/ --store stores/ours
      emotune data describe stores/ours --plot ours.png
    """


@data.command()
@click.argument("corpus")
@click.argument("raw_dir", required=False, type=INPUT_PATH)
@run_options(
    PrepareRequest,
    click.option(
        "--store", required=True, envvar="EMOTUNE_STORE", show_envvar=True, help="Folder to write the segments to."
    ),
    click.option("--modality", type=click.Choice(MODALITIES), help="Signals to read.  [default: ecg]"),
    click.option("--seconds", type=float, help="Length of a segment in seconds.  [default: 10]"),
    click.option("--append", is_flag=True, help="Add the corpus to an existing store, to train on several corpora."),
    click.option(
        "--strict",
        is_flag=True,
        help="Stop at a damaged file or an implausible signal; by default it is left out and listed.",
    ),
    click.option(
        "--collection",
        default="",
        metavar="NAME",
        help="Name of the collection of people, which replaces the corpus's name. Subjects of one name in a collection "
        "are the same person, in all stores.  [default: each folder is a collection]",
    ),
    click.option("--workers", type=click.IntRange(min=1), help="Number of processes.  [default: one per core]"),
    set_option,
)
def prepare(request: PrepareRequest) -> int:
    """Filter, resample, standardise and cut the recordings of CORPUS in RAW_DIR.

    --set replaces settings of the preparation (rate, band, order) and of the corpus
    (see `emotune data list CORPUS`). After an interruption the same command resumes.

    \b
    Example:
      emotune data prepare synthetic --store stores/demo --set subjects=20
      emotune data prepare folder recordings/ --store stores/eeg --modality eeg
      emotune data prepare folder clinic/ --store stores/clinic --collection clinic
      emotune data prepare dreamer downloads/ --store stores/pool
      emotune data prepare pspm-vis downloads/ --store stores/pool --append
    """
    from emotune.cli.actions.prepare import prepare_and_print

    prepare_and_print(request)
    return 0


@data.command("list")
@click.argument("corpus", required=False)
@json_option
def list_corpora(corpus: str | None, *, as_json: bool) -> None:
    """List the supported corpora, or describe CORPUS with all its settings.

    \b
    Example:
      emotune data list
      emotune data list folder
    """
    from emotune.cli.actions.describe import print_corpora, print_corpus

    if corpus is None:
        print_corpora(as_json=as_json)
    else:
        print_corpus(corpus, as_json=as_json)


@data.command()
@click.argument("store")
@json_option
@click.option("--verify", is_flag=True, help="Read the whole store and compare it with its checksums.")
@click.option("--plot", type=OUTPUT_PATH, metavar="FILE.png", help="Draw some segments, for visual inspection.")
def describe(store: str, *, as_json: bool, verify: bool, plot: Path | None) -> None:
    """Describe a segment store: its content, the distribution of its ratings, and the data that were left out.

    \b
    Example:
      emotune data describe stores/demo
      emotune data describe stores/demo --plot demo.png
    """
    from emotune.cli.actions.describe import describe_and_print

    describe_and_print(store, verify=verify, plot=plot, as_json=as_json)
