"""How a search was last started: the options that are not in its journal, so that resuming needs none of them."""

from typing import Literal

from pydantic import ValidationError

from emotune.base import Settings
from emotune.storage import Storage

INVOCATION_FILE = "invocation.json"
"""Name of the file in the search's folder."""


class Invocation(Settings):
    """The options of the last start that affect how a search is run. None of them decides its results."""

    concurrency: int | None = None
    """Evaluations at a time; None: the capacity of the cluster."""

    share: float = 1.0
    """Fraction of the cluster that the search uses."""

    workers: tuple[int, int] | None = None
    """Fewest and most workers that share an evaluation; None: one, without a group."""

    trials_per_gpu: int | Literal["auto"] = 1
    """Evaluations that share a GPU."""

    keep: str = "all"
    """Configurations whose checkpoints stay: ``best:K`` or ``all``, as in versions that did not remove any."""

    tracking_uri: str | None = None
    """MLflow server or database; None: the default, or one whose URI contains a password."""

    baselines: bool = False
    """Whether a cross-validation also trains baselines."""

    register_as: str | None = None
    """Name of the model in MLflow's registry; None: the model is not registered."""


def write_invocation(invocation: Invocation, *, folder: Storage) -> None:
    """Write the options of a start."""
    folder.write(INVOCATION_FILE, invocation.model_dump_json(indent=1).encode())


def read_invocation(folder: Storage) -> Invocation:
    """Return the options of the last start; the defaults if the file is missing or damaged."""
    try:
        content = folder.read(INVOCATION_FILE)
        return Invocation() if content is None else Invocation.model_validate_json(content)
    except (OSError, ValidationError):
        return Invocation()
