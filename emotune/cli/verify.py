"""``emotune verify``: a configuration of a search, trained again and compared with its record."""

from dataclasses import dataclass

import click

from emotune.cli.options import json_option, run_options, storage_option


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """The options of ``emotune verify``."""

    name: str
    """Name of the search."""

    storage: str
    """Storage of all searches."""

    configuration: int | None = None
    """Number of the configuration; None: the best one."""

    epochs: int | None = None
    """Epochs to train; None: all recorded ones."""

    tolerance: float = 0.0
    """Largest relative difference that counts as reproduced."""

    store: str | None = None
    """Path of the segment store, if it was moved."""

    as_json: bool = False
    """Print one JSON document."""


@click.command()
@click.argument("name")
@run_options(
    VerifyRequest,
    click.option(
        "--configuration", type=click.IntRange(0), help="Number of the configuration.  [default: the best one]"
    ),
    click.option("--epochs", type=click.IntRange(1), help="Epochs to train again.  [default: all recorded ones]"),
    click.option(
        "--tolerance",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="Largest relative difference of the objective that counts as reproduced; 0: equal to the last digit.",
    ),
    click.option("--store", help="Segment store, if it was moved."),
    storage_option,
    json_option,
)
def verify(request: VerifyRequest) -> int:
    """Train a configuration of the search or run NAME again, and compare each epoch with its record.

    Settings and seeds are those of the journal. Prints whether the segments, the versions of the software and the
    metrics are the same, and exits with 1 if the objective differs by more than the tolerance. On a CPU of the same
    kind all digits are equal; on another CPU, on a GPU and with several workers the results differ by rounding.
    Trains in this process, without Ray; the search is not changed.

    \b
    Example:
      emotune verify first
      emotune verify first --configuration 7 --epochs 3
      emotune verify first --tolerance 1e-3
    """
    from emotune.cli.actions.verify import verify_and_print

    return verify_and_print(request)
