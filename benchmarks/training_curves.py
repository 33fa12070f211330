"""Compare the losses of the reference and the fast path step by step, from the same weights with the same masks."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.markdown import markdown
from benchmarks.plain_training import as_it_comes, reference_for
from benchmarks.training_cases import SIZES, Case, synthetic_data
from emotune.data.batches import BatchPlan, batches
from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.randomness import derive_seed
from emotune.training.loop import TrainingData, train_epoch

BATCH = 4
EPOCHS = 5
"""Number of epochs. The learning rate rises during the first one and is then constant."""

SMOOTHED_OVER = 20
"""Number of steps of a running mean."""

Settings = dict[str, Any]
CURVES: dict[str, tuple[str, float, Settings]] = {
    "reference, no dropout": ("reference", 0.0, {}),
    "reference, no dropout, nudged": ("reference", 0.0, {"nudge": 1e-7}),
    "fast, no dropout": ("fast", 0.0, {}),
    "fast in float32, no dropout": ("fast", 0.0, {"precision": "fp32"}),
    "reference, dropout 0.1": ("reference", 0.1, {}),
    "reference, dropout 0.1, drawn anew": ("reference", 0.1, {"draw": 1}),
    "fast, dropout 0.1": ("fast", 0.1, {}),
}
"""Curves by name: the program, its dropout (also of the attention), and further options.

``nudged`` starts with weights that differ in the last one or two bits. It shows the effect of rounding alone.
"""

PAIRS = [
    ("reference, no dropout, nudged", "reference, no dropout"),
    ("fast in float32, no dropout", "reference, no dropout"),
    ("fast, no dropout", "reference, no dropout"),
    ("fast, dropout 0.1", "reference, dropout 0.1"),
    ("reference, dropout 0.1, drawn anew", "reference, dropout 0.1"),
]
"""Pairs of curves whose differences are printed."""


def curves_page(given: argparse.Namespace) -> str:
    """Compute the curves that are not in the file yet, draw them, and return their differences as a table."""
    path = given.out / "curves.json"
    curves: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    training_data = material_of(given.store, segments=given.steps // EPOCHS * BATCH)
    for name, (program, dropout, options) in CURVES.items():
        if name not in curves:
            experiment = experiment_of(size=given.size, dropout=dropout, threads=given.threads)
            run = fast_losses if program == "fast" else reference_losses
            curves[name] = list(run(experiment, training_data, **options))
            sys.stderr.write(f"{name}: {len(curves[name])} steps\n")
            path.write_text(json.dumps(curves))
    draw(curves, path=given.out / "curves.png")
    return difference_table(curves)


def material_of(store: Path | None, *, segments: int) -> TrainingData:
    """Return evenly spaced segments of a store, or synthetic ones."""
    if store is None:
        return synthetic_data(Case(), segments=segments)
    opened = SegmentStore.open(store)
    rows = np.linspace(0, len(opened) - 1, segments).astype(np.int64)
    return TrainingData(store=opened, fold=Fold(rows, rows[:0], rows[:0]), labels=None)


def experiment_of(*, size: str, dropout: float, threads: int) -> Experiment:
    """Return a pre-training with masked values."""
    return Experiment.model_validate(
        {
            "model": {**SIZES[size], "dropout": dropout, "attention_dropout": dropout},
            "optim": {"lr": 5e-4, "schedule": "none", "warmup_epochs": 1},
            "batch_size": BATCH,
            "epochs": EPOCHS,
            "compute": {"threads": threads},
        }
    )


def fast_losses(experiment: Experiment, training_data: TrainingData, *, precision: str = "auto") -> Iterator[float]:
    """Train with the library's loop and yield the loss of each step."""
    experiment = experiment.with_values({"compute.precision": precision})
    state, plan = experiment.begin_untrained(training_data), experiment.training_plan()
    segments = len(training_data.fold.train)
    while state.epoch < EPOCHS:
        before = sum(state.progress.losses)
        report = train_epoch(state, training_data, plan, pause=lambda: True)
        total = sum(state.progress.losses) if report is None else report.metrics["train/loss"] * segments
        yield (total - before) / BATCH


def reference_losses(
    experiment: Experiment, training_data: TrainingData, *, draw: int = 0, nudge: float = 0.0
) -> Iterator[float]:
    """Train the reference on the batches, masks and learning rates of the library's loop.

    Args:
        experiment: The experiment.
        training_data: Its segments.
        draw: Seed of its dropout.
        nudge: Relative change of each weight, times a standard normal number.
    """
    state, plan, task = experiment.begin_untrained(training_data), experiment.training_plan(), experiment.task
    plain = reference_for(experiment, state, training_data, device=torch.device("cpu"))
    plain.network.train()
    steps = len(training_data.fold.train) // BATCH
    with torch.no_grad():
        for parameter in plain.network.parameters():
            parameter.mul_(1 + nudge * torch.randn_like(parameter))
    torch.manual_seed(draw)
    for epoch in range(1, EPOCHS + 1):
        order = BatchPlan(size=BATCH, seed=plan.seed, epoch=epoch, shuffle=True)
        for number, batch in enumerate(batches(training_data.store, training_data.fold.train, plan=order)):
            step = (epoch - 1) * steps + number
            for group in plain.optimiser.param_groups:
                group["lr"] = plan.optim.learning_rate(step, steps_per_epoch=steps, epochs=plan.epochs)
            generator = torch.Generator().manual_seed(derive_seed(plan.seed, "mask", epoch, number))
            assert task.kind == "masked_values"
            with as_it_comes():
                yield plain.step(batch.signals, task.training_mask.draw(batch, generator=generator))


def smoothed(curve: list[float]) -> np.ndarray:
    """Return the running means over `SMOOTHED_OVER` steps."""
    return np.convolve(curve, np.ones(SMOOTHED_OVER) / SMOOTHED_OVER, mode="valid")


def relative_differences(curve: list[float], other: list[float]) -> np.ndarray:
    """Return ``|curve - other| / other`` of each step."""
    return np.abs(np.subtract(curve, other)) / np.asarray(other)


def difference_table(curves: Mapping[str, list[float]]) -> str:
    """Return a table with the relative differences of the pairs, and the means of their last steps."""
    rows = []
    for name, other in PAIRS:
        differences = relative_differences(curves[name], curves[other])
        largest = int(differences.argmax())
        means = np.abs(smoothed(curves[name]) / smoothed(curves[other]) - 1).max()
        ends = [f"{np.mean(curve[-SMOOTHED_OVER:]):.4f}" for curve in (curves[name], curves[other])]
        texts = [f"{differences.max():.2g} (step {largest + 1})", f"{differences.mean():.2g}", f"{means:.2g}"]
        rows.append([name, other, *texts, *ends])
    head = ["curve", "against", "largest difference", "mean", f"largest of means over {SMOOTHED_OVER} steps"]
    return markdown([*head, f"last {SMOOTHED_OVER} steps", f"last {SMOOTHED_OVER} steps of the other"], rows)


def draw(curves: Mapping[str, list[float]], *, path: Path) -> None:
    """Draw the losses, and below them the differences of the pairs."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for name, curve in curves.items():
        steps = np.arange(len(smoothed(curve))) + SMOOTHED_OVER
        upper.plot(steps, smoothed(curve), "--" if name.startswith("fast") else "-", label=name)
    for name, other in PAIRS:
        differences = relative_differences(curves[name], curves[other])
        lower.semilogy(np.arange(len(differences)) + 1, differences, linewidth=0.8, label=f"{name}, from {other}")
    upper.set(ylabel=f"loss, mean of {SMOOTHED_OVER} steps", yscale="log")
    lower.set(xlabel="optimiser step", ylabel="relative difference of a step's losses")
    upper.legend()
    lower.legend(fontsize="small")
    figure.savefig(path, dpi=120)
