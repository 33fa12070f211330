"""What a check has found."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis."""

    name: str
    """What was looked at."""
    state: State
    found: str
    cure: str = ""
    """What to do; empty if nothing is wrong."""
    host: str = ""
    """On which host, if not on all alike."""


def fine(name: str, found: str) -> Finding:
    """Return that nothing is wrong."""
    return Finding(name, "ok", found)


def doubtful(name: str, found: str, cure: str) -> Finding:
    """Return that something works, but may not be as it should."""
    return Finding(name, "warn", found, cure)


def wrong(name: str, found: str, cure: str) -> Finding:
    """Return that something will not work."""
    return Finding(name, "fail", found, cure)
