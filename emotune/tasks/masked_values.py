"""Pre-training: hide spans of the signal and predict the hidden values.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section III-C, equation 3.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from emotune.data.batches import Batch
from emotune.models import Encoder
from emotune.models.transformer import TransformerEncoder
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.masking import hidden_rows, span_mask


class MaskedValues(TaskSettings):
    """Hide spans of the signal, on all channels at once, and predict the hidden values."""

    kind: Literal["masked_values"] = "masked_values"

    start_probability: float = Field(default=0.0325, gt=0, lt=1)
    """Share of the samples that start a hidden span."""

    span: int = Field(default=20, ge=1)
    """Length of a hidden span, in samples."""

    head: int = Field(default=128, ge=1)
    """Hidden units of the network that predicts the values."""

    def labels(self, index: pd.DataFrame) -> np.ndarray | None:
        """Return None: the signal is its own answer."""
        del index

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "MaskedValueObjective":
        """Make the objective; the labels are not used."""
        del labels
        assert isinstance(encoder, TransformerEncoder)
        return MaskedValueObjective(self, encoder, channels=channels)

    def mask(self, batch: Batch, *, generator: torch.Generator) -> Bool[Tensor, "joint time"]:
        """Draw which samples to hide of each signal of the joint batch."""
        shape = (batch.joint_size, batch.signals.shape[2])
        chance, span = self.start_probability, self.span
        return span_mask(shape, start_probability=chance, span=span, generator=generator).to(batch.signals.device)

    def most_hidden(self, steps: int) -> int:
        """Return how many of a signal's samples can be hidden at most: when no spans overlap."""
        return min(steps, int(self.start_probability * steps) * self.span)

    def references(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the errors, on the same masks, of predicting zero and of linear interpolation."""
        mask = batch.own(self.mask(batch, generator=generator))
        hidden = mask[:, None].expand_as(batch.signals)
        signals = batch.signals.double()
        interpolated = interpolate_linearly(signals, mask)
        return {
            "loss_zero": signals[hidden].square().sum().item(),
            "loss_interpolated": (signals - interpolated)[hidden].square().sum().item(),
            "points": float(hidden.sum()),
        }


class MaskedValueObjective(Objective):
    """Mean squared error at the hidden samples, from representations computed there only."""

    def __init__(self, settings: MaskedValues, encoder: TransformerEncoder, *, channels: int) -> None:
        super().__init__()
        self.settings = settings
        self._fixed_rows = False
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.width, settings.head), nn.ReLU(), nn.Linear(settings.head, channels)
        )

    def pad_rows(self, *, fixed: bool) -> None:
        """Say whether hidden rows are padded to the most there can be, or to what a batch needs."""
        self._fixed_rows = fixed

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return equation 3, averaged over all hidden samples of the joint batch."""
        mask = self.settings.mask(batch, generator=generator)
        return self.squared_error(batch.signals, batch.own(mask)) / (mask.sum() * batch.signals.shape[1])

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed squared error and the number of hidden values."""
        mask = batch.own(self.settings.mask(batch, generator=generator))
        error = self.squared_error(batch.signals, mask)
        return {"error": error.item(), "points": float(mask.sum()) * batch.signals.shape[1]}

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the mean squared error over all hidden values, as ``loss``."""
        return {"loss": sums["error"] / sums["points"]}

    def squared_error(
        self, signals: Float[Tensor, "batch channel time"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, ""]:
        """Return the summed squared error at the hidden samples."""
        assert isinstance(self.encoder, TransformerEncoder)
        rows, weights = hidden_rows(mask, most=self.settings.most_hidden(mask.shape[1]) if self._fixed_rows else None)
        shown = signals.masked_fill(mask[:, None], 0.0)
        predicted = self.head(self.encoder(shown, rows + 1))
        target = signals.transpose(1, 2).gather(1, rows[:, :, None].expand(-1, -1, signals.shape[1]))
        return ((predicted - target).square() * weights[:, :, None]).sum()


def interpolate_linearly(
    signals: Float[Tensor, "batch channel time"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch channel time"]:
    """Fill the hidden samples by straight lines between their shown neighbours.

    Before the first and after the last shown sample its value is held. A signal that is wholly
    hidden becomes zero.
    """
    time = np.arange(signals.shape[2])
    filled = signals.cpu().numpy().copy()
    for signal, hidden in zip(filled, mask.cpu().numpy(), strict=True):
        shown = ~hidden
        for channel in signal:
            channel[hidden] = np.interp(time[hidden], time[shown], channel[shown]) if shown.any() else 0.0
    return torch.from_numpy(filled).to(signals)
