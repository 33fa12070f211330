"""``emotune data``: corpora and segment stores."""

import dataclasses
from pathlib import Path

import click

from emotune.cli.options import find_store, json_option, print_json, set_option
from emotune.data.corpora import CORPORA
from emotune.data.prepare import find_reader
from emotune.data.prepare import prepare as prepare_store
from emotune.data.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.documents import Document, parse


@click.group()
def data() -> None:
    """Prepare and describe segment stores.

    \b
    Example:
      emotune data list
      emotune data prepare folder recordings/ --store stores/ours
      emotune data describe stores/ours
    """


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
@click.argument("corpus")
@click.argument("raw_dir", required=False, type=click.Path(path_type=Path))
@click.option("--store", required=True, help="Folder to write the segments to.")
@click.option("--modality", type=click.Choice(["ecg", "eeg"]), help="What to take.  [default: ecg]")
@click.option("--seconds", type=float, help="Length of a segment.  [default: 10]")
@set_option
def prepare(
    corpus: str,
    raw_dir: Path | None,
    *,
    store: str,
    modality: str | None,
    seconds: float | None,
    assignments: tuple[str, ...],
) -> None:
    """Filter, resample, standardise and cut the recordings of CORPUS in RAW_DIR.

    --set takes settings of the preparation (rate, band, order, skip_bad) and of the corpus
    (see `emotune data list`).

    \b
    Example:
      emotune data prepare synthetic --store stores/demo --set subjects=20
      emotune data prepare folder recordings/ --store stores/eeg --modality eeg
    """
    reader = find_reader(corpus)
    document = Document(name="options", content={}, positions={}).overridden(assignments)
    ours = {key: value for key, value in document.content.items() if key in PrepareSettings.model_fields}
    options = {"modality": modality, "seconds": seconds}
    ours |= {key: value for key, value in options.items() if value is not None}
    theirs = {key: value for key, value in document.content.items() if key not in PrepareSettings.model_fields}
    summary = prepare_store(
        reader,
        folder=raw_dir,
        store=find_store(store),
        settings=parse(dataclasses.replace(document, content=ours), PrepareSettings),
        corpus_settings=parse(dataclasses.replace(document, content=theirs), reader.settings),
    )
    for line in summary.skipped:
        click.echo(f"left out: {line}")
    done = "written to" if summary.written else "already there:"
    click.echo(
        f"{summary.segments} segments of {summary.recordings} recordings ({summary.hours:.2f} h) {done} {summary.store}"
    )


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
