"""Pre-training: hide spans of the signal and predict the hidden values.

With the set M of hidden samples, their values x_j and the predicted ones x'_j (equation 3):

    loss = (1 / N_m) * sum over j in M of (x'_j - x_j)^2

N_m is the number of hidden values: hidden samples times channels. Hidden samples are set to zero in the input; there
is no learnt mask token.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section III-C.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from emotune.base import Settings
from emotune.data.batches import Batch
from emotune.errors import SettingsError
from emotune.models import Encoder
from emotune.models.transformer import TransformerEncoder
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.probe import ProbedSettings


class Mask(Settings):
    """Spans of the signal that are hidden; a span is hidden on all channels. The defaults are the published ones."""

    start_probability: float = Field(default=0.0325, gt=0, lt=1)
    """Fraction of the samples that start a hidden span."""

    span: int = Field(default=20, ge=1)
    """Length of a hidden span, in samples."""

    def draw(self, batch: Batch, *, generator: torch.Generator, setting: str = "task") -> Bool[Tensor, "joint time"]:
        """Draw the hidden samples of every signal of the joint batch, True where a sample is hidden.

        Masks are drawn for the whole joint batch, so that they do not depend on the number of workers.

        Args:
            batch: The signals.
            generator: Source of randomness.
            setting: Dotted name of the section with these settings, for error messages.
        """
        shape = (batch.joint_size, batch.signals.shape[2])
        mask = span_mask(
            shape, start_probability=self.start_probability, span=self.span, generator=generator, setting=setting
        )
        return mask.to(batch.signals.device)

    def max_hidden(self, steps: int) -> int:
        """Return the largest possible number of hidden samples of a signal: that of spans that do not overlap."""
        return min(steps, int(self.start_probability * steps) * self.span)


class MaskedValues(ProbedSettings, TaskSettings):
    """Prediction of hidden spans of the signal."""

    kind: Literal["masked_values"] = "masked_values"

    start_probability: float = Field(default=0.0325, gt=0, lt=1)
    """Fraction of the samples that start a hidden span, in training."""

    span: int = Field(default=20, ge=1)
    """Length of a hidden span in training, in samples."""

    validation: Mask | None = Mask()
    """Mask of the validation and test segments, by default the published one. It does not follow ``start_probability``
    and ``span``, so that configurations with different training masks are compared on the same one. null: the mask of
    the training, as in searches that older versions started."""

    head: int = Field(default=128, ge=1)
    """Hidden units of the head, the network that predicts the values."""

    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    network: ClassVar[frozenset[str]] = frozenset({"head"})

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the settings of the mask, or of the probe, that the metric is computed on."""
        if metric.startswith("probe/"):
            return {"probe": ""}
        if metric.startswith("train/"):
            remedy = "or use objective.metric: val/loss, which is measured on the mask task.validation"
            return {"start_probability": remedy, "span": remedy}
        if self.validation is not None:
            return {"validation": ""}
        remedy = "or set base.task.validation: {start_probability: 0.0325, span: 20}, one mask for all configurations"
        return {"start_probability": remedy, "span": remedy, "validation": ""}

    @property
    def training_mask(self) -> Mask:
        """The mask of the training segments."""
        return Mask(start_probability=self.start_probability, span=self.span)

    def measured_mask(self, batch: Batch, *, generator: torch.Generator) -> Bool[Tensor, "joint time"]:
        """Draw the mask on which validation and test segments are measured."""
        if self.validation is None:
            return self.training_mask.draw(batch, generator=generator)
        return self.validation.draw(batch, generator=generator, setting="task.validation")

    def labels(self, index: pd.DataFrame, *, train: np.ndarray | None = None) -> np.ndarray | None:
        """Return None: the task needs no labels, as the signal itself is predicted."""
        del index, train

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "MaskedValueObjective":
        """Return the objective; the labels are not used."""
        del labels
        assert isinstance(encoder, TransformerEncoder)
        return MaskedValueObjective(self, encoder, channels=channels)

    def references(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed squared errors of predicting zero and of linear interpolation, on the same masks.

        Signals are standardised, so ``loss_zero`` is the error of predicting the mean, about 1 per value.
        """
        mask = batch.own(self.measured_mask(batch, generator=generator))
        hidden = mask[:, None].expand_as(batch.signals)
        signals = batch.signals.double()
        interpolated = interpolate_linearly(signals, mask)
        return {
            "loss_zero": signals[hidden].square().sum().item(),
            "loss_interpolated": (signals - interpolated)[hidden].square().sum().item(),
            "points": float(hidden.sum()),
        }


class MaskedValueObjective(Objective):
    """Mean squared error of the hidden values.

    Representations are computed at the hidden samples only, as the loss reads no others: about half of the rows of
    the last block.
    """

    def __init__(self, settings: MaskedValues, encoder: TransformerEncoder, *, channels: int) -> None:
        super().__init__()
        self.settings = settings
        self._training_mask = settings.training_mask
        self._fixed_rows = False
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.width, settings.head), nn.ReLU(), nn.Linear(settings.head, channels)
        )

    def pad_rows(self, *, fixed: bool) -> None:
        """Set whether hidden rows are padded to the largest possible number, or to what each batch needs.

        A fixed number costs some rows, but a GPU need not wait for the mask to be read, and shapes never change.
        """
        self._fixed_rows = fixed

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of equation 3, the mean over all hidden values of the joint batch."""
        mask = self._training_mask.draw(batch, generator=generator)
        most = self._training_mask.max_hidden(mask.shape[1]) if self._fixed_rows else None
        error = self.squared_error(batch.signals, batch.own(mask), max_hidden=most)
        return error / (mask.sum() * batch.signals.shape[1])

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed squared error and the number of hidden values."""
        mask = batch.own(self.settings.measured_mask(batch, generator=generator))
        measured = self.settings.validation or self._training_mask
        most = measured.max_hidden(mask.shape[1]) if self._fixed_rows else None
        error = self.squared_error(batch.signals, mask, max_hidden=most)
        return {"error": error.item(), "points": float(mask.sum()) * batch.signals.shape[1]}

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the mean squared error over all hidden values, as ``loss``."""
        return {"loss": sums["error"] / sums["points"]}

    def squared_error(
        self,
        signals: Float[Tensor, "batch channel time"],
        mask: Bool[Tensor, "batch time"],
        *,
        max_hidden: int | None = None,
    ) -> Float[Tensor, ""]:
        """Return the summed squared error of the hidden values.

        Args:
            signals: The signals.
            mask: True where a sample is hidden.
            max_hidden: Largest possible number of hidden samples of a signal, see `hidden_rows`.
        """
        assert isinstance(self.encoder, TransformerEncoder)
        rows, weights = hidden_rows(mask, max_hidden=max_hidden)
        shown = signals.masked_fill(mask[:, None], 0.0)
        predicted = self.head(self.encoder(shown, rows + 1))  # row 0 is the class token
        target = signals.transpose(1, 2).gather(1, rows[:, :, None].expand(-1, -1, signals.shape[1]))
        return ((predicted - target).square() * weights[:, :, None]).sum()


def span_mask(
    shape: tuple[int, int],
    *,
    start_probability: float,
    span: int,
    generator: torch.Generator,
    setting: str = "task",
) -> Bool[Tensor, "batch step"]:
    """Draw random spans of time steps to hide.

    In every signal ``floor(start_probability * steps)`` different steps are drawn uniformly, and each
    starts a hidden span. Spans may overlap, and the end of the signal cuts them. With the published
    values (0.0325 and 20) 47.8 % of 1280 samples are hidden.

    Args:
        shape: Number of signals and number of time steps in each.
        start_probability: Fraction of the steps that start a span, between 0 and 1.
        span: Length of one span, in steps.
        generator: Source of randomness; the mask is on its device.
        setting: Dotted name of the section with ``start_probability``, for the error message.

    Returns:
        True where a step is hidden.

    Raises:
        SettingsError: The signals are too short for a single span.

    Source:
        Vazquez-Rodriguez et al. 2022, section III-C, after wav2vec 2.0 (arXiv:2006.11477), section
        3.1. The paper says "around 47 %" hidden samples and leaves open how starts are drawn. Drawing
        without replacement gives 47.8 %, with replacement 47.3 %.
    """
    signals, steps = shape
    starts = int(start_probability * steps)
    if starts < 1:
        raise SettingsError(
            f"{setting}.start_probability: {start_probability} of {steps} samples is less than one hidden span; "
            f"at least {1 / steps:.4g} is needed"
        )
    device = generator.device
    # the indices of the largest of uniform numbers are a draw without replacement
    chosen = torch.rand(shape, generator=generator, device=device).topk(starts, dim=1).indices
    started = torch.zeros(signals, steps, device=device).scatter_(1, chosen, 1.0)
    # a step is hidden if one of the span - 1 steps before it, or itself, is a start: a maximum over a window
    covered = functional.pad(started, (span - 1, 0))[:, None]
    return functional.max_pool1d(covered, kernel_size=span, stride=1)[:, 0].bool()


def hidden_rows(
    mask: Bool[Tensor, "batch step"], *, multiple: int = 32, max_hidden: int | None = None
) -> tuple[Int64[Tensor, "batch row"], Float[Tensor, "batch row"]]:
    """List the hidden steps of each signal, padded to a common number.

    Args:
        mask: True where a step is hidden.
        multiple: The number of rows is rounded up to a multiple of this (and cut at all steps),
            so that few different shapes occur: each costs a compilation or new memory.
        max_hidden: Largest possible number of hidden steps. If it is given, this number of rows is returned, rounded
            up: the call does not wait for a GPU to compute the mask, and the shape is always the same.

    Returns:
        Numbers of steps, the hidden ones first in order of time and then others as padding; and weights, 1 for
        hidden steps and 0 for padding.
    """
    counts = mask.sum(dim=1)
    needed = int(counts.max()) if max_hidden is None else max_hidden
    rows = min(-(-needed // multiple) * multiple, mask.shape[1])
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :rows]
    weights = torch.arange(rows, device=mask.device)[None] < counts[:, None]
    return order, weights.float()


def interpolate_linearly(
    signals: Float[Tensor, "batch channel time"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch channel time"]:
    """Replace the hidden samples by straight lines between the nearest shown samples.

    Before the first shown sample its value is used, and after the last one likewise. A signal that is entirely
    hidden becomes zero.
    """
    time = np.arange(signals.shape[2])
    filled = signals.cpu().numpy().copy()
    for signal, hidden in zip(filled, mask.cpu().numpy(), strict=True):
        shown = ~hidden
        for channel in signal:
            channel[hidden] = np.interp(time[hidden], time[shown], channel[shown]) if shown.any() else 0.0
    return torch.from_numpy(filled).to(signals)
