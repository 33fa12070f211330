"""One MLflow experiment that holds one search: finding its runs again, and sending changes to them."""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

import sqlalchemy.exc
from mlflow.entities import LifecycleStage, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotune.tracking.cursor import public_uri
from emotune.tracking.plan import SUMMARY, Change

logger = logging.getLogger(__name__)

# What a server or a database that is away can make MLflow's client raise.
OUTAGES = (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError)  # OSError: also those of requests

# SQLAlchemy's numbers of errors of the data themselves. An MLflow server reports nearly every other trouble with its
# database, such as lost connections, as a bad request too.
_FOR_GOOD = {sqlalchemy.exc.DataError.code, sqlalchemy.exc.IntegrityError.code}

# MLflow's own limits for one call.
_METRICS, _PARAMS, _TAGS = 800, 100, 100


class GoneError(OSError):
    """The experiment or a run that was there is not there any more: everything has to be sent again."""


class MlflowStore:
    """The experiment of one search in MLflow, with one run per key.

    Args:
        uri: The tracking server or database.
        name: The search's name.
        search_id: What tells it from others of that name.
        known: The runs that were used before, by key: if there are several of one key, they are the ones to keep.
    """

    def __init__(self, uri: str, *, name: str, search_id: str, known: Mapping[str, str] | None = None) -> None:
        # Otherwise a locked database puts a traceback on the screen at every attempt, a new one many lines.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.search_id = search_id
        self.runs: dict[str, str] = dict(known or {})
        self._dropped: set[str] = set()
        self.lost = 0
        """Changes that MLflow refused for good."""
        self._client = MlflowClient(tracking_uri=uri)
        self.experiment_id = self._find_experiment(f"emotune/{name}", uri=uri)
        self.find_runs()

    def send(self, key: str, *, change: Change) -> None:
        """Bring one run up to date, and create it first if it is not there.

        Sending a change again changes nothing. A change that MLflow refuses for good is logged and left out,
        and so are those of a run which the user has deleted.

        Raises:
            GoneError: The experiment or the run has vanished.
            MlflowException: The server cannot be used now; and the other `OUTAGES`.
        """
        if key in self._dropped:
            return
        try:
            self._send(key, change=change)
        except MlflowException as error:
            if error.get_http_status_code() not in (400, 404) or _is_database_trouble(error):
                raise
            self._judge(key, change=change, error=error)

    def _send(self, key: str, *, change: Change) -> None:
        created = key not in self.runs
        if created:
            self.runs[key] = self._create(change)
        run = self.runs[key]
        self._log(run, change=change)
        for name, document in change.documents.items():
            self._client.log_dict(run, document, name)
        if change.status == "RUNNING" and not created:
            self._client.update_run(run, status="RUNNING")
        elif change.status not in (None, "RUNNING"):
            self._client.set_terminated(run, status=change.status, end_time=change.ended)

    def _create(self, change: Change) -> str:
        run = self._client.create_run(
            self.experiment_id, start_time=change.created, tags=_tags(change), run_name=change.name
        )
        return run.info.run_id

    def _log(self, run: str, *, change: Change) -> None:
        metrics = [
            Metric(key=_word(key), value=value, timestamp=time, step=step) for key, value, time, step in change.metrics
        ]
        params = [Param(_word(key), value[:6000]) for key, value in change.params.items()]
        tags = [RunTag(key, value) for key, value in _tags(change).items()]
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

    def _judge(self, key: str, *, change: Change, error: MlflowException) -> None:
        """Find out why a change was refused: only if nothing can ever come of it, let it go."""
        stage = self._stage(self.runs.get(key))
        if stage == "absent":
            raise GoneError(f"run {change.name!r} of experiment {self.experiment_id} is gone") from error
        if stage == "deleted":
            self._dropped.add(key)
            logger.warning("MLflow: run %r was deleted, so nothing more is sent to it", change.name)
            return
        self.lost += 1
        logger.error("MLflow: run %r: a part was refused and is left out: %s", change.name, brief(error))

    def _stage(self, run: str | None) -> Literal["active", "deleted", "absent"]:
        try:
            experiment = self._client.get_experiment(self.experiment_id)
            if experiment is None or experiment.lifecycle_stage != LifecycleStage.ACTIVE:
                return "absent"
            if run is None:
                return "active"
            found = self._client.get_run(run)
        except MlflowException as error:
            if error.get_http_status_code() == 404:
                return "absent"
            raise
        return "active" if found.info.lifecycle_stage == LifecycleStage.ACTIVE else "deleted"

    def _find_experiment(self, name: str, *, uri: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._client.create_experiment(name, artifact_location=artifact_location(uri, name=name))
        if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
            self._client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def find_runs(self) -> None:
        """Find out which run belongs to which key, and delete those that are there twice.

        A run is there twice if the answer to the first creation was lost, and the server stored it only after
        it had been looked for.
        """
        found: dict[str, list[Run]] = {}
        for run in self._all_runs():
            number = run.data.tags.get("emotune.config_id", "")
            found.setdefault(number if number.isdigit() else SUMMARY, []).append(run)
        known, self.runs = self.runs, {}
        for key, runs in found.items():
            active = [run.info.run_id for run in runs if run.info.lifecycle_stage == LifecycleStage.ACTIVE]
            candidates = active or [run.info.run_id for run in runs]
            self.runs[key] = known[key] if known.get(key) in candidates else min(candidates)
            if not active:
                self._dropped.add(key)
            for run_id in active:
                if run_id != self.runs[key]:
                    self._client.delete_run(run_id)
                    logger.warning("MLflow: run %r was there twice, and the second one was deleted", run_id)

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


def artifact_location(uri: str, *, name: str) -> str | None:
    """Return where the files of an experiment go: beside a database or folder; None leaves it to the server.

    Without this, MLflow would put the files of a SQLite store into the folder the program was started in.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "sqlite":
        # sqlite:///relative and sqlite:////absolute, as SQLAlchemy has it
        folder = Path(unquote(parsed.path[1:])).absolute().parent / "mlartifacts"
    elif parsed.scheme in ("", "file"):
        folder = Path(unquote(parsed.path)).absolute() / "artifacts"
    else:
        return None
    return (folder / name).as_uri()


def _is_database_trouble(error: MlflowException) -> bool:
    """Whether a server tells of trouble with its database which may pass."""
    found = re.search(r"sqlalche\.me/e/\w+/(\w+)", str(error))
    return found is not None and found[1] not in _FOR_GOOD


def brief(error: BaseException) -> str:
    """Return an error in one line without credentials."""
    line = " ".join(public_uri(str(error)).split("[SQL:")[0].split())
    return line[:300] or type(error).__name__


def _word(key: str) -> str:
    """Return a key with the characters MLflow allows."""
    return re.sub(r"[^\w.\- /:]", "_", key)[:250]


def _tags(change: Change) -> dict[str, str]:
    return {_word(key): value[:5000] for key, value in change.tags.items()}
