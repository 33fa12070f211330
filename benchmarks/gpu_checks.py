"""Checks of a GPU's results: losses and gradients against float32 on the CPU, and what a repetition gives."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.nn import functional

from benchmarks.gpu_ladder import NO_DROPOUT, Ladder, Step, begin
from benchmarks.training_cases import Case, synthetic_data
from emotune.data.batches import BatchPlan, batches
from emotune.models.dropout import seed_dropout
from emotune.training.execution import PLAIN, ExecutionPlan
from emotune.training.loop import TrainState

SEGMENTS = 4
"""Segments of the compared step."""

REPEATED_EPOCHS = 2
"""Epochs of a repeated training, of `benchmarks.gpu_ladder.BATCHES` steps each."""

CHECK_HEAD = ["execution", "loss", "relative difference", "gradients: relative difference", "cosine"]
REPEAT_HEAD = ["repeated training", "result"]


_YES = {True: "yes", False: "NO"}


@dataclass(frozen=True)
class Outcome:
    """Loss and gradients of one step, on the CPU in float64."""

    loss: float
    gradients: torch.Tensor


def outcome(case: Case, plan: ExecutionPlan, *, dropout: bool = False, seed: int = 1) -> Outcome:
    """Return loss and gradients of the first step, on the same masks for every plan."""
    return _outcome(_state(case, plan, dropout=dropout), case, seed=seed)


def _state(case: Case, plan: ExecutionPlan, *, dropout: bool) -> TrainState:
    experiment = case.experiment(batch_size=SEGMENTS)
    experiment = experiment if dropout else experiment.with_values(NO_DROPOUT)
    state = begin(experiment, synthetic_data(case, segments=SEGMENTS), step=Step("", plan))
    state.objective.train()
    return state


def _outcome(state: TrainState, case: Case, *, seed: int) -> Outcome:
    data = synthetic_data(case, segments=SEGMENTS)
    order = BatchPlan(size=SEGMENTS, seed=0, epoch=1, shuffle=False)
    batch = next(iter(batches(data.store, data.fold.train, plan=order, labels=data.labels))).to(state.execution.device)
    state.objective.zero_grad(set_to_none=True)
    seed_dropout(state.objective, seed=seed, first=0, count=SEGMENTS)
    with state.execution.active():
        with state.execution.autocast():
            loss = state.objective(batch, generator=torch.Generator().manual_seed(2))
        loss.backward()
    parts = [weight.grad.flatten() for weight in state.objective.parameters() if weight.grad is not None]
    return Outcome(loss.item(), torch.cat(parts).double().cpu())


def plans(device: Literal["cpu", "cuda"]) -> Iterator[tuple[str, ExecutionPlan]]:
    """Yield the execution plans that are compared with float32 on the CPU, with their names."""
    plain = ExecutionPlan(device=device, fixed_rows=device == "cuda")
    yield "float32", plain
    yield "bfloat16", replace(plain, precision="bf16")
    # each compilation takes half a minute
    graphs = device == "cuda"
    name = "bfloat16, compiled, CUDA graphs" if graphs else "bfloat16, compiled"
    yield name, replace(plain, precision="bf16", compiled=True, graphs=graphs)


def check_rows(case: Case, *, device: Literal["cpu", "cuda"]) -> Iterator[list[str]]:
    """Yield a row per execution plan: its loss and gradients against those of float32 on the CPU, without dropout."""
    expected = outcome(case, PLAIN)
    yield ["float32 on the CPU", f"{expected.loss:.7g}", "", "", ""]
    for name, plan in plans(device):
        try:
            given = outcome(case, plan)
        except RuntimeError as error:  # torch raises it for errors of memory, kernels and compilers
            yield [name, f"failed: {str(error).splitlines()[0][:80]}", "", "", ""]
            continue
        difference = (given.gradients - expected.gradients).norm() / expected.gradients.norm()
        cosine = functional.cosine_similarity(given.gradients, expected.gradients, dim=0)
        yield [
            name,
            f"{given.loss:.7g}",
            f"{abs(given.loss / expected.loss - 1):.2g}",
            f"{difference:.2g}",
            f"{cosine:.6f}",
        ]


def dropout_rows(case: Case, plan: ExecutionPlan) -> Iterator[list[str]]:
    """Yield rows about the random numbers of dropout: equal seeds give equal losses, other seeds others."""
    state = _state(case, plan, dropout=True)
    losses = [_outcome(state, case, seed=seed).loss for seed in (1, 2, 3, 1, 2, 3)]
    yield ["same seeds again: same losses", _YES[losses[:3] == losses[3:]]]
    yield ["other seeds: other losses", _YES[len(set(losses)) == 3]]


def repeat_rows(ladder: Ladder) -> Iterator[list[str]]:
    """Yield rows about a training that is repeated from the same seeds, by default and with deterministic kernels."""
    for name, chosen in (("default", ladder), ("deterministic", replace(ladder, compute={"deterministic": True}))):
        try:
            first, second = (_trained(chosen) for _ in range(2))
            largest = ((first - second).abs().max() / first.abs().max()).item()
            speed = chosen.rate_of(chosen.epoch_of(chosen.last))
            yield [name, f"largest difference of a weight {largest:.2g} of the largest weight; {speed:.4g} segments/s"]
        except RuntimeError as error:
            yield [name, f"failed: {str(error).splitlines()[0][:80]}"]


def _trained(ladder: Ladder) -> torch.Tensor:
    state, epoch = ladder.begun(ladder.last)
    for _ in range(REPEATED_EPOCHS):
        epoch()
    assert len(state.history) == REPEATED_EPOCHS
    return torch.cat([weight.detach().flatten() for weight in state.objective.parameters()]).double().cpu()
