"""The estimate of a search after its first epochs, kept in its folder for the report."""

import contextlib

from pydantic import ValidationError

from emotune.base import Settings
from emotune.errors import EmotuneError
from emotune.storage import Storage

ESTIMATE_FILE = "estimate.json"
"""Name of the file in the search's folder."""


class FirstEstimate(Settings):
    """What a search was estimated to take, after its first epochs."""

    evaluations: int
    epochs: int
    seconds: float
    """Running time, from the first evaluation to the end of the search (s)."""


def write_estimate(estimate: FirstEstimate, *, folder: Storage) -> None:
    """Write the estimate of a search, unless the storage cannot be reached: a search does not fail for that."""
    with contextlib.suppress(EmotuneError, OSError):
        folder.write(ESTIMATE_FILE, estimate.model_dump_json(indent=1).encode(), patience=0.0)


def read_estimate(folder: Storage) -> FirstEstimate | None:
    """Return the estimate of a search; None if there is none, or the file is damaged."""
    try:
        content = folder.read(ESTIMATE_FILE)
        return None if content is None else FirstEstimate.model_validate_json(content)
    except (OSError, ValidationError):
        return None
