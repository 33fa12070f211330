"""``emotune crossval``: all folds of an experiment, each as safe as a search's configurations."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
import numpy as np

from emotune.cli.options import (
    console,
    json_option,
    print_json,
    set_option,
    storage_option,
    tracking_option,
)
from emotune.cli.running import Request, find_encoders, given_store, put_aside, read_experiment, run, with_store
from emotune.cli.tables import page, plain_table
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.crossval import (
    METRICS,
    CrossValidation,
    ProtocolName,
    check_encoders,
    cross_validation_study,
    read_cross_validation,
)
from emotune.runtime.driver import RunOptions
from emotune.storage import open_storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import search_state
from emotune.study.study import Study
from emotune.training.checkpoints import read_state

RESULT_FILE = "crossval.json"


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option(
    "--protocol", type=click.Choice(get_args(ProtocolName)), required=True, help="What stays on one side of a fold."
)
@click.option("--folds", type=click.IntRange(min=2), default=10, show_default=True, help="Number of folds.")
@click.option(
    "--encoder",
    multiple=True,
    help="Search, checkpoint folder or MLflow run whose encoder is fine-tuned; two for the protocol paper.",
)
@click.option("--scratch", is_flag=True, help="The same network with freshly drawn weights, for comparison.")
@click.option("--shuffled/--no-shuffled", default=True, help="Do each fold once more with shuffled labels.")
@click.option("--store", help="Segment store; replaces the experiment's.  [default: EMOTUNE_STORE]")
@click.option("--partner", help="Another store: use only moments that it has too (needed for late fusion).")
@click.option("--name", help="Name of the cross-validation.  [default: the experiment's and the protocol]")
@storage_option
@tracking_option
@click.option("--concurrency", type=click.IntRange(1), help="Folds at a time.  [default: the cluster's CPUs]")
@set_option
@json_option
@click.option("--fresh", is_flag=True, help="Start over under the same name; old results are put aside.")
def crossval(  # noqa: PLR0913 (the options of the contract)
    experiment: Path,
    *,
    protocol: ProtocolName,
    folds: int,
    encoder: tuple[str, ...],
    scratch: bool,
    shuffled: bool,
    store: str | None,
    partner: str | None,
    name: str | None,
    storage: str,
    tracking_uri: str | None,
    concurrency: int | None,
    assignments: tuple[str, ...],
    as_json: bool,
    fresh: bool,
) -> int:
    """Cross-validate EXPERIMENT: train in each fold, and measure on what was left out.

    Prints means with 95 % intervals (t, folds - 1 degrees of freedom), beside what always giving the
    more frequent label and training on shuffled labels reach, and what the protocol can and cannot say.

    \b
    Example:
      emotune crossval ecg.yaml --protocol subject --encoder first
      emotune crossval ecg.yaml --protocol paper --encoder without-first --encoder without-second
    """
    options = {"store": store, "partner": partner, **_encoder_settings(encoder, scratch=scratch)}
    settings = read_experiment(experiment, assignments=assignments, options=options)
    if settings.task.kind != "classify":
        raise SettingsError(f"{experiment}: task.kind is {settings.task.kind!r}; a cross-validation needs 'classify'")
    study = cross_validation_study(settings, protocol=protocol, folds=folds, shuffled=shuffled)
    request = Request(
        name=name or f"{experiment.stem}-{protocol}",
        storage=open_storage(storage),
        tracking_uri=tracking_uri,
        options=RunOptions(concurrency=concurrency, purpose="fold", measure_test=True),
    )
    if fresh:
        put_aside(request.folder)
    code, result = cross_validate(study, request)
    if result is not None:
        show(result, as_json=as_json)
    return code


def _encoder_settings(encoders: Sequence[str], *, scratch: bool) -> dict[str, str]:
    if len(encoders) > 2:
        raise SettingsError(f"--encoder was given {len(encoders)} times; one, or two for the protocol paper, are used")
    named = zip(("start.encoder", "start.second"), encoders, strict=False)
    return dict(named) | ({"start.weights": "scratch"} if scratch else {})


def cross_validate(study: Study, request: Request) -> tuple[int, CrossValidation | None]:
    """Run a cross-validation, or go on with it.

    Returns:
        The exit code, and the result if all folds are done; it also lies in the folder, as JSON.

    Raises:
        SettingsError: By the papers' protocol, an encoder has seen moments that it is tested on.
    """
    folder = request.folder
    study = with_store(study)
    store = SegmentStore.open(given_store(study))
    notes = _notes(study, request, store=store)
    code = run(study, request)
    records = read_journal(folder.journal)
    if search_state(records, alive=False) != "finished":
        return code, None
    count = range(study.base.folds.count)
    materials = {fold: study.base.in_fold(fold).training_data(store) for fold in count}
    result = read_cross_validation(records, materials=materials, notes=notes)
    folder.storage.write(RESULT_FILE, (result.model_dump_json(indent=1) + "\n").encode())
    return code, result


def _notes(study: Study, request: Request, *, store: SegmentStore) -> list[str]:
    start = study.base.start
    if start is None or start.weights == "scratch":
        return []
    abouts = {name: read_state(path)["about"] for name, path in find_encoders(study, request).items()}
    labels = study.base.task.labels(store.index)
    assert labels is not None
    labelled = store.index.loc[~np.isnan(labels), "corpus"].unique()
    return check_encoders(study.base, abouts=abouts, corpora=sorted(labelled))


def load_result(folder: SearchFolder) -> CrossValidation:
    """Return the result of a finished cross-validation.

    Raises:
        SettingsError: It is no cross-validation, or not finished.
    """
    content = folder.storage.read(RESULT_FILE)
    if content is not None:
        return CrossValidation.model_validate_json(content)
    result = read_cross_validation(read_journal(folder.journal))
    raise SettingsError(
        f"the cross-validation {folder.name!r} is not finished: {len(result.folds)} of {result.count} folds are done. "
        "Give its command again to go on with it"
    )


def document(result: CrossValidation) -> dict[str, object]:
    """Return a cross-validation with its means and intervals, as plain JSON."""
    summary = {
        of: {metric: one.model_dump() for metric in METRICS if (one := result.interval(metric, of=of)) is not None}
        for of in ("folds", "shuffled", "majority")
    }
    return {**result.model_dump(mode="json"), "summary": summary}


def show(result: CrossValidation, *, as_json: bool) -> None:
    """Print a cross-validation."""
    if as_json:
        print_json(document(result))
        return
    table = plain_table("", f"{result.target}, {result.count} folds", "majority label", "shuffled labels")
    for metric in METRICS:
        cells = (result.interval(metric, of=of) for of in ("folds", "majority", "shuffled"))
        table.add_row(metric, *("-" if cell is None else cell.text for cell in cells))
    page().print(table)
    for note in result.notes:
        console().print(note, markup=False)
