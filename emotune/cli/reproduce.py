"""``emotune reproduce``: a table of the papers, every cell of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import click

from emotune.cli.crossval import RESULT_FILE, cross_validate, load_result
from emotune.cli.finetune import single_run
from emotune.cli.options import console, find_store, json_option, print_json, storage_option, tracking_option
from emotune.cli.running import Request, run
from emotune.cli.tables import page, plain_table
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.errors import SettingsError
from emotune.evaluation.crossval import CrossValidation, cross_validation_study
from emotune.evaluation.fusion_features import build_features
from emotune.experiment import Start
from emotune.reproduce.plan import Cell, Stage, cells, cost_of, in_order, missing_stores, pretext_stage
from emotune.reproduce.published import Recipe, Table, find_table
from emotune.reproduce.recipes import SCALES, SMOKE, Scale, StoreKind, store_name
from emotune.reproduce.render import Results, as_latex, as_markdown, frame_of, pretext_frame
from emotune.runtime.driver import RunOptions
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics, search_state
from emotune.study.study import Study, StudyObjective


@click.command()
@click.argument("table")
@click.option("--scale", type=click.Choice(list(SCALES)), default="full", show_default=True, help="Size of everything.")
@click.option(
    "--stores", default="stores", show_default=True, help="Folder of the segment stores; smoke makes its own there."
)
@click.option("--dry-run", is_flag=True, help="Print cells, epochs, segments, operations and GPU hours; start nothing.")
@storage_option
@tracking_option
@click.option("--concurrency", type=click.IntRange(1), help="Folds at a time.  [default: the cluster's CPUs]")
@json_option
def reproduce(  # noqa: PLR0913 (the options of the contract)
    table: str,
    *,
    scale: str,
    stores: str,
    dry_run: bool,
    storage: str,
    tracking_uri: str | None,
    concurrency: int | None,
    as_json: bool,
) -> int:
    """Run every experiment behind TABLE, and write it with the published numbers beside ours.

    TABLE is ecg-table-1, -2, -3, multimodal-table-1 to -4, or pretext. Full scale needs the stores
    pool-ecg-10s (and -20s, -40s), pool-eeg-10s, amigos-ecg-10s (-20s, -40s) and amigos-eeg-10s. Runs are
    named by everything that decides them: what is there already, also from another table, is not run
    again, and after an interruption the same command goes on.

    \b
    Example:
      emotune reproduce multimodal-table-2 --scale smoke
      emotune reproduce ecg-table-1 --dry-run
    """
    found, size, place = find_table(table), SCALES[scale], find_store(stores)
    if scale == "smoke" and not dry_run:
        make_smoke_stores(place)
    ours = cells(found, scale=size, stores=place)
    stages = in_order([cell.stage for cell in ours] or [pretext_stage(scale=size, stores=place)])
    if dry_run:
        _show_plan(stages, ours, scale=size, as_json=as_json)
        return 0
    absent = list(missing_stores(stages))
    if absent:
        raise SettingsError(
            f"there is no store {', '.join(absent)}; make them with `emotune data prepare` (--append makes a pool), "
            "or rehearse with --scale smoke"
        )
    runner = Runner(open_storage(storage), tracking_uri=tracking_uri, concurrency=concurrency, scale=size)
    for number, stage in enumerate(stages, start=1):
        console().print(f"{number} of {len(stages)}: {stage.name}")
        code = runner.carry_out(stage)
        if code:
            return code
    _write(found, ours, stages, runner=runner, as_json=as_json)
    return 0


def make_smoke_stores(stores: Path) -> None:
    """Make the stores of the rehearsal: made-up ECG and EEG of the same people, as pool and as labelled corpus."""
    people = Synthetic(subjects=6, seconds_per_state=80.0)
    for recipe in (Recipe(), Recipe(seconds=20), Recipe(seconds=40), Recipe("eeg")):
        settings = PrepareSettings.model_validate({"modality": recipe.signal, "seconds": recipe.seconds})
        for kind in get_args(StoreKind):
            path = stores / store_name(recipe, scale=SMOKE, kind=kind)
            prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=people)


class Runner:
    """Carries out stages, and finds those that are finished.

    Args:
        storage: Where all runs lie.
        tracking_uri: The MLflow server or database.
        concurrency: Folds at a time.
        scale: Number of folds.
    """

    def __init__(self, storage: Storage, *, tracking_uri: str | None, concurrency: int | None, scale: Scale) -> None:
        self.storage = storage
        self.tracking_uri = tracking_uri
        self.concurrency = concurrency
        self.scale = scale

    def folder(self, stage: Stage) -> SearchFolder:
        """Return where a stage lies."""
        return SearchFolder.of(stage.name, storage=self.storage)

    def is_finished(self, stage: Stage) -> bool:
        """Tell whether a stage has been carried out to its end."""
        folder = self.folder(stage)
        return folder.begun and search_state(read_journal(folder.journal), alive=False) == "finished"

    def carry_out(self, stage: Stage) -> int:
        """Run a stage or go on with it; returns the exit code."""
        if self.is_finished(stage) and (stage.kind == "pretraining" or self._has_result(stage)):
            return 0
        if stage.kind == "pretraining":
            study = single_run(stage.experiment, aim=StudyObjective(metric="train/loss", mode="min"))
            return run(study, self._request(stage, options=RunOptions(concurrency=1, purpose="pretrain")))
        options = RunOptions(concurrency=self.concurrency, purpose="fold")
        code, _ = cross_validate(self._study(stage), self._request(stage, options=options))
        return code

    def _has_result(self, stage: Stage) -> bool:
        return self.folder(stage).storage.read(RESULT_FILE) is not None

    def _study(self, stage: Stage) -> Study:
        experiment = stage.experiment
        if stage.kind == "fusion":
            features = self.storage.local(f"features/{stage.name}")
            build_features(*(self.folder(half) for half in stage.after), store=features)
            experiment = experiment.model_copy(update={"store": str(features)})
        elif stage.after:
            first, second = stage.after
            start = Start(encoder=first.name, second=second.name)
            experiment = experiment.model_copy(update={"start": start})
        return cross_validation_study(experiment, protocol="paper", folds=self.scale.folds)

    def _request(self, stage: Stage, *, options: RunOptions) -> Request:
        measured = dataclasses.replace(options, measure_test=True)
        return Request(name=stage.name, storage=self.storage, tracking_uri=self.tracking_uri, options=measured)


def _show_plan(stages: Sequence[Stage], ours: Sequence[Cell], *, scale: Scale, as_json: bool) -> None:
    costs = [cost_of(stage, scale=scale) for stage in stages]
    rows = [
        {
            "run": stage.name,
            "store": Path(stage.experiment.store).name,
            "trainings": cost.runs,
            "epochs": cost.epochs,
            "segments": cost.segments,
            "operations": cost.operations,
            "gpu_hours": round(cost.gpu_hours, 2),
        }
        for stage, cost in zip(stages, costs, strict=True)
    ]
    if as_json:
        named = [{"row": one.row.name, "target": one.target, "run": one.stage.name} for one in ours]
        print_json({"cells": named, "runs": rows})
        return
    heads = ("trainings", "epochs", "segments", "operations", "GPU hours")
    table = plain_table("run", "store", *heads, numbers=heads)
    for row in rows:
        numbers = (row["trainings"], row["epochs"], row["segments"], f"{row['operations']:.2e}", row["gpu_hours"])
        table.add_row(row["run"], row["store"], *map(str, numbers))
    page().print(table)
    trained = sum(cost.runs * cost.epochs for cost in costs)
    hours = sum(cost.gpu_hours for cost in costs)
    click.echo(
        f"\n{len(ours)} cells, {len(stages)} runs, {trained} epochs, {sum(one.operations for one in costs):.2e} "
        f"operations, about {hours:.1f} hours on one H200 at 35 % of its peak (folds with shuffled labels not counted)"
    )


def _write(table: Table, ours: Sequence[Cell], stages: Sequence[Stage], *, runner: Runner, as_json: bool) -> None:
    if ours:
        results: Results = {(one.row.name, one.target): load_result(runner.folder(one.stage)) for one in ours}
        frame, notes = frame_of(table, results), _notes(list(results.values()), scale=runner.scale)
    else:
        frame = pretext_frame(last_metrics(read_journal(runner.folder(stages[-1]).journal), 0))
        notes = ["Ours is measured on people that were not trained on."]
    folder = runner.storage / f"{table.name}-{runner.scale.name}"
    texts: Mapping[str, str] = {
        "table.md": as_markdown(frame, title=table.title, notes=notes),
        "table.csv": frame.to_csv(index=False),
        "table.tex": as_latex(frame, title=table.title),
    }
    for name, text in texts.items():
        folder.write(name, text.encode())
    if as_json:
        print_json({"table": table.name, "folder": str(folder), "rows": frame.to_dict("records"), "notes": notes})
        return
    click.echo(texts["table.md"])
    click.echo(f"written to {folder}: {', '.join(texts)}")


def _notes(results: Sequence[CrossValidation], *, scale: Scale) -> list[str]:
    notes = [
        f"Mean and half the width of the 95 % interval over {scale.folds} folds "
        f"(t, {scale.folds - 1} degrees of freedom)."
    ]
    if scale.name == "smoke":
        notes.append("A rehearsal on made-up signals with tiny networks: its numbers mean nothing.")
    return notes + list(dict.fromkeys(note for one in results for note in one.notes))
