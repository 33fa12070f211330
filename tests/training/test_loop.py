"""Training resumes bit for bit, follows its schedule, and raises an error when it diverges."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotune.data.store import SegmentStore
from emotune.errors import TrainingDivergedError
from emotune.experiment import Experiment
from emotune.storage import LocalStorage
from emotune.training.checkpoints import restore, save_checkpoint
from emotune.training.epoch_report import EpochReport
from emotune.training.loop import TrainState, evaluate, measure_references, train_epoch
from emotune.training.optim import Optim
from tests.support.training import train_until
from tests.training.conftest import tiny_experiment

TIMES = ("train/segments_per_second",)


def trained(experiment: Experiment, store: SegmentStore, *, until: int, state: TrainState | None = None) -> TrainState:
    training_data = experiment.training_data(store)
    return train_until(state or experiment.begin(training_data), training_data, experiment, until=until)


def numbers(history: list[EpochReport]) -> list[tuple[int, dict[str, float]]]:
    return [(report.epoch, {k: v for k, v in report.metrics.items() if k not in TIMES}) for report in history]


@pytest.mark.parametrize(
    "task", [{"kind": "masked_values", "head": 8}, {"kind": "classify", "hidden": (8,)}], ids=lambda task: task["kind"]
)
def test_interrupted_training_is_equal_to_the_last_bit(store: SegmentStore, tmp_path: Path, task: dict) -> None:
    experiment = tiny_experiment(store.path, task=task)
    unbroken = trained(experiment, store, until=4)
    broken = experiment.begin(experiment.training_data(store))
    for until in (1, 3, 4):
        broken = trained(experiment, store, until=until, state=broken)
        folder = save_checkpoint(LocalStorage(tmp_path), broken, about={})
        torch.manual_seed(until)
        broken = experiment.model_copy(update={"seed": 99}).begin(experiment.training_data(store))
        restore(folder, broken)
    assert numbers(broken.history) == numbers(unbroken.history)
    for name, weight in unbroken.objective.state_dict().items():
        assert torch.equal(broken.objective.state_dict()[name], weight), name


def test_a_pause_after_any_step_changes_nothing(store: SegmentStore, tmp_path: Path) -> None:
    experiment = tiny_experiment(store.path, batch_size=4, epochs=2)
    unbroken = trained(experiment, store, until=2)
    training_data = experiment.training_data(store)
    broken = experiment.begin(training_data)
    pauses = 0
    while broken.epoch < 2:
        if train_epoch(broken, training_data, experiment.training_plan(), pause=lambda: True) is not None:
            continue
        pauses += 1
        folder = save_checkpoint(LocalStorage(tmp_path), broken, about={})
        broken = experiment.begin(training_data)
        restore(folder, broken)
    steps = -(-len(training_data.fold.train) // 4)
    assert pauses == 2 * (steps - 1) > 4
    assert numbers(broken.history) == numbers(unbroken.history)
    for name, weight in unbroken.objective.state_dict().items():
        assert torch.equal(broken.objective.state_dict()[name], weight), name


def test_learning_lowers_the_loss_below_the_references(store: SegmentStore) -> None:
    experiment = tiny_experiment(store.path, epochs=40, optim={"lr": 1e-2, "warmup_epochs": 2, "weight_decay": 0.0})
    experiment = experiment.with_values({"model.dropout": 0.0, "model.attention_dropout": 0.0})
    training_data = experiment.training_data(store)
    references = measure_references(experiment.task, training_data, training_data.fold.val, prefix="val")
    state = trained(experiment, store, until=40)
    assert set(references) == {"val/loss_zero", "val/loss_interpolated"}
    assert state.history[-1].metrics["val/loss"] < 0.9 * references["val/loss_zero"]


def test_measuring_twice_gives_the_same(store: SegmentStore, experiment: Experiment) -> None:
    training_data = experiment.training_data(store)
    state = experiment.begin(training_data)
    first = evaluate(state.objective, training_data, training_data.fold.val, prefix="val")
    torch.manual_seed(5)
    assert evaluate(state.objective, training_data, training_data.fold.val, prefix="val") == first


def test_divergence_raises_an_error(store: SegmentStore) -> None:
    experiment = tiny_experiment(store.path, optim={"lr": 10.0, "warmup_epochs": 0, "weight_decay": 0.0})
    training_data = experiment.training_data(store)
    state = experiment.begin(training_data)
    with torch.no_grad():
        next(state.objective.head.parameters()).fill_(float("inf"))
    with pytest.raises(TrainingDivergedError, match="in epoch 1, by step"):
        train_until(state, training_data, experiment, until=1)
    assert state.history == []


@given(warmup=st.integers(0, 20), epochs=st.integers(21, 60), steps=st.integers(1, 9), lr=st.floats(1e-5, 1.0))
def test_linear_schedule_rises_to_its_peak_and_falls_to_nothing(
    warmup: int, epochs: int, steps: int, lr: float
) -> None:
    optim = Optim(lr=lr, warmup_epochs=warmup)
    rates = [optim.learning_rate(step, steps_per_epoch=steps, epochs=epochs) for step in range(steps * epochs)]
    peak = max(0, warmup * steps - 1)
    assert rates[peak] == pytest.approx(lr)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] <= lr / (steps * (epochs - warmup)) * (1 + 1e-9)


def test_step_schedule_of_the_published_fine_tuning() -> None:
    optim = Optim(lr=1e-4, schedule="step", warmup_epochs=0)
    rates = [optim.learning_rate(epoch * 7, steps_per_epoch=7, epochs=100) for epoch in (0, 44, 45, 89, 90, 99)]
    assert rates == pytest.approx([1e-4, 1e-4, 6.5e-5, 6.5e-5, 4.225e-5, 4.225e-5])


def test_weight_decay_is_coupled_as_published() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(2.0)
    optimiser = Optim(lr=0.1, weight_decay=0.5).build(module)
    module.weight.grad = torch.zeros(1, 1)
    optimiser.step()
    assert module.weight.item() == pytest.approx(2.0 - 0.1, abs=1e-5)  # Adam normalises the L2 gradient to 1
