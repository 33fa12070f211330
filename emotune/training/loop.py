"""The training loop: one epoch at a time, each a function of the seed and of its number alone."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from emotune.data.batches import Batch, BatchPlan, batch_count, batches, check_shares
from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.errors import TrainingDivergedError
from emotune.models.dropout import seed_dropout
from emotune.randomness import derive_seed
from emotune.tasks import Objective, TaskSettings
from emotune.tasks.base import Sums
from emotune.training.execution import PLAIN, ExecutionPlan
from emotune.training.optim import Optim
from emotune.training.workers import ALONE, WorkerGroup

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
class TrainingData:
    """What is learnt from: a store, which of its segments, and their labels."""

    store: SegmentStore
    fold: Fold
    labels: np.ndarray | None
    """One label per segment of the store, or None."""
    signals: Tensor | None = None
    """All signals of the store, where they lie in a GPU's memory."""

    def shortened(self, segments: int) -> "TrainingData":
        """Return at most so many training and validation segments."""
        fold = Fold(train=self.fold.train[:segments], val=self.fold.val[:segments], test=self.fold.test)
        return replace(self, fold=fold)

    def without_validation(self) -> "TrainingData":
        """Return the training segments only."""
        return replace(self, fold=Fold(self.fold.train, self.fold.val[:0], self.fold.test))

    def resident(self, device: str) -> "TrainingData":
        """Return the same with all signals in a GPU's memory, if they fill less than half of what is free there."""
        if device == "cpu" or self.store.signal.nbytes > torch.cuda.mem_get_info()[0] / 2:
            return self
        return replace(self, signals=torch.from_numpy(np.array(self.store.signal)).to(device))


@dataclass(frozen=True)
class TrainingPlan:
    """How long and in which portions to train."""

    optim: Optim
    epochs: int
    batch_size: int
    """Segments per optimiser step, of all workers together."""
    seed: int


@dataclass
class EpochProgress:
    """How far the present epoch has come."""

    steps: int = 0
    """Optimiser steps that are done."""
    losses: list[float] = field(default_factory=list)
    """What each worker has summed up: its share of the mean loss of a joint batch times the batch's segments."""
    seconds: float = 0.0
    """Time they took."""

    def loss_of(self, group: WorkerGroup) -> float:
        """Return what a worker goes on from, perhaps with other workers than before."""
        if len(self.losses) == group.size:
            return self.losses[group.rank]
        return sum(self.losses, start=0.0) if group.rank == 0 else 0.0


@dataclass
class TrainState:
    """All that changes while training, and so all that a checkpoint holds."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    history: list[EpochReport] = field(default_factory=list)
    """Reports of all epochs so far."""
    progress: EpochProgress = field(default_factory=EpochProgress)
    """How far the epoch after those has come."""
    network: nn.Module | None = None
    """What training passes go through in place of the objective itself, for instance with several workers."""
    execution: ExecutionPlan = PLAIN
    """How it is computed."""

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return len(self.history)

    @property
    def position(self) -> tuple[int, int]:
        """Epochs that are done, and optimiser steps of the next one."""
        return self.epoch, self.progress.steps


Pause = Callable[[], bool]
"""Asked after every optimiser step whether to pause there; all workers must be told the same."""


def never() -> bool:
    """Do not pause."""
    return False


def train_epoch(
    state: TrainState,
    training_data: TrainingData,
    plan: TrainingPlan,
    *,
    group: WorkerGroup = ALONE,
    pause: Pause = never,
) -> EpochReport | None:
    """Train for one epoch, or the rest of it, measure on the validation segments, and note both in the history.

    Args:
        state: What is trained; `TrainState.progress` says where in the epoch it is.
        training_data: What is learnt from.
        plan: How.
        group: This worker among all; each is to be called with the same state.
        pause: Asked after every step whether to end the call there. The next call goes on.

    Returns:
        What the epoch gave, or None if it was paused.

    Raises:
        SettingsError: A joint batch has fewer segments than there are workers.
        TrainingDivergedError: The training loss is not finite.
    """
    with state.execution.active():
        complete = _train(state, training_data, plan, group=group, pause=pause)
    loss = sum(state.progress.losses) / len(training_data.fold.train)
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the training loss is {loss} in epoch {state.epoch + 1}, by step {state.progress.steps}"
        )
    if not complete:
        return None
    metrics = {"train/loss": loss}
    if len(training_data.fold.val):
        metrics |= evaluate(
            state.objective, training_data, training_data.fold.val, prefix="val", group=group, execution=state.execution
        )
    metrics["train/lr"] = state.optimiser.param_groups[0]["lr"]
    metrics["train/segments_per_second"] = len(training_data.fold.train) / max(state.progress.seconds, 1e-9)
    report = EpochReport(state.epoch + 1, metrics)
    state.history.append(report)
    state.progress = EpochProgress()
    return report


def _train(
    state: TrainState, training_data: TrainingData, plan: TrainingPlan, *, group: WorkerGroup, pause: Pause
) -> bool:
    """Train until the end of the epoch or a pause; tell whether it was the end, and note how far it came."""
    rows, epoch, progress = training_data.fold.train, state.epoch + 1, state.progress
    check_shares(len(rows), plan.batch_size, workers=group.size)
    steps = batch_count(len(rows), plan.batch_size)
    order = BatchPlan(size=plan.batch_size, seed=plan.seed, epoch=epoch, shuffle=True, shard=(group.rank, group.size))
    state.objective.train()
    started = time.monotonic()
    total = torch.tensor(progress.loss_of(group), dtype=torch.float64, device=state.execution.device)
    for batch in _batches(training_data, rows, order, device=state.execution.device, skip=progress.steps):
        step = (epoch - 1) * steps + progress.steps
        rate = plan.optim.learning_rate(step, steps_per_epoch=steps, epochs=plan.epochs)
        total += _step(state, batch, rate=rate, seeds=_Seeds(plan.seed, epoch, progress.steps), group=group)
        progress.steps += 1
        if pause():
            break
    progress.losses = _gathered(total.item(), group=group)
    progress.seconds += time.monotonic() - started
    return progress.steps == steps


@dataclass(frozen=True)
class _Seeds:
    """Of one optimiser step."""

    run: int
    epoch: int
    step: int

    def of(self, purpose: str) -> int:
        return derive_seed(self.run, purpose, self.epoch, self.step)


def _step(state: TrainState, batch: Batch, *, rate: float, seeds: _Seeds, group: WorkerGroup) -> Tensor:
    """Make one optimiser step, and return the loss share times the segments of the joint batch."""
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = rate
    generator = torch.Generator(state.execution.device).manual_seed(seeds.of("mask"))
    seed_dropout(state.objective, seed=seeds.of("dropout"), first=batch.offset, count=len(batch.rows))
    network = state.objective if state.network is None else state.network
    with state.execution.autocast():
        loss = network(batch, generator=generator)
    state.optimiser.zero_grad(set_to_none=True)
    (loss * group.size).backward()  # gradients are averaged over the workers
    state.optimiser.step()
    return loss.detach().double() * batch.joint_size


def _batches(
    training_data: TrainingData, rows: np.ndarray, plan: BatchPlan, *, device: str | torch.device, skip: int = 0
) -> Iterator[Batch]:
    for batch in batches(
        training_data.store, rows, plan=plan, labels=training_data.labels, skip=skip, resident=training_data.signals
    ):
        yield batch.to(device)


def _gathered(value: float, *, group: WorkerGroup) -> list[float]:
    """Return every worker's value."""
    names = map(str, range(group.size))
    sums = group.add({name: value if number == group.rank else 0.0 for number, name in enumerate(names)})
    return list(sums.values())


def evaluate(
    objective: Objective,
    training_data: TrainingData,
    rows: np.ndarray,
    *,
    prefix: str,
    group: WorkerGroup = ALONE,
    execution: ExecutionPlan = PLAIN,
) -> dict[str, float]:
    """Measure an objective on segments; what is random in the task is the same in every call.

    So two configurations with the same task see the same masks. Several workers share the segments.

    Returns:
        Metrics by name, each with the prefix: ``val/loss`` for ``prefix="val"``.
    """
    objective.eval()
    device = next(objective.parameters()).device
    with execution.active(), execution.autocast():
        sums = _add_up(objective.measure, training_data, rows, group=group, device=device)
    return {f"{prefix}/{name}": value for name, value in objective.summarise(sums).items()}


def measure_references(
    task: TaskSettings, training_data: TrainingData, rows: np.ndarray, *, prefix: str
) -> dict[str, float]:
    """Measure predictions that need no learning, on the same segments and masks as `evaluate`."""
    sums = _add_up(task.references, training_data, rows, group=ALONE, device=torch.device("cpu"))
    points = sums.pop("points", 1.0)
    return {f"{prefix}/{name}": value / points for name, value in sums.items()}


@torch.no_grad()
def _add_up(
    measure: Callable[..., Sums],
    training_data: TrainingData,
    rows: np.ndarray,
    *,
    group: WorkerGroup,
    device: torch.device,
) -> Sums:
    # where there is not something for everybody in every batch, everybody measures everything
    shared = len(rows) // max(1, batch_count(len(rows), EVALUATION_BATCH)) >= group.size
    sharers = group if shared else ALONE
    order = BatchPlan(size=EVALUATION_BATCH, seed=0, epoch=0, shuffle=False, shard=(sharers.rank, sharers.size))
    sums: Sums = {}
    for number, batch in enumerate(_batches(training_data, rows, order, device=device)):
        generator = torch.Generator().manual_seed(derive_seed(0, "evaluation", number))
        for name, value in measure(batch, generator=generator).items():
            sums[name] = sums.get(name, 0.0) + value
    return sharers.add(sums)
