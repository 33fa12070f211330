"""The results of a search, read from its journal alone."""

from collections.abc import Sequence
from typing import Any, Literal

from emotune.base import Settings
from emotune.errors import DamageError
from emotune.search.criteria import MINIMISED, Criteria
from emotune.search.pareto import Score
from emotune.search.ranking import Result, best, front
from emotune.search.records import (
    Closed,
    Ended,
    EpochDone,
    Evaluation,
    Extended,
    Opened,
    Record,
    Removed,
    Resized,
    Retried,
    Started,
    TimeLimit,
    Value,
)
from emotune.study.folder import StopRequest
from emotune.study.journal import ADVICE
from emotune.study.reliability import RungReliability, rung_reliability


class EvaluationResult(Settings):
    """An evaluation and its end."""

    evaluation: Evaluation
    status: Literal["done", "failed", "running"]
    """``running`` without a result, whether or not a driver is alive."""
    objective: float | None
    """Value of the study's (first) metric; None while it runs or if it failed."""
    seconds: float | None
    error: str | None
    measured: dict[str, float] | None = None
    """Values of all objectives and constraints by metric; None with one objective and no constraint."""
    score: Score | None = None
    """The losses and the violation that follow from ``measured``."""

    @property
    def ranked(self) -> Result | None:
        """The result in the order of `emotune.search.ranking`; None while it runs or if it failed."""
        if self.status != "done" or self.objective is None:
            return None
        return Result(self.evaluation, self.objective, self.score)


class Incumbent(Settings):
    """The best configuration, see `emotune.search.ranking.rank`."""

    config_id: int
    epochs: int
    objective: float
    values: dict[str, Value]
    measured: dict[str, float] | None = None
    """Values of all objectives and constraints by metric; None with one objective and no constraint."""


def opened(records: Sequence[Record]) -> Opened:
    """Return the first record of a search.

    Raises:
        DamageError: It is another record than that of the study.
    """
    first = records[0]
    if not isinstance(first, Opened):
        raise DamageError(f"the first record of the journal is {first.kind!r}, expected 'opened'; {ADVICE}")
    return first


def criteria_of(records: Sequence[Record]) -> Criteria:
    """Return the objectives and constraints of a search; one loss, if its study is not recorded."""
    first = next(iter(records), None)
    return Criteria.recorded(first.study) if isinstance(first, Opened) else MINIMISED


def evaluation_results(records: Sequence[Record]) -> list[EvaluationResult]:
    """Return all evaluations in the order in which they were decided."""
    started = {record.evaluation.id: record.evaluation for record in records if isinstance(record, Started)}
    ended = last_ends(records)
    criteria = criteria_of(records)
    return [_result(evaluation, ended.get(number), criteria) for number, evaluation in sorted(started.items())]


def last_ends(records: Sequence[Record]) -> dict[int, Ended]:
    """Return the end of each evaluation by its number, without the failures that were withdrawn to be run again."""
    ended: dict[int, Ended] = {}
    for record in records:
        if isinstance(record, Ended):
            ended[record.evaluation_id] = record
        elif isinstance(record, Retried):
            for number in record.evaluations:
                ended.pop(number, None)
    return ended


def failures_to_retry(records: Sequence[Record]) -> list[int]:
    """Return the numbers of the failed evaluations, without those that diverged: they would diverge again."""
    return [
        number
        for number, end in sorted(last_ends(records).items())
        if end.status == "failed" and end.failure_kind != "diverged"
    ]


def _result(evaluation: Evaluation, end: Ended | None, criteria: Criteria) -> EvaluationResult:
    return EvaluationResult(
        evaluation=evaluation,
        status="running" if end is None else end.status,
        objective=None if end is None else end.objective,
        seconds=None if end is None else end.seconds,
        error=None if end is None else end.error,
        measured=None if end is None else end.measured,
        score=None if end is None else criteria.recorded_score(end.measured),
    )


def find_best(results: Sequence[EvaluationResult], *, mode: str) -> Incumbent | None:
    """Return the best configuration by `emotune.search.ranking.rank`, or None if none has a result."""
    incumbent = best((result.ranked for result in results if result.ranked is not None), mode=mode)
    return None if incumbent is None else _incumbent(incumbent, results)


def recorded_best(records: Sequence[Record]) -> Incumbent | None:
    """Return the best configuration of a journal, by the objective of its study; None if none has a result."""
    if not records:
        return None
    return find_best(evaluation_results(records), mode=opened(records).study["objective"]["mode"])


def find_front(results: Sequence[EvaluationResult]) -> list[Incumbent]:
    """Return the Pareto front, the best of the first objective first: see `emotune.search.ranking.front`."""
    return [
        _incumbent(result, results)
        for result in front(result.ranked for result in results if result.ranked is not None)
    ]


def _incumbent(result: Result, results: Sequence[EvaluationResult]) -> Incumbent:
    evaluation = result.evaluation
    measured = next(other.measured for other in results if other.evaluation.id == evaluation.id)
    return Incumbent(
        config_id=evaluation.config_id,
        epochs=evaluation.to_epoch,
        objective=result.objective,
        values=evaluation.values,
        measured=measured,
    )


def shortfall(records: Sequence[Record]) -> str | None:
    """Return a warning if a finished search has no result at the largest budget; None: it has one."""
    if search_state(records, alive=False) != "finished":
        return None
    study, results = opened(records).study, evaluation_results(records)
    longest = max((result.evaluation.to_epoch for result in results if result.ranked is not None), default=None)
    largest = study["budget"]["max"]
    if longest is None or longest >= largest:
        return None
    failed = sum(result.status == "failed" for result in results)
    why = f"{failed} evaluations failed" if failed else "it ended too early; give --brackets +1 or --evaluations +9"
    if ended_by_time(records):
        why = "its time limit ended it; give --hours +1"
    return f"no configuration has a result at {largest} epochs, the best one only at {longest}: {why}"


def search_state(records: Sequence[Record], *, alive: bool) -> Literal["running", "interrupted", "finished", "failed"]:
    """Return the state of a search.

    Args:
        records: Its journal.
        alive: Whether a driver holds the journal.
    """
    if alive:
        return "running"
    last = records[-1] if records else None
    return last.state if isinstance(last, Closed) else "interrupted"


def reliability_of_rungs(records: Sequence[Record]) -> list[RungReliability]:
    """Return the reliability of the rungs that have results, the lowest first."""
    return rung_reliability(opened(records).study, outcomes=ended_outcomes(records))


def ended_outcomes(records: Sequence[Record]) -> list[tuple[Evaluation, float | None]]:
    """Return the evaluations that have ended, by number, each with its objective; None for a failure."""
    ended = [result for result in evaluation_results(records) if result.status != "running"]
    return [(result.evaluation, result.objective) for result in ended]


def present_limits(records: Sequence[Record]) -> dict[str, int | None]:
    """Return the limits of a search that was extended, by name; empty if it was not."""
    extensions = [record for record in records if isinstance(record, Extended)]
    return extensions[-1].model_dump(include={"brackets", "evaluations"}) if extensions else {}


TIME_LIMIT_REASON = "time limit"
"""Beginning of the reason in `Closed` if a search ended because its running time was used up."""


def ended_by_time(records: Sequence[Record]) -> bool:
    """Return whether a search ended because of its time limit, before its other limits."""
    last = records[-1] if records else None
    return isinstance(last, Closed) and last.state == "finished" and last.reason.startswith(TIME_LIMIT_REASON)


def present_hours(records: Sequence[Record]) -> float | None:
    """Return the limit of the running time (h), by the last record of it; None: there is none."""
    hours = [record.hours for record in records if isinstance(record, TimeLimit)]
    return hours[-1] if hours else None


def running_seconds(records: Sequence[Record]) -> float:
    """Return the running time of all drivers of a search (s).

    A driver begins with its first record and ends with its last one. Only a driver under a time limit records its
    beginning. If a driver without one was killed, the time until the next record counts.
    """
    total, begun, last = 0.0, None, 0.0
    for record in records:
        if isinstance(record, TimeLimit):
            total, begun = record.used_seconds, None
        if begun is None:
            begun = last = record.time
        last = max(last, record.time)
        if isinstance(record, Closed):
            total, begun = total + last - begun, None
    return total if begun is None else total + last - begun


class RemovedCheckpoints(Settings):
    """Checkpoints that were removed because their configurations are out of the race."""

    configurations: int
    bytes: int
    """Room that they took."""


def removed_checkpoints(records: Sequence[Record]) -> RemovedCheckpoints:
    """Return how many configurations lost their checkpoints, and the room saved."""
    removed = [record for record in records if isinstance(record, Removed)]
    numbers = {number for record in removed for number in record.configurations}
    return RemovedCheckpoints(configurations=len(numbers), bytes=sum(record.bytes for record in removed))


def present_concurrency(records: Sequence[Record]) -> int:
    """Return the number of evaluations at a time, by the last record of it."""
    sizes = [record.concurrency for record in records if isinstance(record, Resized)]
    return sizes[-1] if sizes else opened(records).concurrency


def last_metrics(records: Sequence[Record], config_id: int) -> dict[str, float | None]:
    """Return the metrics of a configuration's last epoch."""
    epochs = [record for record in records if isinstance(record, EpochDone) and record.config_id == config_id]
    return max(epochs, key=lambda record: record.epoch).metrics if epochs else {}


def status_document(
    records: Sequence[Record],
    *,
    alive: bool,
    mlflow_runs: dict[int, str] | None = None,
    stop_request: StopRequest | None = None,
    with_rungs: bool = True,
) -> dict[str, Any]:
    """Return the JSON document of ``emotune status NAME --json``.

    Args:
        records: The journal.
        alive: Whether a driver holds the journal.
        mlflow_runs: MLflow's run id by configuration number.
        stop_request: The last request to stop. It is in the document while the driver that it is for runs.
        with_rungs: Include the reliability of the rungs; it takes a fit of the search's model.
    """
    first = opened(records)
    results = evaluation_results(records)
    objective = first.study["objective"]
    incumbent = find_best(results, mode=objective["mode"])
    runs = mlflow_runs or {}
    removed, hours = removed_checkpoints(records), present_hours(records)
    optional = criteria_document(records, results) | {
        "stop_requested": stop_request if alive else None,
        "running_hours": None if hours is None else {"limit": hours, "used": running_seconds(records) / 3600},
        "checkpoints_removed": removed.model_dump() if removed.configurations else None,
    }
    return {
        "name": first.name,
        "state": search_state(records, alive=alive),
        "study_digest": first.digest,
        "seed": first.seed,
        "concurrency": present_concurrency(records),
        "budget": first.study["budget"] | present_limits(records) | {"unit": "epochs"},
        "objective": objective,
        "evaluations": [_evaluation_document(result, runs) for result in results],
        "best": None if incumbent is None else incumbent.model_dump(mode="json", exclude_none=True),
        "warning": shortfall(records),
        "rungs": [rung.model_dump(mode="json") for rung in reliability_of_rungs(records)] if with_rungs else [],
        **{name: value for name, value in optional.items() if value is not None},
    }


def _evaluation_document(result: EvaluationResult, runs: dict[int, str]) -> dict[str, Any]:
    measured = {} if result.measured is None else {"measured": result.measured}
    return result.evaluation.model_dump(mode="json") | {
        "status": result.status,
        "objective": result.objective,
        "seconds": result.seconds,
        "error": result.error,
        "mlflow_run_id": runs.get(result.evaluation.config_id),
        **measured,
    }


def criteria_document(records: Sequence[Record], results: Sequence[EvaluationResult]) -> dict[str, Any]:
    """Return what the document of a search with several objectives or with constraints has besides.

    Returns:
        ``objectives`` and ``front``, with several objectives; ``constraints``, and ``feasible`` (the number of
        evaluations that meet them), with constraints. Nothing else, and nothing for other searches.
    """
    criteria = criteria_of(records)
    document: dict[str, Any] = {}
    if len(criteria.objectives) > 1:
        document["objectives"] = [objective.model_dump(mode="json") for objective in criteria.objectives]
        document["front"] = [entry.model_dump(mode="json", exclude_none=True) for entry in find_front(results)]
    if criteria.constraints:
        limits = criteria.constraints.items()
        document["constraints"] = {name: limit.model_dump(mode="json", exclude_none=True) for name, limit in limits}
        document["feasible"] = sum(result.score is not None and not result.score.violation for result in results)
    return document
