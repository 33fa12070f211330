"""When a search ends, and how it goes on after its end."""

import re
from typing import NamedTuple

from pydantic import Field

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.search.settings import SearchSettings


class Amount(NamedTuple):
    """A number of brackets or evaluations: in all, or so many more."""

    number: int
    more: bool


class Extension(Settings):
    """The end of a finished search was moved."""

    after: int = Field(ge=0)
    """Evaluations there were."""

    brackets: int | None
    """Brackets in all from then on; None: no such end."""

    evaluations: int | None
    """Evaluations in all from then on; None: no such end."""

    @property
    def limits(self) -> dict[str, int | None]:
        """The new limits, by name."""
        return {"brackets": self.brackets, "evaluations": self.evaluations}

    @property
    def is_endless(self) -> bool:
        """Whether there would be no end any more."""
        return self.brackets is None and self.evaluations is None


class Resize(Settings):
    """From here on the search decides for more or fewer workers."""

    after: int = Field(ge=0)
    """Evaluations there were."""

    seen: int = Field(ge=0)
    """How many of them had ended in virtual time; 0 in free order."""

    workers: int = Field(ge=1)
    """For how many workers it decides."""


Change = Extension | Resize
"""What changes a search on its way."""


def in_words(*, brackets: int | None, evaluations: int | None) -> str:
    """Return when a search ends, for instance ``3 brackets``."""
    counts = ((brackets, "brackets"), (evaluations, "evaluations"))
    return " or ".join(f"{number} {what}" for number, what in counts if number is not None) or "no end"


def parse_amount(text: str) -> Amount:
    """Read ``3`` (so many in all) or ``+3`` (so many more).

    Raises:
        SettingsError: It is neither.
    """
    if not re.fullmatch(r"\+?0*[1-9][0-9]{0,8}", text):
        raise SettingsError(f"{text!r} was given, expected a number above 0, or +N for N more than there are")
    return Amount(int(text), text.startswith("+"))


def extension(
    settings: SearchSettings, *, made: int, brackets: Amount | None = None, evaluations: Amount | None = None
) -> Extension:
    """Return the limits of a finished search that goes on for so many more brackets or evaluations.

    What is given alone decides from then on: with more evaluations only, the number of brackets no longer
    ends the search, and the other way round.

    Args:
        settings: The settings it has ended with.
        made: Evaluations it has made.
        brackets: Brackets beyond its limit.
        evaluations: Evaluations beyond those it has made.

    Raises:
        SettingsError: It has no limit of brackets to go beyond.
    """
    assert brackets or evaluations
    if brackets is not None and settings.brackets is None:
        raise SettingsError(
            f"--brackets: the search ends after {settings.evaluations} evaluations, whatever their brackets; "
            "give --evaluations +N"
        )
    return Extension(
        after=made,
        brackets=None if brackets is None else (settings.brackets or 0) + brackets.number,
        evaluations=None if evaluations is None else made + evaluations.number,
    )
