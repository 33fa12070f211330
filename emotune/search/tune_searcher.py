"""The one adapter to Ray Tune: its searcher and its callback over the search's desk.

Tune runs one trial per evaluation and decides nothing itself. Its own state is never read back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from emotune.errors import SearchFailedError
from emotune.search.desk import Desk
from emotune.search.records import Evaluation
from emotune.trainables.evaluation import Job

MakeJob = Callable[[Evaluation], Job]


class DeskSearcher(Searcher):
    """Asks the desk when Tune has room, and hands Tune's results to it.

    Args:
        desk: The search.
        make_job: Turns an evaluation into what a worker needs.
        concurrency: Evaluations at a time.
        stop_requested: Asked before each evaluation; once true, no more are handed out.
    """

    def __init__(self, desk: Desk, *, make_job: MakeJob, concurrency: int, stop_requested: Callable[[], bool]) -> None:
        super().__init__()
        self._desk = desk
        self._make_job = make_job
        self._concurrency = concurrency
        self._stop_requested = stop_requested
        self.evaluations: dict[str, int] = {}
        self.failure: SearchFailedError | None = None

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] (Tune annotates it without its own FINISHED)
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the next job, None to wait, or that the search is over."""
        if self._stop_requested():
            self._desk.stopping = True
        if self.failure is not None or self._desk.finished:
            return Searcher.FINISHED
        if self._desk.out >= self._concurrency:
            return None
        evaluation = self._desk.next_evaluation()
        if evaluation is None:
            return Searcher.FINISHED if self._desk.finished else None
        self.evaluations[trial_id] = evaluation.id
        return {"job": self._make_job(evaluation).model_dump_json()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in epochs."""
        self._take_reports(trial_id, result)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 (Tune's signature)
    ) -> None:
        """Take in the end of an evaluation; errors come with their reason to `FailureCallback`."""
        if error or result is None or trial_id not in self.evaluations:
            return
        self._take_reports(trial_id, result)
        if result["done"] and self.failure is None:
            self._desk.complete(self.evaluations.pop(trial_id), diverged=result["diverged"])

    def _take_reports(self, trial_id: str, result: dict[str, Any]) -> None:
        try:
            for report in result["reports"]:
                self._desk.report(self.evaluations[trial_id], epoch=report["epoch"], metrics=report["metrics"])
        except SearchFailedError as error:
            self.failure = error

    def fail(self, trial_id: str, text: str) -> None:
        """Take in that an evaluation broke off; an error of the program is told by its traceback."""
        lines = [line.strip() for line in text.strip().splitlines()]
        raised = any("ray::" in line for line in lines)
        try:
            self._desk.fail(
                self.evaluations.pop(trial_id),
                error=lines[-1] if raised else lines[0],
                infrastructure=not raised,
            )
        except SearchFailedError as failure:
            self.failure = failure

    def save(self, checkpoint_path: str) -> None:
        """Write nothing of use: the journal is the state of the search."""
        with open(checkpoint_path, "w") as file:  # noqa: PTH123 (Tune hands over a string)
            file.write("the state of this search is in its journal")

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a search goes on from its journal, in a new Tuner."""
        raise AssertionError(f"{checkpoint_path}: Tune's state is never read back")

    def __getstate__(self) -> dict[str, Any]:
        """Give Tune's own files nothing: open journals cannot be pickled, and are not wanted there."""
        return {}


class FailureCallback(Callback):
    """Brings the reason of a failed trial to the searcher, which Tune tells only that it failed."""

    def __init__(self, searcher: DeskSearcher) -> None:
        self._searcher = searcher

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Take in the error of a trial."""
        del iteration, trials, info
        assert trial.error_file is not None
        text = Path(trial.error_file).read_text()
        self._searcher.fail(trial.trial_id, text.rsplit("Failure # ", 1)[-1].split("\n", 1)[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Leave nothing in Tune's own files."""
        return {}
