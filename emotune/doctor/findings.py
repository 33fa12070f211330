"""The result of a check: a finding with its remedy."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The result of one check. The fields are those of ``emotune doctor --json``."""

    name: str
    """What was checked."""
    state: State
    """``ok``, ``warn`` (works, but should be changed) or ``fail`` (does not work)."""
    found: str
    """The observed state."""
    cure: str = ""
    """The remedy; empty if the state is ``ok``."""
    host: str = ""
    """The host, if the check was run on each host of a cluster."""


def ok(name: str, found: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(name, "ok", found)


def warning(name: str, found: str, cure: str) -> Finding:
    """Return the finding of something that works but should be changed."""
    return Finding(name, "warn", found, cure)


def failure(name: str, found: str, cure: str) -> Finding:
    """Return the finding of something that does not work."""
    return Finding(name, "fail", found, cure)
