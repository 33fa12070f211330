"""Pre-training of the baseline: recognise which of seven transformations a signal has undergone.

A view is a signal after one transformation. With the binary cross-entropy BCE_k of head k over all views, and the
weights a_k of the tasks:

    loss = sum over k of a_k BCE_k + l2 / 2 * sum over kernels of ||w||^2

The transformations are pure functions: their random numbers come from the generator, and all channels of a signal
are transformed alike.

Source: Sarkar & Etemad 2020 (arXiv:2002.03898), as in its authors' published code.
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

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
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.probe import ProbedSettings

VIEWS = ("original", "noise", "scaling", "negation", "reversal", "permutation", "warping")
"""Names of the views, in the order of the heads, of ``task.weights`` and of the logits."""

Signals = Float[Tensor, "batch channel time"]
Weight = Annotated[float, Field(ge=0)]


class RecogniseTransformation(ProbedSettings, TaskSettings):
    """Seven binary classifiers, one per view of a signal, on a common encoder; the defaults are the published values.

    Every segment gives all seven views, and all views of a batch of segments are one batch of the
    network: 7 times ``batch_size`` signals.
    """

    kind: Literal["recognise_transformation"] = "recognise_transformation"

    snr: float = 15.0
    """Signal-to-noise ratio of the noisy view, in dB."""

    scaling: float = Field(default=1.1, gt=0)
    """Factor of the scaled view."""

    pieces: int = Field(default=20, ge=2)
    """Number of pieces of the permuted view."""

    warp_pieces: int = Field(default=9, ge=2)
    """Number of pieces of the warped view; each is stretched or squeezed."""

    warp_factor: float = Field(default=1.05, gt=1, le=4)
    """Factor by which pieces of the warped view are stretched, and by whose inverse they are squeezed."""

    weights: tuple[Weight, Weight, Weight, Weight, Weight, Weight, Weight] = (
        0.195, 0.195, 0.195, 0.0125, 0.0125, 0.195, 0.195,
    )  # fmt: skip
    """Weights of the seven losses: original, noise, scaling, negation, reversal, permutation, warping."""

    hidden: int = Field(default=128, ge=1)
    """Hidden units of each of the two layers of a head."""

    dropout: float = Field(default=0.6, ge=0, lt=1)
    """Dropout rate after each hidden layer of the heads."""

    slope: float = Field(default=0.2, ge=0, lt=1)
    """Slope of the heads' leaky ReLU for negative inputs."""

    l2: float = Field(default=1e-4, ge=0)
    """L2 penalty: the training loss includes ``l2 / 2`` times the sum of squares of all kernels, of encoder and heads.
    Biases are not penalised. Set ``optim.weight_decay`` to 0 with it."""

    metrics: ClassVar[tuple[str, ...]] = (
        "loss",
        "accuracy",
        "binary_accuracy",
        *(f"accuracy_{view}" for view in VIEWS),
        *(f"binary_accuracy_{view}" for view in VIEWS),
    )
    network: ClassVar[frozenset[str]] = frozenset({"hidden", "dropout", "slope"})

    @model_validator(mode="after")
    def _check_weights(self) -> "RecogniseTransformation":
        if not sum(self.weights):
            raise ValueError("weights: all are 0, so the loss would be constant; give at least one above 0")
        if self.scaling == 1:
            raise ValueError("scaling: 1 was given, with which the view equals the original; give another factor")
        return self

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the settings of the views, for a loss the weights of the heads, or those of the probe."""
        if metric.startswith("probe/"):
            return {"probe": ""}
        names = ["snr", "scaling", "pieces", "warp_pieces", "warp_factor"]
        names += ["weights"] if metric.endswith("/loss") else []
        names += ["l2"] if metric.startswith("train/") else []
        remedies = dict.fromkeys(names, "")
        if "weights" in remedies and metric.startswith("val/"):
            remedies["weights"] = "or use objective.metric: val/binary_accuracy, which has no weights"
        return remedies

    def labels(self, index: pd.DataFrame, *, train: np.ndarray | None = None) -> np.ndarray | None:
        """Return None: the task needs no labels, as the view is known."""
        del index, train

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "RecogniseObjective":
        """Return the objective; it does not depend on channels and labels."""
        del channels, labels
        return RecogniseObjective(self, encoder)

    def views(self, batch: Batch, *, generator: torch.Generator) -> Float[Tensor, "view batch channel time"]:
        """Return the seven views of every signal, in the order of `VIEWS`.

        Every signal has a generator of its own, so its views do not depend on the other signals of the batch, and
        several workers draw what one worker draws.

        Raises:
            SettingsError: The signals have fewer samples than ``pieces`` or ``warp_pieces``.
        """
        signals = batch.signals
        if signals.shape[2] < max(self.pieces, self.warp_pieces):
            raise SettingsError(
                f"task.pieces: {max(self.pieces, self.warp_pieces)} pieces are more than a segment's "
                f"{signals.shape[2]} samples; give fewer, or longer segments"
            )
        seeds = batch.own(torch.randint(2**62, (batch.joint_size,), generator=generator, device=generator.device))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        views = [self._transform(signal[None], generator=own) for signal, own in zip(signals, generators, strict=True)]
        return torch.cat(views, dim=1)

    def _transform(
        self, signal: Float[Tensor, "batch channel time"], *, generator: torch.Generator
    ) -> Float[Tensor, "view batch channel time"]:
        pieces, stretch = self.warp_pieces, self.warp_factor
        return torch.stack(
            [
                signal,
                add_noise(signal, snr=self.snr, generator=generator),
                scale(signal, factor=self.scaling),
                negate(signal),
                reverse(signal),
                permute(signal, pieces=self.pieces, generator=generator),
                warp(signal, pieces=pieces, stretch=stretch, generator=generator),
            ]
        )


class RecogniseObjective(Objective):
    """Weighted binary cross-entropies of seven heads on the encoder's summary of a signal."""

    def __init__(self, settings: RecogniseTransformation, encoder: Encoder) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.heads = nn.ModuleDict({view: make_head(settings, width=encoder.width) for view in VIEWS})
        self.register_buffer("weights", torch.tensor(settings.weights), persistent=False)

    def logits(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch head"]:
        """Return the logit of each head, in float32; above 0 means that the signal is the head's view."""
        summary = self.encoder.summarise(signals)
        return torch.cat([head(summary) for head in self.heads.values()], dim=1).float()

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of the loss: the weighted sum of the heads' mean losses, and the L2 penalty."""
        logits, truth = self._logits_of_views(batch, generator=generator)
        losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=0)
        kernels = [parameter for parameter in self.parameters() if parameter.ndim > 1]
        squares = torch.stack([kernel.square().sum() for kernel in kernels]).sum()
        error = losses @ self.get_buffer("weights") / (len(VIEWS) * batch.joint_size)
        # every worker adds its share of the penalty, so that the parts add up to one penalty
        return error + self.settings.l2 / 2 * squares * (len(batch.rows) / batch.joint_size)

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return summed losses, and how many views were classified correctly by each head and by all heads together."""
        logits, truth = self._logits_of_views(batch, generator=generator)
        losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=0)
        correct_alone = ((logits > 0) == (truth > 0)).sum(dim=0)
        recognised = logits.argmax(dim=1) == truth.argmax(dim=1)
        correct_together = (recognised[:, None] & (truth > 0)).sum(dim=0)
        sums = {"signals": float(len(logits)), "error": (losses @ self.get_buffer("weights")).item()}
        for number, view in enumerate(VIEWS):
            sums[f"correct_alone_{view}"] = float(correct_alone[number])
            sums[f"correct_together_{view}"] = float(correct_together[number])
        return sums

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the loss, without the L2 penalty, and accuracies as both published programs define them.

        ``accuracy``: share of signals for which the head with the largest logit is that of the view (chance: 1/7);
        ``accuracy_VIEW``: the same over the signals of one view. The public re-implementation reports these.
        ``binary_accuracy_VIEW``: share of all signals that one head classifies correctly (a head that always answers
        no has 6/7); ``binary_accuracy``: their mean over the heads. The authors' code reports these.
        """
        count = sums["signals"]
        binary = {f"binary_accuracy_{view}": sums[f"correct_alone_{view}"] / count for view in VIEWS}
        multiclass = {f"accuracy_{view}": sums[f"correct_together_{view}"] * len(VIEWS) / count for view in VIEWS}
        return {
            "loss": sums["error"] / count,
            "accuracy": sum(multiclass.values()) / len(VIEWS),
            "binary_accuracy": sum(binary.values()) / len(VIEWS),
            **multiclass,
            **binary,
        }

    def _logits_of_views(
        self, batch: Batch, *, generator: torch.Generator
    ) -> tuple[Float[Tensor, "signal head"], Float[Tensor, "signal head"]]:
        """Return the logits of all views of a batch, and the targets: 1 for the view's own head, otherwise 0."""
        views = self.settings.views(batch, generator=generator)
        logits = self.logits(views.flatten(0, 1))
        truth = torch.eye(len(VIEWS)).repeat_interleave(len(batch.signals), dim=0)
        return logits, truth.to(logits)


def make_head(settings: RecogniseTransformation, *, width: int) -> nn.Sequential:
    """Return one head: two hidden layers and a logit."""
    layers: list[nn.Module] = []
    for before in (width, settings.hidden):
        layers += [nn.Linear(before, settings.hidden), nn.LeakyReLU(settings.slope), Dropout(settings.dropout)]
    head = nn.Sequential(*layers, nn.Linear(settings.hidden, 1))
    draw_like_tensorflow(head)
    return head


def add_noise(signals: Signals, *, snr: float, generator: torch.Generator) -> Signals:
    """Add white noise to every channel, ``snr`` dB below the channel's mean power."""
    power = signals.square().mean(dim=2, keepdim=True) / 10 ** (snr / 10)
    return signals + power.sqrt() * torch.randn(signals.shape, generator=generator).to(signals)


def scale(signals: Signals, *, factor: float) -> Signals:
    """Multiply signals by a factor."""
    return signals * factor


def negate(signals: Signals) -> Signals:
    """Change the sign of signals."""
    return -signals


def reverse(signals: Signals) -> Signals:
    """Reverse signals in time."""
    return signals.flip(2)


def permute(signals: Signals, *, pieces: int, generator: torch.Generator) -> Signals:
    """Cut signals into pieces of equal length and join them in a random order, the same for all channels.

    The remaining samples, fewer than ``pieces``, stay at the end.
    """
    length = signals.shape[2] // pieces
    whole = pieces * length
    order = torch.rand(signals.shape[0], pieces, generator=generator).argsort(dim=1)
    steps = (order[:, :, None] * length + torch.arange(length)).flatten(1).to(signals.device)
    permuted = signals.gather(2, steps[:, None].expand(-1, signals.shape[1], -1))
    return torch.cat([permuted, signals[:, :, whole:]], dim=2)


def warp(signals: Signals, *, pieces: int, stretch: float, generator: torch.Generator) -> Signals:
    """Stretch ``ceil(pieces / 2)`` random pieces of a signal in time and squeeze the others by the same factor.

    Pieces have equal length L; the remaining samples, fewer than ``pieces``, are dropped. Stretched
    pieces have ``ceil(L * stretch)`` samples and squeezed ones ``ceil(L / stretch)``. Samples are interpolated
    linearly within each piece, as by OpenCV's ``resize``. From the result, which is usually longer than the signal, a
    random part of the signal's length is kept; a shorter result is extended by its last sample.
    """
    count, time = signals.shape[0], signals.shape[2]
    length = time // pieces
    stretched = torch.rand(count, pieces, generator=generator).argsort(dim=1) < -(-pieces // 2)
    sizes = torch.where(stretched, math.ceil(length * stretch), math.ceil(length / stretch))
    ends = sizes.cumsum(dim=1)
    surplus = (ends[:, -1:] - time).clamp(min=0)
    chance = torch.rand(count, 1, generator=generator)
    steps = torch.arange(time) + (chance * surplus).long()
    steps = torch.minimum(steps, ends[:, -1:] - 1)
    piece = torch.searchsorted(ends, steps, right=True)
    size = sizes.gather(1, piece)
    # a sample is an area of width 1 around its centre, as in OpenCV: hence the halves
    within = (steps - (ends.gather(1, piece) - size) + 0.5) * (length / size) - 0.5
    positions = piece * length + within.clamp(0, length - 1)
    return _interpolate(signals, positions.to(signals.device))


def _interpolate(signals: Signals, positions: Float[Tensor, "batch time"]) -> Signals:
    """Return values at positions between the samples, interpolated linearly."""
    left = positions.floor()
    share = (positions - left).to(signals.dtype)[:, None]
    first = left.long().clamp(max=signals.shape[2] - 1)
    second = (first + 1).clamp(max=signals.shape[2] - 1)
    before, after = (signals.gather(2, steps[:, None].expand(-1, signals.shape[1], -1)) for steps in (first, second))
    return before + (after - before) * share
