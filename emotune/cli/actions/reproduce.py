"""``emotune reproduce``: prepare the stores of a table, run its stages, and write the table."""

from collections.abc import Mapping, Sequence

import click
import pandas as pd
import psutil

from emotune.cli.actions.crossval import RESULT_FILE, cross_validate, load_result
from emotune.cli.actions.experiment_run import open_store, run
from emotune.cli.actions.folders import store_path
from emotune.cli.actions.prepare import progress_bar
from emotune.cli.actions.reproduce_plan import Plan, print_plan
from emotune.cli.actions.run import Destination
from emotune.cli.actions.single_run import single_run
from emotune.cli.output import print_json, print_message
from emotune.cli.reproduce import ReproduceRequest
from emotune.data.prepare.pool import remove_scratch
from emotune.data.prepare.prepare import PrepareOptions
from emotune.errors import DataError, SettingsError
from emotune.evaluation.crossval import CrossValidation, cross_validation_study
from emotune.evaluation.fusion import build_features
from emotune.experiment import Start
from emotune.reproduce.corpora import LABELLED, RawCorpora, find_corpora
from emotune.reproduce.published import PaperTable, find_table
from emotune.reproduce.recipes import SCALES, Scale, rehearsal_on_raw
from emotune.reproduce.render import Results, as_latex, as_markdown, difference_frame, frame_of, pretext_frame
from emotune.reproduce.stages import Stage, cells_of, execution_order, pretext_stage
from emotune.reproduce.stores import (
    SYNTHETIC,
    Preparation,
    check_raw,
    check_stores,
    corpora_of,
    describe_composition,
    preparations,
    prepare_rehearsal,
    stores_of,
)
from emotune.runtime.options import RunOptions
from emotune.search.criteria import StudyObjective
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import last_metrics, opened, search_state
from emotune.study.study import Study


def reproduce_table(request: ReproduceRequest) -> int:
    """Carry out ``emotune reproduce``; returns the exit code."""
    plan = _make_plan(request)
    if request.dry_run:
        print_plan(plan, as_json=request.as_json)
        return 0
    _provide_stores(plan, request=request)
    plan = _make_plan(request, raw=plan.raw)  # the names of the runs depend on the stores' content
    _check_stores(plan, request=request)
    runner = StageRunner(open_storage(request.storage), request=request, scale=plan.scale)
    for number, stage in enumerate(plan.stages, start=1):
        print_message(f"run {number} of {len(plan.stages)}: {stage.name}")
        code = runner.run(stage)
        if code:
            return code
    _write(find_table(request.table), plan, runner=runner, as_json=request.as_json)
    return 0


def _make_plan(request: ReproduceRequest, *, raw: RawCorpora | None = None) -> Plan:
    """Return the plan; ``raw`` are the corpora of an earlier plan, which need not be listed again."""
    table, folder = find_table(request.table), store_path(request.stores)
    scale = SCALES[request.scale] if request.raw is None or request.scale == "full" else rehearsal_on_raw()
    cells = cells_of(table, scale=scale, stores=folder)
    stages = execution_order([cell.stage for cell in cells] or [pretext_stage(scale=scale, stores=folder)])
    stores = stores_of(stages, scale=scale)
    if raw is None and request.raw is not None:
        raw = find_corpora(request.raw, names=corpora_of(stores))
    complete_people = request.scale == "full"
    shortcomings = (
        check_raw(raw, stores=stores, complete_people=complete_people)
        if raw is not None
        else check_stores(stores, complete_people=complete_people)
    )
    return Plan(stages, cells, stores, scale, shuffled=request.shuffled, raw=raw, shortcomings=shortcomings)


def _provide_stores(plan: Plan, *, request: ReproduceRequest) -> None:
    """Prepare the stores that are missing.

    Raises:
        SettingsError: The corpora are incomplete, and ``--incomplete`` was not given.
        DataError: A corpus cannot be used.
    """
    if plan.scale.corpus == SYNTHETIC:
        prepare_rehearsal(plan.stores)
    if plan.raw is None:
        return
    needed = {name for store in plan.stores for name in store.lacking()}
    for name in needed.intersection(LABELLED, plan.raw.missing):
        raise SettingsError(f"--raw {request.raw}: {name}, the corpus with labels: {plan.raw.missing[name]}")
    if not request.incomplete:
        _refuse(plan.shortcomings, option=f"--raw {request.raw}")
    for preparation in preparations(plan.stores, plan.raw):
        _prepare(preparation, skip_unusable=request.incomplete and preparation.store.is_pool)
    for store in plan.stores:  # a complete store is not prepared again, which would remove what a kill has left
        remove_scratch(store.path)


def _prepare(preparation: Preparation, *, skip_unusable: bool) -> None:
    store, corpus = preparation.store.path.name, preparation.corpus.name
    cores = len(psutil.Process().cpu_affinity() or [0])
    try:
        with progress_bar(f"{store}: {corpus}") as progress:
            source = preparation.run(PrepareOptions(workers=cores, progress=progress)).source
    except DataError as error:
        if not (skip_unusable or preparation.may_be_absent):
            raise
        print_message(f"{store}: {corpus} is left out: {error}")
        return
    print_message(
        f"{store}: {corpus}, {source.subjects} people, {source.segments} segments, {source.hours:.2f} h of recordings, "
        f"{len(source.left_out)} items left out"
    )


def _check_stores(plan: Plan, *, request: ReproduceRequest) -> None:
    """Check that all stores exist, and hold the corpora of the papers.

    Raises:
        SettingsError: A store is missing; or one is incomplete, and ``--incomplete`` was not given.
    """
    missing = [str(store.path) for store in plan.stores if store.about() is None]
    if missing:
        raise SettingsError(
            f"--stores {request.stores}: there is no store {', '.join(missing)}; create them from the raw corpora with "
            "--raw FOLDER, or rehearse with --scale smoke"
        )
    if not request.incomplete:
        _refuse(check_stores(plan.stores, complete_people=request.scale == "full"), option=f"--stores {request.stores}")


def _refuse(shortcomings: Sequence[str], *, option: str) -> None:
    if shortcomings:
        raise SettingsError(
            f"{option}: the data are not those of the papers: {'; '.join(shortcomings)}. Add what is missing, or type "
            "--incomplete to run without it, which the table will state"
        )


class StageRunner:
    """Runs the stages of a table, except those that are finished.

    Args:
        storage: Storage of all runs.
        request: The options: MLflow, workers of a pre-training, folds at the same time, shuffled labels.
        scale: Sizes of networks, data and runs.
    """

    def __init__(self, storage: Storage, *, request: ReproduceRequest, scale: Scale) -> None:
        self.storage = storage
        self.request = request
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
        destination = Destination(stage.name, self.storage, self.request.tracking_uri)
        if stage.kind == "pretraining":
            study = single_run(stage.experiment, objective=StudyObjective(metric="train/loss", mode="min"))
            study, store = open_store(study, destination.folder)
            options = RunOptions(concurrency=1, purpose="pretrain", measure_test=True, workers=self.request.workers)
            return run(study, destination, store=store, options=options)
        code, _ = cross_validate(self.study_of(stage), destination, concurrency=self.request.concurrency)
        return code

    def _has_result(self, stage: Stage) -> bool:
        return self.folder(stage).storage.read(RESULT_FILE) is not None

    def study_of(self, stage: Stage) -> Study:
        """Return the study of a cross-validation; the features of a fusion are computed."""
        experiment = stage.experiment
        if stage.kind == "fusion":
            features = self.storage.local(f"features/{stage.name}")
            build_features(*(self.folder(half) for half in stage.requires), store=features)
            experiment = experiment.model_copy(update={"store": str(features)})
        elif stage.requires:
            first, second = stage.requires
            start = Start(encoder=first.name, second=second.name)
            experiment = experiment.model_copy(update={"start": start})
        return cross_validation_study(
            experiment, protocol="paper", folds=self.scale.folds, shuffled=self._has_controls(stage)
        )

    def _has_controls(self, stage: Stage) -> bool:
        """Return whether folds have shuffled controls: as the run was started, otherwise as the option says."""
        folder, wanted = self.folder(stage), self.request.shuffled
        records = read_journal(folder.journal) if folder.begun else []
        if not records:
            return wanted
        started = any(point.get("task.shuffled") for point in Study.recorded(opened(records).study).earlier)
        if started != wanted and stage.kind == "folds":
            kind = "with" if started else "without"
            print_message(f"{stage.name} was started {kind} shuffled labels, and resumes {kind} them")
        return started


def _write(table: PaperTable, plan: Plan, *, runner: StageRunner, as_json: bool) -> None:
    tests = pd.DataFrame()
    if plan.cells:
        results: Results = {(cell.row.name, cell.target): load_result(runner.folder(cell.stage)) for cell in plan.cells}
        frame, tests = frame_of(table, results), difference_frame(table, results)
        notes = _notes(list(results.values()), plan=plan)
    else:
        frame = pretext_frame(last_metrics(read_journal(runner.folder(plan.stages[-1]).journal), 0))
        notes = ["Our numbers are measured on subjects that are not in the training data."]
    shortcomings, composition = _data_notes(plan)
    notes = [*shortcomings, *notes, *composition]
    title = f"{table.title} (incomplete data)" if shortcomings else table.title
    folder = runner.storage / f"{table.name}-{runner.scale.name}"
    texts: Mapping[str, str] = {
        "table.md": as_markdown(frame, title=title, notes=notes, tests=tests),
        "table.csv": frame.to_csv(index=False),
        "table.tex": as_latex(frame, title=title),
        "differences.csv": tests.to_csv(index=False),
    }
    for name, text in texts.items():
        folder.write(name, text.encode())
    if as_json:
        rows = {"rows": frame.to_dict("records"), "tests": tests.to_dict("records"), "notes": notes}
        print_json({"table": table.name, "folder": str(folder), **rows})
        return
    click.echo(texts["table.md"])
    click.echo(f"written to {folder}: {', '.join(texts)}")


def _data_notes(plan: Plan) -> tuple[list[str], list[str]]:
    """Return what the data lack, and their composition beside that of the papers."""
    if plan.scale.corpus == SYNTHETIC:
        return [], []
    shortcomings = check_stores(plan.stores, complete_people=True)
    lines = [f"Incomplete: {'; '.join(shortcomings)}."] if shortcomings else []
    return lines, describe_composition(plan.stores, stages=plan.stages, scale=plan.scale)


def _notes(results: Sequence[CrossValidation], *, plan: Plan) -> list[str]:
    folds = plan.scale.folds
    notes = [f"Mean and half the width of the 95 % interval over {folds} folds (t, {folds - 1} degrees of freedom)."]
    notes.append("p: two-sided paired t-test of the macro F1 over the folds.")
    if plan.scale.name == "smoke":
        signals = "generated signals" if plan.scale.corpus == SYNTHETIC else "a part of the data"
        notes.append(f"A rehearsal on {signals} with tiny networks: the numbers have no meaning.")
    return notes + list(dict.fromkeys(note for result in results for note in result.notes))
