"""A search's journal as pandas tables in long format."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotune.search.ranking import Result, best, ordered
from emotune.search.records import EpochDone, Record
from emotune.study.results import EvaluationResult, criteria_of, evaluation_results, opened, reliability_of_rungs

MIN_RANDOM_RESULTS = 4
"""Random configurations with a result at the largest budget that the curve of a random search needs."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """The metric that a search optimises, and its direction (``min`` or ``max``)."""

    metric: str
    mode: str


def objective_of(records: Sequence[Record]) -> Objective:
    """Return the objective of the study; the validation loss if the study has none."""
    settings = opened(records).study.get("objective") or {}
    return Objective(metric=settings.get("metric", "val/loss"), mode=settings.get("mode", "min"))


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per configuration, the best first.

    Configurations are in the order `emotune.search.ranking.ordered` of their last result. Those without a result come
    last, by number.

    Returns:
        Columns ``config``, ``epochs`` (trained with a result), ``objective``, ``status`` (of the last
        evaluation), ``origin``, ``bracket``, ``seconds`` (training time), and one per searched value. With several
        objectives or constraints, one per further metric after ``objective``.
    """
    groups: dict[int, list[EvaluationResult]] = {}
    for result in evaluation_results(records):
        groups.setdefault(result.evaluation.config_id, []).append(result)
    columns = ["config", "epochs", "objective", "status", "origin", "bracket", "seconds"]
    mode = objective_of(records).mode
    done = {number: _last_result(results) for number, results in groups.items()}
    known = {number: result for number, result in done.items() if result is not None}
    order = [*ordered(known, mode=mode), *(number for number in groups if number not in known)]
    if not groups:
        return pd.DataFrame(columns=columns)
    metrics = further_metrics(records)
    rows = [_row(results, result=done[number], metrics=metrics) for number, results in groups.items()]
    return pd.DataFrame(rows, index=pd.Index(groups)).loc[order].reset_index(drop=True)


def _last_result(results: list[EvaluationResult]) -> Result | None:
    """Return the last result of a configuration's evaluations that were done; None if there is none."""
    done = [result.ranked for result in results if result.ranked is not None]
    return done[-1] if done else None


def further_metrics(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the metrics of the objectives after the first one, and of the constraints."""
    criteria = criteria_of(records)
    return criteria.metrics[1:] if criteria.has_scores else ()


def _row(results: list[EvaluationResult], *, result: Result | None, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the row of one configuration from its evaluations in the order of decisions, and its last result."""
    first, last = results[0], results[-1]
    measured = next((other.measured or {} for other in reversed(results) if other.ranked is not None), {})
    return {
        "config": first.evaluation.config_id,
        "epochs": 0 if result is None else result.evaluation.to_epoch,
        "objective": None if result is None else result.objective,
        **{name: measured.get(name) for name in metrics},
        "status": last.status,
        "origin": first.evaluation.origin,
        "bracket": first.evaluation.bracket,
        "seconds": sum((result.seconds or 0.0 for result in results), start=0.0),
        **first.evaluation.values,
    }


def learning_curves(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per configuration, epoch and metric: ``config``, ``epoch``, ``metric``, ``value``."""
    rows = [
        (record.config_id, record.epoch, metric, value)
        for record in records
        if isinstance(record, EpochDone)
        for metric, value in record.metrics.items()
        if value is not None
    ]
    frame = pd.DataFrame(rows, columns=["config", "epoch", "metric", "value"])
    return frame.sort_values(["config", "epoch"], kind="stable", ignore_index=True)


def incumbents(records: Sequence[Record]) -> pd.DataFrame:
    """Return the incumbent after each evaluation.

    Returns:
        One row per evaluation with a result, in the order of their ends: ``trained`` (epochs of all
        evaluations until then), ``seconds`` (since the first record), ``epochs``, ``objective`` and ``config`` of the
        best of the configurations trained longest.
    """
    mode, trained, rows = objective_of(records).mode, 0, []
    criteria = criteria_of(records)
    incumbent: Result | None = None
    by_id = {result.evaluation.id: result for result in evaluation_results(records)}
    for record in records:
        if record.kind != "ended":
            continue
        evaluation = by_id[record.evaluation_id].evaluation
        trained += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is None:
            continue
        known = [] if incumbent is None else [incumbent]
        incumbent = best([*known, criteria.ranked(evaluation, record)], mode=mode)
        if incumbent is not None:
            seconds = record.time - records[0].time
            number = incumbent.evaluation.config_id
            rows.append((trained, seconds, incumbent.evaluation.to_epoch, incumbent.objective, number))
    return pd.DataFrame(rows, columns=["trained", "seconds", "epochs", "objective", "config"])


def random_search(records: Sequence[Record]) -> pd.DataFrame:
    """Return the expected incumbent of a random search that trains every configuration to the largest budget.

    The results y_(1) <= ... <= y_(m) at the largest budget of the configurations that were drawn at random are taken as
    the distribution of a random configuration. The best of n draws from it is expected to be (losses, minimised)::

        E[best of n] = sum over k of y_(k) [((m - k + 1) / m)^n - ((m - k) / m)^n]

    A search with early stopping promotes the better ones of its random configurations, so that the curve is better than
    that of a true random search.

    Returns:
        Columns ``trained`` (epochs) and ``objective``; empty with fewer than `MIN_RANDOM_RESULTS` results, or if the
        search is a random search.
    """
    study, objective = opened(records).study, objective_of(records)
    largest = study.get("budget", {}).get("max")
    results = evaluation_results(records)
    drawn = {result.evaluation.config_id for result in results if result.evaluation.origin == "random"}
    values = [
        result.objective
        for result in results
        if result.status == "done"
        and result.objective is not None
        and result.evaluation.to_epoch == largest
        and result.evaluation.config_id in drawn
    ]
    is_random = dict(study.get("searcher") or {}).get("kind") == "random"
    table = pd.DataFrame(columns=["trained", "objective"])
    if is_random or len(values) < MIN_RANDOM_RESULTS or largest is None:
        return table
    ordered = np.sort(values)[:: 1 if objective.mode == "min" else -1]
    epochs = sum(result.evaluation.to_epoch - result.evaluation.from_epoch for result in results)
    draws = np.arange(1, max(1, epochs // largest) + 1)
    left = np.arange(len(ordered), -1, -1) / len(ordered)
    weights = left[None, :-1] ** draws[:, None] - left[None, 1:] ** draws[:, None]
    return pd.DataFrame({"trained": draws * largest, "objective": weights @ ordered})


def trivial_baselines(records: Sequence[Record]) -> dict[str, float]:
    """Return the objective of predictions that need no learning, by name: those that the epochs of a search record."""
    metric = objective_of(records).metric
    names = {f"{metric}_zero": "predicting zero", f"{metric}_interpolated": "linear interpolation"}
    found: dict[str, float] = {}
    for record in records:
        if isinstance(record, EpochDone):
            found |= {
                names[name]: value for name, value in record.metrics.items() if name in names and value is not None
            }
            if len(found) == len(names):
                break
    return found


def rank_agreement(records: Sequence[Record]) -> pd.DataFrame:
    """Return Spearman's rank correlation of the objectives between each pair of rungs.

    Only configurations with a result at both rungs are compared. As only the best are promoted, the correlation
    among all configurations is usually higher.

    Returns:
        One row per pair of rungs: ``fewer`` and ``more`` epochs, ``configurations`` shared, ``spearman``
        (missing for fewer than three configurations, or if all objectives at a rung are equal).
    """
    done = [
        result for result in evaluation_results(records) if result.status == "done" and result.objective is not None
    ]
    rows = [(result.evaluation.config_id, result.evaluation.to_epoch, result.objective) for result in done]
    table = pd.DataFrame(rows, columns=["config", "epochs", "objective"]).pivot_table(
        index="config", columns="epochs", values="objective"
    )
    pairs = [
        (fewer, more, *_spearman(table.filter([fewer, more]).dropna()))
        for fewer, more in itertools.combinations(sorted(table.columns), 2)
    ]
    return pd.DataFrame(pairs, columns=["fewer", "more", "configurations", "spearman"])


def rung_weights(records: Sequence[Record]) -> pd.DataFrame:
    """Return the weight of each rung in a model that uses the results of all rungs; empty for other models.

    Returns:
        One row per rung with a known weight: ``epochs``, ``results``, ``weight``.
    """
    known = [rung for rung in reliability_of_rungs(records) if rung.weight is not None]
    return pd.DataFrame([rung.model_dump() for rung in known], columns=["epochs", "results", "weight"])


def _spearman(pair: pd.DataFrame) -> tuple[int, float | None]:
    ranks = pair.rank()
    if len(pair) < 3 or (ranks.nunique() < 2).any():
        return len(pair), None
    return len(pair), float(ranks.iloc[:, 0].corr(ranks.iloc[:, 1]))


def held_out_scores(records: Sequence[Record]) -> pd.DataFrame:
    """Return the last ``test/...`` metrics of each configuration, one row per metric."""
    curves = learning_curves(records)
    held_out = [str(metric).startswith("test/") for metric in curves["metric"]]
    return curves.loc[held_out].drop_duplicates(["config", "metric"], keep="last", ignore_index=True)
