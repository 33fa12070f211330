"""The end of a search, its extension after the end, changes of the number of workers, and retries of failures."""

import re
from itertools import pairwise
from typing import NamedTuple

from pydantic import Field

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.search.schedule import bracket_sizes
from emotune.search.settings import SearchSettings


class Amount(NamedTuple):
    """A number of brackets or evaluations: in all, or in addition to those of a finished search."""

    number: int
    more: bool
    """Whether the number is in addition (``+N``)."""


class Hours(NamedTuple):
    """A running time: in all, or in addition to the present limit."""

    hours: float
    more: bool
    """Whether the time is in addition (``+H``)."""

    def limit(self, *, present: float | None, used: float) -> float:
        """Return the hours in all.

        Args:
            present: The present limit; None: there is none.
            used: Hours of running time so far, which ``+H`` adds to if there is no limit.
        """
        return self.hours + ((used if present is None else present) if self.more else 0.0)


class Extension(Settings):
    """New limits of a finished search."""

    after: int = Field(ge=0)
    """Number of evaluations before the change."""

    brackets: int | None
    """Brackets in all after the change; None: no such limit."""

    evaluations: int | None
    """Evaluations in all after the change; None: no such limit."""

    @property
    def limits(self) -> dict[str, int | None]:
        """The new limits, by name."""
        return {"brackets": self.brackets, "evaluations": self.evaluations}

    @property
    def is_endless(self) -> bool:
        """Whether neither limit is set."""
        return self.brackets is None and self.evaluations is None


class Resize(Settings):
    """A change of the number of virtual workers."""

    after: int = Field(ge=0)
    """Number of evaluations before the change."""

    seen: int = Field(ge=0)
    """Number of evaluations that had ended in virtual time; 0 in free order."""

    workers: int = Field(ge=1)
    """Number of virtual workers after the change."""


class Retry(Settings):
    """Failed evaluations that are run again: from here on they have no result until they end anew."""

    after: int = Field(ge=0)
    """Number of evaluations before the change."""

    seen: int = Field(ge=0)
    """Number of evaluations that had ended in virtual time; 0 in free order."""

    changes: int = Field(ge=0)
    """Number of changes before this one."""

    evaluations: tuple[int, ...] = Field(min_length=1)
    """Numbers of the failed evaluations."""


Change = Extension | Resize | Retry
"""An event that changes a search between two decisions."""


def in_words(*, brackets: int | None, evaluations: int | None) -> str:
    """Return the limits of a search as text, for example ``3 brackets``."""
    counts = ((brackets, "brackets"), (evaluations, "evaluations"))
    return " or ".join(f"{number} {unit}" for number, unit in counts if number is not None) or "no end"


def parse_amount(text: str) -> Amount:
    """Read ``3`` (in all) or ``+3`` (in addition).

    Raises:
        SettingsError: It is neither.
    """
    if not re.fullmatch(r"\+?0*[1-9][0-9]{0,8}", text):
        raise SettingsError(f"{text!r} was given, expected a number above 0, or +N to extend a finished search by N")
    return Amount(int(text), text.startswith("+"))


def parse_hours(text: str) -> Hours:
    """Read ``12`` or ``0.5`` (hours in all) or ``+2`` (in addition).

    Raises:
        SettingsError: It is neither, or not above 0.
    """
    if not re.fullmatch(r"\+?([0-9]{1,6}(\.[0-9]{1,6})?|\.[0-9]{1,6})", text) or not float(text):
        raise SettingsError(f"{text!r} was given, expected hours above 0 such as 12 or 0.5, or +H to add H hours")
    return Hours(float(text), text.startswith("+"))


def candidates_left(settings: SearchSettings, *, evaluations: int, epochs: int) -> list[int]:
    """Return how many of the best that wait on each rung but the highest may be promoted.

    They are the promotions that are left, with one more bracket than the limits allow. A model that promotes any of the
    best k can promote one that has k - 1 better ones beside it.
    With ``ranking="pareto"`` all that wait may be promoted: a result can come behind another one by later results.

    Args:
        settings: The settings of the search.
        evaluations: Number of evaluations so far.
        epochs: Number of epochs that they train.
    """
    budgets = settings.rung_budgets
    _, sizes = bracket_sizes(0, rung_count=len(budgets), eta=settings.eta)
    counts = [evaluations] * (len(budgets) - 1)
    if settings.ranking == "pareto":
        return counts
    if settings.evaluations is not None:
        counts = [min(count, settings.evaluations - evaluations + sum(sizes)) for count in counts]
    if settings.brackets is not None and settings.schedule == "async":
        left = settings.model_copy(update={"brackets": settings.brackets + 1}).bracket_epochs - epochs
        steps = [upper - lower for lower, upper in pairwise(budgets)]
        counts = [min(count, -(-left // step)) for count, step in zip(counts, steps, strict=True)]
    return [count + settings.considered - 1 if count > 0 else 0 for count in counts]


def extension(
    settings: SearchSettings, *, made: int, brackets: Amount | None = None, evaluations: Amount | None = None
) -> Extension:
    """Return the new limits of a finished search that is extended.

    Only the given limits hold after the extension: with ``evaluations`` alone, the number of brackets no longer ends
    the search, and vice versa.

    Args:
        settings: The settings of the finished search.
        made: Number of its evaluations.
        brackets: Brackets in addition to its limit.
        evaluations: Evaluations in addition to ``made``.

    Raises:
        SettingsError: Brackets are given, and the search has no limit of brackets.
    """
    assert brackets or evaluations
    if brackets is not None and settings.brackets is None:
        raise SettingsError(
            f"--brackets: the search ends after {settings.evaluations} evaluations, not after brackets; "
            "give --evaluations +N"
        )
    return Extension(
        after=made,
        brackets=None if brackets is None else (settings.brackets or 0) + brackets.number,
        evaluations=None if evaluations is None else made + evaluations.number,
    )
