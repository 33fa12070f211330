"""A search's journal as pandas tables in long format."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotune.search.ranking import Result, best, rank
from emotune.search.records import EpochDone, Record
from emotune.study.results import EvaluationResult, evaluation_results, opened, reliability_of_rungs


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

    Configurations are ordered by `emotune.search.ranking.rank` of their last result. Those without a result come
    last, by number.

    Returns:
        Columns ``config``, ``epochs`` (trained with a result), ``objective``, ``status`` (of the last
        evaluation), ``origin``, ``bracket``, ``seconds`` (training time), and one per searched value.
    """
    groups: dict[int, list[EvaluationResult]] = {}
    for result in evaluation_results(records):
        groups.setdefault(result.evaluation.config_id, []).append(result)
    columns = ["config", "epochs", "objective", "status", "origin", "bracket", "seconds"]
    mode = objective_of(records).mode
    done = {number: _last_result(results) for number, results in groups.items()}
    ranks = {number: rank(result, mode=mode) for number, result in done.items() if result is not None}
    order = [*sorted(ranks, key=ranks.__getitem__), *(number for number in groups if number not in ranks)]
    if not groups:
        return pd.DataFrame(columns=columns)
    rows = [_row(results, result=done[number]) for number, results in groups.items()]
    return pd.DataFrame(rows, index=pd.Index(groups)).loc[order].reset_index(drop=True)


def _last_result(results: list[EvaluationResult]) -> Result | None:
    """Return the last result of a configuration's evaluations that were done; None if there is none."""
    done = [
        Result(result.evaluation, result.objective)
        for result in results
        if result.status == "done" and result.objective is not None
    ]
    return done[-1] if done else None


def _row(results: list[EvaluationResult], *, result: Result | None) -> dict[str, Any]:
    """Return the row of one configuration from its evaluations in the order of decisions, and its last result."""
    first, last = results[0], results[-1]
    return {
        "config": first.evaluation.config_id,
        "epochs": 0 if result is None else result.evaluation.to_epoch,
        "objective": None if result is None else result.objective,
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
        evaluations until then), ``epochs`` and ``objective`` of the best of the configurations trained longest.
    """
    mode, trained, rows = objective_of(records).mode, 0, []
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
        incumbent = best([*known, (evaluation, record.objective)], mode=mode)
        if incumbent is not None:
            rows.append((trained, incumbent.evaluation.to_epoch, incumbent.objective))
    return pd.DataFrame(rows, columns=["trained", "epochs", "objective"])


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
