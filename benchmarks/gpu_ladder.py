"""The steps from a plain float32 training to the fast path, each measured on one device."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from benchmarks.plain_training import as_it_comes, reference_for
from benchmarks.reference_model import ReferenceTraining
from benchmarks.training_cases import Case, synthetic_data
from emotune.experiment import Experiment
from emotune.models.transformer import TransformerEncoder, take_rows
from emotune.training.epoch_report import EpochReport
from emotune.training.execution import ExecutionPlan
from emotune.training.loop import TrainingData, TrainState, train_epoch

BATCHES = 8
"""Number of batches per epoch; every epoch ends with waiting for the GPU."""

COMPARED_SEGMENTS = 8
"""Number of segments on which losses are compared."""

NO_DROPOUT = {"model.dropout": 0.0, "model.attention_dropout": 0.0}


@dataclass(frozen=True)
class Step:
    """One way to train.

    Attributes:
        name: The change since the step before.
        execution: Execution plan of the fast path; None: the one that `Experiment` chooses.
        reference: Whether the reference is trained.
        autocast: Whether the reference computes in bfloat16.
        compiled: Whether the reference is compiled with ``torch.compile``.
        resident: Whether the data are on the device before the measurement.
        all_rows: Whether the last block is computed for all rows, as in the reference.
    """

    name: str
    execution: ExecutionPlan | None = None
    reference: bool = False
    autocast: bool = False
    compiled: bool = False
    resident: bool = False
    all_rows: bool = False

    @property
    def compiles(self) -> bool:
        """Whether torch may compile the network."""
        return self.compiled or self.execution is None or self.execution.compiled


@dataclass(frozen=True)
class StepSpeed:
    """The measurement of a step.

    Attributes:
        segments_per_second: Highest rate of its epochs, without the first two.
        batch: Segments per optimiser step.
        gibibytes: Peak memory of torch on the device, in GiB; 0 on a CPU.
        loss_difference: Relative difference of its first loss from that of the fast path in float32, without dropout;
            None for the reference, which draws other masks.
        first_epoch_s: Duration of the first epoch, with compilation (s).
    """

    segments_per_second: float
    batch: int
    gibibytes: float
    loss_difference: float | None
    first_epoch_s: float = 0.0

    @property
    def milliseconds(self) -> float:
        """Duration of a step in ms."""
        return 1000 * self.batch / self.segments_per_second


@dataclass(frozen=True)
class Ladder:
    """One network on one device.

    Attributes:
        case: The network and its data.
        batch: Segments per step.
        device: The device.
        seconds: Duration of the measurement of each step.
        compute: Settings of `Experiment.compute` for the last step.
    """

    case: Case
    batch: int
    device: torch.device
    seconds: float
    compute: dict[str, str | bool] = field(default_factory=dict)

    @property
    def flops(self) -> float:
        """Floating-point operations of training on a segment once, for the plain network."""
        return self.case.flops()

    def with_batch(self, batch: int) -> "Ladder":
        """Return the same with another batch size."""
        return replace(self, batch=batch)

    @property
    def plain(self) -> Step:
        """The fast path without any of its measures."""
        return Step("fast path: float32, all rows", ExecutionPlan(device=self._device), all_rows=True)

    @property
    def last(self) -> Step:
        """The execution plan that `Experiment` chooses for the device."""
        return Step("as chosen from the device", resident=True)

    @property
    def _device(self) -> Literal["cpu", "cuda"]:
        return "cuda" if self.device.type == "cuda" else "cpu"

    def steps(self) -> Iterator[Step]:
        """Yield the steps, from the reference to the execution plan that `Experiment` chooses."""
        yield Step("reference: float32, DataLoader", reference=True)
        yield Step("reference: bfloat16 autocast", reference=True, autocast=True)
        yield Step("reference: data on the device", reference=True, autocast=True, resident=True)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            yield Step("reference: torch.compile", reference=True, autocast=True, resident=True, compiled=True)
        yield self.plain
        execution = ExecutionPlan(device=self._device, precision="bf16")
        yield Step("bfloat16", execution, all_rows=True)
        yield Step("only the rows that are read", execution)
        execution = replace(execution, fused_optimiser=True)
        yield Step("fused optimiser", execution)
        if on_gpu:
            execution = replace(execution, fixed_rows=True)
            yield Step("a fixed number of rows", execution)
            yield Step("data on the device", execution, resident=True)
            yield Step("torch.compile", replace(execution, compiled=True), resident=True)
        yield self.last

    def measure(self, step: Step) -> StepSpeed | str:
        """Measure a step; return a one-line reason if it failed."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        try:
            epoch = self.epoch_of(step)
            started = time.perf_counter()
            epoch()
            self._wait()
            first = time.perf_counter() - started
            speed = self.rate_of(epoch)
            peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if self.device.type == "cuda" else 0.0
            difference = None if step.reference or step.compiles else self.loss_difference(step)
        except RuntimeError as error:  # torch raises it for errors of memory, kernels and compilers
            return f"failed: {str(error).splitlines()[0][:80]}"
        return StepSpeed(speed, batch=self.batch, gibibytes=peak, loss_difference=difference, first_epoch_s=first)

    def loss_difference(self, step: Step) -> float:
        """Return the relative difference of a step's first loss from that in float32, without dropout."""
        return abs(self._first_loss(step) / self._first_loss(self.plain) - 1)

    def epoch_of(self, step: Step) -> Callable[[], object]:
        """Return a function that trains for `BATCHES` optimiser steps."""
        if not step.reference:
            return self.begun(step)[1]
        training_data = synthetic_data(self.case, segments=self.batch * BATCHES)
        experiment = self.case.experiment(batch_size=self.batch)
        plain = reference_for(experiment, experiment.begin_untrained(training_data), training_data, device=self.device)
        if step.compiled:
            plain.network.compile(dynamic=False)
        batches = list(plain.batches()) if step.resident else None
        return lambda: plain_epoch(plain, batches=batches, autocast=step.autocast)

    def begun(self, step: Step, *, dropout: bool = True) -> tuple[TrainState, Callable[[], EpochReport | None]]:
        """Return the training of a step at its beginning, and a function that trains for `BATCHES` optimiser steps."""
        training_data = synthetic_data(self.case, segments=self.batch * BATCHES)
        experiment = self.case.experiment(batch_size=self.batch, compute={"device": self._device, **self.compute})
        experiment = experiment if dropout else experiment.with_values(NO_DROPOUT)
        state = begin(experiment, training_data, step=step)
        data = training_data.resident(self._device) if step.resident else training_data
        return state, lambda: train_epoch(state, data, experiment.training_plan())

    def rate_of(self, epoch: Callable[[], object]) -> float:
        """Return the highest number of segments per second of the epochs after the first two."""
        for _ in range(2):  # compilation, CUDA graphs and the choice of kernels happen in these epochs
            epoch()
        best, end = float("inf"), time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            self._wait()
            started = time.perf_counter()
            epoch()
            self._wait()
            best = min(best, time.perf_counter() - started)
        return self.batch * BATCHES / best

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _first_loss(self, step: Step) -> float:
        report = replace(self, batch=COMPARED_SEGMENTS // BATCHES).begun(step, dropout=False)[1]()
        assert report is not None
        return report.metrics["train/loss"]


def begin(experiment: Experiment, training_data: TrainingData, *, step: Step) -> TrainState:
    """Return a training with the execution plan of a step."""
    if step.execution is None:
        state = experiment.begin_untrained(training_data)
    else:
        objective = experiment.with_values({"compute.compile": "off"}).begin_untrained(training_data).objective
        step.execution.prepare(objective)
        optimiser = experiment.optim.build(objective, fused=step.execution.fused_optimiser)
        state = TrainState(objective, optimiser, execution=step.execution)
    if step.all_rows:
        encoder = state.objective.encoder
        assert isinstance(encoder, TransformerEncoder)
        compute_all_rows(encoder)
    return state


def compute_all_rows(encoder: TransformerEncoder) -> None:
    """Compute the last block for all rows, and select the rows that are read afterwards."""
    rows: list[Tensor] = []

    def drop_rows(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        rows[:] = inputs[1:]
        return inputs[:1]

    def take(module: nn.Module, inputs: tuple[Tensor, ...], states: Tensor) -> Tensor:
        del module, inputs
        return take_rows(states, rows[0])

    encoder.register_forward_pre_hook(drop_rows)
    encoder.register_forward_hook(take)


def plain_epoch(plain: ReferenceTraining, *, batches: list[tuple[Tensor, Tensor]] | None, autocast: bool) -> None:
    """Train the reference for an epoch, on the given batches or on those of its loader."""
    plain.network.train()
    kind = plain.device.type
    with as_it_comes(), torch.autocast(kind, torch.bfloat16) if autocast else contextlib.nullcontext():
        for signals, target in plain.batches() if batches is None else batches:
            plain.step(signals, target)
