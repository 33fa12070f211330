"""The scheduler for ``tune.TuneConfig(scheduler=...)``."""

import sys
from typing import TYPE_CHECKING, Any

from pyarrow.fs import FileType
from ray.train._internal.session import _TrainingResult
from ray.tune import Checkpoint
from ray.tune.experiment import Trial
from ray.tune.result import EPISODES_TOTAL, TIME_TOTAL_S, TIMESTEPS_TOTAL, TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from emotune.errors import SettingsError
from emotune.tune.searcher import EmotuneSearch
from emotune.tune.session import SavedCheckpoint

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

RESUMED_METRICS = (TRAINING_ITERATION, TIME_TOTAL_S, TIMESTEPS_TOTAL, EPISODES_TOTAL)
"""Entries of a checkpoint's result that `ray.tune.Trainable.restore` reads."""

DECISIONS = {"continue": TrialScheduler.CONTINUE, "pause": TrialScheduler.PAUSE, "stop": TrialScheduler.STOP}


class EmotuneScheduler(TrialScheduler):
    """The scheduler that belongs to `EmotuneSearch`: it pauses trials at their rungs, and resumes the promoted ones.

    A paused trial keeps its checkpoint and no resources. When the search is over, paused trials are stopped.

    Raises:
        SettingsError: In ``Tuner.fit``: ``num_samples`` is not -1, or the searcher is not an `EmotuneSearch`.
    """

    _supports_buffered_results = False

    def __init__(self) -> None:
        super().__init__()
        self._objective: tuple[str | None, str | None] = (None, None)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Receive the settings of the ``TuneConfig``."""
        del spec
        self._objective = (metric, mode)
        return super().set_search_properties(metric, mode)

    def on_trial_add(self, tune_controller: "TuneController", trial: Trial) -> None:
        """Check a new trial; a restored one is paused unless its evaluation has not ended."""
        search = _search_of(tune_controller)
        search.check_objective(*self._objective)
        _check_endless(tune_controller)
        if trial.is_finished():
            return
        if not search.attach(trial.trial_id):
            trial.set_status(Trial.TERMINATED)  # its configuration has another trial, or is not in the journal
            return
        saved = search.session.checkpoint(trial.trial_id)
        if saved is not None:
            _resume_from(trial, saved)
        if not search.session.waits(trial.trial_id):
            trial.set_status(Trial.PAUSED)

    def on_trial_error(self, tune_controller: "TuneController", trial: Trial) -> None:
        """Do nothing: the searcher records the failure."""

    def on_trial_result(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> str:
        """Record a result, and return what the trial does next."""
        return DECISIONS[_search_of(tune_controller).report(trial.trial_id, result)]

    def on_trial_complete(self, tune_controller: "TuneController", trial: Trial, result: dict[str, Any]) -> None:
        """Do nothing: the searcher records the end."""

    def on_trial_remove(self, tune_controller: "TuneController", trial: Trial) -> None:
        """Forget a paused trial that is stopped."""
        _search_of(tune_controller).session.detach(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: "TuneController") -> Trial | None:
        """Return a paused trial that was promoted, or a new one. At the end of the search, stop the paused trials."""
        session = _search_of(tune_controller).session
        for trial in tune_controller.get_live_trials():
            saved = _newest_checkpoint(trial)
            if saved is not None:
                session.record_checkpoint(trial.trial_id, saved)
        paused = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PAUSED]
        if session.finished:
            for trial in paused:
                tune_controller.stop_trial(trial)
            return None
        pending = [trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PENDING]
        promoted = [trial for trial in [*pending, *paused] if session.waits(trial.trial_id)]
        return min(promoted, key=lambda trial: session.trials[trial.trial_id], default=None)

    def debug_string(self) -> str:
        """Return a line for Tune's table of progress."""
        return "emotune"

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the state of the search."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: the journal is the state of the search."""


def _newest_checkpoint(trial: Trial) -> SavedCheckpoint | None:
    result = trial.latest_checkpoint_result
    if result is None or result.checkpoint is None:
        return None
    metrics = {name: result.metrics[name] for name in RESUMED_METRICS if name in result.metrics}
    return SavedCheckpoint(path=result.checkpoint.path, metrics=metrics)


def _resume_from(trial: Trial, saved: SavedCheckpoint) -> None:
    """Make a trial resume from a checkpoint, if the storage has it and Tune has no newer one."""
    present = _newest_checkpoint(trial)
    if present is not None and _epochs(present) >= _epochs(saved):
        return
    assert trial.storage is not None
    files = trial.storage.storage_filesystem
    if files.get_file_info(saved.path).type != FileType.NotFound:
        checkpoint = Checkpoint(path=saved.path, filesystem=files)
        trial.on_checkpoint(_TrainingResult(checkpoint=checkpoint, metrics=dict(saved.metrics)))


def _epochs(saved: SavedCheckpoint) -> float:
    return saved.metrics.get(TRAINING_ITERATION) or 0


def _check_endless(tune_controller: "TuneController") -> None:
    """Refuse a number of trials: the searcher ends the search."""
    number = tune_controller.search_alg.total_samples
    if number < sys.maxsize:
        raise SettingsError(
            f"num_samples={number} was given to TuneConfig; give num_samples=-1: the budget of EmotuneSearch ends "
            "the search. After Tuner.restore: Tune cannot read its own state; start a new Tuner with the same name of "
            "the search, which resumes it"
        )


def _search_of(tune_controller: "TuneController") -> EmotuneSearch:
    search: Any = tune_controller.search_alg
    while hasattr(search, "searcher"):
        search = search.searcher
    if not isinstance(search, EmotuneSearch):
        raise SettingsError(
            f"EmotuneScheduler was given with search_alg={type(search).__name__}; expected an EmotuneSearch"
        )
    return search
