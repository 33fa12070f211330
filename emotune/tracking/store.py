"""The MLflow experiment of a search: finds its runs, and sends updates to them."""

import contextlib
import fcntl
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

import sqlalchemy.exc
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine  # the version of MLflow is capped
from mlflow.tracking import MlflowClient

from emotune.tracking.description import NOTE_TAG, DatasetUse
from emotune.tracking.mlflow_content import SUMMARY, RunUpdate
from emotune.tracking.uri import public_uri, sqlite_path, sqlite_uri

logger = logging.getLogger(__name__)

OUTAGES = (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError)
"""Errors of MLflow's client when a server or database is unreachable; those of requests are `OSError`."""

# SQLAlchemy's codes of errors in the data, which a retry cannot resolve. An MLflow server also reports other database
# errors, such as lost connections, as a bad request.
_PERMANENT = {sqlalchemy.exc.DataError.code, sqlalchemy.exc.IntegrityError.code}

# MLflow's limits for one call of log_batch.
_METRICS, _PARAMS, _TAGS = 800, 100, 100


class GoneError(OSError):
    """The experiment or a run no longer exists; all records have to be sent again."""


class MlflowStore:
    """The MLflow experiment of one search, with one run per key.

    Args:
        uri: The tracking server or database.
        name: The search's name.
        search_id: The search's identity; other searches may have the same name.
        known: Run ids of earlier deliveries by key; of several runs with one key, these are kept.
    """

    def __init__(self, uri: str, *, name: str, search_id: str, known: Mapping[str, str] | None = None) -> None:
        # Otherwise MLflow prints a traceback for every attempt on a locked database, and many lines for a new one.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.search_id = search_id
        self.runs: dict[str, str] = dict(known or {})
        self._experiment_tags: dict[str, str] = {}
        self._dropped: set[str] = set()
        self.refused = 0
        """Number of updates that MLflow refused permanently."""
        with _creating_database(uri):
            self._client = MlflowClient(tracking_uri=uri)
            self.experiment_id = self._find_experiment(f"emotune/{name}", uri=uri)
        self.find_runs()

    def send(self, key: str, *, update: RunUpdate) -> None:
        """Send an update to a run; create the run if it does not exist.

        Sending is idempotent. An update that MLflow refuses permanently is logged and skipped. Updates of a
        run that the user has deleted are skipped.

        Raises:
            GoneError: The experiment or the run no longer exists.
            MlflowException: MLflow cannot be used now; likewise the other `OUTAGES`.
        """
        if key in self._dropped:
            return
        try:
            self._send(key, update=update)
        except MlflowException as error:
            if error.get_http_status_code() not in (400, 404) or _is_transient_database_error(error):
                raise
            self._handle_refusal(key, update=update, error=error)

    def _send(self, key: str, *, update: RunUpdate) -> None:
        created = key not in self.runs
        if created:
            self.runs[key] = self._create(update)
        run = self.runs[key]
        self._log(run, update=update)
        if update.datasets:
            self._client.log_inputs(run, datasets=[_dataset_input(use) for use in update.datasets])
        for name, document in update.documents.items():
            self._client.log_dict(run, document, name)
        if update.status == "RUNNING" and not created:
            self._client.update_run(run, status="RUNNING")
        elif update.status not in (None, "RUNNING"):
            self._client.set_terminated(run, status=update.status, end_time=update.ended)

    def _create(self, update: RunUpdate) -> str:
        run = self._client.create_run(
            self.experiment_id, start_time=update.created, tags=_tags(update), run_name=update.name
        )
        return run.info.run_id

    def _log(self, run: str, *, update: RunUpdate) -> None:
        metrics = [
            Metric(key=_valid_key(key), value=value, timestamp=time, step=step)
            for key, value, time, step in update.metrics
        ]
        params = [Param(_valid_key(key), value[:6000]) for key, value in update.params.items()]
        tags = [RunTag(key, value) for key, value in _tags(update).items()]
        calls = max(
            math.ceil(len(part) / most) for part, most in [(metrics, _METRICS), (params, _PARAMS), (tags, _TAGS)]
        )
        for call in range(calls):
            self._client.log_batch(
                run,
                metrics=metrics[call * _METRICS : (call + 1) * _METRICS],
                params=params[call * _PARAMS : (call + 1) * _PARAMS],
                tags=tags[call * _TAGS : (call + 1) * _TAGS],
            )

    def _handle_refusal(self, key: str, *, update: RunUpdate, error: MlflowException) -> None:
        """Skip a refused update if its run was deleted or its data are invalid; raise if the run is gone."""
        stage = self._stage(self.runs.get(key))
        if stage == "absent":
            raise GoneError(f"run {update.name!r} of experiment {self.experiment_id} no longer exists") from error
        if stage == "deleted":
            self._dropped.add(key)
            logger.warning("MLflow: run %r was deleted; its updates are skipped", update.name)
            return
        self.refused += 1
        logger.error("MLflow: run %r: an update was refused and is skipped: %s", update.name, one_line(error))

    def _stage(self, run: str | None) -> Literal["active", "deleted", "absent"]:
        try:
            experiment = self._client.get_experiment(self.experiment_id)
            if experiment is None or experiment.lifecycle_stage != LifecycleStage.ACTIVE:
                return "absent"
            if run is None:
                return "active"
            entity = self._client.get_run(run)
        except MlflowException as error:
            if error.get_http_status_code() == 404:
                return "absent"
            raise
        return "active" if entity.info.lifecycle_stage == LifecycleStage.ACTIVE else "deleted"

    def _find_experiment(self, name: str, *, uri: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._client.create_experiment(name, artifact_location=artifact_location(uri, name=name))
        if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            self._client.restore_experiment(experiment.experiment_id)
        self._experiment_tags = dict(experiment.tags)
        return experiment.experiment_id

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment that differ from those it has; a description that a user has edited is kept.

        Raises:
            MlflowException: MLflow refuses them or cannot be used now; likewise the other `OUTAGES`.
        """
        for key, value in tags.items():
            is_kept = key == NOTE_TAG and key in self._experiment_tags
            if not is_kept and self._experiment_tags.get(key) != value:
                self._client.set_experiment_tag(self.experiment_id, key, value)
                self._experiment_tags[key] = value

    def find_runs(self) -> None:
        """Map keys to runs, and delete duplicate runs of a key.

        A duplicate exists if the response to a creation was lost, and the server stored the run after the
        next search for it.
        """
        runs_by_key: dict[str, list[Run]] = {}
        for run in self._all_runs():
            number = run.data.tags.get("emotune.config_id", "")
            runs_by_key.setdefault(number if number.isdigit() else SUMMARY, []).append(run)
        known, self.runs = self.runs, {}
        for key, runs in runs_by_key.items():
            active = [run.info.run_id for run in runs if run.info.lifecycle_stage == LifecycleStage.ACTIVE]
            candidates = active or [run.info.run_id for run in runs]
            self.runs[key] = known[key] if known.get(key) in candidates else min(candidates)
            if not active:
                self._dropped.add(key)
            for run_id in active:
                if run_id != self.runs[key]:
                    self._client.delete_run(run_id)
                    logger.warning("MLflow: run %r was a duplicate and was deleted", run_id)

    def _all_runs(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                filter_string=f"tags.`emotune.search_id` = '{self.search_id}'",
                run_view_type=ViewType.ALL,
                page_token=token,
                order_by=["attributes.start_time DESC"],
            )
            yield from page
            token = page.token
            if not token:
                return


def _dataset_input(use: DatasetUse) -> DatasetInput:
    dataset = Dataset(
        name=use.name,
        digest=use.digest,
        source_type="local",
        source=json.dumps({"uri": use.path}),
        profile=json.dumps(use.profile),
    )
    return DatasetInput(dataset=dataset, tags=[InputTag(key="mlflow.data.context", value=use.context)])


@contextlib.contextmanager
def _creating_database(uri: str) -> Iterator[None]:
    """Create a SQLite database with its tables, unless it exists, and let no other process do so meanwhile.

    MLflow creates the tables without a lock, and fails if two processes do so at the same time. The lock is on the
    folder. On a file system without locks, nothing is locked.
    """
    if not uri.startswith("sqlite:///") or not (path := sqlite_path(uri)).parent.is_dir():
        yield
        return
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        if not path.exists() or not path.stat().st_size:
            _create_tables(path)
        yield


def _create_tables(path: Path) -> None:
    """Create a database in a file of another name, and rename it.

    MLflow creates the tables in many transactions, and cannot open a database with a part of them: a process that was
    killed meanwhile would leave one. The file gets the permissions that the umask allows; SQLite itself would not let a
    group write to it.
    """
    draft = path.with_name(f".{path.name}.draft")
    for left in (draft, draft.with_name(f"{draft.name}-journal")):
        left.unlink(missing_ok=True)
    draft.touch()
    engine = create_sqlalchemy_engine(sqlite_uri(draft))
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    draft.replace(path)


def artifact_location(uri: str, *, name: str) -> str | None:
    """Return the folder of an experiment's artifacts, beside the database or folder; None lets the server choose.

    MLflow's default for a SQLite store is the working directory.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "sqlite":
        folder = sqlite_path(uri).absolute().parent / "mlartifacts"
    elif parsed.scheme in ("", "file"):
        folder = Path(unquote(parsed.path)).absolute() / "artifacts"
    else:
        return None
    return (folder / name).as_uri()


def _is_transient_database_error(error: MlflowException) -> bool:
    """Return whether a server reports a database error that a retry may resolve."""
    code = re.search(r"sqlalche\.me/e/\w+/(\w+)", str(error))
    return code is not None and code[1] not in _PERMANENT


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters, without credentials."""
    line = " ".join(public_uri(str(error)).split("[SQL:")[0].split())
    return line[:300] or type(error).__name__


def _valid_key(key: str) -> str:
    """Return a key reduced to the characters and the length that MLflow allows."""
    return re.sub(r"[^\w.\- /:]", "_", key)[:250]


def _tags(update: RunUpdate) -> dict[str, str]:
    return {_valid_key(key): value[:5000] for key, value in update.tags.items()}
