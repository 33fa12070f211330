"""Options that several commands share, and the three things that the machine decides."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource
from rich.console import Console

from emotune.errors import SettingsError
from emotune.search.stopping import Amount, parse_amount
from emotune.storage import Storage, open_storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.tracking.cursor import has_password, public_uri

Command = TypeVar("Command", bound=Callable[..., Any])

storage_option = click.option(
    "--storage",
    default="results",
    envvar="EMOTUNE_STORAGE",
    show_default=True,
    show_envvar=True,
    metavar="DIR_OR_URL",
    help="Folder that holds the results, which the driver and all workers see, or s3://BUCKET/PREFIX.",
)


def _without_password(context: click.Context, parameter: click.Parameter, uri: str | None) -> str | None:
    """Refuse a password on the command line, where every user of the machine can read it."""
    given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if uri and given and has_password(uri):
        raise SettingsError(
            f"--tracking-uri {public_uri(uri)}: everybody on this machine can read a password on a command line; leave "
            "it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the whole MLFLOW_TRACKING_URI"
        )
    return uri


tracking_option = click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    metavar="URI",
    callback=_without_password,
    help="MLflow server or database; its password comes from MLFLOW_TRACKING_PASSWORD.  "
    "[default: sqlite database in the storage folder]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="Of matrix products and activations; replaces the experiment's compute.precision.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Replace a setting; may be given several times."
)


class AmountType(click.ParamType):
    """A number, or ``+N`` for so many more."""

    name = "[+]N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Amount:
        """Read what was given."""
        try:
            return parse_amount(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


AMOUNT = AmountType()


class WorkersType(click.ParamType):
    """A number of workers, or ``A..B`` for a range."""

    name = "N|A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read what was given."""
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most:
            self.fail(f"{value!r} is neither a number of workers nor a range such as 2..8", param, ctx)
        return fewest, most


WORKERS = WorkersType()


class TrialsType(click.ParamType):
    """A number of evaluations per GPU, or ``auto``."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """Read what was given."""
        if value == "auto":
            return "auto"
        if not re.fullmatch(r"[1-9]\d*", str(value)):
            self.fail(f"{value!r} is neither a number of evaluations nor auto", param, ctx)
        return int(value)


TRIALS = TrialsType()


def find_store(store: str) -> Path:
    """Return the folder of a store given by path."""
    return Path(store).expanduser().absolute()


def find_folder(name: str, *, storage: str) -> SearchFolder:
    """Return the folder of an existing search.

    Raises:
        SettingsError: There is no such search.
    """
    root = open_storage(storage)
    folder = SearchFolder.of(name, storage=root)
    if not folder.begun:
        known = ", ".join(found.name for found in find_searches(root))
        raise SettingsError(f"there is no search {name!r} in {root}; there are: {known or 'none'}")
    return folder


def default_tracking_uri(uri: str | None, *, storage: Storage) -> str:
    """Return the tracking URI, by default a database beside the results."""
    return uri or f"sqlite:///{storage.local('mlflow.db')}"


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def console() -> Console:
    """Return a console for people, on stderr, so that stdout carries answers only."""
    return Console(stderr=True, highlight=False)
