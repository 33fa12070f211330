"""The plan of ``emotune reproduce``: corpora, stores, runs, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.tables import plain_table
from emotune.cli.output import print_json, print_line, size
from emotune.durations import HOUR_S, duration
from emotune.reproduce.corpora import PAPER_CORPORA, RawCorpora
from emotune.reproduce.recipes import Scale
from emotune.reproduce.stages import Stage, StageCost, TableCell, cost_of
from emotune.reproduce.stores import PaperStore


@dataclass(frozen=True)
class Plan:
    """What ``emotune reproduce`` would do."""

    stages: Sequence[Stage]
    """The runs, in the order of their execution."""
    cells: Sequence[TableCell]
    """The cells of the table."""
    stores: Sequence[PaperStore]
    """The stores that the runs read."""
    scale: Scale
    shuffled: bool
    """Each fold of a classification is repeated with shuffled labels."""
    raw: RawCorpora | None
    """The raw corpora; None without ``--raw``."""
    shortcomings: Sequence[str]
    """What the data lack, a sentence each."""

    @cached_property
    def costs(self) -> list[StageCost]:
        """Cost of each run."""
        return [cost_of(stage, scale=self.scale, shuffled=self.shuffled) for stage in self.stages]

    @cached_property
    def store_bytes(self) -> dict[str, int]:
        """Size of each store on disk, by its name."""
        return {store.path.name: store.expected_bytes(self.scale) for store in self.stores}


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print a plan as tables, or as one JSON document."""
    if as_json:
        print_json(_document(plan))
        return
    if plan.raw is not None:
        console().print(_corpora_table(plan.raw))
        print_line()
    stores = plain_table("store", "corpora", "to prepare", "disk", numbers=("disk",))
    sizes = plan.store_bytes
    for store in plan.stores:
        lacking = ", ".join(store.lacking()) or "-"
        stores.add_row(store.path.name, str(len(store.corpora)), lacking, size(sizes[store.path.name]))
    console().print(stores)
    print_line()
    titles = ("trainings", "epochs", "segments", "operations", "GPU hours")
    table = plain_table("run", "store", *titles, numbers=titles)
    for row in _run_rows(plan):
        numbers = (row["trainings"], row["epochs"], row["segments"], f"{row['operations']:.2e}", row["gpu_hours"])
        table.add_row(row["run"], row["store"], *map(str, numbers))
    console().print(table)
    for sentence in plan.shortcomings:
        print_line(f"missing: {sentence}")
    _print_total(plan)


def _corpora_table(raw: RawCorpora) -> Any:
    table = plain_table(
        "corpus", "people", "in the paper", "files", "folder", numbers=("people", "in the paper", "files")
    )
    for corpus in raw.found.values():
        published = PAPER_CORPORA[corpus.name].people
        people = "in one file" if corpus.people is None else str(corpus.people)
        table.add_row(corpus.name, people, str(published or "-"), size(corpus.size), str(corpus.folder))
    for name in raw.missing:
        table.add_row(name, "not found", str(PAPER_CORPORA[name].people or "-"), "-", "-")
    return table


def _run_rows(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "run": stage.name,
            "store": Path(stage.experiment.store).name,
            "trainings": cost.runs,
            "epochs": cost.epochs,
            "segments": cost.segments,
            "operations": cost.operations,
            "gpu_hours": round(cost.gpu_hours, 2),
        }
        for stage, cost in zip(plan.stages, plan.costs, strict=True)
    ]


def _print_total(plan: Plan) -> None:
    costs = plan.costs
    epochs = sum(cost.runs * cost.epochs for cost in costs)
    hours = sum(cost.gpu_hours for cost in costs)
    shuffled = "with" if plan.shuffled else "without"
    disk = size(sum(plan.store_bytes.values()))
    click.echo(
        f"\n{len(plan.cells)} cells, {len(plan.stages)} runs, {epochs} epochs, "
        f"{sum(cost.operations for cost in costs):.2e} operations, about {duration(hours * HOUR_S)} on one H200 "
        f"at 39 % of its peak ({shuffled} the folds with shuffled labels); stores: {disk}"
    )


def _document(plan: Plan) -> dict[str, Any]:
    corpora = [] if plan.raw is None else list(plan.raw.found.values())
    return {
        "corpora": [
            {"corpus": corpus.name, "folder": str(corpus.folder), "people": corpus.people, "bytes": corpus.size}
            for corpus in corpora
        ],
        "missing": list(plan.shortcomings),
        "stores": [
            {
                "store": store.path.name,
                "corpora": list(store.corpora),
                "to_prepare": list(store.lacking()),
                "bytes": plan.store_bytes[store.path.name],
            }
            for store in plan.stores
        ],
        "cells": [{"row": cell.row.name, "target": cell.target, "run": cell.stage.name} for cell in plan.cells],
        "runs": _run_rows(plan),
    }
