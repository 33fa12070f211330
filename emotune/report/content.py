"""The content of a page about one search, as plain JSON: everything that its tables and charts show."""

import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from emotune.report.axes import SettingAxis, objective_axis, setting_axes
from emotune.report.costs import cost_of, timeline_of
from emotune.report.data_summary import try_summary
from emotune.report.dependence import partial_dependence
from emotune.report.estimates import estimate_document
from emotune.report.importance import setting_importances
from emotune.report.journal_tables import (
    further_metrics,
    held_out_scores,
    incumbents,
    leaderboard,
    learning_curves,
    objective_of,
    random_search,
    rank_agreement,
    rung_weights,
    trivial_baselines,
)
from emotune.search.records import Record, Value
from emotune.search.stopping import in_words
from emotune.study.folder import SearchFolder
from emotune.study.results import (
    criteria_document,
    ended_outcomes,
    evaluation_results,
    find_best,
    opened,
    present_concurrency,
    present_limits,
    removed_checkpoints,
    search_state,
    shortfall,
)

MAX_CURVE_POINTS = 60_000
"""Points of learning curves on a page at most; of longer journals, the curves of the best configurations are shown."""

MAX_ROWS = 200
"""Rows of the tables of scores and failures at most."""

FIXED_COLUMNS = ("config", "epochs", "objective", "status", "origin", "bracket", "seconds")
"""Columns of the leaderboard before the settings."""

LONG_EPOCHS = 500
"""Epochs of the long training that the page proposes."""

CROSSVAL_FILE = "crossval.json"
"""Result of a cross-validation in its folder."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A search and what a page about it is made from."""

    records: Sequence[Record]
    folder: SearchFolder | None = None
    """Folder with checkpoints; None: only the journal is used."""
    alive: bool = False
    """Whether a driver holds the journal."""
    storage: str | None = None
    """``--storage`` of the proposed commands; None: the default."""
    trials_per_gpu: int = 1
    """Evaluations that share a GPU."""
    draw_signals: bool = True
    """Whether held-out segments are drawn."""
    price_per_hour: float | None = None
    """Price of an hour of a GPU, or of a CPU where there is no GPU; None: the page has no prices."""


def page_content(source: Source) -> Document:
    """Return the content of a page about one search."""
    records = source.records
    first, objective = opened(records), objective_of(records)
    results = evaluation_results(records)
    table = leaderboard(records)
    metrics = further_metrics(records)
    is_search = first.purpose == "configuration"
    axes = setting_axes(first.study, _configurations(table, metrics=metrics)) if is_search else []
    known = [value for value in table["objective"].tolist() if not _is_missing(value)]
    scale = objective_axis(objective.metric, known, mode=objective.mode)
    best = find_best(results, mode=objective.mode)
    return {
        "name": first.name,
        "purpose": first.purpose,
        "task": _task(source),
        "state": search_state(records, alive=source.alive),
        "begun": first.time,
        "last": records[-1].time,
        "objective": {"metric": objective.metric, "mode": objective.mode},
        "budget": first.study.get("budget", {}),
        "searcher": dict(first.study.get("searcher") or {}).get("kind", "bohb"),
        "settings": [axis.model_dump(mode="json") for axis in axes],
        "objective_axis": None if scale is None else scale.model_dump(mode="json"),
        "configurations": _configuration_columns(table, axes=axes, scale=scale, metrics=metrics),
        **_criteria(records, metrics=metrics),
        "rungs": _rung_results(records),
        "best": None if best is None else best.model_dump(mode="json", exclude_none=True),
        "warning": shortfall(records) if "budget" in first.study and "objective" in first.study else None,
        "commands": _commands(source, found=best is not None),
        "curves": _curves(records, table=table),
        "incumbents": _columns(incumbents(records)),
        "random_search": _columns(random_search(records)),
        "baselines": trivial_baselines(records),
        "importance": _importances(records, axes=axes),
        "dependence": _dependence(records, axes=axes),
        "agreement": _rows(rank_agreement(records)),
        "rung_weights": _rows(rung_weights(records)),
        "scores": _scores(records),
        "failures": _failures(records),
        "timeline": timeline_of(records).model_dump(mode="json"),
        "cost": _cost(source),
        "estimate": estimate_document(records, folder=source.folder),
        "removed": removed_checkpoints(records).model_dump(mode="json"),
        "evaluations": len(results),
        "failed": sum(result.status == "failed" for result in results),
        "data": _data(first.study),
        "predictions": _predictions(source, found=best is not None),
        "crossval": _cross_validation(source),
        **_provenance(records),
    }


def _criteria(records: Sequence[Record], *, metrics: Sequence[str]) -> Document:
    """Return the metrics after the first one, and the objectives and constraints with the front."""
    return {"metrics": list(metrics), "criteria": criteria_document(records, evaluation_results(records))}


def _cost(source: Source) -> Document:
    """Return the cost of a search, with the price of an hour."""
    cost = cost_of(source.records, trials_per_gpu=source.trials_per_gpu)
    return {**cost.model_dump(mode="json"), "saved_s": cost.saved_s, "price_per_hour": source.price_per_hour}


def _provenance(records: Sequence[Record]) -> Document:
    """Return the study, the versions, and what else describes how the search was run."""
    first, limits = opened(records), present_limits(records)
    return {
        "study": yaml.safe_dump(first.study, sort_keys=False, allow_unicode=True),
        "software": first.software,
        "digest": first.digest,
        "seed": first.seed,
        "concurrency": present_concurrency(records),
        "limits": in_words(**limits) if limits else "",
        "warm_start": list(first.warm_start),
    }


def _task(source: Source) -> str:
    base = opened(source.records).study.get("base") or {}
    return str((base.get("task") or {}).get("kind", ""))


def _configurations(table: pd.DataFrame, *, metrics: Sequence[str]) -> list[dict[str, Value]]:
    """Return the values of each row of the leaderboard, without the absent ones and the further metrics."""
    names = [name for name in table.columns if name not in {*FIXED_COLUMNS, *metrics}]
    columns = {name: table[name].tolist() for name in names}
    return [
        {name: values[row] for name, values in columns.items() if not _is_missing(values[row])}
        for row in range(len(table))
    ]


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN, the missing value of pandas


def _configuration_columns(
    table: pd.DataFrame, *, axes: Sequence[SettingAxis], scale: SettingAxis | None, metrics: Sequence[str]
) -> Document:
    """Return the leaderboard by columns, with the positions of the settings and the objective on their axes."""
    configurations = _configurations(table, metrics=metrics)
    objectives = _plain(table["objective"])
    return {
        **{name: _plain(table[name]) for name in FIXED_COLUMNS},
        "values": configurations,
        "measured": {name: _plain(table[name]) for name in metrics},
        "positions": [[axis.position(values.get(axis.name)) for axis in axes] for values in configurations],
        "objective_position": [
            None if scale is None or value is None else min(1.0, max(0.0, scale.position(value) or 0.0))
            for value in objectives
        ],
    }


def _rung_results(records: Sequence[Record]) -> list[Document]:
    """Return the objective of each configuration at each rung: ``epochs``, ``config`` and ``objective``."""
    rungs: dict[int, Document] = {}
    for result in evaluation_results(records):
        if result.status != "done" or result.objective is None:
            continue
        epochs = result.evaluation.to_epoch
        rung = rungs.setdefault(epochs, {"epochs": epochs, "config": [], "objective": []})
        rung["config"].append(result.evaluation.config_id)
        rung["objective"].append(result.objective)
    return [rungs[epochs] for epochs in sorted(rungs)]


def _importances(records: Sequence[Record], *, axes: Sequence[SettingAxis]) -> list[Document]:
    """Return the importances of all settings per rung, and the number of results of each rung, the lowest first."""
    if not axes:
        return []
    sign = 1.0 if objective_of(records).mode == "min" else -1.0
    rungs: dict[int, list[tuple[dict[str, Value], float]]] = {}
    for result in evaluation_results(records):
        if result.status == "running":
            continue
        failed = result.status == "failed" or result.objective is None
        loss = float("inf") if failed else sign * (result.objective or 0.0)
        rungs.setdefault(result.evaluation.to_epoch, []).append((result.evaluation.values, loss))
    documents = []
    for epochs, results in sorted(rungs.items()):
        values, losses = zip(*results, strict=True)
        importances = setting_importances(axes, values, losses=losses)
        documents.append(
            {
                "epochs": epochs,
                "results": len(results),
                "settings": [importance.model_dump() for importance in importances],
            }
        )
    return documents


def _dependence(records: Sequence[Record], *, axes: Sequence[SettingAxis]) -> Document | None:
    """Return the partial dependence of the objective on each setting; None with too few results."""
    dependence = partial_dependence(opened(records).study, axes, outcomes=ended_outcomes(records)) if axes else None
    return None if dependence is None else dependence.model_dump()


def _curves(records: Sequence[Record], *, table: pd.DataFrame) -> Document:
    """Return the learning curves: by metric, then by configuration, the epochs and the values.

    The objective is always there. Training and validation losses are added while the page stays small.
    """
    objective = objective_of(records).metric
    frame = learning_curves(records)
    shown: Document = {}
    points = 0
    for metric in dict.fromkeys([objective, "val/loss", "train/loss", "val/macro_f1", "probe/macro_f1"]):
        part = frame[frame["metric"] == metric]
        if part.empty or (shown and points + len(part) > MAX_CURVE_POINTS):
            continue
        curves = {int(str(number)): curve for number, curve in part.groupby("config")}
        documents: Document = {}
        for number in table["config"]:
            if number in curves and points < MAX_CURVE_POINTS:
                points += len(curves[number])
                documents[str(number)] = {
                    "epochs": curves[number]["epoch"].tolist(),
                    "values": curves[number]["value"].tolist(),
                }
        shown[metric] = {"configurations": len(curves), "curves": documents}
    return shown


def _scores(records: Sequence[Record]) -> list[Document]:
    """Return the held-out metrics, a row per configuration: ``config``, and its metrics by name."""
    rows: dict[int, Document] = {}
    for row in _rows(held_out_scores(records)):
        rows.setdefault(row["config"], {"config": row["config"]})[row["metric"]] = row["value"]
    columns = dict.fromkeys(name for row in rows.values() for name in row)
    return [dict.fromkeys(columns) | row for row in rows.values()][:MAX_ROWS]


def _failures(records: Sequence[Record]) -> list[Document]:
    return [
        {
            "config": result.evaluation.config_id,
            "to epoch": result.evaluation.to_epoch,
            "error": result.error or "",
        }
        for result in evaluation_results(records)
        if result.status == "failed"
    ][:MAX_ROWS]


def _commands(source: Source, *, found: bool) -> list[str]:
    """Return the commands that use the best configuration."""
    name = opened(source.records).name
    if not found:
        return []
    options = (
        [] if source.storage in {None, os.environ.get("EMOTUNE_STORAGE", "results")} else ["--storage", source.storage]
    )
    classifies = _task(source) == "classify"
    match opened(source.records).purpose:
        case "configuration":
            file = f"{name}-best.yaml"
            long = (
                ["emotune", "crossval", file, "--protocol", "subject"]
                if classifies
                else ["emotune", "pretrain", file, "--epochs", str(LONG_EPOCHS), "--name", f"{name}-long"]
            )
            commands = [["emotune", "best", name, "--out", file], long]
        case "pretrain":
            commands = [["emotune", "finetune", "examples/finetune.yaml", "--encoder", name]]
        case _:
            commands = [["emotune", "predict", name, "RECORDING"]]
    return [shlex.join([*command, *(str(option) for option in options)]) for command in commands]


def _data(study: Document) -> Document:
    summary, reason = try_summary(study)
    return {"summary": None if summary is None else summary.model_dump(mode="json"), "reason": reason}


def _predictions(source: Source, *, found: bool) -> Document:
    """Return what the best network predicts: ``masked`` segments or a ``classification``, or the ``reason`` of neither.

    torch is imported only here, and only if there are a store and checkpoints.
    """
    nothing: Document = {"masked": None, "waves": None, "scalp": None, "classification": None, "reason": ""}
    task, folder = _task(source), source.folder
    if task not in {"masked_values", "classify"} or not found:
        return nothing
    if folder is None or not (folder.storage / "configurations").folders():
        return nothing | {"reason": "the checkpoints are not on this machine"}
    if task == "masked_values" and not source.draw_signals:
        return nothing | {"reason": "the page was made with --no-signals"}
    summary, reason = try_summary(opened(source.records).study)
    if summary is None:
        return nothing | {"reason": reason}
    from emotune.report.predictions import try_classification, try_masked

    if task == "masked_values":
        masked, reason = try_masked(source.records, folder=folder)
        document = {} if masked is None else masked.model_dump(mode="json")
        shown = {"masked": document.get("drawn"), "waves": document.get("waves"), "scalp": document.get("scalp")}
        return nothing | shown | {"reason": reason}
    result, reason = try_classification(source.records, folder=folder)
    return nothing | {
        "classification": None if result is None else result.model_dump(mode="json"),
        "reason": reason,
    }


def _cross_validation(source: Source) -> Document | None:
    """Return the folds of a finished cross-validation: their scores, means and intervals; None for anything else."""
    if opened(source.records).purpose != "fold" or source.folder is None:
        return None
    content = source.folder.storage.read(CROSSVAL_FILE)
    if content is None:
        return None
    from emotune.evaluation.crossval import CrossValidation

    return CrossValidation.model_validate(json.loads(content)).document()


def _columns(frame: pd.DataFrame) -> Document:
    return {str(name): _plain(frame[name]) for name in frame.columns}


def _rows(frame: pd.DataFrame) -> list[Document]:
    columns = _columns(frame)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _plain(column: Any) -> list[Any]:
    """Return a column of a table as a list, with None for missing values."""
    return [None if _is_missing(value) else value for value in column.astype(object).tolist()]
