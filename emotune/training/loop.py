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
from emotune.training.execution import PLAIN, Paths
from emotune.training.optim import Optim
from emotune.training.workers import ALONE, Team

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
    signals: Tensor | None = None
    """All signals of the store, where they lie in a GPU's memory."""

    def shortened(self, segments: int) -> "Material":
        """Return at most so many training and validation segments."""
        fold = Fold(train=self.fold.train[:segments], val=self.fold.val[:segments], test=self.fold.test)
        return replace(self, fold=fold)

    def without_validation(self) -> "Material":
        """Return the training segments only."""
        return replace(self, fold=Fold(self.fold.train, self.fold.val[:0], self.fold.test))

    def resident(self, device: str) -> "Material":
        """Return the same with all signals in a GPU's memory, if they fill less than half of what is free there."""
        if device == "cpu" or self.store.signal.nbytes > torch.cuda.mem_get_info()[0] / 2:
            return self
        return replace(self, signals=torch.from_numpy(np.array(self.store.signal)).to(device))


@dataclass(frozen=True)
class Plan:
    """How long and in which portions to train."""

    optim: Optim
    epochs: int
    batch_size: int
    """Segments per optimiser step, of all workers together."""
    seed: int


@dataclass
class Within:
    """How far the present epoch has come."""

    steps: int = 0
    """Optimiser steps that are done."""
    losses: list[float] = field(default_factory=list)
    """What each worker has summed up: its share of the mean loss of a joint batch times the batch's segments."""
    seconds: float = 0.0
    """Time they took."""

    def loss_of(self, team: Team) -> float:
        """Return what a worker goes on from, perhaps with other workers than before."""
        if len(self.losses) == team.size:
            return self.losses[team.rank]
        return sum(self.losses, start=0.0) if team.rank == 0 else 0.0


@dataclass
class TrainState:
    """All that changes while training, and so all that a checkpoint holds."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    history: list[EpochReport] = field(default_factory=list)
    """Reports of all epochs so far."""
    within: Within = field(default_factory=Within)
    """How far the epoch after those has come."""
    network: nn.Module | None = None
    """What training passes go through in place of the objective itself, for instance with several workers."""
    paths: Paths = PLAIN
    """How it is computed."""

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return len(self.history)

    @property
    def position(self) -> tuple[int, int]:
        """Epochs that are done, and optimiser steps of the next one."""
        return self.epoch, self.within.steps


Report = Callable[[EpochReport, TrainState], None]
"""Who listens to a training run: called after every epoch."""

Pause = Callable[[], bool]
"""Asked after every optimiser step whether to pause there; all workers must be told the same."""


def never() -> bool:
    """Do not pause."""
    return False


def fit(state: TrainState, material: Material, plan: Plan, *, until: int, report: Report, team: Team = ALONE) -> None:
    """Train up to an epoch, handing every epoch to one callable.

    A run that is interrupted and goes on from a checkpoint gives the same numbers, to the last bit
    on a CPU, as one that was not: everything random is drawn from seeds derived from the epoch and the step.
    With several workers it is equal to one with a single worker up to rounding, as all draws are made
    for the joint batch.

    Raises:
        SettingsError: A joint batch has fewer segments than there are workers.
        TrainingDivergedError: The loss is no longer finite.
    """
    while state.epoch < until:
        done = train_epoch(state, material, plan, team=team)
        assert done is not None
        report(done, state)


def train_epoch(
    state: TrainState, material: Material, plan: Plan, *, team: Team = ALONE, pause: Pause = never
) -> EpochReport | None:
    """Train for one epoch, or the rest of it, measure on the validation segments, and note both in the history.

    Args:
        state: What is trained; `TrainState.within` says where in the epoch it is.
        material: What is learnt from.
        plan: How.
        team: This worker among all; each is to be called with the same state.
        pause: Asked after every step whether to end the call there. The next call goes on.

    Returns:
        What the epoch gave, or None if it was paused.

    Raises:
        SettingsError: A joint batch has fewer segments than there are workers.
        TrainingDivergedError: The training loss is not finite.
    """
    with state.paths.active():
        complete = _train(state, material, plan, team=team, pause=pause)
    loss = sum(state.within.losses) / len(material.fold.train)
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"the training loss is {loss} in epoch {state.epoch + 1}, by step {state.within.steps}"
        )
    if not complete:
        return None
    metrics = {"train/loss": loss}
    if len(material.fold.val):
        metrics |= evaluate(state.objective, material, material.fold.val, prefix="val", team=team, paths=state.paths)
    metrics["train/lr"] = state.optimiser.param_groups[0]["lr"]
    metrics["train/segments_per_second"] = len(material.fold.train) / max(state.within.seconds, 1e-9)
    report = EpochReport(state.epoch + 1, metrics)
    state.history.append(report)
    state.within = Within()
    return report


def _train(state: TrainState, material: Material, plan: Plan, *, team: Team, pause: Pause) -> bool:
    """Train until the end of the epoch or a pause; tell whether it was the end, and note how far it came."""
    rows, epoch, within = material.fold.train, state.epoch + 1, state.within
    check_shares(len(rows), plan.batch_size, workers=team.size)
    steps = batch_count(len(rows), plan.batch_size)
    order = BatchPlan(size=plan.batch_size, seed=plan.seed, epoch=epoch, shuffle=True, shard=(team.rank, team.size))
    state.objective.train()
    started = time.monotonic()
    total = torch.tensor(within.loss_of(team), dtype=torch.float64, device=state.paths.device)
    for batch in _batches(material, rows, order, device=state.paths.device, skip=within.steps):
        step = (epoch - 1) * steps + within.steps
        rate = plan.optim.learning_rate(step, steps_per_epoch=steps, epochs=plan.epochs)
        total += _step(state, batch, rate=rate, seeds=_Seeds(plan.seed, epoch, within.steps), team=team)
        within.steps += 1
        if pause():
            break
    within.losses = _gathered(total.item(), team=team)
    within.seconds += time.monotonic() - started
    return within.steps == steps


@dataclass(frozen=True)
class _Seeds:
    """Of one optimiser step."""

    run: int
    epoch: int
    step: int

    def of(self, purpose: str) -> int:
        return derive_seed(self.run, purpose, self.epoch, self.step)


def _step(state: TrainState, batch: Batch, *, rate: float, seeds: _Seeds, team: Team) -> Tensor:
    """Make one optimiser step, and return the loss share times the segments of the joint batch."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    generator = torch.Generator(state.paths.device).manual_seed(seeds.of("mask"))
    seed_dropout(state.objective, seed=seeds.of("dropout"), first=batch.offset, count=len(batch.rows))
    network = state.objective if state.network is None else state.network
    with state.paths.autocast():
        loss = network(batch, generator=generator)
    state.optimiser.zero_grad(set_to_none=True)
    (loss * team.size).backward()  # gradients are averaged over the workers
    state.optimiser.step()
    return loss.detach().double() * batch.joint_size


def _batches(
    material: Material, rows: np.ndarray, plan: BatchPlan, *, device: str | torch.device, skip: int = 0
) -> Iterator[Batch]:
    for batch in batches(material.store, rows, plan=plan, labels=material.labels, skip=skip, resident=material.signals):
        yield batch.to(device)


def _gathered(value: float, *, team: Team) -> list[float]:
    """Return every worker's value."""
    names = map(str, range(team.size))
    sums = team.add({name: value if number == team.rank else 0.0 for number, name in enumerate(names)})
    return list(sums.values())


def evaluate(
    objective: Objective,
    material: Material,
    rows: np.ndarray,
    *,
    prefix: str,
    team: Team = ALONE,
    paths: Paths = PLAIN,
) -> dict[str, float]:
    """Measure an objective on segments; what is random in the task is the same in every call.

    So two configurations with the same task see the same masks. Several workers share the segments.

    Returns:
        Metrics by name, each with the prefix: ``val/loss`` for ``prefix="val"``.
    """
    objective.eval()
    device = next(objective.parameters()).device
    with paths.active(), paths.autocast():
        sums = _add_up(objective.measure, material, rows, team=team, device=device)
    return {f"{prefix}/{name}": value for name, value in objective.summarise(sums).items()}


def measure_references(task: TaskSettings, material: Material, rows: np.ndarray, *, prefix: str) -> dict[str, float]:
    """Measure predictions that need no learning, on the same segments and masks as `evaluate`."""
    sums = _add_up(task.references, material, rows, team=ALONE, device=torch.device("cpu"))
    points = sums.pop("points", 1.0)
    return {f"{prefix}/{name}": value / points for name, value in sums.items()}


@torch.no_grad()
def _add_up(
    measure: Callable[..., Sums], material: Material, rows: np.ndarray, *, team: Team, device: torch.device
) -> Sums:
    # where there is not something for everybody in every batch, everybody measures everything
    shared = len(rows) // max(1, batch_count(len(rows), EVALUATION_BATCH)) >= team.size
    sharers = team if shared else ALONE
    order = BatchPlan(size=EVALUATION_BATCH, seed=0, epoch=0, shuffle=False, shard=(sharers.rank, sharers.size))
    sums: Sums = {}
    for number, batch in enumerate(_batches(material, rows, order, device=device)):
        generator = torch.Generator().manual_seed(derive_seed(0, "evaluation", number))
        for name, value in measure(batch, generator=generator).items():
            sums[name] = sums.get(name, 0.0) + value
    return sharers.add(sums)
