"""The coordinator of a search: hands out evaluations, receives their results, and records both first.

Every change of a running search passes through here, whether Ray Tune runs the evaluations or a loop in a test.
A decision or a result is in the journal before anything else uses it.
"""

import logging
import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from emotune.errors import SearchFailedError
from emotune.runtime.failures import RULES, FailureRule
from emotune.search.criteria import Criteria
from emotune.search.optimizer import Optimizer
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Failure, Record, Removed, Resized, Started
from emotune.search.settings import virtual_workers
from emotune.study.journal import Journal

logger = logging.getLogger(__name__)

Observer = Callable[[Record, int], None]
"""Called with each record and its number in the journal; first with the records of earlier drivers."""

MAX_SIMILAR_FAILURES = 5
"""Number of similar failures without a success in between after which the search stops."""

JOURNAL_CHECK_INTERVAL_S = 5.0
"""Seconds between two checks that the journal still has its name."""

NUMBER = re.compile(r"[\d.]+(e-?\d+)?")
"""A number in an error message; messages that differ in numbers only are similar."""


class Coordinator:
    """Hands out evaluations and receives their results.

    Args:
        optimizer: The search core, with all decisions and results of the journal.
        journal: Open journal of the search, with its first record.
        criteria: Metrics that are optimised, with their directions, and constraints.
        observers: Called with every record.
        time_is_up: Returns whether no further evaluation is decided; those that have begun are run to their end.
        on_end: Called after each result.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        journal: Journal,
        criteria: Criteria,
        observers: Sequence[Observer] = (),
        time_is_up: Callable[[], bool] = lambda: False,
        on_end: Callable[["Coordinator"], None] = lambda coordinator: None,
    ) -> None:
        self.optimizer = optimizer
        self._time_is_up = time_is_up
        self._on_end = on_end
        self.stopping = False
        self._journal = journal
        self._journal_checked_at = float("-inf")
        self._criteria = criteria
        self._observers = observers
        self._unfinished = list(optimizer.running())
        self._running: dict[int, Evaluation] = {}
        self._started_at: dict[int, float] = {}
        self._seconds: defaultdict[int, float] = defaultdict(float)
        self._attempts: Counter[int] = Counter()
        self._saved: dict[int, tuple[int, int]] = {}
        self._similar: Counter[tuple[str, str]] = Counter()
        self._epochs: dict[int, int] = {}
        self._measured: dict[int, dict[str, float | None]] = {}
        self._paused_until = 0.0
        for number, record in enumerate(journal.records):
            self._update_measured(record)
            self._notify(record, number)

    @property
    def in_progress(self) -> int:
        """Number of evaluations that are handed out and have not ended."""
        return len(self._running)

    @property
    def records(self) -> Sequence[Record]:
        """All records of the journal."""
        return self._journal.records

    @property
    def epochs_done(self) -> int:
        """Number of epochs that all configurations together have trained."""
        return sum(self._epochs.values())

    @property
    def finished(self) -> bool:
        """Whether no evaluation is handed out, and none is left."""
        return not self._running and (self.stopping or self.exhausted)

    @property
    def exhausted(self) -> bool:
        """Whether every evaluation has ended, and the limits or the time leave no further one."""
        begun = self._running or self._unfinished
        return not begun and (self.optimizer.finished or self._time_is_up())

    def record_removed(self, configurations: Sequence[int], *, size: int) -> None:
        """Record that the checkpoints of configurations were removed.

        Args:
            configurations: Their numbers.
            size: Room that the checkpoints took (bytes).
        """
        self._write(Removed(time=time.time(), configurations=tuple(configurations), bytes=size))

    def stop_after_running(self) -> None:
        """Hand out no further evaluation; those that run are run to their end."""
        if not self.stopping:
            logger.warning("`emotune stop` received: no evaluation is started; %d running", self.in_progress)
        self.stopping = True

    def next_evaluation(self) -> Evaluation | None:
        """Return the next evaluation, unfinished ones of an earlier driver first.

        None if there is none now, or in the pause after a fault of a machine.
        """
        if self.stopping or time.monotonic() < self._paused_until:
            return None
        evaluation = self._unfinished.pop(0) if self._unfinished else self._ask()
        if evaluation is not None:
            self._running[evaluation.id] = evaluation
            self._started_at[evaluation.id] = time.monotonic()
        return evaluation

    def _ask(self) -> Evaluation | None:
        evaluation = None if self._time_is_up() else self.optimizer.ask()
        if evaluation is not None:
            self._write(Started(time=time.time(), evaluation=evaluation))
        return evaluation

    def report(self, evaluation_id: int, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record an epoch, unless the journal has it from before a restart.

        Raises:
            SearchFailedError: The metric of an objective or a constraint is missing.
        """
        evaluation = self._running[evaluation_id]
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

    def update_saved(self, evaluation_id: int, *, saved: tuple[int, int]) -> None:
        """Set the position of an evaluation's newest checkpoint; if it has advanced, all retries are available again.

        Args:
            evaluation_id: The evaluation.
            saved: Epochs, and optimiser steps of the next epoch.
        """
        if saved > self._saved.setdefault(evaluation_id, saved):
            self._saved[evaluation_id] = saved
            self._attempts[evaluation_id] = 0

    def complete(self, evaluation_id: int) -> None:
        """Record the end of an evaluation that reached its last epoch, whose metrics are its result."""
        evaluation = self._running[evaluation_id]
        assert self._epochs[evaluation.config_id] == evaluation.to_epoch
        self._stop_clock(evaluation_id)
        measured = self._measured[evaluation.config_id]
        lost = next((name for name, value in measured.items() if value is None), None)
        if lost is not None:
            self._end(evaluation, failure=Failure(kind="diverged", message=f"{lost} is not finite"))
        else:
            self._end(evaluation, measured={name: value for name, value in measured.items() if value is not None})
        self._similar.clear()

    def fail(self, evaluation_id: int, failure: Failure) -> None:
        """Try a failed evaluation again, or record that it failed, according to the rule of the kind of failure.

        Args:
            evaluation_id: The evaluation.
            failure: Why it ended without a result.

        Raises:
            SearchFailedError: Several evaluations failed in a similar way, without a success in between. Or a
                machine failed, which is no result of the evaluation: the next driver runs it again. Or the journal
                was renamed or deleted.
        """
        evaluation, rule = self._running[evaluation_id], RULES[failure.kind]
        if rule.machine_fault:
            self._journal.check()  # if the search's folder is gone, that is the cause
        self._stop_clock(evaluation_id)
        self._attempts[evaluation_id] += 1
        if self._attempts[evaluation_id] <= rule.retries:
            logger.warning("evaluation %d failed and is tried again: %s", evaluation_id, failure.message)
            self._unfinished.append(self._running.pop(evaluation_id))
            self._pause(rule, attempt=self._attempts[evaluation_id])
            return
        if rule.stops_search:
            raise SearchFailedError(
                f"{failure.message}; nothing is lost, {rule.remedy} and start the same search again"
            )
        if rule.is_result:
            self._end(evaluation, failure=failure)
            self._similar.clear()
            return
        logger.error("evaluation %d failed: %s (values: %s)", evaluation_id, failure.message, evaluation.values)
        self._end(evaluation, failure=failure)
        self._stop_after_similar(failure)

    def _pause(self, rule: FailureRule, *, attempt: int) -> None:
        """Start no evaluation for ``first_pause_s * 2**(attempt - 1)`` seconds."""
        if rule.first_pause_s:
            pause = rule.first_pause_s * 2 ** (attempt - 1)
            self._paused_until = max(self._paused_until, time.monotonic() + pause)

    def _stop_after_similar(self, failure: Failure) -> None:
        signature = failure.kind, NUMBER.sub("#", failure.message)
        self._similar[signature] += 1
        if self._similar[signature] >= MAX_SIMILAR_FAILURES:
            raise SearchFailedError(
                f"{MAX_SIMILAR_FAILURES} evaluations in a row failed in the same way, the last one with: "
                f"{failure.message}. Correct the cause and start the search with another --name or with --fresh"
            )

    def requeue_all(self) -> None:
        """Take back all evaluations, because Ray has ended."""
        for evaluation_id in sorted(self._running, reverse=True):
            self.requeue(evaluation_id)

    def requeue(self, evaluation_id: int) -> None:
        """Take back an evaluation that could not start on its worker's machine; it is the next one to hand out."""
        self._stop_clock(evaluation_id)
        self._unfinished.insert(0, self._running.pop(evaluation_id))

    def _stop_clock(self, evaluation_id: int) -> None:
        self._seconds[evaluation_id] += time.monotonic() - self._started_at[evaluation_id]

    def resize(self, concurrency: int) -> None:
        """Change the number of evaluations that run at a time, and record it."""
        workers = virtual_workers(concurrency, order=self.optimizer.settings.order)
        change = self.optimizer.resize(workers)
        if change is not None:
            self._write(Resized(time=time.time(), concurrency=concurrency, workers=workers, seen=change.seen))

    def check_journal(self) -> None:
        """Check every few seconds that results can still be recorded.

        Raises:
            SearchFailedError: The journal was renamed or deleted, or another driver has taken it over.
        """
        if time.monotonic() - self._journal_checked_at >= JOURNAL_CHECK_INTERVAL_S:
            self._journal.check()
            self._journal_checked_at = time.monotonic()

    def close(self, record: Closed) -> None:
        """Record how the driver ended."""
        self._write(record)

    def _end(
        self, evaluation: Evaluation, *, measured: dict[str, float] | None = None, failure: Failure | None = None
    ) -> None:
        """Record the values of an evaluation's metrics, or why it has none, and pass the result to the optimizer."""
        objective = None if measured is None else measured[self._criteria.metrics[0]]
        self._write(
            Ended(
                time=time.time(),
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                status="failed" if objective is None else "done",
                objective=objective,
                measured=measured if self._criteria.has_scores else None,
                seconds=self._seconds[evaluation.id],
                error=None if failure is None else failure.message,
                failure_kind=None if failure is None else failure.kind,
            )
        )
        self.optimizer.tell(evaluation.id, self._criteria.result(objective, measured=measured))
        del self._running[evaluation.id]
        self._on_end(self)

    def _write(self, record: Record, *, durable: bool = True) -> None:
        number = len(self._journal)
        self._journal.append(record, durable=durable)
        self._update_measured(record)
        self._notify(record, number)

    def _update_measured(self, record: Record) -> None:
        if not isinstance(record, EpochDone):
            return
        for name in self._criteria.metrics:
            if name not in record.metrics:
                raise SearchFailedError(
                    f"{self._criteria.setting_of(name)}: {name!r} is not reported; reported are "
                    f"{', '.join(sorted(record.metrics))}"
                )
        self._epochs[record.config_id] = record.epoch
        self._measured[record.config_id] = {name: record.metrics[name] for name in self._criteria.metrics}

    def _notify(self, record: Record, number: int) -> None:
        for observer in self._observers:
            observer(record, number)
