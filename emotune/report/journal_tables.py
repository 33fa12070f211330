"""A search's journal as pandas tables in long format."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotune.search.records import EpochDone, Record
from emotune.study.results import EvaluationResult, evaluation_results, opened, reliability_of_rungs


@dataclasses.dataclass(frozen=True)
class Objective:
    """The metric that a search optimises, and its direction (``min`` or ``max``)."""

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """1 if a lower value is better, -1 if a higher value is."""
        return 1 if self.mode == "min" else -1


def objective_of(records: Sequence[Record]) -> Objective:
    """Return the objective of the study; the validation loss if the study has none."""
    settings = opened(records).study.get("objective") or {}
    return Objective(metric=settings.get("metric", "val/loss"), mode=settings.get("mode", "min"))


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """Return one row per configuration, the best first.

    Rows are sorted by trained epochs, then by objective: objectives after different numbers of epochs are not
    comparable. Configurations without a result come last.

    Returns:
        Columns ``config``, ``epochs`` (trained with a result), ``objective``, ``status`` (of the last
        evaluation), ``origin``, ``bracket``, ``seconds`` (training time), and one per searched value.
    """
    groups: dict[int, list[EvaluationResult]] = {}
    for result in evaluation_results(records):
        groups.setdefault(result.evaluation.config_id, []).append(result)
    columns = ["config", "epochs", "objective", "status", "origin", "bracket", "seconds"]
    frame = pd.DataFrame([_row(results) for results in groups.values()])
    if frame.empty:
        return pd.DataFrame(columns=columns)
    order = pd.DataFrame(
        {
            "epochs": -frame["epochs"],
            "objective": objective_of(records).sign * frame["objective"].astype(float),
        }
    )
    return frame.loc[order.sort_values(["epochs", "objective"], kind="stable").index].reset_index(drop=True)


def _row(results: list[EvaluationResult]) -> dict[str, Any]:
    """Return the row of one configuration from its evaluations, in the order of their decisions."""
    first, last = results[0], results[-1]
    done = [result for result in results if result.status == "done" and result.objective is not None]
    return {
        "config": first.evaluation.config_id,
        "epochs": done[-1].evaluation.to_epoch if done else 0,
        "objective": done[-1].objective if done else None,
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
    sign, trained, rows = objective_of(records).sign, 0, []
    best: tuple[int, float] | None = None
    by_id = {result.evaluation.id: result for result in evaluation_results(records)}
    for record in records:
        if record.kind != "ended":
            continue
        evaluation = by_id[record.evaluation_id].evaluation
        trained += evaluation.to_epoch - evaluation.from_epoch
        if record.objective is None:
            continue
        new = (evaluation.to_epoch, record.objective)
        if best is None or (new[0], -sign * new[1]) > (best[0], -sign * best[1]):
            best = new
        rows.append((trained, *best))
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
