"""A search from the command line to the last word: encoder, MLflow, display, and what to do next."""

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotune.cli.display import Progress
from emotune.cli.options import console, default_tracking_uri, find_store
from emotune.cli.progress import RunProgress, follow
from emotune.documents import load_document, parse
from emotune.encoders import find_encoder, publish_best
from emotune.errors import SearchFailedError, SettingsError
from emotune.experiment import Experiment
from emotune.report.tables import leaderboard
from emotune.runtime.driver import RunOptions, run_study
from emotune.search.records import Closed, Record
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.initial_encoders import Encoders, copied_encoders
from emotune.study.journal import read_journal
from emotune.study.resolve import check_workers, resolve_study
from emotune.study.results import Incumbent, evaluation_results, find_best, opened, search_state, shortfall
from emotune.study.study import Study
from emotune.tracking.cursor import where_to_look
from emotune.tracking.mlflow import MlflowMirror
from emotune.tracking.store import OUTAGES, brief

LEADERS = 5
"""Configurations shown at the end."""

PATIENCE = 20.0
"""Seconds to wait at the end for a tracking server; what it missed is delivered by the next start."""


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line."""

    name: str
    storage: Storage
    tracking_uri: str | None
    options: RunOptions

    @property
    def folder(self) -> SearchFolder:
        """Where the search lies or shall lie."""
        return SearchFolder.of(self.name, storage=self.storage)


def run(study: Study, request: Request) -> int:
    """Run a study with everything around it.

    Returns:
        The exit code: 0, or 128 and the number of the signal that ended it, or 1 if failures kept every
        configuration from the largest budget.
    """
    folder = request.folder
    uri = default_tracking_uri(request.tracking_uri, storage=request.storage)
    study = with_store(study)
    store = given_store(study)
    encoders = find_encoders(study, request)
    settled = resolve_study(study, store=store, encoders=encoders)
    if request.options.workers is not None:
        check_workers(settled, workers=request.options.workers[1])
    known = len(read_journal(folder.journal)) if folder.begun else 0
    folder.path.mkdir(parents=True, exist_ok=True)
    _tell_of_tracking(request, uri=uri)
    mirror = MlflowMirror(uri, folder=folder.storage, name=request.name, kind=request.options.purpose)
    try:
        shown = RunProgress if request.options.purpose in {"pretrain", "finetune"} else Progress
        with follow(shown(settled, name=request.name), known=known) as display:
            records = run_study(
                settled, folder, options=request.options, encoders=encoders, observers=[mirror, display]
            )
    finally:
        delivered = mirror.close(PATIENCE)
    if delivered and request.options.purpose != "fold" and search_state(records, alive=False) == "finished":
        _publish(folder, uri=uri)
    if known == len(records):
        more = "; more with --brackets +N or --evaluations +N" if request.options.purpose == "configuration" else ""
        console().print(f"the search {folder.name!r} is finished; nothing was left to do{more}", soft_wrap=True)
    return _conclude(settled, records, folder)


def with_store(study: Study) -> Study:
    """Return a study with the store that EMOTUNE_STORE names, if there is one and the study names none itself."""
    store = study.base.store or os.environ.get("EMOTUNE_STORE")
    if not store:
        return study
    return study.model_copy(update={"base": study.base.model_copy(update={"store": str(find_store(store))})})


def given_store(study: Study) -> Path:
    """Return the folder of a study's segment store.

    Raises:
        SettingsError: The study names none.
    """
    if not study.base.store:
        named = "store in the experiment (base.store in a study)"
        raise SettingsError(f"no segment store was given; give --store or EMOTUNE_STORE, or {named}")
    return find_store(study.base.store)


def _tell_of_tracking(request: Request, *, uri: str) -> None:
    """Say that MLflow's database does not lie where the results do."""
    if request.tracking_uri is None and not request.storage.mounted:
        console().print(
            f"MLflow's database is on this machine only, {uri}; give --tracking-uri a server that others see, or make "
            f"it again elsewhere with `emotune sync {request.name}`",
            markup=False,
            soft_wrap=True,
        )


def read_experiment(path: Path, *, assignments: Sequence[str], options: Mapping[str, object]) -> Experiment:
    """Read an experiment from its file.

    Args:
        path: The file.
        assignments: What ``--set`` replaces, as ``key=value``.
        options: What other options replace, by dotted name; None: nothing. A ``store`` is given by path.

    Raises:
        SettingsError: It cannot be read, or has a wrong setting.
    """
    given = {name: value for name, value in options.items() if value is not None}
    stores = {name: find_store(str(given[name])) for name in ("store", "partner") if name in given}
    chosen = [*assignments, *(f"{name}={value}" for name, value in (given | stores).items())]
    return parse(load_document(path).overridden(chosen), Experiment)


def find_encoders(study: Study, request: Request) -> Encoders:
    """Find the pre-trained encoders that a study starts from, the copies of a search that has begun first.

    Raises:
        SettingsError: There is no such encoder.
    """
    start = study.base.start
    if start is None:
        return {}
    uri = default_tracking_uri(request.tracking_uri, storage=request.storage)
    named = {"encoder": start.encoder, "second": start.second}
    kept = copied_encoders(request.folder)
    return {
        name: kept.get(name) or find_encoder(source, storage=request.storage, tracking_uri=uri)
        for name, source in named.items()
        if source is not None
    }


def _publish(folder: SearchFolder, *, uri: str) -> None:
    """Log the best encoder; a server that is away takes nothing from the search."""
    try:
        publish_best(folder, tracking_uri=uri)
    except SettingsError:
        return  # there is no result: the search itself says so
    except OUTAGES as error:
        console().print(
            f"the best encoder is not in MLflow yet; `emotune sync {folder.name}` logs it: {brief(error)}", markup=False
        )


def _conclude(study: Study, records: Sequence[Record], folder: SearchFolder) -> int:
    last = records[-1]
    if isinstance(last, Closed) and last.state == "interrupted":
        console().print(f"stopped; nothing is lost. Go on with:\n  {shlex.join(sys.argv)}", soft_wrap=True)
        return 128 + signal.Signals[last.reason] if last.reason else 0
    best = find_best(evaluation_results(records), mode=study.objective.mode)
    if best is None:
        raise SearchFailedError(
            f"not one evaluation of {folder.name!r} gave a result; see `emotune status {folder.name}`"
        )
    warning = shortfall(records)
    lines = [
        *(_leaders(study, records, best=best) if opened(records).purpose != "fold" else []),
        *([warning] if warning else []),
        f"results in {folder.storage}",
        f"compare the runs: {where_to_look(folder.storage) or f'MLflow has none yet; `emotune sync {folder.name}`'}",
    ]
    console().print("\n".join(lines), markup=False, soft_wrap=True)
    failed = any(one.status == "failed" for one in evaluation_results(records))
    return 1 if warning and failed else 0


def _leaders(study: Study, records: Sequence[Record], *, best: Incumbent) -> list[str]:
    board = leaderboard(records).head(LEADERS).to_string(index=False, float_format="{:.5g}".format)
    aim = f"{study.objective.metric} {best.objective:.6g}"
    line = f"best: {aim}, configuration {best.config_id}, {best.epochs} epochs"
    return [board, line] if best.values else [line]


def put_aside(folder: SearchFolder) -> None:
    """Keep a search under another name, unless a driver is alive on it.

    Raises:
        BusyError: A driver is alive on it.
    """
    if not (folder.path.exists() or folder.begun):
        return
    with folder.journal.lock(owner=folder.name):
        aside = folder.put_aside()
    console().print(f"the old results are kept in {aside.storage}", soft_wrap=True)
