"""The training loop: one call trains one epoch, or the part of it up to a pause.

An epoch is a function of the state, the data and the seed. Random numbers are drawn from seeds derived from the epoch
and the step, for the whole joint batch. So a run that is interrupted and resumes from a checkpoint gives the same
numbers as an uninterrupted one, on a CPU to the last bit; and several workers give those of a single worker, up to
rounding (on a GPU: up to other draws of the dropouts).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

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
from emotune.tasks.aggregation import embed
from emotune.tasks.base import Sums
from emotune.tasks.centring import PersonMeans
from emotune.tasks.classify import ClassifierObjective
from emotune.tasks.probe import ProbeData
from emotune.training.epoch_report import EpochReport
from emotune.training.execution import PLAIN, ExecutionPlan
from emotune.training.optim import Optim
from emotune.training.workers import ALONE, WorkerGroup

EVALUATION_BATCH = 128
"""Segments per batch of `evaluate`. It is not a setting, so that masks and sums do not depend on the batch size."""


@dataclass(frozen=True)
class TrainingData:
    """A store, the segments that train, validate and test, and their labels."""

    store: SegmentStore
    fold: Fold
    labels: np.ndarray | None
    """One label per segment of the store, or None."""
    signals: Tensor | None = None
    """All signals of the store in a GPU's memory, or None if they stay on disk."""
    probe: ProbeData | None = None
    """Segments and labels of the probe after each epoch, or None."""
    person_means: PersonMeans | None = None
    """Means that the task subtracts, from `emotune.training.centring.with_person_means`; None: there are none."""

    def shortened(self, segments: int) -> "TrainingData":
        """Return a copy with at most this number of training and of validation segments, without a probe."""
        fold = Fold(train=self.fold.train[:segments], val=self.fold.val[:segments], test=self.fold.test)
        return replace(self, fold=fold, probe=None)

    def without_validation(self) -> "TrainingData":
        """Return a copy without validation segments and without a probe."""
        return replace(self, fold=Fold(self.fold.train, self.fold.val[:0], self.fold.test), probe=None)

    def resident(self, device: str) -> "TrainingData":
        """Return a copy with all signals in the GPU's memory, if they fill at most half of the free memory.

        On a CPU, and for larger stores, return the same object.
        """
        if device == "cpu" or self.store.signal.nbytes > torch.cuda.mem_get_info()[0] / 2:
            return self
        return replace(self, signals=torch.from_numpy(np.array(self.store.signal)).to(device))


@dataclass(frozen=True)
class TrainingPlan:
    """Optimiser, length, batch size and seed of a run: the settings that the loop reads."""

    optim: Optim
    epochs: int
    """Epochs of the whole run, and so of the learning-rate schedule."""
    batch_size: int
    """Segments per optimiser step, of all workers together."""
    seed: int


@dataclass
class EpochProgress:
    """Progress within the present epoch."""

    steps: int = 0
    """Completed optimiser steps."""
    losses: list[float] = field(default_factory=list)
    """Sum of each worker over those steps: its part of the joint batch's mean loss times the batch's segments."""
    seconds: float = 0.0
    """Training time of those steps (s)."""

    def loss_share(self, group: WorkerGroup) -> float:
        """Return the sum from which this worker resumes; if the number of workers changed, rank 0 takes the total."""
        if len(self.losses) == group.size:
            return self.losses[group.rank]
        return sum(self.losses, start=0.0) if group.rank == 0 else 0.0


@dataclass(frozen=True)
class KeptWeights:
    """The weights of the epoch with the best metric so far."""

    epoch: int
    value: float
    """Value of the metric, `emotune.tasks.TaskSettings.selection`."""
    weights: dict[str, Tensor]
    """State of the objective, on the CPU."""


@dataclass
class TrainState:
    """The state of a run: a checkpoint holds objective, optimiser, history, progress and kept weights."""

    objective: Objective
    optimiser: torch.optim.Optimizer
    history: list[EpochReport] = field(default_factory=list)
    """Reports of all completed epochs."""
    progress: EpochProgress = field(default_factory=EpochProgress)
    """Progress within the epoch after those."""
    kept: KeptWeights | None = None
    """Weights of the best epoch so far; None if the run ends with those of the last epoch."""
    network: nn.Module | None = None
    """Module that is called in training in place of the objective: its wrapper for several workers, or None."""
    execution: ExecutionPlan = PLAIN
    """How the objective is computed."""

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return len(self.history)

    @property
    def position(self) -> tuple[int, int]:
        """Completed epochs, and completed optimiser steps of the next one."""
        return self.epoch, self.progress.steps

    def keep_best(self, metric: str, *, mode: Literal["min", "max"]) -> None:
        """Copy the weights if the newest epoch has the best value of a metric; of equal values the first counts.

        The report of the epoch gets ``kept/epoch`` and ``kept/METRIC``, of the weights that are kept now; NaN as long
        as the metric was never finite.
        """
        report = self.history[-1]
        value = report.metrics[metric]
        better = self.kept is None or (value < self.kept.value if mode == "min" else value > self.kept.value)
        if math.isfinite(value) and better:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in self.objective.state_dict().items()}
            self.kept = KeptWeights(epoch=report.epoch, value=value, weights=weights)
        report.metrics["kept/epoch"] = math.nan if self.kept is None else float(self.kept.epoch)
        report.metrics[f"kept/{metric.partition('/')[2]}"] = math.nan if self.kept is None else self.kept.value

    def load_kept(self) -> None:
        """Replace the objective's weights by those that were kept, if there are any."""
        if self.kept is not None:
            self.objective.load_state_dict(self.kept.weights)


Pause = Callable[[], bool]
"""Called after every optimiser step; returns whether to pause, the same on all workers."""


def never_pause() -> bool:
    """Return False."""
    return False


def train_epoch(
    state: TrainState,
    training_data: TrainingData,
    plan: TrainingPlan,
    *,
    group: WorkerGroup = ALONE,
    pause: Pause = never_pause,
) -> EpochReport | None:
    """Train one epoch, or the remaining part of it, evaluate on the validation segments, and append a report.

    Args:
        state: The state to train, in place; training starts at `TrainState.progress`.
        training_data: Segments and labels.
        plan: Optimiser, length, batch size and seed of the run.
        group: This worker and the number of workers; every worker must call this with the same state.
        pause: Called after every step; if it returns True, the call ends there. The next call resumes.

    Returns:
        The report of the epoch, or None after a pause.

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
    if training_data.probe is not None:
        metrics |= measure_probe(state, training_data, training_data.probe, group=group)
    metrics["train/lr"] = state.optimiser.param_groups[0]["lr"] / state.optimiser.param_groups[0]["factor"]
    metrics["train/segments_per_second"] = len(training_data.fold.train) / max(state.progress.seconds, 1e-9)
    report = EpochReport(state.epoch + 1, metrics)
    state.history.append(report)
    state.progress = EpochProgress()
    return report


def _train(
    state: TrainState, training_data: TrainingData, plan: TrainingPlan, *, group: WorkerGroup, pause: Pause
) -> bool:
    """Train until the end of the epoch or a pause, record the progress, and return whether the epoch is complete."""
    rows, epoch, progress = training_data.fold.train, state.epoch + 1, state.progress
    check_shares(len(rows), plan.batch_size, workers=group.size, group=state.objective.group)
    steps = batch_count(len(rows), plan.batch_size)
    order = BatchPlan(
        size=plan.batch_size,
        seed=plan.seed,
        epoch=epoch,
        shuffle=True,
        shard=(group.rank, group.size),
        group=state.objective.group,
    )
    state.objective.train()
    started = time.monotonic()
    total = torch.tensor(progress.loss_share(group), dtype=torch.float64, device=state.execution.device)
    for batch in _batches(training_data, rows, order, device=state.execution.device, skip=progress.steps):
        step = (epoch - 1) * steps + progress.steps
        rate = plan.optim.learning_rate(step, steps_per_epoch=steps, epochs=plan.epochs)
        total += _step(state, batch, rate=rate, seeds=_Seeds(plan.seed, epoch, progress.steps), group=group)
        progress.steps += 1
        if pause():
            break
    progress.losses = _gather(total.item(), group=group)
    progress.seconds += time.monotonic() - started
    return progress.steps == steps


@dataclass(frozen=True)
class _Seeds:
    """Seeds of one optimiser step, by purpose."""

    run: int
    epoch: int
    step: int

    def of(self, purpose: str) -> int:
        return derive_seed(self.run, purpose, self.epoch, self.step)


def _step(state: TrainState, batch: Batch, *, rate: float, seeds: _Seeds, group: WorkerGroup) -> Tensor:
    """Make one optimiser step, and return this worker's part of the mean loss times the joint batch's segments."""
    for parameters in state.optimiser.param_groups:
        parameters["lr"] = rate * parameters["factor"]
    generator = torch.Generator(state.execution.device).manual_seed(seeds.of("mask"))
    seed_dropout(state.objective, seed=seeds.of("dropout"), first=batch.offset, count=len(batch.rows))
    network = state.objective if state.network is None else state.network
    state.optimiser.zero_grad(set_to_none=True)  # before the forward pass: CUDA graphs use the gradients' memory again
    with state.execution.autocast():
        loss = network(batch, generator=generator)
    (loss * group.size).backward()  # gradients are averaged over the workers, but parts of a loss are to be summed
    state.optimiser.step()
    return loss.detach().double() * batch.joint_size


def _batches(
    training_data: TrainingData, rows: np.ndarray, plan: BatchPlan, *, device: str | torch.device, skip: int = 0
) -> Iterator[Batch]:
    for batch in batches(
        training_data.store, rows, plan=plan, labels=training_data.labels, skip=skip, resident=training_data.signals
    ):
        means = training_data.person_means
        yield (batch if means is None else replace(batch, person_means=means.of(batch.rows))).to(device)


def _gather(value: float, *, group: WorkerGroup) -> list[float]:
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
    """Return the metrics of an objective on segments.

    The task's random numbers are the same in every call, so configurations with the same task are compared on the
    same masks. Several workers divide the segments among them.

    Args:
        objective: The objective, which is left in evaluation mode.
        training_data: The store and its labels.
        rows: Row numbers of the segments in the store.
        prefix: Prefix of the metrics' names, without the slash.
        group: This worker and the number of workers.
        execution: How the objective is computed.

    Returns:
        Metrics by name, each with the prefix: ``val/loss`` for ``prefix="val"``.
    """
    objective.eval()
    device = next(objective.parameters()).device
    with execution.active(), execution.autocast():
        sums = _sum_measurements(
            objective.measure, training_data, rows, group=group, device=device, together=objective.group
        )
    return {f"{prefix}/{name}": value for name, value in objective.summarise(sums).items()}


def measure_probe(
    state: TrainState, training_data: TrainingData, probe: ProbeData, *, group: WorkerGroup = ALONE
) -> dict[str, float]:
    """Return the scores of a probe on the encoder, with the prefix ``probe/``; the encoder is not changed.

    Args:
        state: The state of the run.
        training_data: The store.
        probe: Segments and labels of the probe.
        group: This worker and the number of workers, which divide the segments among them.
    """
    embeddings = collect_embeddings(state.objective, training_data, probe.rows, group=group, execution=state.execution)
    return {f"probe/{name}": value for name, value in probe.score(embeddings).items()}


@torch.no_grad()
def collect_embeddings(
    objective: Objective,
    training_data: TrainingData,
    rows: np.ndarray,
    *,
    group: WorkerGroup = ALONE,
    execution: ExecutionPlan = PLAIN,
) -> np.ndarray:
    """Return the embedding of each of the rows, see `emotune.tasks.aggregation.embed`.

    Args:
        objective: The objective, which is left in evaluation mode.
        training_data: The store.
        rows: Row numbers of the segments in the store, without duplicates.
        group: This worker and the number of workers, which divide the segments among them.
        execution: How the objective is computed.
    """
    objective.eval()
    device = next(objective.parameters()).device
    sharers = sharers_of(len(rows), group=group)
    position = np.zeros(len(training_data.store), dtype=np.int64)
    position[rows] = np.arange(len(rows))
    embeddings = torch.zeros(len(rows), objective.encoder.width, dtype=torch.float64)
    with execution.active(), execution.autocast():
        for batch in evaluation_batches(training_data, rows, device=device, sharers=sharers):
            embedded = embed(batch.signals, encoder=objective.encoder)
            embeddings[torch.from_numpy(position[batch.rows.numpy()])] = embedded.double().cpu()
    return sharers.add_arrays(embeddings).numpy()


@torch.no_grad()
def collect_logits(
    objective: ClassifierObjective, training_data: TrainingData, rows: np.ndarray, *, execution: ExecutionPlan = PLAIN
) -> np.ndarray:
    """Return the logit of the high class, or of each class, for each of the rows; classes are weighted as in training.

    Args:
        objective: The classifier, which is left in evaluation mode.
        training_data: The store.
        rows: Row numbers of the segments in the store.
        execution: How the objective is computed.
    """
    objective.eval()
    device = next(objective.parameters()).device
    with execution.active(), execution.autocast():
        parts = [
            objective.logits(batch.signals, person_means=batch.person_means).cpu()
            for batch in evaluation_batches(training_data, rows, device=device)
        ]
    return torch.cat(parts).double().numpy() if parts else np.zeros(0)


def measure_references(
    task: TaskSettings, training_data: TrainingData, rows: np.ndarray, *, prefix: str
) -> dict[str, float]:
    """Return metrics of predictions that need no learning, on the same segments and masks as `evaluate`."""
    sums = _sum_measurements(task.references, training_data, rows, group=ALONE, device=torch.device("cpu"))
    points = sums.pop("points", 1.0)
    return {f"{prefix}/{name}": value / points for name, value in sums.items()}


@torch.no_grad()
def _sum_measurements(
    measure: Callable[..., Sums],
    training_data: TrainingData,
    rows: np.ndarray,
    *,
    group: WorkerGroup,
    device: torch.device,
    together: int = 1,
) -> Sums:
    sharers = sharers_of(len(rows), group=group, together=together)
    order = evaluation_batches(training_data, rows, device=device, sharers=sharers, together=together)
    sums: Sums = {}
    for number, batch in enumerate(order):
        generator = torch.Generator().manual_seed(derive_seed(0, "evaluation", number))
        for name, value in measure(batch, generator=generator).items():
            sums[name] = sums.get(name, 0.0) + value
    return sharers.add(sums)


def sharers_of(rows: int, *, group: WorkerGroup, together: int = 1) -> WorkerGroup:
    """Return the workers that divide segments among them.

    If a batch has fewer groups of segments than there are workers, every worker measures all and nothing is added.

    Args:
        rows: Number of segments.
        group: This worker and the number of workers.
        together: Segments of a group, which is never divided.
    """
    smallest = rows // max(1, batch_count(rows, EVALUATION_BATCH))
    return group if batch_count(smallest, together) >= group.size else ALONE


def evaluation_batches(
    training_data: TrainingData,
    rows: np.ndarray,
    *,
    device: str | torch.device,
    sharers: WorkerGroup = ALONE,
    together: int = 1,
) -> Iterator[Batch]:
    """Return batches of `EVALUATION_BATCH` rows in their order, each divided among workers between groups."""
    shard = (sharers.rank, sharers.size)
    plan = BatchPlan(size=EVALUATION_BATCH, seed=0, epoch=0, shuffle=False, shard=shard, group=together)
    return _batches(training_data, rows, plan, device=device)
