"""From the workers' records: the share of training in their time, and the gaps between evaluations."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Span:
    """A time during which a worker trained: an epoch, or all epochs of an evaluation.

    Attributes:
        pid: Process id of the worker.
        key: Key of the evaluation.
        start: Seconds since 1970.
        end: Seconds since 1970.
        training: Seconds of training within this time.
    """

    pid: int
    key: str
    start: float
    end: float
    training: float


@dataclass(frozen=True)
class Gap:
    """The time of a worker between two evaluations.

    Attributes:
        seconds: Duration.
        warm: Whether the next evaluation ran in the same process.
    """

    seconds: float
    warm: bool


@dataclass(frozen=True)
class Account:
    """How workers spent their time, from the first epoch to the last.

    Attributes:
        wall: Seconds from the beginning of the first epoch to the end of the last.
        training: Seconds of training, summed over workers.
        workers: Number of workers.
        evaluations: Number of evaluations.
        gaps: Times between evaluations.
    """

    wall: float
    training: float
    workers: int
    evaluations: int
    gaps: tuple[Gap, ...]

    @property
    def share(self) -> float:
        """Share of training in the workers' time."""
        return self.training / (self.wall * self.workers)

    @property
    def warm(self) -> list[float]:
        """Seconds before evaluations that started in an existing process."""
        return [gap.seconds for gap in self.gaps if gap.warm]

    @property
    def cold(self) -> list[float]:
        """Seconds before evaluations that started in a new process."""
        return [gap.seconds for gap in self.gaps if not gap.warm]


def ladder_segment(epoch: int, ladder: Sequence[int]) -> tuple[int, int]:
    """Return the rungs between which an epoch lies: the first excluded, the last included."""
    last = next(rung for rung in ladder if epoch <= rung)
    below = [rung for rung in ladder if rung < last]
    return (below[-1] if below else 0), last


def read_spans(folder: Path) -> list[Span]:
    """Read the workers' records."""
    lines = (line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines())
    return [Span(**document) for document in map(json.loads, lines) if "pid" in document]


def account(epochs: Iterable[Span], *, workers: int) -> Account:
    """Sum up the records of a run.

    Args:
        epochs: The epochs, in any order.
        workers: Number of workers.
    """
    evaluations = merged(epochs)
    first, last = min(span.start for span in evaluations), max(span.end for span in evaluations)
    return Account(
        wall=last - first,
        training=sum(span.training for span in evaluations),
        workers=workers,
        evaluations=len(evaluations),
        gaps=tuple(_gaps(evaluations, workers=workers)),
    )


def merged(epochs: Iterable[Span]) -> list[Span]:
    """Join the epochs of each evaluation that one process trained, in the order of their start."""
    joined: dict[tuple[int, str], Span] = {}
    for span in sorted(epochs, key=lambda span: span.start):
        before = joined.setdefault((span.pid, span.key), replace(span, end=span.start, training=0.0))
        joined[span.pid, span.key] = replace(before, end=span.end, training=before.training + span.training)
    return list(joined.values())


def _gaps(evaluations: Sequence[Span], *, workers: int) -> Iterator[Gap]:
    """Yield the gaps. A process keeps its slot; a new process gets the slot that has been free for longest."""
    slots: list[Span] = []
    for span in evaluations:
        own = [slot for slot in slots if slot.pid == span.pid]
        if own or len(slots) == workers:
            before = own[0] if own else min(slots, key=lambda slot: slot.end)
            slots.remove(before)
            yield Gap(span.start - before.end, warm=bool(own))
        slots.append(span)
