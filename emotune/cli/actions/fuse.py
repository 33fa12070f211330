"""``emotune fuse``: compute the features, and print the command that trains on them."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.folders import existing_search, store_path
from emotune.cli.actions.prepare import progress_bar
from emotune.cli.actions.tables import plain_table, reasons_table
from emotune.cli.output import print_json, print_message
from emotune.data.recording import Exclusion
from emotune.data.store import SegmentStore
from emotune.evaluation.fusion import FeatureSummary, build_features
from emotune.tasks import Classify


def fuse_and_print(names: Sequence[str], *, out: Path, storage: str, as_json: bool) -> None:
    """Carry out ``emotune fuse``."""
    folders = [existing_search(name, storage=storage) for name in names]
    with progress_bar("features") as progress:
        summary = build_features(*folders, store=store_path(str(out)), progress=progress)
    left_out = [item for source in summary.store.about.sources for item in source.left_out]
    if as_json:
        print_json(_document(summary, left_out=left_out))
    else:
        _print(summary, left_out=left_out)


def _document(summary: FeatureSummary, *, left_out: Sequence[Exclusion]) -> dict[str, Any]:
    store = summary.store
    return {
        "store": str(store.path),
        "written": summary.written,
        **_numbers(store),
        "relabelled": summary.relabelled,
        "sources": [source.corpus for source in store.about.sources],
        "left_out": [{"what": item.what, "reason": item.reason} for item in left_out],
        "fingerprint": store.fingerprint,
    }


def _numbers(store: SegmentStore) -> dict[str, Any]:
    source = store.about.sources[0]
    counts = {"moments": len(store), "subjects": source.subjects, "recordings": source.recordings}
    return {**counts, "folds": len(store.channels), "features": store.about.width}


def _print(summary: FeatureSummary, *, left_out: Sequence[Exclusion]) -> None:
    numbers = _numbers(summary.store)
    table = plain_table(*numbers, numbers=list(numbers))
    table.add_row(*map(str, numbers.values()))
    console().print(table)
    if left_out:
        console().print()
        console().print(reasons_table(left_out))
    if summary.relabelled:
        print_message(
            f"{summary.relabelled} moments have a different label than in one of the two cross-validations, because "
            "the mean rating differs. Set task.threshold to a number in all of them to avoid this"
        )
    click.echo(f"\n{'written to' if summary.written else 'already there:'} {summary.store.path}")
    print_message(f"train on them with:\n  {_next_command(summary.store, task=summary.task)}")


def _next_command(store: SegmentStore, *, task: Classify) -> str:
    """Return the command that trains on the features: a search on one fold, a cross-validation on all."""
    settings = store.about.settings
    folds = settings["folds"]
    named = {name: folds[name] for name in ("test", "train") if name in folds}
    # a cross-validation has no validation segments; a fine-tuning, on which a fusion is tuned, has some
    has_all_folds = not folds["validation"] if named else len(store.channels) == folds["count"]
    base = "" if has_all_folds else "base."
    values: dict[str, object] = {"task.target": task.target}
    if task.high:
        values["task.high"] = task.high
    if task.classes:
        values["task.classes"] = json.dumps(task.classes)
    if task.threshold != Classify().threshold:
        values["task.threshold"] = task.threshold
    values |= {"model.width": store.about.width, "folds.seed": folds["seed"]}
    values |= {
        f"folds.{name}.{key}": json.dumps(value)
        for name, people in named.items()
        for key, value in people.items()
        if value
    }
    if has_all_folds and named:
        words = ["crossval", "examples/fusion.yaml", "--protocol", "people"]
    elif has_all_folds:
        protocol = "paper" if folds["by"] == "moment" else folds["by"]
        words = ["crossval", "examples/fusion.yaml", "--protocol", protocol, "--folds", str(folds["count"])]
    else:
        words = ["search", "fusion"]
        values |= {f"folds.{name}": folds[name] for name in ("by", "count", "validation")}
    return shlex.join(
        [
            "emotune",
            *words,
            "--store",
            str(store.path),
            *(f"--set={base}{name}={value}" for name, value in values.items()),
        ]
    )
