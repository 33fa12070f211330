"""In the scaling benchmark, several processes train the same network as one."""

import pytest
import torch

from benchmarks.scaling import Group, Task, difference, distance, equality_tasks
from benchmarks.training_cases import Case
from emotune.training.workers import ALONE

TINY = {
    "compute": {"precision": "fp32"},
    "model": {"channels": (4, 8), "kernels": (9, 5), "feedforward": 16, "dropout": 0, "attention_dropout": 0},
}


def test_the_difference_is_relative_to_the_largest_number_of_a_tensor() -> None:
    mine = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([100.0])}
    theirs = {"a": torch.tensor([1.5, 2.0]), "b": torch.tensor([101.0])}
    assert difference(mine, theirs) == 0.25
    assert difference(mine, mine) == 0
    assert distance({"a": torch.tensor([3.0, 0.0])}, {"a": torch.tensor([3.0, 4.0])}) == pytest.approx(0.8)


def test_training_is_compared_with_and_without_dropout() -> None:
    shares = {
        getattr(task.case.experiment(batch_size=1, **task.settings).model, "dropout", None)
        for task in equality_tasks(Case(), batch=4).values()
    }
    assert shares == {0.0, 0.1}


def test_two_processes_get_the_weights_of_one() -> None:
    task = Task(Case(seconds=1), batch=5, steps=2, settings=TINY)
    alone, training_data = task.begin(ALONE)
    task.train(alone, training_data, group=ALONE)
    weights = {name: tensor.detach() for name, tensor in alone.objective.named_parameters()}
    first, second = Group(2, warm=False).run(task)
    assert difference(first.weights, second.weights) == 0
    assert difference(first.weights, weights) < 1e-4
    assert first.seconds > 0
