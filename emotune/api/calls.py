"""What the functions of `emotune.api` have in common: their defaults, the Ray that they start, their results."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotune.result import Result

INTERRUPTED = 128
"""Exit codes of a run that a signal ended are this and the number of the signal."""


def storage_or_default(storage: str | Path | None) -> str:
    """Return the storage of the results; by default ``$EMOTUNE_STORAGE`` or ``results``."""
    return str(storage or os.environ.get("EMOTUNE_STORAGE", "results"))


def tracking_uri_or_default(uri: str | None) -> str | None:
    """Return the tracking URI with its password encoded; by default ``$MLFLOW_TRACKING_URI``."""
    from emotune.tracking.uri import encoded_uri

    given = uri or os.environ.get("MLFLOW_TRACKING_URI")
    return encoded_uri(given) if given else None


def as_assignments(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return settings as the ``KEY=VALUE`` of ``--set``.

    Raises:
        SettingsError: A value cannot be written in a study.
    """
    from emotune.errors import SettingsError

    assignments = []
    for key, value in (settings or {}).items():
        try:
            assignments.append(f"{key}={json.dumps(value, allow_nan=False)}")
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"{key}: {value!r} was given; expected a number, text, true, false, a list or a dictionary"
            ) from error
    return tuple(assignments)


@contextmanager
def own_ray() -> Iterator[None]:
    """End the Ray that is started in a ``with`` statement; one that was running before stays."""

    def is_connected() -> bool:
        return "ray" in sys.modules and sys.modules["ray"].is_initialized()

    was_connected = is_connected()
    try:
        yield
    finally:
        if is_connected() and not was_connected:
            sys.modules["ray"].shutdown()


def result_of(name: str, *, code: int, storage: str) -> "Result":
    """Return the result of a run that has ended.

    Raises:
        KeyboardInterrupt: A signal ended it.
    """
    from emotune.result import Result

    return finished(Result.read(name, storage=storage), code=code)


def finished(result: Any, *, code: int) -> Any:
    """Return the result of a run that has ended.

    Raises:
        KeyboardInterrupt: A signal ended it, or `emotune stop` did and there is no result.
    """
    if code > INTERRUPTED or result is None:
        raise KeyboardInterrupt("the run was interrupted; everything is saved, and the same call resumes it")
    return result
