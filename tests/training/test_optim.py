"""Promises of the schedules: named rates at named epochs, and no setting without effect."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from emotune.experiment import Experiment, deciding_settings
from emotune.models import ConvNet, Transformer
from emotune.tasks import Classify
from emotune.training.optim import SCHEDULES_WITH, SETTINGS_OF_SGD, Optim

REPORTED = {"lr": 0.0020220503805149607, "cycles": 1, "warmup_epochs": 8}
"""A trial of the report; its decay of 0.967 had no effect on its cosine."""


def at_epochs(optim: Optim, *epochs: int, steps: int = 7, of: int = 100) -> list[float]:
    """Return the rate at the first step of epochs that are counted from 0."""
    return [optim.learning_rate(epoch * steps, steps_per_epoch=steps, epochs=of) for epoch in epochs]


def test_reported_cosine_gives_the_reported_rate_to_the_last_digit() -> None:
    optim = Optim(schedule="cosine_as_reported", **REPORTED)
    assert at_epochs(optim, 72) == [0.0002698912820721283]
    assert at_epochs(optim, 0, 92, 99) == [0.0, 0.0, 0.0]
    assert at_epochs(optim, 8) == [optim.lr]
    assert 0 < at_epochs(optim, 91)[0] < 1e-5


@pytest.mark.parametrize("cycles", [1, 2, 3])
def test_reported_cosine_is_that_of_its_code(cycles: int) -> None:
    optim = Optim(schedule="cosine_as_reported", lr=0.5, cycles=cycles, warmup_epochs=9)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: as_in_its_code(epoch, cycles=cycles))
    for epoch in range(100):
        assert at_epochs(optim, epoch) == [optimiser.param_groups[0]["lr"]]
        optimiser.step()
        scheduler.step()


def as_in_its_code(current_step: int, *, cycles: int, warmup: int = 9, epochs: int = 100) -> float:
    training = epochs - warmup
    if current_step < warmup:
        return float(current_step) / float(max(1, warmup))
    progress = float(current_step - warmup) / float(max(1, training - warmup))
    if progress >= 1.0:
        return 0.0
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((float(cycles) * progress) % 1.0))))


def test_the_learning_rate_of_the_cosine_is_above_zero_at_every_step() -> None:
    optim = Optim(schedule="cosine_restarts", **REPORTED)
    rates = [optim.learning_rate(step, steps_per_epoch=7, epochs=100) for step in range(700)]
    assert min(rates) > 0
    assert at_epochs(optim, 8) == [optim.lr]
    assert at_epochs(optim, 54) == [pytest.approx(optim.lr / 2)]
    assert rates[-1] < 1e-4 * optim.lr
    assert rates[:56] == sorted(rates[:56])
    assert rates[56:] == sorted(rates[56:], reverse=True)


def test_cosine_restarts_at_a_lower_peak() -> None:
    optim = Optim(schedule="cosine_restarts", lr=1.0, warmup_epochs=10, cycles=3, cycle_decay=0.5)
    assert at_epochs(optim, 10, 40, 70) == pytest.approx([1.0, 0.5, 0.25])
    assert at_epochs(optim, 25, 55, 85) == pytest.approx([0.5, 0.25, 0.125])
    before = [optim.learning_rate(epoch * 7 - 1, steps_per_epoch=7, epochs=100) for epoch in (40, 70, 100)]
    assert max(before) < 1e-3


def test_schedules_of_the_report_and_of_the_compared_network() -> None:
    stays = Optim(schedule="none", lr=0.0024396003748203415, warmup_epochs=0)
    assert at_epochs(stays, 0, 54, 75) == [0.0024396003748203415] * 3
    decays = Optim(schedule="decay", lr=1e-3, decay=0.95, warmup_epochs=0)
    assert at_epochs(decays, 0, 1, 99) == pytest.approx([1e-3, 9.5e-4, 1e-3 * 0.95**99])
    stairs = Optim(schedule="staircase", lr=1e-3, warmup_epochs=0)
    rates = [stairs.learning_rate(step, steps_per_epoch=300, epochs=100) for step in (0, 9_999, 10_000, 29_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 9e-4, 8.1e-4])


@given(schedule=st.sampled_from(["step", "none", "decay", "staircase", "cosine_restarts"]), warmup=st.integers(1, 20))
def test_every_schedule_rises_to_its_peak_first(schedule: str, warmup: int) -> None:
    optim = Optim.model_validate({"schedule": schedule, "lr": 0.1, "warmup_epochs": warmup, "step_epochs": 45})
    rates = [optim.learning_rate(step, steps_per_epoch=5, epochs=40) for step in range(5 * warmup)]
    assert all(later >= earlier or schedule == "decay" for earlier, later in itertools.pairwise(rates))
    assert rates[0] == pytest.approx(0.1 / (5 * warmup))


@given(schedule=st.sampled_from(SCHEDULES_WITH["interval"]), warmup=st.integers(0, 20), steps=st.integers(1, 9))
def test_with_the_interval_epoch_the_rate_changes_once_per_epoch(schedule: str, warmup: int, steps: int) -> None:
    content = {"schedule": schedule, "lr": 0.1, "warmup_epochs": warmup}
    optim = Optim.model_validate({**content, "interval": "epoch"})
    rates = [optim.learning_rate(step, steps_per_epoch=steps, epochs=40) for step in range(40 * steps)]
    by_epoch = [Optim.model_validate(content).learning_rate(epoch, steps_per_epoch=1, epochs=40) for epoch in range(40)]
    assert rates == list(np.repeat(by_epoch, steps))


def test_the_interval_step_is_no_part_of_the_settings_that_decide() -> None:
    decided = [
        deciding_settings(Experiment(optim=Optim(interval=value)).model_dump(mode="json"))
        for value in ("step", "epoch")
    ]
    assert ["interval" in content["optim"] for content in decided] == [False, True]


@pytest.mark.parametrize("name", SCHEDULES_WITH)
def test_a_setting_without_effect_is_refused(name: str) -> None:
    value = {"decay": 0.5, "cycle_decay": 0.5, "step_factor": 0.5, "interval": "epoch"}.get(name, 3)
    for schedule in ("linear", "step", "none", "decay", "staircase", "cosine_restarts", "cosine_as_reported"):
        if schedule in SCHEDULES_WITH[name]:
            assert getattr(Optim.model_validate({"schedule": schedule, name: value}), name) == value
        else:
            with pytest.raises(ValidationError, match=f"{name} has no effect with schedule: {schedule}"):
                Optim.model_validate({"schedule": schedule, name: value})


@pytest.mark.parametrize("schedule", ["linear", "cosine_restarts"])
def test_a_warm_up_without_end_is_refused(schedule: str) -> None:
    with pytest.raises(ValidationError, match=r"optim\.warmup_epochs: 9 was given, but the run has 9 epochs"):
        Experiment.model_validate({"epochs": 9, "optim": {"schedule": schedule, "warmup_epochs": 9}})


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.8, True)])
def test_sgd_is_that_of_its_definition(momentum: float, nesterov: bool) -> None:
    layer = torch.nn.Linear(3, 1, bias=False)
    weights = layer.weight.detach().clone()
    optim = Optim(kind="sgd", lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.5)
    optimiser = optim.build(layer)
    velocity = torch.zeros_like(weights)
    for step in range(4):
        signal = torch.arange(3.0) + step
        optimiser.zero_grad()
        layer(signal).sum().backward()
        optimiser.step()
        gradient = signal[None] + 0.5 * weights
        velocity = momentum * velocity + gradient
        weights = weights - 0.1 * (gradient + momentum * velocity if nesterov else velocity)
        torch.testing.assert_close(layer.weight.detach(), weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "adam", "momentum": 0.5}, "momentum has no effect with kind: adam"),
        ({"kind": "adamw", "nesterov": True}, "nesterov has no effect with kind: adamw"),
        ({"kind": "sgd", "betas": (0.5, 0.9)}, "betas has no effect with kind: sgd"),
        ({"kind": "sgd", "momentum": 0.0, "nesterov": True}, "give a momentum above 0"),
    ],
)
def test_a_setting_of_another_optimiser_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Optim(**settings)


def test_experiments_with_adam_keep_their_hash_and_those_with_sgd_have_their_settings_in_it() -> None:
    content = Experiment().model_dump(mode="json")
    old = {
        **content,
        "optim": {name: content["optim"][name] for name in content["optim"] if name not in SETTINGS_OF_SGD},
    }
    assert deciding_settings(content) == deciding_settings(old)
    digests = {Experiment(optim=Optim(kind="sgd", momentum=momentum)).digest() for momentum in (0.5, 0.9)}
    assert len(digests) == 2


@pytest.mark.parametrize(
    "model", [Transformer(channels=(4, 8), kernels=(5, 3), feedforward=8, layers=2), ConvNet(norm="batch")]
)
def test_every_layer_has_a_learning_rate_of_its_own(model: Transformer | ConvNet) -> None:
    encoder = model.build(channels=1)
    objective = Classify(hidden=(8,)).build(encoder, channels=1, labels=np.array([0.0, 1]))
    inside = [id(parameter) for layer in encoder.parameters_by_layer() for parameter in layer]
    assert sorted(inside) == sorted(map(id, encoder.parameters()))
    optimiser = Optim(encoder_factor=0.5, layer_decay=0.1).build(objective)
    factors = [group["factor"] for group in optimiser.param_groups]
    assert factors == pytest.approx([1.0, *(0.5 * 0.1**above for above in range(len(encoder.parameters_by_layer())))])
    head, top = optimiser.param_groups[0]["params"], optimiser.param_groups[1]["params"]
    assert {id(parameter) for parameter in head} == {id(parameter) for parameter in objective.head.parameters()}
    assert {id(parameter) for parameter in top} == {id(parameter) for parameter in encoder.parameters_by_layer()[-1]}


def test_without_factors_all_parameters_are_one_group_in_their_order() -> None:
    objective = Classify(hidden=(8,)).build(ConvNet().build(channels=1), channels=1, labels=np.array([0.0, 1]))
    (group,) = Optim().build(objective).param_groups
    assert list(map(id, group["params"])) == list(map(id, objective.parameters()))


def test_a_frozen_encoder_has_no_group() -> None:
    task = Classify(hidden=(8,), frozen=True)
    objective = task.build(ConvNet().build(channels=1), channels=1, labels=np.array([0.0, 1]))
    optimiser = Optim(layer_decay=0.5).build(objective)
    assert [group["factor"] for group in optimiser.param_groups] == [1.0]
