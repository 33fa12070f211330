"""``emotune reproduce``: run the stages of a table, and write the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import click

from emotune.cli.actions.consoles import console
from emotune.cli.actions.crossval import RESULT_FILE, cross_validate, load_result
from emotune.cli.actions.experiment_run import open_store, run
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.run import Destination
from emotune.cli.actions.single_run import single_run
from emotune.cli.actions.tables import plain_table
from emotune.cli.output import print_json, print_message
from emotune.cli.reproduce import ReproduceRequest
from emotune.data.corpora.synthetic import Synthetic
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.durations import HOUR_S, duration
from emotune.errors import SettingsError
from emotune.evaluation.crossval import CrossValidation, cross_validation_study
from emotune.evaluation.fusion import build_features
from emotune.experiment import Start
from emotune.reproduce.published import PaperTable, Recipe, find_table
from emotune.reproduce.recipes import SCALES, SMOKE, Scale, StoreKind, store_name
from emotune.reproduce.render import Results, as_latex, as_markdown, frame_of, pretext_frame
from emotune.reproduce.stages import Stage, TableCell, cells_of, cost_of, execution_order, missing_stores, pretext_stage
from emotune.runtime.options import RunOptions
from emotune.storage import Storage, open_storage
from emotune.study.definition import StudyObjective
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics, search_state
from emotune.study.study import Study


def reproduce_table(request: ReproduceRequest) -> int:
    """Carry out ``emotune reproduce``; returns the exit code."""
    table, scale, stores = find_table(request.table), SCALES[request.scale], store_path(request.stores)
    if request.scale == "smoke" and not request.dry_run:
        make_smoke_stores(stores)
    table_cells = cells_of(table, scale=scale, stores=stores)
    stages = execution_order([cell.stage for cell in table_cells] or [pretext_stage(scale=scale, stores=stores)])
    if request.dry_run:
        _print_plan(stages, table_cells, scale=scale, as_json=request.as_json)
        return 0
    missing = list(missing_stores(stages))
    if missing:
        raise SettingsError(
            f"--stores {request.stores}: there is no store {', '.join(missing)}; create them with "
            "`emotune data prepare` (--append adds a corpus to a store), or rehearse with --scale smoke"
        )
    runner = StageRunner(
        open_storage(request.storage),
        tracking_uri=request.tracking_uri,
        concurrency=request.concurrency,
        scale=scale,
    )
    for number, stage in enumerate(stages, start=1):
        print_message(f"run {number} of {len(stages)}: {stage.name}")
        code = runner.run(stage)
        if code:
            return code
    _write(table, table_cells, stages, runner=runner, as_json=request.as_json)
    return 0


def make_smoke_stores(stores: Path) -> None:
    """Prepare the stores of the scale smoke: synthetic ECG and EEG of the same subjects, as pool and as corpus."""
    corpus = Synthetic(subjects=6, seconds_per_state=80.0)
    for recipe in (Recipe(), Recipe(seconds=20), Recipe(seconds=40), Recipe("eeg")):
        settings = PrepareSettings.model_validate({"modality": recipe.signal, "seconds": recipe.seconds})
        for kind in get_args(StoreKind):
            path = stores / store_name(recipe, scale=SMOKE, kind=kind)
            prepare("synthetic", folder=None, store=path, settings=settings, corpus_settings=corpus)


class StageRunner:
    """Runs the stages of a table, except those that are finished.

    Args:
        storage: Storage of all runs.
        tracking_uri: The MLflow server or database.
        concurrency: Folds that run at the same time.
        scale: Sizes of networks, data and runs.
    """

    def __init__(self, storage: Storage, *, tracking_uri: str | None, concurrency: int | None, scale: Scale) -> None:
        self.storage = storage
        self.tracking_uri = tracking_uri
        self.concurrency = concurrency
        self.scale = scale

    def folder(self, stage: Stage) -> SearchFolder:
        """Return the folder of a stage; it need not exist."""
        return SearchFolder.of(stage.name, storage=self.storage)

    def is_finished(self, stage: Stage) -> bool:
        """Return whether a stage ran to its end."""
        folder = self.folder(stage)
        return folder.begun and search_state(read_journal(folder.journal), alive=False) == "finished"

    def run(self, stage: Stage) -> int:
        """Run a stage, or resume it; returns the exit code."""
        if self.is_finished(stage) and (stage.kind == "pretraining" or self._has_result(stage)):
            return 0
        destination = Destination(stage.name, self.storage, self.tracking_uri)
        if stage.kind == "pretraining":
            study = single_run(stage.experiment, objective=StudyObjective(metric="train/loss", mode="min"))
            study, store = open_store(study, destination.folder)
            options = RunOptions(concurrency=1, purpose="pretrain", measure_test=True)
            return run(study, destination, store=store, options=options)
        code, _ = cross_validate(self._study(stage), destination, concurrency=self.concurrency)
        return code

    def _has_result(self, stage: Stage) -> bool:
        return self.folder(stage).storage.read(RESULT_FILE) is not None

    def _study(self, stage: Stage) -> Study:
        experiment = stage.experiment
        if stage.kind == "fusion":
            features = self.storage.local(f"features/{stage.name}")
            build_features(*(self.folder(half) for half in stage.requires), store=features)
            experiment = experiment.model_copy(update={"store": str(features)})
        elif stage.requires:
            first, second = stage.requires
            start = Start(encoder=first.name, second=second.name)
            experiment = experiment.model_copy(update={"start": start})
        return cross_validation_study(experiment, protocol="paper", folds=self.scale.folds)


def _print_plan(stages: Sequence[Stage], table_cells: Sequence[TableCell], *, scale: Scale, as_json: bool) -> None:
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
        documents = [{"row": cell.row.name, "target": cell.target, "run": cell.stage.name} for cell in table_cells]
        print_json({"cells": documents, "runs": rows})
        return
    titles = ("trainings", "epochs", "segments", "operations", "GPU hours")
    table = plain_table("run", "store", *titles, numbers=titles)
    for row in rows:
        numbers = (row["trainings"], row["epochs"], row["segments"], f"{row['operations']:.2e}", row["gpu_hours"])
        table.add_row(row["run"], row["store"], *map(str, numbers))
    console().print(table)
    epochs = sum(cost.runs * cost.epochs for cost in costs)
    hours = sum(cost.gpu_hours for cost in costs)
    click.echo(
        f"\n{len(table_cells)} cells, {len(stages)} runs, {epochs} epochs, "
        f"{sum(cost.operations for cost in costs):.2e} operations, about {duration(hours * HOUR_S)} on one H200 "
        "at 39 % of its peak (without the folds with shuffled labels)"
    )


def _write(
    table: PaperTable, table_cells: Sequence[TableCell], stages: Sequence[Stage], *, runner: StageRunner, as_json: bool
) -> None:
    if table_cells:
        results: Results = {
            (cell.row.name, cell.target): load_result(runner.folder(cell.stage)) for cell in table_cells
        }
        frame, notes = frame_of(table, results), _notes(list(results.values()), scale=runner.scale)
    else:
        frame = pretext_frame(last_metrics(read_journal(runner.folder(stages[-1]).journal), 0))
        notes = ["Our numbers are measured on subjects that are not in the training data."]
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
        notes.append("A rehearsal on synthetic signals with tiny networks: the numbers have no meaning.")
    return notes + list(dict.fromkeys(note for result in results for note in result.notes))
