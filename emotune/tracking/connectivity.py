"""Whether an MLflow server or database can be used, and what to do if not."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotune.tracking.cursor import public_uri
from emotune.tracking.store import OUTAGES, brief

SECONDS = 5.0
"""Time for one answer."""

_CURES = {
    401: "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    403: "ask for the right to write, or add this name to MLFLOW_SERVER_ALLOWED_HOSTS on the server",
    404: "check --tracking-uri: no MLflow server answers there",
}


class UnreachableError(Exception):
    """MLflow cannot be used. The message says why; ``cure`` what to do."""

    def __init__(self, reason: str, *, cure: str) -> None:
        super().__init__(reason)
        self.cure = cure


def try_tracking(uri: str) -> str:
    """Ask an MLflow server or database something, and return what it is.

    Raises:
        UnreachableError: It cannot be used.
    """
    shown = public_uri(uri)
    is_server = uri.startswith(("http://", "https://"))
    said = f"{shown}, {_server_version(uri)}" if is_server else shown
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return f"{said}: made by the first search"
    with _impatience():
        try:
            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        except OUTAGES as error:
            code = error.get_http_status_code() if isinstance(error, MlflowException) else 0
            cure = _CURES.get(code, "check --tracking-uri, and the server's own log")
            raise UnreachableError(f"{said}: {brief(error)}", cure=cure) from error
    return said


def _server_version(uri: str) -> str:
    """Return the version that a server says it has, and ours if that is another one."""
    request = urllib.request.Request(f"{public_uri(uri).rstrip('/')}/version")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            theirs = answer.read(100).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        return f"version not told ({error.code})"
    except OSError as error:
        cure = "start the server, or leave --tracking-uri out: the search goes on without, and is sent later"
        raise UnreachableError(f"{public_uri(uri)}: {getattr(error, 'reason', error)}", cure=cure) from error
    ours = version("mlflow")
    return f"MLflow {theirs}" + ("" if theirs == ours else f" (here {ours})")


@contextmanager
def _impatience() -> Iterator[None]:
    """Let MLflow's client try once; by default it tries for minutes."""
    wanted = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{SECONDS:.0f}"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
