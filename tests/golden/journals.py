"""Results of the package on the journals in ``journals``, which `tests.golden.record_journals` has written."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from emotune.storage import LocalLog, LocalStorage
from tests.golden.content import (
    MlflowContent,
    Opened,
    Optimizer,
    Record,
    RunUpdates,
    Study,
    deliver_all,
    emotune,
    make_optimizer,
    provenance,
    read_journal,
)

FOLDER = Path(__file__).with_name("journals")
NAMES = ("finished", "interrupted", "with-failures")
PROVENANCE = {"python": "3.11.0", "node": "golden", "git_commit": "0" * 40}
"""Fixed values instead of those of the machine that sends a journal to MLflow."""
PROPOSALS = 12
"""Number of decisions that are recorded after the end of a journal; some of them are of its model."""


def status(name: str) -> Any:
    """Return what ``emotune status NAME --json`` prints."""
    with tempfile.TemporaryDirectory() as storage:
        _copy_journal(name, Path(storage))
        result = CliRunner().invoke(emotune, ["status", name, "--json", "--storage", storage], catch_exceptions=False)
        assert result.exit_code == 0
        return json.loads(result.stdout)


def decisions(name: str) -> dict[str, Any]:
    """Return the running evaluations and the next decisions of an optimiser that is rebuilt from a journal.

    A finished search is extended first.
    """
    records = read_journal(LocalLog(FOLDER / name / "journal.jsonl"))
    first = _first(records)
    study = Study.recorded(first.study)
    optimizer = make_optimizer(study, records=records, concurrency=first.concurrency)
    finished = optimizer.finished
    if finished:
        optimizer.extend(evaluations=len(optimizer.results()) + PROPOSALS)
    running = [evaluation.id for evaluation in optimizer.running()]
    return {
        "study digest": study.digest(),
        "settings": optimizer.settings.model_dump(mode="json"),
        "results": len(optimizer.results()),
        "finished": finished,
        "running": running,
        "next": list(_next_decisions(optimizer)),
    }


def _next_decisions(optimizer: Optimizer) -> Iterator[dict[str, Any]]:
    """Yield the next decisions. If the optimiser waits for a result, the oldest evaluation gets a new best loss."""
    best = min(loss for _, loss in optimizer.results() if loss is not None)
    for _ in range(PROPOSALS):
        while (evaluation := optimizer.ask()) is None:
            best -= 0.01
            optimizer.tell(optimizer.running()[0].id, best)
        yield evaluation.model_dump(mode="json")


def mlflow_plan(name: str) -> dict[str, Any]:
    """Return the content of the MLflow runs, computed from a journal alone; metrics as [key, value, time, step]."""
    records = read_journal(LocalLog(FOLDER / name / "journal.jsonl"))
    content = MlflowContent(kind=_first(records).purpose, provenance=PROVENANCE)
    changes: RunUpdates = {}
    for record in records:
        content.add(record, changes)
    return {
        key: {
            "name": change.name,
            "created": change.created,
            "ended": change.ended,
            "status": change.status,
            "tags": change.tags,
            "params": change.params,
            "metrics": [list(point) for point in change.metrics],
            "documents": change.documents,
            "datasets": [[use.name, use.digest, use.context] for use in change.datasets],
        }
        for key, change in changes.items()
    }


def mlflow_stores() -> dict[str, Any]:
    """Return the content of a SQLite MLflow store per journal, without run ids, times and facts of this machine."""
    with tempfile.TemporaryDirectory() as storage:
        uri = f"sqlite:///{storage}/mlflow.db"
        for name in NAMES:
            folder = _copy_journal(name, Path(storage))
            records = read_journal(LocalLog(folder / "journal.jsonl"))
            purpose = _first(records).purpose
            assert deliver_all(records, tracking_uri=uri, folder=LocalStorage(folder), name=name, kind=purpose)
        return {name: _runs(MlflowClient(tracking_uri=uri), name) for name in NAMES}


def _runs(client: MlflowClient, name: str) -> dict[str, Any]:
    experiment = client.get_experiment_by_name(f"emotune/{name}")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    return {run.info.run_name: _run(client, run) for run in sorted(runs, key=lambda run: run.info.run_name)}


def _run(client: MlflowClient, run: Run) -> dict[str, Any]:
    number = run.info.run_id
    history = {key: client.get_metric_history(number, key) for key in sorted(run.data.metrics)}
    machine = {f"emotune.{fact}" for fact in provenance()}
    tags = {key: value for key, value in sorted(run.data.tags.items()) if not key.startswith("mlflow.")}
    return {
        "status": run.info.status,
        "tags": {key: value for key, value in tags.items() if key not in machine},
        "params": dict(sorted(run.data.params.items())),
        "metrics": {key: [[point.step, point.value] for point in points] for key, points in history.items()},
        "artifacts": [file.path for file in client.list_artifacts(number)],
    }


def _first(records: list[Record]) -> Opened:
    first = records[0]
    assert isinstance(first, Opened)
    return first


def _copy_journal(name: str, storage: Path) -> Path:
    """Copy a journal, because reading it may create a lock or a state of MLflow beside it."""
    folder = storage / name
    folder.mkdir()
    shutil.copy(FOLDER / name / "journal.jsonl", folder)
    return folder
