"""Options that several commands share, their types, and the value that a command receives.

This module imports nothing heavy: ``emotune COMMAND --help`` imports it.
"""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from emotune.errors import SettingsError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The options of a command that trains, as they were given. A command without an option has its default."""

    storage: str
    """Folder with the results, or ``s3://BUCKET/PREFIX``."""

    tracking_uri: str | None = None
    """MLflow server or database; None: a database in the storage folder."""

    register: str | None = None
    """Name in MLflow's registry under which the model is registered."""

    name: str | None = None
    """Name of the run."""

    store: str | None = None
    """Path of the segment store."""

    concurrency: int | None = None
    """Evaluations or folds that run at the same time."""

    workers: tuple[int, int] | None = None
    """Smallest and largest number of workers that share the run."""

    precision: str | None = None
    """Replaces ``compute.precision``."""

    assignments: tuple[str, ...] = ()
    """Settings to replace, as ``KEY=VALUE``."""

    as_json: bool = False
    """Print one JSON document."""

    notify: tuple[str, ...] = ()
    """Commands and URLs that receive the events of the run."""

    fresh: bool = False
    """Move old results of the same name away and start again."""

    resume_hint: str | None = None
    """What resumes the run after an interruption; None: the command that was typed."""


Request = TypeVar("Request")


def run_options(request: type[Request], *options: Decorator) -> Callable[[Callable[[Request], int]], Decorator]:
    """Add options to a command, and pass the values of all its parameters as one request.

    Args:
        request: Type of the request; it has a field for each parameter of the command.
        options: Options in the order of the help page, after those of decorators above this one.
    """

    def decorate(command: Callable[[Request], int]) -> Callable[..., Any]:
        @functools.wraps(command)
        def call_with_request(**values: Any) -> int:
            return command(request(**values))

        decorated: Callable[..., Any] = call_with_request
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _check_tracking_uri(context: click.Context, parameter: click.Parameter, uri: str | None) -> str | None:
    """Return a URI with its password encoded.

    Raises:
        SettingsError: The password is on the command line, where every user of the machine can read it; or the URI has
            no scheme (MLflow would take it for a folder of files, which it cannot write any more).
    """
    if not uri:
        return uri
    from emotune.tracking.uri import encoded_uri, has_password, public_uri

    if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE and has_password(uri):
        raise SettingsError(
            f"--tracking-uri {public_uri(uri)}: the URI contains a password, and every user of this machine can "
            "read a command line; leave the password out and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or set MLFLOW_TRACKING_URI to the whole URI"
        )
    if re.match(r"[\w.-]+:\d+(/|$)", uri):
        raise SettingsError(
            f"--tracking-uri {uri}: expected the URL of a server or the URI of a database; type http://{uri}"
        )
    if "://" not in uri and not uri.startswith(("databricks", "uc:")):
        database = Path(uri.removeprefix("sqlite:")).absolute()
        raise SettingsError(
            f"--tracking-uri {uri}: expected the URL of a server, http://HOST:PORT, or the URI of a database; type "
            f"sqlite:///{database}, if it is one"
        )
    return encoded_uri(uri)


def _check_model_name(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return the name of a registered model.

    Raises:
        SettingsError: MLflow does not accept the name.
    """
    del context, parameter
    if name is not None and not re.fullmatch(r"\w[\w. -]*", name):
        raise SettingsError(
            f"--register {name!r} was given; expected letters, digits, spaces, '.', '_' and '-'; type for example "
            "--register ecg-encoder"
        )
    return name


class InputPathType(click.ParamType):
    """A path; ``~`` at its start is the home folder, also where the shell leaves it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        del param, ctx
        return Path(value).expanduser()


class OutputPathType(InputPathType):
    """A file to write; ``-`` is standard output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        return Path("/dev/stdout") if value == "-" else super().convert(value, param, ctx)


INPUT_PATH = InputPathType()
OUTPUT_PATH = OutputPathType()

storage_option = click.option(
    "--storage",
    default="results",
    envvar="EMOTUNE_STORAGE",
    show_default=True,
    show_envvar=True,
    metavar="DIR_OR_URL",
    help="Folder with the results, which the driver and all workers can access, or s3://BUCKET/PREFIX.",
)
tracking_option = click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    show_envvar=True,
    metavar="URI",
    callback=_check_tracking_uri,
    help="MLflow server or database. The password is read from MLFLOW_TRACKING_PASSWORD.  "
    "[default: SQLite database in the storage folder]",
)
register_option = click.option(
    "--register",
    metavar="NAME",
    callback=_check_model_name,
    help="Register the model in MLflow as a version of NAME, with the alias champion, or challenger if the champion "
    "is better on the same data.",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    help="Precision of matrix products and activations; replaces compute.precision of the experiment.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Replace a setting; can be given several times."
)


class NotifyType(click.ParamType):
    """A command or a URL that receives events."""

    name = "COMMAND|URL"
    envvar_list_splitter = "\n"  # a command has blanks

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text.

        Raises:
            SettingsError: It is neither a URL nor a command.
        """
        del param, ctx
        from emotune.cli.actions.notify import check_target

        return check_target(value)


notify_option = click.option(
    "--notify",
    multiple=True,
    type=NotifyType(),
    envvar="EMOTUNE_NOTIFY",
    show_envvar=True,
    help="Send each new best result, the end and a failure, as JSON: to a command's standard input, or to a URL by "
    "POST; can be given several times.",
)
fresh_option = click.option(
    "--fresh", is_flag=True, help="Start again under the same name; old results are kept under another name."
)
retry_failed_option = click.option(
    "--retry-failed",
    is_flag=True,
    help="Run failed evaluations of an existing search again, except those whose loss diverged.",
)
folds_at_a_time_option = click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Folds that run at the same time.  [default: the number of CPUs of the cluster]",
)
encoder_option = click.option("--encoder", help="Search, checkpoint folder or MLflow run whose encoder is fine-tuned.")
adapt_option = click.option(
    "--adapt",
    type=click.Choice(["all", "frozen", "linear"]),
    help="What is trained: all weights; frozen: the classifier only, on the encoder as it is; linear: a linear "
    "classifier on the encoder as it is (linear probe).  [default: as the experiment says]",
)
scratch_option = click.option(
    "--scratch", is_flag=True, help="Train the same network from random weights, for comparison."
)


def adapt_settings(adapt: str | None) -> dict[str, object]:
    """Return the settings of an experiment that ``--adapt`` stands for."""
    if adapt is None:
        return {}
    return {"task.frozen": str(adapt != "all").lower(), **({"task.hidden": "[]"} if adapt == "linear" else {})}


def store_option(document: Literal["study", "experiment"]) -> Decorator:
    """Return the option ``--store``, which replaces the store that a document names."""
    return click.option(
        "--store", help=f"Segment store; replaces the store of the {document}.  [default: EMOTUNE_STORE]"
    )


def name_option(kind: str, *, default: str) -> Decorator:
    """Return the option ``--name`` of a kind of run."""
    return click.option("--name", help=f"Name of the {kind}.  [default: {default}]")


class AmountType(click.ParamType):
    """A number, or ``+N`` for N more."""

    name = "[+]N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the `emotune.search.stopping.Amount` that a text means."""
        from emotune.search.stopping import parse_amount

        try:
            return parse_amount(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


AMOUNT = AmountType()


class HoursType(click.ParamType):
    """A running time in hours, or ``+H`` for H more."""

    name = "[+]H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the `emotune.search.stopping.Hours` that a text means."""
        from emotune.search.stopping import parse_hours

        try:
            return parse_hours(str(value))
        except SettingsError as error:
            self.fail(str(error), param, ctx)


HOURS = HoursType()

brackets_option = click.option(
    "--brackets", type=AMOUNT, help="Brackets to run; +N extends a finished search by N brackets."
)
evaluations_option = click.option(
    "--evaluations", type=AMOUNT, help="Evaluations to run; +N extends a finished search by N evaluations."
)
hours_option = click.option(
    "--hours",
    type=HOURS,
    help="Running time, over all resumptions, after which no evaluation is started; those that run are trained to "
    "their end. +H resumes such a search for H more hours.",
)


class KeepType(click.ParamType):
    """``best:K`` or ``all``."""

    name = "best:K|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        if value != "all" and not re.fullmatch(r"best:[1-9]\d{0,6}", str(value)):
            self.fail(f"{value!r} was given, expected all, or best:K with K above 0 such as best:5", param, ctx)
        return value


KEEP = KeepType()


def kept_configurations(keep: str) -> int | None:
    """Return the number K of ``best:K``; None for ``all``."""
    return None if keep == "all" else int(keep.removeprefix("best:"))


class WorkersType(click.ParamType):
    """A number of workers, or ``A..B`` for a range."""

    name = "N|A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the smallest and the largest number."""
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
        fewest, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= fewest <= most:
            self.fail(f"{value!r} was given; expected a number of workers, or a range such as 2..8", param, ctx)
        return fewest, most


WORKERS = WorkersType()


class TrialsType(click.ParamType):
    """A number of evaluations per GPU, or ``auto``."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """Return the number, or ``auto``."""
        if value == "auto":
            return "auto"
        if not re.fullmatch(r"[1-9]\d*", str(value)):
            self.fail(f"{value!r} was given; expected a number of evaluations, or auto", param, ctx)
        return int(value)


TRIALS = TrialsType()


class Price(click.ParamType):
    """A price, at least 0."""

    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            price = float(value)
        except ValueError:
            price = math.nan
        if not 0 <= price <= MAX_PRICE:
            self.fail(f"{value!r} was given, expected a price such as 2.50, without a currency", param, ctx)
        return price


MAX_PRICE = 1e9
"""Highest price of an hour."""

price_option = click.option(
    "--price-per-hour",
    type=Price(),
    metavar="PRICE",
    help="Price of a GPU-hour, or of a CPU-hour where there is no GPU, in any currency: adds prices to the costs.",
)
