"""A search inside Ray Tune: its optimizer, its journal, and the trials of Tune that train its configurations.

A trial of Tune is a configuration. An evaluation trains a configuration from one rung to another: the first one starts
a trial, and the later ones, the promotions, resume it from its checkpoint. The order of events is:

1. `Session.next_values` takes decisions from the optimizer, records them, and returns the values of a new trial.
2. `Session.report` receives every result of a trial. At the end of the evaluation it records the result, and returns
   whether the trial pauses, stops, or continues with its promotion.
3. `Session.waits` returns whether a paused trial was promoted, so that it is to run.

Tune writes its own state every ten seconds at most, so that a killed driver can leave trials that Tune has forgotten.
The session records the newest checkpoint of each configuration, from which a new trial of it resumes.
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import TypeAdapter

from emotune.base import Settings
from emotune.errors import DamageError, StudyChangedError
from emotune.search.optimizer import Optimizer
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Failure, Opened, Started, Value
from emotune.search.settings import virtual_workers, with_model, with_order
from emotune.study.definition import differences
from emotune.study.folder import SearchFolder
from emotune.study.journal import Journal
from emotune.study.recorded import complete_study, recorded_order, without_unrecorded
from emotune.study.results import opened

CHECKPOINTS = "checkpoints.json"
"""File with the newest checkpoint of each configuration."""

Decision = Literal["continue", "pause", "stop"]


class SavedCheckpoint(Settings):
    """The newest checkpoint of a configuration, in the storage of Tune."""

    path: str
    metrics: dict[str, int | float | None]
    """Entries of its result from which a trainable resumes, for example ``training_iteration``."""


SAVED_CHECKPOINTS = TypeAdapter(dict[int, SavedCheckpoint])


class Session:
    """One driver's part of a search inside Ray Tune.

    Args:
        folder: The search's folder.
        journal: The journal, open.
        optimizer: The optimizer with all recorded decisions and results.
        sign: 1 if the metric is minimised, -1 if it is maximised.
        concurrency: Evaluations at a time.
    """

    def __init__(
        self, folder: SearchFolder, *, journal: Journal, optimizer: Optimizer, sign: float, concurrency: int
    ) -> None:
        self.optimizer = optimizer
        self._storage = folder.storage
        self.trials: dict[str, int] = {}
        """Number of the configuration of each living trial, by Tune's id."""
        self._journal = journal
        self._sign = sign
        self._concurrency = concurrency
        self._running: dict[int, Evaluation] = {e.config_id: e for e in optimizer.running()}
        self._started_at: dict[int, float] = {}
        self._epochs: dict[int, int] = {}
        """Number of recorded epochs of each configuration."""
        self._final: dict[int, float] = {}
        """Last value of the configurations whose training ended by itself before the largest budget."""
        self._checkpoints = _read_checkpoints(self._storage.read(CHECKPOINTS), name=folder.name)
        for record in journal.records:
            if isinstance(record, EpochDone):
                self._epochs[record.config_id] = record.epoch

    @property
    def finished(self) -> bool:
        """Whether no evaluation runs and none is left."""
        return not self._running and self.optimizer.finished

    def next_values(self, trial_id: str) -> dict[str, Value] | None:
        """Return the values of a new trial; None if there is none to start now."""
        self.decide()
        living = set(self.trials.values())
        waiting = [evaluation for config_id, evaluation in self._running.items() if config_id not in living]
        if not waiting:
            return None
        evaluation = min(waiting, key=lambda waiting: waiting.id)
        self.trials[trial_id] = evaluation.config_id
        return evaluation.values

    def decide(self) -> None:
        """Take as many decisions from the optimizer as may run at a time, and record them."""
        while len(self._running) < self._concurrency:
            evaluation = self.optimizer.ask()
            if evaluation is None:
                return
            self._journal.append(Started(time=time.time(), evaluation=evaluation))
            self._running[evaluation.config_id] = evaluation
            if evaluation.config_id in self._final:
                self._end(evaluation, value=self._final[evaluation.config_id])

    def attach(self, trial_id: str, config_id: int | None) -> bool:
        """Assign a trial that Tune has restored to its configuration; return whether it is known."""
        if config_id is None or config_id in self.trials.values():
            return False
        self.trials[trial_id] = config_id
        return True

    def detach(self, trial_id: str) -> None:
        """Forget a trial that has ended."""
        self.trials.pop(trial_id, None)

    def waits(self, trial_id: str) -> bool:
        """Return whether a trial has an evaluation to train."""
        self.decide()
        return self.trials.get(trial_id) in self._running

    def checkpoint(self, trial_id: str) -> SavedCheckpoint | None:
        """Return the newest checkpoint of a trial's configuration, which an earlier trial may have saved."""
        return self._checkpoints.get(self.trials[trial_id])

    def record_checkpoint(self, trial_id: str, checkpoint: SavedCheckpoint) -> None:
        """Record the newest checkpoint of a trial, unless it is recorded."""
        config_id = self.trials.get(trial_id)
        if config_id is None or self._checkpoints.get(config_id) == checkpoint:
            return
        self._checkpoints[config_id] = checkpoint
        self._storage.write(CHECKPOINTS, SAVED_CHECKPOINTS.dump_json(self._checkpoints))

    def report(self, trial_id: str, *, epoch: int, value: float, metrics: Mapping[str, float]) -> Decision:
        """Record a result of a trial, and return what the trial does next.

        Args:
            trial_id: Tune's id of the trial.
            epoch: Epochs that the trial has trained.
            value: Value of the metric.
            metrics: All metrics of the result.
        """
        config_id = self.trials.get(trial_id)
        evaluation = None if config_id is None else self._running.get(config_id)
        if config_id is None or evaluation is None:
            return "pause" if config_id is not None else "stop"
        self._started_at.setdefault(config_id, time.monotonic())
        self._record_epoch(evaluation, epoch=epoch, metrics=metrics)
        if not math.isfinite(value):
            self._end(evaluation, failure=Failure(kind="diverged", message=f"diverged: the metric is {value}"))
            return "stop"
        if epoch < evaluation.to_epoch:
            return "continue"
        self._end(evaluation, value=value)
        if epoch >= self.optimizer.settings.max_budget:
            return "stop"
        return "continue" if self.waits(trial_id) else "pause"

    def end(self, trial_id: str, *, value: float) -> None:
        """Record that a trial has ended: if its training ended by itself, its last value counts for all later rungs.

        Args:
            trial_id: Tune's id of the trial.
            value: Its last value of the metric, which was reported.
        """
        config_id = self.trials.pop(trial_id, None)
        if config_id is None:
            return
        self._final[config_id] = value
        evaluation = self._running.get(config_id)
        if evaluation is not None:
            self._end(evaluation, value=value)

    def fail(self, trial_id: str, *, error: str) -> None:
        """Record that a trial has failed for good."""
        config_id = self.trials.pop(trial_id, None)
        evaluation = None if config_id is None else self._running.get(config_id)
        if evaluation is not None:
            self._end(evaluation, failure=Failure(kind="program_error", message=error))

    def close(self) -> None:
        """Record that the search is finished if it is, and give the journal back."""
        last = self._journal.records[-1]
        if self.finished and not isinstance(last, Closed):
            self._journal.append(Closed(time=time.time(), state="finished"))
        self._journal.close()

    def _record_epoch(self, evaluation: Evaluation, *, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an epoch, unless they were recorded before a restart."""
        if epoch <= self._epochs.get(evaluation.config_id, 0):
            return
        self._epochs[evaluation.config_id] = epoch
        self._journal.append(
            EpochDone(
                time=time.time(),
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                epoch=epoch,
                metrics={name: number if math.isfinite(number) else None for name, number in metrics.items()},
            ),
            durable=False,
        )

    def _end(self, evaluation: Evaluation, *, value: float | None = None, failure: Failure | None = None) -> None:
        """Record the result of an evaluation: a finite value, or a failure."""
        self._journal.append(
            Ended(
                time=time.time(),
                evaluation_id=evaluation.id,
                config_id=evaluation.config_id,
                status="done" if failure is None else "failed",
                objective=value,
                seconds=time.monotonic() - self._started_at.pop(evaluation.config_id, time.monotonic()),
                error=None if failure is None else failure.message,
                failure_kind=None if failure is None else failure.kind,
            )
        )
        del self._running[evaluation.config_id]
        self.optimizer.tell(evaluation.id, None if value is None else self._sign * value)


def _read_checkpoints(content: bytes | None, *, name: str) -> dict[int, SavedCheckpoint]:
    try:
        return SAVED_CHECKPOINTS.validate_python(json.loads(content or b"{}"))
    except ValueError as error:
        raise DamageError(
            f"{CHECKPOINTS} of the search {name!r} is not what was written: {error}; remove it, and promoted "
            "configurations are trained from epoch 0 again"
        ) from error


def open_journal(folder: SearchFolder, first: Opened) -> Journal:
    """Open the journal of a search, and write its first record if it is new.

    Args:
        folder: The search's folder.
        first: The record with the settings given now.

    Raises:
        BusyError: Another driver runs the search.
        DamageError: The journal is not what was written.
        StudyChangedError: The search was started with other settings.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    journal = Journal.open(folder.journal, owner=folder.name)
    try:
        if not journal.records:
            study = {
                **first.study,
                "searcher": with_model(with_order(first.study["searcher"], concurrency=first.concurrency)),
            }
            workers = virtual_workers(first.concurrency, order=recorded_order(study))
            journal.append(first.model_copy(update={"study": study, "workers": workers}))
        _check_same(opened(journal.records), first)
    except BaseException:
        journal.close()
        raise
    return journal


def _check_same(recorded: Opened, now: Opened) -> None:
    before = without_unrecorded(complete_study(recorded.study))
    unless_given = {name: before["searcher"][name] for name in ("model", "order") if name in before["searcher"]}
    after = without_unrecorded({**now.study, "searcher": {**unless_given, **now.study["searcher"]}})
    changes = differences(before | {"concurrency": recorded.concurrency}, after | {"concurrency": now.concurrency})
    if changes:
        raise StudyChangedError(
            f"the search {recorded.name!r} was started with other settings: {'; '.join(changes)}. Give the settings it "
            "was started with, or another name"
        )


def describe_metrics(result: Mapping[str, Any], *, ignored: frozenset[str]) -> dict[str, float]:
    """Return the numbers of a result of Tune by name, without Tune's own entries."""
    return {
        name: float(value)
        for name, value in result.items()
        if name not in ignored
        and not name.startswith("config/")
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }
