"""How far a search has been mirrored, and in which MLflow runs: ``tracking.json`` beside its journal."""

import re

from pydantic import Field, ValidationError

from emotune.base import Settings
from emotune.storage import Storage

FILE = "tracking.json"


class Cursor(Settings):
    """What has been delivered, and where to."""

    uri: str = ""
    """The tracking server or database, without credentials."""

    search_id: str = ""
    """Which search it was: another one of the same name has another."""

    experiment_id: str = ""

    delivered: int = Field(default=0, ge=0)
    """Number of the journal's records, from the first on, that MLflow has."""

    runs: dict[str, str] = Field(default_factory=dict)
    """MLflow's run id by configuration number, and of the run ``search``."""


def public_uri(uri: str) -> str:
    """Return a URI, or a text with URIs in it, without user names and passwords."""
    return re.sub(r"((?:password|token)=)[^&\s]+", r"\1...", re.sub(r"://[^/\s]*@", "://", uri), flags=re.IGNORECASE)


def has_password(uri: str) -> bool:
    """Return whether a URI has a password or a token in it."""
    return re.search(r"://[^/\s@]*:[^/\s]*@|(?:password|token)=", uri, flags=re.IGNORECASE) is not None


def read_cursor(folder: Storage) -> Cursor:
    """Return a search's cursor; an empty one if there is none, or none that can be read.

    Losing the cursor costs nothing but time: everything is sent again, and MLflow stores it once.
    """
    try:
        content = folder.read(FILE)
        return Cursor() if content is None else Cursor.model_validate_json(content)
    except (OSError, ValidationError):
        return Cursor()


def where_to_look(folder: Storage) -> str | None:
    """Return how a person sees a search in MLflow: an address, or the command that serves the database.

    None if nothing has been delivered yet.
    """
    cursor = read_cursor(folder)
    if not cursor.experiment_id:
        return None
    if cursor.uri.startswith(("http://", "https://")):
        return f"{cursor.uri.rstrip('/')}/#/experiments/{cursor.experiment_id}"
    return f"mlflow ui --backend-store-uri {cursor.uri}"


def write_cursor(cursor: Cursor, *, folder: Storage) -> None:
    """Write a search's cursor, whole or not at all."""
    folder.write(FILE, cursor.model_dump_json(indent=1).encode(), patience=0.0)


def mlflow_runs(folder: Storage) -> dict[int, str]:
    """Return the MLflow run id of every configuration that has one; imports no MLflow."""
    return {int(key): run for key, run in read_cursor(folder).runs.items() if key.isdigit()}
