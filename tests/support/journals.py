"""Journals of searches that never trained: the real optimiser on a formula in place of a network."""

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

from emotune.randomness import stream
from emotune.search import Optimizer
from emotune.search.records import Closed, Ended, EpochDone, Evaluation, Opened, Record, Started, Value
from emotune.study.space import load_space

SPACE: dict[str, Any] = {
    "hyperparameters": [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-5, "upper": 1e-1, "log": True, "default_value": 1e-3},
        {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 6, "default_value": 2},
        {"name": "model.heads", "type": "categorical", "choices": [1, 2, 4], "default_value": 2},
        {"name": "model.dropout", "type": "uniform_float", "lower": 0.0, "upper": 0.5, "default_value": 0.1},
        {"name": "batch_size", "type": "uniform_int", "lower": 8, "upper": 512, "log": True, "default_value": 64},
        {"name": "optim.schedule", "type": "categorical", "choices": ["linear", "step"], "default_value": "linear"},
        {"name": "optim.step_factor", "type": "uniform_float", "lower": 0.3, "upper": 1.0, "default_value": 0.65},
    ],
    "conditions": [{"type": "EQ", "child": "optim.step_factor", "parent": "optim.schedule", "value": "step"}],
}
"""A space with every kind of scale, and a condition."""


def synthetic_search(
    name: str = "synthetic",
    *,
    configurations: int = 30,
    kind: str = "hyperband",
    seed: int = 0,
    concurrency: int = 4,
    state: str | None = "finished",
    base: Mapping[str, Any] | None = None,
    failing: float = 0.03,
) -> list[Record]:
    """Return the records of a search with a number of configurations, from 1 to 27 epochs.

    Args:
        name: Name of the search.
        configurations: Configurations after which it ends.
        kind: The searcher.
        seed: Seed of the search and of the noise.
        concurrency: Evaluations at a time.
        state: State of the last record; None: the search runs.
        base: The base experiment of the study.
        failing: Share of evaluations that fail.
    """
    study = {
        "base": dict(base or {"task": {"kind": "masked_values"}, "compute": {"threads": 1}}),
        "objective": {"metric": "val/loss", "mode": "min"},
        "budget": {"min": 1, "max": 27, "eta": 3},
        "searcher": {"kind": kind},
        "seed": seed,
        "space": SPACE,
    }
    optimizer = Optimizer(
        load_space(SPACE), min_budget=1, max_budget=27, eta=3, seed=seed, concurrency=concurrency, kind=kind,
        evaluations=None, brackets=None,
    )  # fmt: skip
    opened = Opened(
        time=1.8e9, name=name, study=study, digest="0123456789abcdef", seed=seed, concurrency=concurrency,
        software={"emotune": "0.1.0"},
    )  # fmt: skip
    records: list[Record] = [opened]
    noise = stream(seed, "synthetic journal")
    running: list[tuple[float, int, Evaluation, bool]] = []
    now, closing = 1.8e9, False
    while True:
        while len(running) < concurrency and not closing:
            evaluation = optimizer.ask()
            if evaluation is None:
                break
            if evaluation.config_id >= configurations:
                closing = True
                break
            fails = bool(noise.random() < failing)
            records.append(Started(time=now, evaluation=evaluation))
            seconds = (evaluation.to_epoch - evaluation.from_epoch) * _pace(evaluation.values) * (0.5 if fails else 1.0)
            heapq.heappush(running, (now + seconds, evaluation.id, evaluation, fails))
        if not running:
            break
        now, _, evaluation, fails = heapq.heappop(running)
        records += _epochs_and_end(evaluation, end=now, fails=fails, noise=float(noise.normal()))
        end = records[-1]
        assert isinstance(end, Ended)
        optimizer.tell(evaluation.id, end.objective)
    records.sort(key=lambda record: record.time)  # stable: a start follows the end that it waited for
    if state is not None:
        records.append(Closed(time=now + 1, state=state))  # type: ignore[arg-type]
    return records


def _pace(values: Mapping[str, Value]) -> float:
    """Return the seconds of an epoch."""
    return 2.0 + 1.5 * float(values["model.layers"])


def _loss(values: Mapping[str, Value], *, epochs: int, noise: float) -> float:
    """Return a loss that depends on the learning rate and the layers, and hardly on the dropout."""
    distance = (math.log10(float(values["optim.lr"])) + 2.7) / 2
    floor = 0.25 + 0.35 * min(1.0, distance**2) + 0.03 * abs(float(values["model.layers"]) - 4)
    floor += 0.02 * abs(float(values["model.dropout"]) - 0.1) + 0.01 * noise
    return floor + (1.03 - floor) * math.exp(-epochs / (3 + float(values["model.layers"])))


def _epochs_and_end(evaluation: Evaluation, *, end: float, fails: bool, noise: float) -> list[Record]:
    seconds = (evaluation.to_epoch - evaluation.from_epoch) * _pace(evaluation.values)
    records: list[Record] = []
    objective = None
    for epoch in range(evaluation.from_epoch + 1, evaluation.to_epoch + 1):
        if fails:
            break
        objective = _loss(evaluation.values, epochs=epoch, noise=noise)
        share = (epoch - evaluation.from_epoch) / (evaluation.to_epoch - evaluation.from_epoch)
        metrics: dict[str, float | None] = {
            "train/loss": 0.97 * objective, "val/loss": objective, "val/loss_zero": 1.03, "val/loss_interpolated": 0.71,
        }  # fmt: skip
        records.append(
            EpochDone(
                time=end - seconds * (1 - share), evaluation_id=evaluation.id, config_id=evaluation.config_id,
                epoch=epoch, metrics=metrics,
            )
        )  # fmt: skip
    diverged = fails and evaluation.id % 2 == 0
    records.append(
        Ended(
            time=end, evaluation_id=evaluation.id, config_id=evaluation.config_id, status="failed" if fails else "done",
            objective=objective, seconds=seconds * (0.5 if fails else 1.0),
            error=("the loss is nan" if diverged else "the worker died") if fails else None,
            failure_kind=("diverged" if diverged else "worker_lost") if fails else None,
        )
    )  # fmt: skip
    return records


def with_sizes(records: Sequence[Record], *, limit: float | None = None) -> list[Record]:
    """Return the records of a search as if it had two objectives, the second one ``parameters``.

    Args:
        records: The records of a search with one objective.
        limit: Largest allowed number of parameters; None: no constraint.
    """
    other = [{"metric": "parameters", "mode": "min"}]
    constraints = {} if limit is None else {"constraints": {"parameters": {"max": limit}}}
    sizes: dict[int, float] = {}
    changed: list[Record] = []
    for record in records:
        if isinstance(record, Opened):
            study = {**record.study, "other_objectives": other, **constraints}
            changed.append(record.model_copy(update={"study": study}))
        elif isinstance(record, Ended) and record.objective is not None:
            measured = {"val/loss": record.objective, "parameters": sizes[record.evaluation_id]}
            changed.append(record.model_copy(update={"measured": measured}))
        else:
            if isinstance(record, Started):
                values = record.evaluation.values
                sizes[record.evaluation.id] = 1e4 * float(values["model.layers"]) + float(values["batch_size"])
            changed.append(record)
    return changed
