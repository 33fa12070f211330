"""The search's coordinator: hands out evaluations, takes results in, and writes both down first.

Everything about a running search passes through here, whoever carries the work out: Ray Tune in
production, a loop in the tests. What was handed out or told is in the journal before anybody acts on it.
"""

import logging
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from emotune.errors import SearchFailedError
from emotune.search.optimizer import Optimizer
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Record, Resized, Started
from emotune.search.settings import virtual_workers
from emotune.study.journal import Journal
from emotune.study.study import StudyObjective

logger = logging.getLogger(__name__)

Observer = Callable[[Record, int], None]
"""Who follows a search: called with each record and its number in the journal, earlier drivers' records first."""

RETRIES = 1
"""How often an evaluation that failed by an error of its own is tried again where it made no progress in between."""

INFRASTRUCTURE_RETRIES = 5
"""How often an evaluation is tried again when its worker or node died, without progress in between."""

NO_ROOM = re.compile(r"Storage(?:Away|Refused)?Error: ")
"""Part of the errors of evaluations whose checkpoints could not be written or read."""

SAME_FAILURES = 5
"""So many failures of one kind in a row stop the search."""


class Coordinator:
    """Evaluations out, results in.

    Args:
        optimizer: The search core, with everything told that the journal holds.
        journal: Open journal of the search, with its first record written.
        aim: The objective.
        observers: Who follows the search.
    """

    def __init__(
        self, optimizer: Optimizer, *, journal: Journal, aim: StudyObjective, observers: Sequence[Observer] = ()
    ) -> None:
        self.optimizer = optimizer
        self.stopping = False
        self._journal = journal
        self._aim = aim
        self._observers = observers
        self._unfinished = list(optimizer.running())
        self._out: dict[int, Evaluation] = {}
        self._since: dict[int, float] = {}
        self._spent: defaultdict[int, float] = defaultdict(float)
        self._attempts: Counter[int] = Counter()
        self._saved: dict[int, tuple[int, int]] = {}
        self._alike: Counter[str] = Counter()
        self._epochs: dict[int, int] = {}
        self._value: dict[int, float | None] = {}
        for number, record in enumerate(journal.records):
            self._take_note(record)
            self._tell_observers(record, number)

    @property
    def out(self) -> int:
        """Number of evaluations that are being carried out."""
        return len(self._out)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to hand out, and nothing is out."""
        return not self._out and (self.stopping or (self.optimizer.finished and not self._unfinished))

    def next_evaluation(self) -> Evaluation | None:
        """Hand out an evaluation, those that an earlier driver left unfinished first; None: nothing now."""
        if self.stopping:
            return None
        evaluation = self._unfinished.pop(0) if self._unfinished else self._ask()
        if evaluation is not None:
            self._out[evaluation.id] = evaluation
            self._since[evaluation.id] = time.monotonic()
        return evaluation

    def _ask(self) -> Evaluation | None:
        evaluation = self.optimizer.ask()
        if evaluation is not None:
            self._write(Started(time=time.time(), evaluation=evaluation))
        return evaluation

    def report(self, evaluation_id: int, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in an epoch; one that is known already (from before a crash) is passed over.

        Raises:
            SearchFailedError: The objective's metric is not among those reported.
        """
        evaluation = self._out[evaluation_id]
        if epoch <= self._epochs.get(evaluation.config_id, 0):
            return
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._write(
            EpochDone(
                time=time.time(),
                evaluation_id=evaluation_id,
                config_id=evaluation.config_id,
                epoch=epoch,
                metrics=finite,
            ),
            durable=False,
        )
        self._attempts[evaluation_id] = 0

    def note_progress(self, evaluation_id: int, *, saved: tuple[int, int]) -> None:
        """Take note of how far an evaluation's newest checkpoint goes: whoever advances may break off again.

        Args:
            evaluation_id: Which one.
            saved: Epochs, and optimiser steps of the next one.
        """
        if saved > self._saved.setdefault(evaluation_id, saved):
            self._saved[evaluation_id] = saved
            self._attempts[evaluation_id] = 0

    def complete(self, evaluation_id: int, *, diverged: str | None = None) -> None:
        """Take in the end of an evaluation: its objective is that of the last reported epoch.

        Args:
            evaluation_id: Which one.
            diverged: Why its loss is no longer a number, if so; then it is the worst result.
        """
        evaluation = self._out[evaluation_id]
        assert diverged or self._epochs[evaluation.config_id] == evaluation.to_epoch
        self._stop_the_clock(evaluation_id)
        objective = None if diverged else self._value[evaluation.config_id]
        error = diverged or (f"{self._aim.metric} is not finite" if objective is None else None)
        self._end(evaluation, objective=objective, error=error)
        self._alike.clear()

    def fail(self, evaluation_id: int, *, error: str, infrastructure: bool) -> None:
        """Take in that an evaluation broke off: it is handed out again, or counted as failed.

        Args:
            evaluation_id: Which one.
            error: What went wrong, in a line.
            infrastructure: Whether a worker or node died, rather than the program raising an error.

        Raises:
            SearchFailedError: Several evaluations failed in the same way, one after the other; or the disk is full,
                which says nothing about an evaluation: it is handed out again by the next driver.
        """
        evaluation = self._out[evaluation_id]
        self._stop_the_clock(evaluation_id)
        self._attempts[evaluation_id] += 1
        if self._attempts[evaluation_id] <= (INFRASTRUCTURE_RETRIES if infrastructure else RETRIES):
            logger.warning("evaluation %d broke off and is tried again: %s", evaluation_id, error)
            self._unfinished.append(self._out.pop(evaluation_id))
            return
        if NO_ROOM.search(error):
            reason = NO_ROOM.split(error)[-1]
            raise SearchFailedError(f"{reason}; nothing is lost, make room and start the same search again")
        logger.error("evaluation %d failed: %s (values: %s)", evaluation_id, error, evaluation.values)
        self._end(evaluation, objective=None, error=error)
        kind = re.sub(r"[\d.]+(e-?\d+)?", "#", error)
        self._alike[kind] += 1
        if self._alike[kind] >= SAME_FAILURES:
            raise SearchFailedError(
                f"{SAME_FAILURES} evaluations in a row failed in the same way, the last one with: {error}. Mend the "
                "cause and start the search under a new name or with --fresh"
            )

    def hand_back(self, evaluation_id: int) -> None:
        """Take back an evaluation that could not even begin where it was: it is the next to be handed out."""
        self._stop_the_clock(evaluation_id)
        self._unfinished.insert(0, self._out.pop(evaluation_id))

    def _stop_the_clock(self, evaluation_id: int) -> None:
        self._spent[evaluation_id] += time.monotonic() - self._since[evaluation_id]

    def resize(self, concurrency: int) -> None:
        """Take note that so many evaluations run at a time from now on."""
        workers = virtual_workers(concurrency, order=self.optimizer.settings.order)
        change = self.optimizer.resize(workers)
        if change is not None:
            self._write(Resized(time=time.time(), concurrency=concurrency, workers=workers, seen=change.seen))

    def close(self, record: Closed) -> None:
        """Write how the driver ended."""
        self._write(record)

    def _end(self, evaluation: Evaluation, *, objective: float | None, error: str | None) -> None:
        self._write(
            Ended(
                time=time.time(),
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                status="failed" if objective is None else "done",
                objective=objective,
                seconds=self._spent[evaluation.id],
                error=error,
            )
        )
        self.optimizer.tell(evaluation.id, None if objective is None else self._aim.as_loss(objective))
        del self._out[evaluation.id]

    def _write(self, record: Record, *, durable: bool = True) -> None:
        number = len(self._journal)
        self._journal.append(record, durable=durable)
        self._take_note(record)
        self._tell_observers(record, number)

    def _take_note(self, record: Record) -> None:
        if not isinstance(record, EpochDone):
            return
        if self._aim.metric not in record.metrics:
            raise SearchFailedError(
                f"objective.metric: {self._aim.metric!r} is not reported; there are {', '.join(sorted(record.metrics))}"
            )
        self._epochs[record.config_id] = record.epoch
        self._value[record.config_id] = record.metrics[self._aim.metric]

    def _tell_observers(self, record: Record, number: int) -> None:
        for observer in self._observers:
            observer(record, number)
