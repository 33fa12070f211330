"""``emotune data list`` and ``describe``."""

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from emotune.cli.actions.consoles import console
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.tables import facts_table, plain_table, reasons_table
from emotune.cli.output import print_json
from emotune.data.corpora.reader import AnyReader
from emotune.data.corpora.table import CORPORA
from emotune.data.description import StoreDescription
from emotune.data.description import describe as describe_store
from emotune.data.inspection import write_picture
from emotune.data.prepare.prepare import find_reader
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.recording import Exclusion, Note
from emotune.data.store import SegmentStore

MAX_ROWS = 20
"""Leads or conditions printed; the JSON document contains all."""


def describe_and_print(path: str, *, verify: bool, plot: Path | None, as_json: bool) -> None:
    """Carry out ``emotune data describe``."""
    store = SegmentStore.open(store_path(path))
    if verify:
        store.verify()
    if plot is not None:
        write_picture(store, file=plot)
    description = describe_store(store)
    if as_json:
        print_json(dataclasses.asdict(description))
    else:
        left_out = [item for source in store.about.sources for item in source.left_out]
        notes = [note for source in store.about.sources for note in source.notes]
        _print_description(description, left_out=left_out, notes=notes)


def _print_description(description: StoreDescription, *, left_out: Sequence[Exclusion], notes: Sequence[Note]) -> None:
    out = console()
    for number, part in enumerate(_parts(description, left_out=left_out, notes=notes)):
        if number:
            out.print()
        out.print(part)


def _parts(
    description: StoreDescription, *, left_out: Sequence[Exclusion], notes: Sequence[Note]
) -> Iterator[RenderableType]:
    yield facts_table(_facts(description))
    yield _corpora(description)
    if description.labels:
        yield _labels(description)
    if len(description.leads) > 1:
        yield _counts("lead", description.leads, of=description.segments)
    if description.conditions:
        yield _counts("condition", description.conditions, of=description.segments)
    if left_out:
        yield reasons_table(left_out)
    if notes:
        yield reasons_table(notes, title="notes")


def _facts(description: StoreDescription) -> dict[str, str]:
    return {
        "segments": f"{description.segments} of {description.seconds:g} s {_content(description)}",
        "channels": ", ".join(description.channels),
        "settings": json.dumps(description.settings),
        **{f"of {share.corpus}": json.dumps(share.settings) for share in description.corpora if share.settings},
        "fingerprint": description.fingerprint,
    }


def _content(description: StoreDescription) -> str:
    if description.width is not None:
        return f"as {description.width} features"
    settings = PrepareSettings.model_validate(description.settings)
    filtered = (
        "" if settings.filter == "none" else f" (order {settings.order}{', causal' * (settings.filter == 'causal')})"
    )
    apart = ", each segment standardised by itself" if settings.normalise == "segment" else ""
    return f"{description.modality.upper()}, {description.rate} Hz, {settings.band_text}{filtered}{apart}"


def _corpora(description: StoreDescription) -> Table:
    numbers = ("subjects", "recordings", "hours recorded", "segments", "hours of segments", "left out")
    table = plain_table("corpus", *numbers, numbers=numbers)
    for share in description.corpora:
        table.add_row(
            share.corpus,
            str(share.subjects),
            str(share.recordings),
            f"{share.recorded_hours:.2f}",
            str(share.segments),
            f"{share.hours:.2f}",
            str(share.left_out),
        )
    if len(description.corpora) > 1 and description.width is None:
        recorded = sum(share.recorded_hours for share in description.corpora)
        counts = (str(description.subjects), str(description.recordings), f"{recorded:.2f}")
        left_out = str(len(description.skipped))
        table.add_row("all", *counts, str(description.segments), f"{description.hours:.2f}", left_out)
    return table


def _labels(description: StoreDescription) -> Table:
    numbers = ("segments", "subjects", "mean", "above mean", "above middle", "at middle")
    table = plain_table("rating", "corpus", "scale", *numbers, numbers=numbers)
    for label in description.labels:
        low, high = label.scale
        shares = (f"{share:.0%}" for share in (label.above_mean, label.above_middle, label.at_middle))
        counts = (str(label.segments), str(label.subjects), f"{label.mean:.2f}")
        table.add_row(label.rating, label.corpus, f"{low:g} to {high:g}", *counts, *shares)
    return table


def _counts(title: str, counts: Mapping[str, int], *, of: int) -> Table:
    table = plain_table(title, "segments", "share", numbers=("segments", "share"))
    for name, count in _most_frequent(counts):
        table.add_row(name, str(count), f"{count / of:.0%}")
    return table


def _most_frequent(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    printed = ordered if len(ordered) <= MAX_ROWS else ordered[: MAX_ROWS - 1]
    yield from printed
    others = ordered[len(printed) :]
    if others:
        yield f"{len(others)} others (all with --json)", sum(count for _, count in others)


def print_corpora(*, as_json: bool) -> None:
    """Print the table of corpora."""
    if as_json:
        print_json([corpus_document(reader) for reader in CORPORA.values()])
        return
    table = plain_table("corpus", "signals", "hours", "licence", "source")
    table.columns[0].no_wrap = True
    for column in table.columns[2:4]:
        column.max_width = 21  # so that addresses are not wrapped and can be copied
    for reader in CORPORA.values():
        table.add_row(reader.name, ", ".join(reader.modalities), reader.hours, reader.licence, reader.where)
    console().print(table)


def print_corpus(name: str, *, as_json: bool) -> None:
    """Print everything about one corpus: its files, its licence and its settings."""
    reader = find_reader(name)
    document = corpus_document(reader) | _corpus_details(reader)
    if as_json:
        print_json(document)
        return
    settings, facts = document.pop("settings"), document.pop("facts")
    document["modalities"] = ", ".join(document["modalities"])
    out = console()
    out.print(facts_table({key: value for key, value in document.items() if value}))
    out.print(f"\n{facts}\n")
    if not settings:
        out.print("This corpus has no settings.")
        return
    table = plain_table("setting (--set)", "default", "meaning")
    table.columns[0].no_wrap = True
    for setting in settings:
        table.add_row(setting["name"], json.dumps(setting["default"]), " ".join(setting["description"].split()))
    out.print(table)


def corpus_document(reader: AnyReader) -> dict[str, Any]:
    """Return the facts about a corpus that the list prints, as plain JSON."""
    return {
        "name": reader.name,
        "modalities": list(reader.modalities),
        "hours": reader.hours,
        "licence": reader.licence,
        "where": reader.where,
        "description": reader.description,
    }


def _corpus_details(reader: AnyReader) -> dict[str, Any]:
    """Return what the reader's module documents about the files, and the settings."""
    defaults = reader.settings().model_dump(mode="json")
    settings = [
        {"name": name, "default": defaults[name], "description": field.description or ""}
        for name, field in reader.settings.model_fields.items()
    ]
    # Several readers may share the function that makes them; the class of the settings is in the corpus's module.
    facts = sys.modules[reader.settings.__module__].__doc__ or ""
    return {"facts": facts.strip(), "settings": settings}
