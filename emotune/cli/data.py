"""``emotune data``: corpora and segment stores."""

import dataclasses

import click

from emotune.cli.options import find_store, json_option, print_json
from emotune.cli.prepare import prepare
from emotune.data.corpora import CORPORA
from emotune.data.store import SegmentStore


@click.group()
def data() -> None:
    """Prepare and describe segment stores.

    \b
    Example:
      emotune data list
      emotune data prepare folder recordings/ --store stores/ours
      emotune data describe stores/ours
    """


data.add_command(prepare)


@data.command("list")
@json_option
def list_corpora(*, as_json: bool) -> None:
    """List the corpora that can be read.

    \b
    Example:
      emotune data list --json
    """
    rows = [
        {
            "name": reader.name,
            "modalities": list(reader.modalities),
            "licence": reader.licence,
            "where": reader.where,
            "description": reader.description,
        }
        for reader in CORPORA.values()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:<14} {'/'.join(row['modalities']):<9} {row['licence']:<22} {row['description']}")


@data.command()
@click.argument("store")
@json_option
@click.option("--verify", is_flag=True, help="Read every byte and compare it with what was written.")
def describe(store: str, *, as_json: bool, verify: bool) -> None:
    """Describe a segment store.

    \b
    Example:
      emotune data describe stores/demo
    """
    opened = SegmentStore.open(find_store(store))
    if verify:
        opened.verify()
    description = dataclasses.asdict(opened.describe())
    if as_json:
        print_json(description)
        return
    for name, value in description.items():
        click.echo(f"{name:<12} {value}")
