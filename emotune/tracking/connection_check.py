"""Check of the connection to an MLflow server or database, with a remedy for each failure."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotune.errors import SettingsError
from emotune.tracking.store import OUTAGES, one_line
from emotune.tracking.uri import is_server, public_uri, sqlite_path

REQUEST_TIMEOUT_S = 5.0
"""Timeout of each request of the check."""

DAMAGES = ("file is not a database", "database disk image is malformed")
"""SQLite's messages about a file that is damaged or something else."""

_REMEDIES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "grant this user write permission, or add this host name to MLFLOW_SERVER_ALLOWED_HOSTS on the server",
    404: "check --tracking-uri: there is no MLflow server at this address",
}


class UnreachableError(Exception):
    """MLflow cannot be used.

    Args:
        reason: The observed error; the message of the exception.
        remedy: What to do.
    """

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def check_connection(uri: str) -> str:
    """Send one query to an MLflow server or database, and return its address and version.

    Raises:
        UnreachableError: The query failed.
    """
    shown = public_uri(uri)
    described = f"{shown}, {_server_version(uri)}" if is_server(uri) else shown
    if uri.startswith("sqlite:///") and not sqlite_path(uri).exists():
        return f"{described}: created by the first search"
    with _short_timeouts():
        try:
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except OUTAGES as error:
            code = error.get_http_status_code() if isinstance(error, MlflowException) else 0
            remedy = _REMEDIES.get(code, "check --tracking-uri and the log of the server")
            raise UnreachableError(f"{described}: {one_line(error)}", remedy=remedy) from error
    return described


def refuse_damaged_database(uri: str) -> None:
    """Refuse an SQLite database that a retry cannot make usable; other failures may be temporary.

    Raises:
        SettingsError: The file is not an SQLite database, or is damaged.
    """
    if not uri.startswith("sqlite:///"):
        return
    try:
        check_connection(uri)
    except UnreachableError as error:
        if any(part in str(error) for part in DAMAGES):
            raise SettingsError(
                f"MLflow's database cannot be read: {error}; restore it from a backup, or move it away and give the "
                "same command again: a new one gets all records"
            ) from error


def _server_version(uri: str) -> str:
    """Return the version of a server, and the installed version of MLflow if it differs."""
    request = urllib.request.Request(f"{public_uri(uri).rstrip('/')}/version")
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as response:
            served = response.read(100).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        return f"unknown version (HTTP {error.code})"
    except OSError as error:
        remedy = "start the server; a search runs without it, and its records are sent later"
        raise UnreachableError(f"{public_uri(uri)}: {getattr(error, 'reason', error)}", remedy=remedy) from error
    installed = version("mlflow")
    return f"MLflow {served}" + ("" if served == installed else f" (this host: {installed})")


@contextmanager
def _short_timeouts() -> Iterator[None]:
    """Make MLflow's client send each request once; by default it retries for minutes."""
    settings = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT_S:.0f}"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
