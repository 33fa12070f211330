"""The optimiser, and how its learning rate goes."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from emotune.base import Settings


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

    schedule: Literal["linear", "step"] = "linear"
    """``linear``: down to 0 at the last epoch; ``step``: times ``step_factor`` every ``step_epochs``."""

    warmup_epochs: int = Field(default=30, ge=0)
    """Epochs over which the learning rate rises linearly from 0 to its peak."""

    step_epochs: int = Field(default=45, ge=1)
    """Epochs between two reductions of the ``step`` schedule."""

    step_factor: float = Field(default=0.65, gt=0, le=1)
    """What the ``step`` schedule multiplies the learning rate by."""

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "Optim":
        fields = type(self).model_fields
        idle = [name for name in ("step_epochs", "step_factor") if getattr(self, name) != fields[name].default]
        if self.schedule == "linear" and idle:
            raise ValueError(f"{idle[0]} has no effect with schedule: linear. Remove it or set schedule: step")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must lie between 0 and 1 (1 excluded)")
        return self

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Make the optimiser for the parameters that are trained."""
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.kind]
        return make(trained, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)

    def learning_rate(self, step: int, *, steps_per_epoch: int, epochs: int) -> float:
        """Return the learning rate of one optimiser step, counted from 0 over the whole run.

        Linear: ``lr * (total - step) / (total - warm-up)`` after the warm-up; step: ``lr * factor **
        (epoch // step_epochs)``. During the warm-up both are multiplied by ``(step + 1) / warm-up``.
        """
        warmup = self.warmup_epochs * steps_per_epoch
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.schedule == "step":
            return self.lr * rise * self.step_factor ** (step // steps_per_epoch // self.step_epochs)
        if step < warmup:
            return self.lr * rise
        total = epochs * steps_per_epoch
        return self.lr * max(0.0, (total - step) / (total - warmup))
