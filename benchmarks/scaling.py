"""Compare two workers that train one network together with one worker: their speed and their results.

    python benchmarks/scaling.py [--workers 1 2] [--batch 8] [--rounds 5] [--size published] [--out scaling]

Each worker is a process with one thread, joined by torch.distributed (gloo); Ray is not imported. The joint batch is
the same for any number of workers. Two independent processes are the upper limit: what the machine's
memory and clock rates allow for a second core. Prints tables and writes them to OUT/scaling.md.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.markdown import markdown
from benchmarks.timing import spread
from benchmarks.training_cases import Case, synthetic_data
from emotune.training.loop import TrainingData, TrainState, train_epoch
from emotune.training.workers import ALONE, WorkerGroup, joined

MODES = ("together", "apart")
"""One network on joint batches, or an independent network per process."""


@dataclass(frozen=True)
class Task:
    """The training of a group of processes.

    Attributes:
        case: The network and its data.
        batch: Segments of a joint batch; in mode ``apart``, of the batch of each process.
        steps: Number of optimiser steps.
        settings: Further settings of `Experiment`.
    """

    case: Case
    batch: int
    steps: int
    settings: Mapping[str, Any]

    def begin(self, group: WorkerGroup) -> tuple[TrainState, TrainingData]:
        """Return the initial state and the data of the training."""
        experiment = self.case.experiment(batch_size=self.batch, **self.settings)
        training_data = synthetic_data(self.case, segments=self.batch * self.steps)
        state = experiment.begin_untrained(training_data)
        state.network = group.wrap(state.objective)
        return state, training_data

    def train(self, state: TrainState, training_data: TrainingData, *, group: WorkerGroup) -> None:
        """Train for an epoch, which contains all steps."""
        train_epoch(
            state,
            training_data,
            self.case.experiment(batch_size=self.batch, **self.settings).training_plan(),
            group=group,
        )


@dataclass(frozen=True)
class Outcome:
    """The result of a process.

    Attributes:
        seconds: Wall-clock seconds of the steps, without the first epoch.
        gradients: The gradients of the last step.
        weights: The weights after all steps.
    """

    seconds: float
    gradients: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]


@dataclass(frozen=True)
class Group:
    """Processes that run a task.

    Attributes:
        workers: Number of processes.
        mode: One of `MODES`.
        warm: Whether an epoch is trained first that is not measured.
    """

    workers: int
    mode: str = "together"
    warm: bool = True

    def run(self, task: Task) -> list[Outcome]:
        """Run a task, and return the result of each process."""
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.start_processes(_work, args=(task, self, folder), nprocs=self.workers, start_method="spawn")
            paths = [Path(folder) / f"{rank}.pt" for rank in range(self.workers)]
            return [Outcome(**torch.load(path, weights_only=True)) for path in paths]


def _work(rank: int, task: Task, processes: Group, folder: str) -> None:
    torch.set_num_threads(1)
    rendezvous = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=processes.workers)
    group = joined() if processes.mode == "together" else ALONE
    state, training_data = task.begin(group)
    if processes.warm:
        task.train(state, training_data, group=group)
    distributed.barrier()
    started = time.perf_counter()
    task.train(state, training_data, group=group)
    distributed.barrier()
    seconds = time.perf_counter() - started
    named = dict(state.objective.named_parameters())
    gradients = {name: tensor.grad.clone() for name, tensor in named.items() if tensor.grad is not None}
    weights = {name: tensor.detach().clone() for name, tensor in named.items()}
    torch.save({"seconds": seconds, "gradients": gradients, "weights": weights}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def speed_table(task: Task, *, workers: list[int], rounds: int) -> str:
    """Measure groups in turn, and return their speeds relative to one worker."""
    groups = [("together", count) for count in workers] + [("apart", count) for count in workers if count > 1]
    speeds: dict[tuple[str, int], list[float]] = {group: [] for group in groups}
    for number in range(rounds):
        for mode, count in groups if number % 2 == 0 else reversed(groups):
            seconds = max(outcome.seconds for outcome in Group(count, mode=mode).run(task))
            segments = task.batch * task.steps * (count if mode == "apart" else 1)
            speeds[mode, count].append(segments / seconds)
    single = speeds["together", 1]
    rows = []
    for (mode, count), values in speeds.items():
        gains = [value / alone for value, alone in zip(values, single, strict=True)]
        efficiency = f"{statistics.median(gains) / count:.0%}"
        name = f"{count} together" if mode == "together" else f"{count} apart (upper limit)"
        rows.append([name, spread(values), spread(gains), efficiency])
    return markdown(["workers", "segments per second", "relative to one worker", "efficiency"], rows)


def difference(mine: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """Return the largest absolute difference of any number, divided by the largest absolute number of its tensor."""
    assert mine.keys() == theirs.keys()
    return max(
        float((mine[name] - theirs[name]).abs().max() / theirs[name].abs().max().clamp_min(1e-30)) for name in mine
    )


def distance(mine: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> float:
    """Return ``|mine - theirs| / |theirs|``, with the Euclidean norm over all numbers."""
    differences = torch.cat([(mine[name] - theirs[name]).flatten() for name in theirs])
    return float(differences.norm() / torch.cat([theirs[name].flatten() for name in theirs]).norm())


def equality_table(tasks: Mapping[str, Task], *, workers: list[int]) -> str:
    """Compare gradients and weights of several workers with those of one, after one step and after several."""
    rows = []
    for name, task in tasks.items():
        (alone,) = Group(1, warm=False).run(task)
        for count in workers:
            if count > 1:
                first, *others = Group(count, warm=False).run(task)
                assert all(difference(other.weights, first.weights) == 0 for other in others)
                differences = [
                    compare(getattr(first, tensors), getattr(alone, tensors))
                    for tensors in ("gradients", "weights")
                    for compare in (difference, distance)
                ]
                rows.append([name, f"{task.steps}", f"{count}", *(f"{value:.2g}" for value in differences)])
    head = ["settings", "steps", "workers", "a gradient", "all gradients", "a weight", "all weights"]
    return markdown(head, rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=8, help="segments of a joint batch")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", default="published", choices=["published", "small"])
    parser.add_argument("--only", choices=["speed", "equality"])
    parser.add_argument("--out", type=Path, default=Path("scaling"))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    parts = [f"torch {torch.__version__}, gloo, one thread per worker, joint batch {given.batch}, {given.size} size."]
    case = Case(size=given.size)
    if given.only != "equality":
        task = Task(case, batch=given.batch, steps=given.steps, settings={})
        parts.append(speed_table(task, workers=sorted({1, *given.workers}), rounds=given.rounds))
    if given.only != "speed":
        parts.append(equality_table(equality_tasks(case, batch=given.batch), workers=given.workers))
    assert not any(name == "ray" or name.startswith("ray.") for name in sys.modules)
    given.out.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join(parts)
    (given.out / "scaling.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def equality_tasks(case: Case, *, batch: int) -> dict[str, Task]:
    """Return the tasks that are compared: 1 and 5 steps, in float32 with and without dropout, and in bfloat16."""
    model = case.experiment(batch_size=1).model.model_dump(mode="json")
    settings: dict[str, dict[str, Any]] = {
        "float32, no dropout": {
            "model": {**model, "dropout": 0, "attention_dropout": 0},
            "compute": {"precision": "fp32"},
        },
        "float32, dropout 0.1": {"compute": {"precision": "fp32"}},
        "bfloat16, dropout 0.1": {"compute": {"precision": "bf16"}},
    }
    return {
        f"{name}, {steps} step{'s' if steps > 1 else ''}": Task(case, batch=batch, steps=steps, settings=changes)
        for name, changes in settings.items()
        for steps in (1, 5)
    }


if __name__ == "__main__":
    main()
