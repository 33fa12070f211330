"""The optimiser, and how its learning rate goes."""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from emotune.base import Settings

Schedule = Literal["linear", "step", "none", "decay", "staircase", "cosine_restarts", "cosine_as_reported"]
FALLING_TO_ZERO: tuple[Schedule, ...] = ("linear", "cosine_restarts")
"""Schedules that need epochs after the warm-up, and end at 0 with the last."""

SCHEDULES_WITH: dict[str, tuple[Schedule, ...]] = {
    "step_epochs": ("step",),
    "step_factor": ("step",),
    "decay": ("decay", "staircase"),
    "decay_steps": ("staircase",),
    "cycles": ("cosine_restarts", "cosine_as_reported"),
    "cycle_decay": ("cosine_restarts",),
}
"""Which schedules a setting has an effect on."""


class Optim(Settings):
    """Adam with its learning-rate schedule; the defaults are those of the published ECG pre-training.

    Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section IV-C. The schedule moves with
    every optimiser step.
    """

    kind: Literal["adam", "adamw"] = "adam"
    """``adam`` adds the weight decay to the gradient (L2, as published), ``adamw`` decouples it."""

    lr: float = Field(default=1e-3, gt=0, le=10)
    """Peak learning rate."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's two running averages."""

    weight_decay: float = Field(default=0.005, ge=0)
    """Weight decay of all trained parameters."""

    schedule: Schedule = "linear"
    """How the learning rate goes after the warm-up. ``linear``: down to 0 at the last epoch; ``step``: times
    ``step_factor`` every ``step_epochs``; ``none``: stays; ``decay``: times ``decay`` every epoch; ``staircase``: times
    ``decay`` every ``decay_steps`` optimiser steps; ``cosine_restarts``: down to 0 along half a cosine, ``cycles``
    times; ``cosine_as_reported``: the same epoch by epoch, as a report on a re-implementation computed it, which has
    the warm-up subtracted twice, so that the last epochs learn nothing."""

    warmup_epochs: int = Field(default=30, ge=0)
    """Epochs over which the learning rate rises linearly from 0 to its peak."""

    step_epochs: int = Field(default=45, ge=1)
    """Epochs between two reductions of the ``step`` schedule."""

    step_factor: float = Field(default=0.65, gt=0, le=1)
    """What the ``step`` schedule multiplies the learning rate by."""

    decay: float = Field(default=0.9, gt=0, le=1)
    """What the ``decay`` and ``staircase`` schedules multiply the learning rate by."""

    decay_steps: int = Field(default=10_000, ge=1)
    """Optimiser steps between two reductions of the ``staircase`` schedule."""

    cycles: int = Field(default=1, ge=1)
    """How often a cosine goes down."""

    cycle_decay: float = Field(default=1.0, gt=0, le=1)
    """What the peak of ``cosine_restarts`` is multiplied by at every restart."""

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "Optim":
        for name, schedules in SCHEDULES_WITH.items():
            given = getattr(self, name)
            if self.schedule not in schedules and given != type(self).model_fields[name].default:
                others = " or ".join(schedules)
                raise ValueError(
                    f"{name} has no effect with schedule: {self.schedule}. Remove it or set schedule: {others}"
                )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must lie between 0 and 1 (1 excluded)")
        return self

    def build(self, module: nn.Module, *, fused: bool = False) -> torch.optim.Optimizer:
        """Make the optimiser for the parameters that are trained, perhaps with all of its step in one kernel."""
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.kind]
        return make(trained, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay, fused=fused)

    def learning_rate(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of one optimiser step, counted from 0 over the whole run.

        During the warm-up it is multiplied by ``(step + 1) / warm-up``. Linear: ``lr * (total -
        step) / (total - warm-up)`` after the warm-up; cosine: ``lr * (1 + cos(pi * p)) / 2``, where
        p goes from 0 to 1 in each cycle, which share the steps after the warm-up equally.
        """
        if self.schedule == "cosine_as_reported":
            return self.lr * self._as_reported(step // steps_per_epoch, epochs=epochs)
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
        """Return what the peak is multiplied by, where that does not depend on the length of the run."""
        match self.schedule:
            case "step":
                return self.step_factor ** (epoch // self.step_epochs)
            case "decay":
                return self.decay**epoch
            case "staircase":
                return self.decay ** (step // self.decay_steps)
        return 1.0

    def _as_reported(self, epoch: int, *, epochs: int) -> float:
        """Return the factor of the report, whose caller had subtracted the warm-up from the epochs before.

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
