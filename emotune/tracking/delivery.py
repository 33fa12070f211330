"""The state of a search's delivery to MLflow: ``tracking.json`` beside the journal."""

from pydantic import Field, ValidationError

from emotune.base import Settings
from emotune.storage import Storage
from emotune.tracking.uri import is_server
from emotune.tracking.view import view_path

DELIVERY_FILE = "tracking.json"
"""Name of the file in the search's folder."""


CONTENT_VERSION = 2
"""Version of what is sent for a journal. All records of searches that were sent with another one are sent again."""

DEFAULT_PORT = 5000
"""Port of the MLflow server that ``emotune ui`` starts."""


class DeliveryState(Settings):
    """The records that were delivered to MLflow, and the runs they were sent to."""

    uri: str = ""
    """The tracking server or database, without credentials."""

    search_id: str = ""
    """Identity of the search; another search of the same name has another one."""

    experiment_id: str = ""

    delivered: int = Field(default=0, ge=0)
    """Number of delivered records, counted from the first of the journal."""

    content: int = 0
    """`CONTENT_VERSION` of the delivery; 0 in files of older versions."""

    runs: dict[str, str] = Field(default_factory=dict)
    """MLflow run id by configuration number, and that of the summary under ``search``."""


def read_delivery_state(folder: Storage) -> DeliveryState:
    """Read a search's delivery state; return an empty state if the file is missing or damaged.

    After an empty state all records are sent again; sending is idempotent.
    """
    try:
        content = folder.read(DELIVERY_FILE)
        return DeliveryState() if content is None else DeliveryState.model_validate_json(content)
    except (OSError, ValidationError):
        return DeliveryState()


def view_url(folder: Storage, *, server: str | None = None) -> str | None:
    """Return the address of a search's view in MLflow's web pages.

    Args:
        folder: Folder of the search.
        server: Address of the MLflow server; None: the server that got the records, or, if they are in a database, the
            one that ``emotune ui`` starts.

    Returns:
        None if nothing was delivered yet.
    """
    state = read_delivery_state(folder)
    if not state.experiment_id:
        return None
    if server is None:
        server = state.uri if is_server(state.uri) else f"http://127.0.0.1:{DEFAULT_PORT}"
    return server.rstrip("/") + view_path(state.experiment_id)


def write_delivery_state(state: DeliveryState, *, folder: Storage) -> None:
    """Write a search's delivery state atomically, unless the folder was renamed or deleted while the search ran."""
    if folder.mounted and not folder.local().is_dir():
        return
    folder.write(DELIVERY_FILE, state.model_dump_json(indent=1).encode(), patience=0.0)


def mlflow_runs(folder: Storage) -> dict[int, str]:
    """Return the MLflow run id by configuration number; does not import MLflow."""
    return {int(key): run for key, run in read_delivery_state(folder).runs.items() if key.isdigit()}
