"""What a segment store and a corpus look like to people."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from emotune.cli.tables import facts_table, page, plain_table, reasons_table
from emotune.data.corpora.reader import AnyReader
from emotune.data.description import StoreDescription
from emotune.data.recording import Exclusion

MOST_ROWS = 20
"""Of leads and of conditions; all are in the JSON document."""


def print_description(description: StoreDescription, *, left_out: Sequence[Exclusion]) -> None:
    """Print a page about a store and what is not in it."""
    console = page()
    for number, part in enumerate(_parts(description, left_out=left_out)):
        if number:
            console.print()
        console.print(part)


def _parts(description: StoreDescription, *, left_out: Sequence[Exclusion]) -> Iterator[RenderableType]:
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


def _facts(description: StoreDescription) -> dict[str, str]:
    return {
        "segments": f"{description.segments} of {description.seconds:g} s {_content(description)}",
        "channels": ", ".join(description.channels),
        "settings": json.dumps(description.settings),
        **{f"of {one.corpus}": json.dumps(one.settings) for one in description.corpora if one.settings},
        "fingerprint": description.fingerprint,
    }


def _content(description: StoreDescription) -> str:
    if description.width is not None:
        return f"as {description.width} features"
    low, high = description.settings["band"]
    order = description.settings["order"]
    return f"{description.modality.upper()}, {description.rate} Hz, {low:g} to {high:g} Hz (order {order})"


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
        people = (str(description.subjects), str(description.recordings), f"{recorded:.2f}")
        left_out = str(len(description.skipped))
        table.add_row("all", *people, str(description.segments), f"{description.hours:.2f}", left_out)
    return table


def _labels(description: StoreDescription) -> Table:
    numbers = ("segments", "subjects", "mean", "above mean", "above middle", "at middle")
    table = plain_table("rating", "corpus", "scale", *numbers, numbers=numbers)
    for one in description.labels:
        low, high = one.scale
        shares = (f"{share:.0%}" for share in (one.above_mean, one.above_middle, one.at_middle))
        counts = (str(one.segments), str(one.subjects), f"{one.mean:.2f}")
        table.add_row(one.rating, one.corpus, f"{low:g} to {high:g}", *counts, *shares)
    return table


def _counts(what: str, counts: Mapping[str, int], *, of: int) -> Table:
    table = plain_table(what, "segments", "share", numbers=("segments", "share"))
    for name, count in _most(counts):
        table.add_row(name, str(count), f"{count / of:.0%}")
    return table


def _most(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown = ordered if len(ordered) <= MOST_ROWS else ordered[: MOST_ROWS - 1]
    yield from shown
    rest = ordered[len(shown) :]
    if rest:
        yield f"{len(rest)} others (all with --json)", sum(count for _, count in rest)


def document_of(reader: AnyReader, *, in_full: bool = False) -> dict[str, Any]:
    """Return what is known about a corpus.

    Args:
        reader: Its reader.
        in_full: With what has to be known about its files, and its settings.
    """
    document = {
        "name": reader.name,
        "modalities": list(reader.modalities),
        "hours": reader.hours,
        "licence": reader.licence,
        "where": reader.where,
        "description": reader.description,
    }
    if not in_full:
        return document
    defaults = reader.settings().model_dump(mode="json")
    fields = reader.settings.model_fields
    settings = [
        {"name": name, "default": defaults[name], "description": field.description or ""}
        for name, field in fields.items()
    ]
    # A reader may be made by a function that several share; the settings' class stands beside it.
    facts = sys.modules[reader.settings.__module__].__doc__ or ""
    return document | {"facts": facts.strip(), "settings": settings}


def print_corpora(readers: Mapping[str, AnyReader]) -> None:
    """Print the table of corpora."""
    table = plain_table("corpus", "signals", "hours", "licence", "where to ask for it")
    table.columns[0].no_wrap = True
    for column in table.columns[2:4]:
        column.max_width = 21  # so that addresses stay whole, to be copied
    for reader in readers.values():
        table.add_row(reader.name, ", ".join(reader.modalities), reader.hours, reader.licence, reader.where)
    page().print(table)


def print_corpus(reader: AnyReader) -> None:
    """Print all about one corpus."""
    document = document_of(reader, in_full=True)
    settings, facts = document.pop("settings"), document.pop("facts")
    document["modalities"] = ", ".join(document["modalities"])
    console = page()
    console.print(facts_table({name: value for name, value in document.items() if value}))
    console.print(f"\n{facts}\n")
    if not settings:
        console.print("It has no settings of its own.")
        return
    table = plain_table("setting (--set)", "default", "what it is")
    table.columns[0].no_wrap = True
    for one in settings:
        table.add_row(one["name"], json.dumps(one["default"]), " ".join(one["description"].split()))
    console.print(table)
