"""The optimiser and its learning-rate schedule."""

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from emotune.base import Settings
from emotune.models import Encoder

Schedule = Literal["linear", "step", "none", "decay", "staircase", "cosine_restarts", "cosine_as_reported"]
FALLING_TO_ZERO: tuple[Schedule, ...] = ("linear", "cosine_restarts")
"""Schedules that end at 0 with the last epoch, and so need epochs after the warm-up."""

SCHEDULES_WITH: dict[str, tuple[Schedule, ...]] = {
    "step_epochs": ("step",),
    "step_factor": ("step",),
    "decay": ("decay", "staircase"),
    "decay_steps": ("staircase",),
    "cycles": ("cosine_restarts", "cosine_as_reported"),
    "cycle_decay": ("cosine_restarts",),
    "interval": ("linear", "step", "none", "decay", "cosine_restarts"),
}
"""The schedules that each setting has an effect on."""


SETTINGS_OF_SGD = ("momentum", "nesterov")
"""Settings that only ``sgd`` has an effect of."""


class Optim(Settings):
    """The optimiser and its learning-rate schedule; the defaults are those of the published ECG pre-training.

    Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-C. The paper gives the schedule in epochs;
    here the linear and cosine schedules and the warm-up change the learning rate at every optimiser step, unless
    ``interval`` is ``epoch``.
    """

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimiser: ``adam`` adds the weight decay to the gradient (L2, as published), ``adamw`` decouples it; ``sgd`` is
    stochastic gradient descent with ``momentum``, which adds the weight decay to the gradient."""

    lr: float = Field(default=1e-3, gt=0, le=10)
    """Peak learning rate."""

    encoder_factor: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate of the encoder; that of the task's head is ``lr``."""

    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate of each layer of the encoder over that of the layer above it."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's running averages of the gradient and of its square."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step that each step of ``sgd`` repeats."""

    nesterov: bool = False
    """Nesterov's momentum of ``sgd``: the gradient is corrected by the momentum of the coming step."""

    weight_decay: float = Field(default=0.005, ge=0)
    """Weight decay (L2 coefficient) of all trained parameters."""

    schedule: Schedule = "linear"
    """Learning rate after the warm-up. ``linear``: falls to 0 at the last epoch; ``step``: multiplied by
    ``step_factor`` every ``step_epochs``; ``none``: constant; ``decay``: multiplied by ``decay`` every epoch;
    ``staircase``: multiplied by ``decay`` every ``decay_steps`` optimiser steps; ``cosine_restarts``: falls to 0 along
    half a cosine, ``cycles`` times; ``cosine_as_reported``: the same per epoch, as in the published re-implementation,
    which subtracts the warm-up twice, so that the learning rate is 0 in the last epochs."""

    warmup_epochs: int = Field(default=30, ge=0)
    """Epochs over which the learning rate rises linearly from 0 to its peak."""

    interval: Literal["step", "epoch"] = "step"
    """How often the warm-up and the schedule change the learning rate: at every optimiser ``step``, or once per
    ``epoch``. The papers leave it open. ``staircase`` always counts optimiser steps, ``cosine_as_reported`` epochs."""

    step_epochs: int = Field(default=45, ge=1)
    """Epochs between two reductions of the ``step`` schedule."""

    step_factor: float = Field(default=0.65, gt=0, le=1)
    """Factor of each reduction of the ``step`` schedule."""

    decay: float = Field(default=0.9, gt=0, le=1)
    """Factor of each reduction of the ``decay`` and ``staircase`` schedules."""

    decay_steps: int = Field(default=10_000, ge=1)
    """Optimiser steps between two reductions of the ``staircase`` schedule."""

    cycles: int = Field(default=1, ge=1)
    """Number of half cosines of the cosine schedules."""

    cycle_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the peak learning rate of ``cosine_restarts`` at every restart."""

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "Optim":
        for name, schedules in SCHEDULES_WITH.items():
            given = getattr(self, name)
            if self.schedule not in schedules and given != type(self).model_fields[name].default:
                others = " or ".join(schedules)
                raise ValueError(
                    f"{name} has no effect with schedule: {self.schedule}. Remove it or set schedule: {others}"
                )
        for name in ("betas",) if self.kind == "sgd" else SETTINGS_OF_SGD:
            if getattr(self, name) != type(self).model_fields[name].default:
                kinds = "adam or adamw" if name == "betas" else "sgd"
                raise ValueError(f"{name} has no effect with kind: {self.kind}. Remove it or set kind: {kinds}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true was given with momentum: 0; give a momentum above 0")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas}: give numbers from 0 to 1 (1 excluded)")
        return self

    def build(self, module: nn.Module, *, fused: bool = False) -> torch.optim.Optimizer:
        """Return an optimiser of the parameters that require gradients.

        Args:
            module: The module whose parameters are trained.
            fused: Whether a step is one kernel over all parameters.
        """
        trained = self.parameter_groups(module)
        shared = {"lr": self.lr, "weight_decay": self.weight_decay, "fused": fused}
        if self.kind == "sgd":
            return torch.optim.SGD(trained, momentum=self.momentum, nesterov=self.nesterov, **shared)
        optimiser = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.kind]
        return optimiser(trained, betas=self.betas, **shared)

    def parameter_groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Return the parameters that require gradients, in groups with equal learning rates.

        A group has the ``factor`` of its learning rate: 1 for the head, which comes first, and for the layer of the
        encoder with n layers above it ``encoder_factor * layer_decay^n``. Without factors there is one group.

        Source: Howard and Ruder 2018 (arXiv:1801.06146), section 3.2; Clark et al. 2020 (arXiv:2003.10555).
        """
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        if self.encoder_factor == self.layer_decay == 1:
            return [{"params": trained, "factor": 1.0}]
        encoder = module.get_submodule("encoder")
        assert isinstance(encoder, Encoder)
        layers = [
            [parameter for parameter in layer if parameter.requires_grad] for layer in encoder.parameters_by_layer()
        ]
        inside = {id(parameter) for layer in layers for parameter in layer}
        head = [parameter for parameter in trained if id(parameter) not in inside]
        groups = [{"params": head, "factor": 1.0}]
        groups += [
            {"params": layer, "factor": self.encoder_factor * self.layer_decay**above}
            for above, layer in enumerate(reversed(layers))
        ]
        return [group for group in groups if group["params"]]

    def learning_rate(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of one optimiser step.

        With W warm-up steps and T steps in all, the factors of ``lr`` are::

            step < W    (step + 1) / W                      every schedule but cosine_as_reported
            linear      (T - step) / (T - W)
            cosine      cycle_decay^c (1 + cos(pi p)) / 2    c, p: whole and fractional part of
                                                            cycles (step - W) / (T - W)
            others      a power of step_factor or decay, counted from step 0

        With ``interval: epoch`` the same formulas count epochs in place of steps.

        Args:
            step: Number of the step, counted from 0 over the whole run.
            steps_per_epoch: Optimiser steps of an epoch.
            epochs: Epochs of the whole run.
        """
        if self.schedule == "cosine_as_reported":
            return self.lr * self._as_reported(step // steps_per_epoch, epochs=epochs)
        if self.interval == "epoch":
            step, steps_per_epoch = step // steps_per_epoch, 1
        warmup = self.warmup_epochs * steps_per_epoch
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.schedule not in FALLING_TO_ZERO:
            return self.lr * rise * self._factor(step, epoch=step // steps_per_epoch)
        if step < warmup:
            return self.lr * rise
        total = epochs * steps_per_epoch
        if self.schedule == "linear":
            return self.lr * max(0.0, (total - step) / (total - warmup))
        cycle, progress = divmod(self.cycles * (step - warmup) / (total - warmup), 1.0)
        return self.lr * self.cycle_decay**cycle * 0.5 * (1.0 + math.cos(math.pi * progress))

    def _factor(self, step: int, *, epoch: int) -> float:
        """Return the factor of the peak learning rate for schedules that do not depend on the length of the run."""
        match self.schedule:
            case "step":
                return self.step_factor ** (epoch // self.step_epochs)
            case "decay":
                return self.decay**epoch
            case "staircase":
                return self.decay ** (step // self.decay_steps)
        return 1.0

    def _as_reported(self, epoch: int, *, epochs: int) -> float:
        """Return the factor of the peak learning rate in the re-implementation.

        Its caller passes ``epochs - warmup`` as the total, and the formula subtracts the warm-up again.

        Source: ``get_cosine_with_hard_restarts_schedule_with_warmup`` in utils.py of
        github.com/joergsimon/SSL-ECG-Paper-Reimplementaton, called with ``epochs - warmup``.
        """
        warmup = self.warmup_epochs
        if epoch < warmup:
            return epoch / warmup
        progress = (epoch - warmup) / max(1, epochs - warmup - warmup)
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((self.cycles * progress) % 1.0))))
