"""The training loop: one epoch at a time, each a function of the seed and of its number alone."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from emotune.data.batches import Batch, BatchPlan, batch_count, batches
from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.errors import TrainingDivergedError
from emotune.randomness import derive_seed
from emotune.tasks import Objective, TaskSettings
from emotune.tasks.base import Sums
from emotune.training.optim import Optim

EVALUATION_BATCH = 128
"""Segments per batch when measuring: no setting, so that masks and sums do not depend on the batch size."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch gave."""

    epoch: int
    """Counted from 1 over all resumptions."""
    metrics: dict[str, float]
    """Metrics by name, for instance ``train/loss`` and ``val/loss``."""


@dataclass(frozen=True)
class Material:
    """What is learnt from: a store, which of its segments, and their labels."""

    store: SegmentStore
    fold: Fold
    labels: np.ndarray | None
    """One label per segment of the store, or None."""

    def shortened(self, segments: int) -> "Material":
        """Return at most so many training and validation segments."""
        fold = Fold(train=self.fold.train[:segments], val=self.fold.val[:segments], test=self.fold.test)
        return Material(self.store, fold, self.labels)

    def without_validation(self) -> "Material":
        """Return the training segments only."""
        return Material(self.store, Fold(self.fold.train, self.fold.val[:0], self.fold.test), self.labels)


@dataclass(frozen=True)
class Plan:
    """How long and in which portions to train."""

    optim: Optim
    epochs: int
    batch_size: int
    seed: int


@dataclass
class TrainState:
    """All that changes while training, and so all that a checkpoint holds."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    history: list[EpochReport] = field(default_factory=list)
    """Reports of all epochs so far."""

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return len(self.history)


Report = Callable[[EpochReport, TrainState], None]
"""Who listens to a training run: called after every epoch."""


def fit(state: TrainState, material: Material, plan: Plan, *, until: int, report: Report) -> None:
    """Train up to an epoch, handing every epoch to one callable.

    A run that is interrupted and goes on from a checkpoint gives the same numbers, to the last bit
    on a CPU, as one that was not: everything random is drawn from seeds derived from the epoch.

    Raises:
        TrainingDivergedError: The loss is no longer finite.
    """
    while state.epoch < until:
        report(train_epoch(state, material, plan), state)


def train_epoch(state: TrainState, material: Material, plan: Plan) -> EpochReport:
    """Train for one epoch, measure on the validation segments, and note both in the history.

    Raises:
        TrainingDivergedError: The training loss is not finite.
    """
    epoch = state.epoch + 1
    started = time.monotonic()
    metrics = {"train/loss": _train(state, material, plan, epoch=epoch)}
    seconds = time.monotonic() - started
    if len(material.fold.val):
        metrics |= evaluate(state.objective, material, material.fold.val, prefix="val")
    metrics["train/lr"] = state.optimiser.param_groups[0]["lr"]
    metrics["train/segments_per_second"] = len(material.fold.train) / max(seconds, 1e-9)
    report = EpochReport(epoch, metrics)
    state.history.append(report)
    return report


def _train(state: TrainState, material: Material, plan: Plan, *, epoch: int) -> float:
    rows = material.fold.train
    steps = batch_count(len(rows), plan.batch_size)
    generator = torch.Generator().manual_seed(derive_seed(plan.seed, "mask", epoch))
    torch.manual_seed(derive_seed(plan.seed, "dropout", epoch))
    state.objective.train()
    order = BatchPlan(size=plan.batch_size, seed=plan.seed, epoch=epoch, shuffle=True)
    total = 0.0
    for number, batch in enumerate(batches(material.store, rows, plan=order, labels=material.labels)):
        step = (epoch - 1) * steps + number
        rate = plan.optim.learning_rate(step, steps_per_epoch=steps, epochs=plan.epochs)
        total += _step(state, batch, rate=rate, generator=generator) * len(batch.rows)
        if not math.isfinite(total):
            raise TrainingDivergedError(f"the training loss is {total} in epoch {epoch}, at step {step}")
    return total / len(rows)


def _step(state: TrainState, batch: Batch, *, rate: float, generator: torch.Generator) -> float:
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    loss = state.objective.loss(batch, generator=generator)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    return loss.item()


def evaluate(objective: Objective, material: Material, rows: np.ndarray, *, prefix: str) -> dict[str, float]:
    """Measure an objective on segments; what is random in the task is the same in every call.

    So two configurations with the same task see the same masks.

    Returns:
        Metrics by name, each with the prefix: ``val/loss`` for ``prefix="val"``.
    """
    objective.eval()
    sums = _add_up(objective.measure, material, rows)
    return {f"{prefix}/{name}": value for name, value in objective.summarise(sums).items()}


def measure_references(task: TaskSettings, material: Material, rows: np.ndarray, *, prefix: str) -> dict[str, float]:
    """Measure predictions that need no learning, on the same segments and masks as `evaluate`."""
    sums = _add_up(task.references, material, rows)
    points = sums.pop("points", 1.0)
    return {f"{prefix}/{name}": value / points for name, value in sums.items()}


@torch.no_grad()
def _add_up(measure: Callable[..., Sums], material: Material, rows: np.ndarray) -> Sums:
    generator = torch.Generator().manual_seed(derive_seed(0, "evaluation"))
    order = BatchPlan(size=EVALUATION_BATCH, seed=0, epoch=0, shuffle=False)
    sums: Sums = {}
    for batch in batches(material.store, rows, plan=order, labels=material.labels):
        for name, value in measure(batch, generator=generator).items():
            sums[name] = sums.get(name, 0.0) + value
    return sums
