"""The optimiser's tables of evaluations, as hashes; ``python -m tests.golden.tables bohb 3 4`` prints one."""

import hashlib
import json
import math
import sys
from typing import Any

from tests.golden.content import Evaluation, Optimizer, load_space

SEEDS, FEW_SEEDS = range(8), (0, 1, 6, 7)
"""Seeds; `FEW_SEEDS` are for hpbandster's model, which takes four times as long as all others together."""
WORKERS = (1, 4)
EVALUATIONS, EXTENSION = 40, 6
"""Number of evaluations of a search, and of its extension, which has twice as many workers."""
FREE_ORDER_SEEDS = (6, 7)
"""Seeds whose searches have free order: the optimiser uses results in the order of their arrival."""
DIGITS = 10
"""Significant digits of the floats in a table.

The Gaussian processes compute with BLAS and LAPACK, whose last bits depend on the kind of CPU, and so do those of
NumPy's ``exp`` and ``log``. The decisions must be equal; the last bits of the values need not be.
"""

FAILURE_INTERVAL = 13
"""One evaluation in 13 fails; with hpbandster's model none fails.

hpbandster sorts by loss with an unstable ``np.argsort``. On CPUs without AVX2, equal losses (as those of failures)
get another order.
"""

VARIANTS: dict[str, dict[str, Any]] = {
    "bohb": {"kind": "bohb", "random_fraction": 0.1},
    "bohb-rungs": {"kind": "bohb", "model": "rungs", "random_fraction": 0.1},
    "bohb-hpbandster": {"kind": "bohb", "model": "hpbandster"},
    "hyperband": {"kind": "hyperband"},
    "asha": {"kind": "asha"},
    "random": {"kind": "random"},
}

SPACE: dict[str, Any] = {
    "hyperparameters": [
        {"name": "optim.lr", "type": "uniform_float", "lower": 1e-5, "upper": 1e-1, "log": True},
        {"name": "model.dropout", "type": "uniform_float", "lower": 0.0, "upper": 0.5},
        {"name": "model.layers", "type": "uniform_int", "lower": 1, "upper": 4},
        {"name": "model.heads", "type": "ordinal", "sequence": [1, 2, 4, 8]},
        {"name": "optim.schedule", "type": "categorical", "choices": ["linear", "step", "none"]},
        {"name": "optim.step_factor", "type": "uniform_float", "lower": 0.3, "upper": 1.0},
    ],
    "conditions": [{"type": "EQ", "child": "optim.step_factor", "parent": "optim.schedule", "value": "step"}],
    "forbiddens": [
        {
            "type": "AND",
            "clauses": [
                {"type": "EQUALS", "name": "model.layers", "value": 4},
                {"type": "EQUALS", "name": "model.heads", "value": 8},
            ],
        }
    ],
}


def hashes(variant: str) -> dict[str, dict[str, Any]]:
    """Return the hash of every table of a variant, its number of rows, and that of its model's proposals."""
    results = {}
    for seed in FEW_SEEDS if "hpbandster" in variant else SEEDS:
        for workers in WORKERS:
            rows = table(variant, seed=seed, workers=workers)
            text = json.dumps(rounded(rows), sort_keys=True)
            results[f"seed {seed}, workers {workers}"] = {
                "rows": len(rows),
                "from the model": sum(row["origin"] == "model" for row in rows),
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
    return results


def table(variant: str, *, seed: int, workers: int) -> list[dict[str, Any]]:
    """Return all evaluations of a search and of its extension, each with its loss (None: failed)."""
    optimizer = Optimizer(
        load_space(SPACE),
        min_budget=1,
        max_budget=9,
        eta=3,
        seed=seed,
        concurrency=workers,
        evaluations=EVALUATIONS,
        order="free" if seed in FREE_ORDER_SEEDS else "strict",
        cost=lambda values: 1.0 + float(values["model.layers"]),
        **VARIANTS[variant],
    )
    _run(optimizer, workers=workers)
    optimizer.extend(evaluations=EVALUATIONS + EXTENSION)
    optimizer.resize(2 * workers)
    _run(optimizer, workers=2 * workers)
    return [_row(evaluation, loss=loss) for evaluation, loss in optimizer.results()]


def _run(optimizer: Optimizer, *, workers: int) -> None:
    """Run a search with simulated workers, whose evaluations end in another order than they start."""
    ends: dict[int, float] = {}
    now = 0.0
    while not optimizer.finished:
        evaluation = optimizer.ask() if len(ends) < workers else None
        if evaluation is not None:
            epochs = evaluation.to_epoch - evaluation.from_epoch
            ends[evaluation.id] = now + epochs * (1 + evaluation.id * 5 % 7)
            continue
        number = min(ends, key=lambda running: (ends[running], running))
        now = ends.pop(number)
        running = {evaluation.id: evaluation for evaluation in optimizer.running()}
        fails = optimizer.settings.model != "hpbandster" and number % FAILURE_INTERVAL == 7
        optimizer.tell(number, None if fails else loss_of(running[number]))


def loss_of(evaluation: Evaluation) -> float:
    """Return a loss that is smooth in the floats, so that the last bit of a value does not change their order."""
    values: dict[str, Any] = evaluation.values
    loss = 0.1 * (math.log10(values["optim.lr"]) + 2.7) ** 2 + 0.7 * (values["model.dropout"] - 0.13) ** 2
    loss += 0.03 * abs(values["model.layers"] - 3) + 0.011 * abs(values["model.heads"] - 4)
    loss += {"linear": 0.05, "none": 0.08}.get(values["optim.schedule"], 0.0)
    loss += 0.2 * (values.get("optim.step_factor", 0.6) - 0.65) ** 2
    # Larger learning rates are better at first and worse later, so that low rungs mislead slightly.
    return loss + (0.3 - 0.04 * math.log10(values["optim.lr"])) / evaluation.to_epoch


def _row(evaluation: Evaluation, *, loss: float | None) -> dict[str, Any]:
    return {**evaluation.model_dump(mode="json"), "loss": loss}


def rounded(content: Any) -> Any:
    """Return JSON with all floats rounded to `DIGITS` significant digits."""
    if isinstance(content, float):
        return float(f"{content:.{DIGITS - 1}e}")
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return content


if __name__ == "__main__":
    name, seed, workers = sys.argv[1:]
    for row in rounded(table(name, seed=int(seed), workers=int(workers))):
        sys.stdout.write(json.dumps(row) + "\n")
