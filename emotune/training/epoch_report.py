"""The metrics of one epoch. The module imports no torch, so processes that only pass reports on start quickly."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """The metrics of one epoch."""

    epoch: int
    """Number of the epoch, counted from 1 over all resumptions."""
    metrics: dict[str, float]
    """Metrics by name, for instance ``train/loss`` and ``val/loss``."""
