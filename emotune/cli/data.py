"""``emotune data``: corpora and segment stores."""

import dataclasses
from pathlib import Path

import click

from emotune.cli.description import document_of, print_corpora, print_corpus, print_description
from emotune.cli.options import find_store, json_option, print_json
from emotune.cli.prepare import prepare
from emotune.data.corpora.table import CORPORA
from emotune.data.description import describe as describe_store
from emotune.data.inspection import write_picture
from emotune.data.prepare.prepare import find_reader
from emotune.data.store import SegmentStore


@click.group()
def data() -> None:
    """Prepare and describe segment stores.

    \b
    Example:
      emotune data list
      emotune data prepare folder recordings/ --store stores/ours
      emotune data describe stores/ours --plot ours.png
    """


data.add_command(prepare)


@data.command("list")
@click.argument("corpus", required=False)
@json_option
def list_corpora(corpus: str | None, *, as_json: bool) -> None:
    """List the corpora that can be read, or show CORPUS in full, with its settings.

    \b
    Example:
      emotune data list
      emotune data list folder
    """
    if corpus is not None:
        reader = find_reader(corpus)
        print_json(document_of(reader, in_full=True)) if as_json else print_corpus(reader)
    elif as_json:
        print_json([document_of(reader) for reader in CORPORA.values()])
    else:
        print_corpora(CORPORA)


@data.command()
@click.argument("store")
@json_option
@click.option("--verify", is_flag=True, help="Read every byte and compare it with what was written.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw segments to judge by eye.")
def describe(store: str, *, as_json: bool, verify: bool, plot: Path | None) -> None:
    """Describe a segment store: what is in it, how its ratings are spread, what was left out.

    \b
    Example:
      emotune data describe stores/demo
      emotune data describe stores/demo --plot demo.png
    """
    opened = SegmentStore.open(find_store(store))
    if verify:
        opened.verify()
    if plot is not None:
        write_picture(opened, file=plot)
    description = describe_store(opened)
    if as_json:
        print_json(dataclasses.asdict(description))
    else:
        left_out = [one for source in opened.about.sources for one in source.left_out]
        print_description(description, left_out=left_out)
