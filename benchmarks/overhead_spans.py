"""What the workers' own notes say: how much of their time was training, and what lay between."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Span:
    """A worker was training: an epoch, or all epochs of an evaluation.

    Attributes:
        pid: Process of the worker.
        key: Which evaluation.
        start: Seconds since 1970.
        end: Seconds since 1970.
        training: Seconds of it that were training.
    """

    pid: int
    key: str
    start: float
    end: float
    training: float


@dataclass(frozen=True)
class Gap:
    """Time of a worker between two evaluations.

    Attributes:
        seconds: How long.
        warm: Whether the next evaluation ran in the process of the last one.
    """

    seconds: float
    warm: bool


@dataclass(frozen=True)
class Account:
    """Where the workers' time went, from the first training to the last.

    Attributes:
        wall: Seconds from the beginning of the first epoch to the end of the last.
        training: Seconds of training, all workers together.
        workers: Number of workers.
        evaluations: How many evaluations were trained.
        gaps: What lay between them.
    """

    wall: float
    training: float
    workers: int
    evaluations: int
    gaps: tuple[Gap, ...]

    @property
    def share(self) -> float:
        """Share of the workers' time that was training."""
        return self.training / (self.wall * self.workers)

    @property
    def warm(self) -> list[float]:
        """Seconds before evaluations that began in a warm process."""
        return [gap.seconds for gap in self.gaps if gap.warm]

    @property
    def cold(self) -> list[float]:
        """Seconds before evaluations for which a process was started."""
        return [gap.seconds for gap in self.gaps if not gap.warm]


def ladder_segment(epoch: int, ladder: Sequence[int]) -> tuple[int, int]:
    """Return the rungs between which an epoch lies: the first excluded, the last included."""
    last = next(rung for rung in ladder if epoch <= rung)
    below = [rung for rung in ladder if rung < last]
    return (below[-1] if below else 0), last


def read_spans(folder: Path) -> list[Span]:
    """Read what the workers wrote down."""
    lines = (line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines())
    return [Span(**document) for document in map(json.loads, lines) if "pid" in document]


def account(epochs: Iterable[Span], *, workers: int) -> Account:
    """Add up the notes of a run.

    Args:
        epochs: In any order.
        workers: Number of places to train at.
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
    """Join the epochs of each evaluation, as far as one process trained them; by their beginning."""
    joined: dict[tuple[int, str], Span] = {}
    for span in sorted(epochs, key=lambda span: span.start):
        before = joined.setdefault((span.pid, span.key), replace(span, end=span.start, training=0.0))
        joined[span.pid, span.key] = replace(before, end=span.end, training=before.training + span.training)
    return list(joined.values())


def _gaps(evaluations: Sequence[Span], *, workers: int) -> Iterator[Gap]:
    """A process goes on at its own place; a new one takes the place that has been free for longest."""
    places: list[Span] = []
    for span in evaluations:
        own = [place for place in places if place.pid == span.pid]
        if own or len(places) == workers:
            before = own[0] if own else min(places, key=lambda place: place.end)
            places.remove(before)
            yield Gap(span.start - before.end, warm=bool(own))
        places.append(span)
