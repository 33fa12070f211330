"""``emotune fuse``: the features of two cross-validations' frozen models, side by side."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from emotune.cli.options import console, find_folder, find_store, json_option, print_json, storage_option
from emotune.cli.prepare import progress_bar
from emotune.cli.tables import page, plain_table, reasons_table
from emotune.data.recording import Exclusion
from emotune.data.store import SegmentStore
from emotune.evaluation.fusion_features import FeatureSummary, build_features


@click.command()
@click.argument("ecg")
@click.argument("eeg")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write the features to.")
@storage_option
@json_option
def fuse(ecg: str, eeg: str, *, out: Path, storage: str, as_json: bool) -> None:
    """Compute what the models of the cross-validations ECG and EEG make of each moment, once.

    For every fold, the last hidden activations of its two models, frozen, become a store that
    `emotune crossval examples/fusion.yaml` learns from. Both must have been made of the same
    moments (--partner), target and folds. Two fine-tunings of fold 0 do as well, to tune a fusion.
    If the same is there already, nothing is done.

    \b
    Example:
      emotune fuse ecg-arousal eeg-arousal --out stores/fused-arousal
    """
    folders = [find_folder(name, storage=storage) for name in (ecg, eeg)]
    with progress_bar("features") as progress:
        summary = build_features(*folders, store=find_store(str(out)), progress=progress)
    left_out = [one for source in summary.store.about.sources for one in source.left_out]
    print_json(_document(summary, left_out=left_out)) if as_json else _print(summary, left_out=left_out)


def _document(summary: FeatureSummary, *, left_out: Sequence[Exclusion]) -> dict[str, Any]:
    store = summary.store
    return {
        "store": str(store.path),
        "written": summary.written,
        **_numbers(store),
        "relabelled": summary.relabelled,
        "sources": [source.corpus for source in store.about.sources],
        "left_out": [{"what": one.what, "reason": one.reason} for one in left_out],
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
    page().print(table)
    if left_out:
        page().print()
        page().print(reasons_table(left_out))
    if summary.relabelled:
        console().print(
            f"{summary.relabelled} moments have another label than in one of the two: their mean rating differs. "
            "With task.threshold given as a number in all of them it does not"
        )
    click.echo(f"\n{'written to' if summary.written else 'already there:'} {summary.store.path}")
    console().print(f"learn from them:\n  {_next_command(summary.store)}", markup=False, soft_wrap=True)


def _next_command(store: SegmentStore) -> str:
    """Return the command that learns from the features: a search on one fold, a cross-validation on all."""
    settings = store.about.settings
    folds = settings["folds"]
    whole = len(store.channels) == folds["count"]
    base = "" if whole else "base."
    values = {"task.target": settings["target"], "model.width": store.about.width, "folds.seed": folds["seed"]}
    if whole:
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
