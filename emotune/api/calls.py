"""What the functions of `emotune.api` have in common: their defaults, the Ray that they start, their results."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import click

    from emotune.result import Result

Request = TypeVar("Request")

INTERRUPTED = 128
"""Exit codes of a run that a signal ended are this and the number of the signal."""


def make_request(
    command: "click.Command", request: type[Request], *, values: Mapping[str, Any], **fixed: Any
) -> Request:
    """Return the request of a command, with the checks, environment variables and defaults of the command.

    Args:
        command: The command.
        request: Type of its request.
        values: Values of its parameters by name; None: as if the option was not given.
        fixed: Other fields of the request.

    Raises:
        SettingsError: A value is impossible.
    """
    import click

    from emotune.errors import SettingsError

    context = click.Context(command)
    given = {name: _as_text(value) for name, value in values.items() if value is not None}
    uri = given.pop("tracking_uri", None)
    try:
        for parameter in command.params:
            parameter.handle_parse_result(context, given, [])
    except click.UsageError as error:
        raise SettingsError(error.format_message()) from error
    unset = getattr(click.core, "UNSET", None)  # click 8.3 marks what was not given by an object of its own
    context.params = {name: None if value is unset else value for name, value in context.params.items()}
    if uri is not None:  # a password is refused on a command line only
        context.params["tracking_uri"] = encode_uri(uri)
    return request(**context.params, **fixed)


def _as_text(value: Any) -> Any:
    """Return paths as text, as on a command line."""
    return str(value) if isinstance(value, Path) else value


def encode_uri(uri: str) -> str:
    """Return a tracking URI with its password encoded."""
    from emotune.tracking.uri import encoded_uri

    return encoded_uri(uri)


def storage_or_default(storage: str | Path | None) -> str:
    """Return the storage of the results; by default ``$EMOTUNE_STORAGE`` or ``results``."""
    return str(storage or os.environ.get("EMOTUNE_STORAGE", "results"))


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
