"""Pre-training of the compared network: tell which of seven views of a signal one sees.

Source: Sarkar & Etemad 2020 (arXiv:2002.03898), as in its authors' published code.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import SettingsError
from emotune.models import Encoder
from emotune.models.convnet import draw_like_tensorflow
from emotune.models.dropout import Dropout
from emotune.tasks import transformations
from emotune.tasks.base import Objective, Sums, TaskSettings

VIEWS = ("original", "noise", "scaling", "negation", "reversal", "permutation", "warping")
"""In the order of the heads, of ``task.weights`` and of the logits."""

Weight = Annotated[float, Field(ge=0)]


class RecogniseTransformation(TaskSettings):
    """Seven heads, one for each view of a signal, each of which tells its own from the six others.

    Every segment gives all seven views, and all views of a batch of segments are one batch of the
    network: 7 times ``batch_size`` signals. The defaults are the published values.
    """

    kind: Literal["recognise_transformation"] = "recognise_transformation"

    snr: float = 15.0
    """Signal-to-noise ratio of the noisy view, in dB."""

    scaling: float = Field(default=1.1, gt=0)
    """What the scaled view is multiplied by."""

    pieces: int = Field(default=20, ge=2)
    """Pieces that the permuted view is cut into."""

    warp_pieces: int = Field(default=9, ge=2)
    """Pieces of the warped view that are stretched or squeezed."""

    warp_factor: float = Field(default=1.05, gt=1, le=4)
    """By what they are stretched or squeezed."""

    weights: tuple[Weight, Weight, Weight, Weight, Weight, Weight, Weight] = (
        0.195, 0.195, 0.195, 0.0125, 0.0125, 0.195, 0.195,
    )  # fmt: skip
    """Weights of the seven losses: original, noise, scaling, negation, reversal, permutation, warping."""

    hidden: int = Field(default=128, ge=1)
    """Hidden units of each of the two layers of a head."""

    dropout: float = Field(default=0.6, ge=0, lt=1)
    """Dropout after each hidden layer of the heads."""

    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of the heads' leaky ReLU below zero."""

    l2: float = Field(default=1e-4, ge=0)
    """Half of this times the squares of all kernels, encoder and heads, is added to the training loss: not of biases,
    other than with ``optim.weight_decay``, which is best 0 here."""

    @model_validator(mode="after")
    def _check_weights(self) -> "RecogniseTransformation":
        if not sum(self.weights):
            raise ValueError("weights: all are 0, so that nothing would be learnt; give one above 0")
        if self.scaling == 1:
            raise ValueError("scaling: by 1 the view equals the original; give another factor")
        return self

    def labels(self, index: pd.DataFrame) -> np.ndarray | None:
        """Return None: which view it is, is known."""
        del index

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "RecogniseObjective":
        """Make the objective; it does not depend on channels and labels."""
        del channels, labels
        return RecogniseObjective(self, encoder)

    def views(self, batch: Batch, *, generator: torch.Generator) -> Float[Tensor, "view batch channel time"]:
        """Return the seven views of every signal, in the order of `VIEWS`.

        What is random about a signal's views does not depend on the others of its batch.

        Raises:
            SettingsError: The signals have fewer samples than pieces.
        """
        signals = batch.signals
        if signals.shape[2] < max(self.pieces, self.warp_pieces):
            raise SettingsError(
                f"task.pieces: {max(self.pieces, self.warp_pieces)} pieces are more than a segment's "
                f"{signals.shape[2]} samples; give fewer, or longer segments"
            )
        seeds = batch.own(torch.randint(2**62, (batch.joint_size,), generator=generator, device=generator.device))
        own = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        parts = [self._views_of_one(signal[None], generator=one) for signal, one in zip(signals, own, strict=True)]
        return torch.cat(parts, dim=1)

    def _views_of_one(
        self, signal: Float[Tensor, "batch channel time"], *, generator: torch.Generator
    ) -> Float[Tensor, "view batch channel time"]:
        pieces, stretch = self.warp_pieces, self.warp_factor
        return torch.stack(
            [
                signal,
                transformations.add_noise(signal, snr=self.snr, generator=generator),
                transformations.scale(signal, factor=self.scaling),
                transformations.negate(signal),
                transformations.reverse(signal),
                transformations.permute(signal, pieces=self.pieces, generator=generator),
                transformations.warp(signal, pieces=pieces, stretch=stretch, generator=generator),
            ]
        )


class RecogniseObjective(Objective):
    """Seven weighted binary cross-entropies on seven heads over the encoder's summary."""

    def __init__(self, settings: RecogniseTransformation, encoder: Encoder) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.heads = nn.ModuleDict({view: make_head(settings, width=encoder.width) for view in VIEWS})
        self.register_buffer("weights", torch.tensor(settings.weights), persistent=False)

    def logits(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch head"]:
        """Return what each head says: above 0 if it takes a signal for its own view."""
        summary = self.encoder.summarise(signals)
        return torch.cat([head(summary) for head in self.heads.values()], dim=1).float()

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return the heads' losses, averaged over the signals, weighted and summed, and the kernels' squares."""
        logits, truth = self._see(batch, generator=generator)
        losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=0)
        kernels = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        squares = torch.stack([kernel.square().sum() for kernel in kernels]).sum()
        error = losses @ self.get_buffer("weights") / (len(VIEWS) * batch.joint_size)
        return error + self.settings.l2 / 2 * squares * (len(batch.rows) / batch.joint_size)

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return summed losses, and how often the heads, alone and against each other, were right."""
        logits, truth = self._see(batch, generator=generator)
        losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=0)
        right = ((logits > 0) == (truth > 0)).sum(dim=0)
        taken_for = logits.argmax(dim=1)
        found = ((taken_for == truth.argmax(dim=1))[:, None] & (truth > 0)).sum(dim=0)
        sums = {"signals": float(len(logits)), "error": (losses @ self.get_buffer("weights")).item()}
        for number, view in enumerate(VIEWS):
            sums[f"right_{view}"] = float(right[number])
            sums[f"found_{view}"] = float(found[number])
        return sums

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return loss and accuracies, in both ways in which they are reported.

        ``accuracy`` is how often the most certain of the seven heads is that of the view (chance is
        1/7), ``accuracy_VIEW`` the same for the signals of one view: so measures the public
        re-implementation. ``binary_accuracy`` is the mean of how often each head is right by
        itself, ``binary_accuracy_VIEW`` (a head that always denies reaches 6/7): so measures the
        authors' code. The loss is without the kernels' squares.
        """
        count = sums["signals"]
        alone = {f"binary_accuracy_{view}": sums[f"right_{view}"] / count for view in VIEWS}
        found = {f"accuracy_{view}": sums[f"found_{view}"] * len(VIEWS) / count for view in VIEWS}
        return {
            "loss": sums["error"] / count,
            "accuracy": sum(found.values()) / len(VIEWS),
            "binary_accuracy": sum(alone.values()) / len(VIEWS),
            **found,
            **alone,
        }

    def _see(
        self, batch: Batch, *, generator: torch.Generator
    ) -> tuple[Float[Tensor, "signal head"], Float[Tensor, "signal head"]]:
        """Return the logits of all views of a batch, and 1 where a head should say so."""
        views = self.settings.views(batch, generator=generator)
        logits = self.logits(views.flatten(0, 1))
        truth = torch.eye(len(VIEWS)).repeat_interleave(len(batch.signals), dim=0)
        return logits, truth.to(logits)


def make_head(settings: RecogniseTransformation, *, width: int) -> nn.Sequential:
    """Make one head: two hidden layers and a logit."""
    layers: list[nn.Module] = []
    for before in (width, settings.hidden):
        layers += [nn.Linear(before, settings.hidden), nn.LeakyReLU(settings.slope), Dropout(settings.dropout)]
    head = nn.Sequential(*layers, nn.Linear(settings.hidden, 1))
    draw_like_tensorflow(head)
    return head
