"""Pre-training: two views of the same segment are more alike than views of different segments.

Every segment gives two views, and a linear network maps the encoder's summary of a view to a vector z of length 1. In
a group of n segments, with the similarities s_ab = z_a · z_b / temperature and the positives P(a) of view a:

    loss = mean over the 2 n views a of  mean over p in P(a) of  -log( exp(s_ap) / sum over b ≠ a of exp(s_ab) )

With ``positives: segment``, P(a) is the other view of the segment: the normalised cross-entropy of SimCLR. With
``positives: person``, it is all other views of the person, as in contrastive learning with labels.

Sources: Chen et al. 2020 (arXiv:2002.05709), equation 1. Views of halves, and people as positives: Kiyasseh et al. 2021
(CLOCS, arXiv:2005.13249). Transformations of biosignals: Cheng et al. 2020 (arXiv:2007.04871). Several positives:
Khosla et al. 2020 (arXiv:2004.11362), equation 2.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.data.folds import unit_keys
from emotune.errors import SettingsError
from emotune.models import Encoder
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.probe import ProbedSettings


class Contrastive(ProbedSettings, TaskSettings):
    """Two views of each segment, which the network has to find among the views of a group of segments."""

    kind: Literal["contrastive"] = "contrastive"

    views: Literal["augmented", "halves"] = "augmented"
    """``augmented``: the segment with two random transformations. ``halves``: its first and its second half."""

    positives: Literal["segment", "person"] = "segment"
    """Views that are to be alike: those of a segment, or all of a person."""

    group: int = Field(default=32, ge=2)
    """Segments that are compared with each other: parts of a batch, which are never divided among workers. A batch has
    one or more groups, of which the last can be smaller."""

    temperature: float = Field(default=0.1, gt=0)
    """Divisor of the similarities."""

    scaling: float = Field(default=1.5, ge=1)
    """An augmented view is multiplied by a factor between ``1 / scaling`` and ``scaling``, uniform in its logarithm."""

    noise: float = Field(default=0.1, ge=0)
    """Standard deviation of the white noise of an augmented view; signals have standard deviation 1."""

    masked: float = Field(default=0.25, ge=0, lt=1)
    """Share of an augmented view that is set to zero: one span, on all channels."""

    projection: int = Field(default=64, ge=1)
    """Length of the vectors that are compared; they are used in the pre-training only."""

    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    network: ClassVar[frozenset[str]] = frozenset({"projection"})

    @property
    def compared(self) -> int:
        """Number of segments in a group."""
        return self.group

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the settings of the comparison; the accuracy does not depend on ``temperature`` and ``positives``."""
        if metric.startswith("probe/"):
            return {"probe": ""}
        names = ["views", "group"] + (["scaling", "noise", "masked"] if self.views == "augmented" else [])
        remedies = dict.fromkeys(names, "")
        if metric.endswith("/loss"):
            remedy = "or use objective.metric: val/accuracy, which does not depend on it"
            remedies |= {"temperature": remedy, "positives": remedy}
        return remedies

    def labels(self, index: pd.DataFrame, *, train: np.ndarray | None = None) -> np.ndarray | None:
        """Return a number for each person with ``positives: person``, otherwise None."""
        del train
        if self.positives == "segment":
            return None
        return np.unique(unit_keys(index, by="subject"), return_inverse=True)[1].astype(float)

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "ContrastiveObjective":
        """Return the objective; it does not depend on channels and labels."""
        del channels, labels
        return ContrastiveObjective(self, encoder)

    def pair(
        self, batch: Batch, *, generator: torch.Generator
    ) -> tuple[Float[Tensor, "batch channel time"], Float[Tensor, "batch channel time"]]:
        """Return the two views of every signal.

        Random numbers are drawn for the joint batch, so that several workers draw what one worker draws.

        Raises:
            SettingsError: The signals have fewer than two samples.
        """
        signals = batch.signals
        if self.views == "augmented":
            return self._augment(batch, generator=generator), self._augment(batch, generator=generator)
        half = signals.shape[2] // 2
        if not half:
            raise SettingsError(f"task.views: halves needs segments of at least 2 samples, not {signals.shape[2]}")
        return signals[:, :, :half], signals[:, :, half : 2 * half]

    def _augment(self, batch: Batch, *, generator: torch.Generator) -> Float[Tensor, "batch channel time"]:
        """Return the signals multiplied by a factor, with noise, and with a span set to zero."""
        joint, (_, channels, steps), device = batch.joint_size, batch.signals.shape, generator.device
        exponents = 2 * torch.rand(joint, 1, 1, generator=generator, device=device) - 1
        noise = self.noise * torch.randn(joint, channels, steps, generator=generator, device=device)
        length = int(self.masked * steps)
        starts = (torch.rand(joint, 1, 1, generator=generator, device=device) * (steps - length + 1)).long()
        time = torch.arange(steps, device=device)
        hidden = (time >= starts) & (time < starts + length)
        factors, noise, hidden = (
            batch.own(drawn).to(batch.signals.device) for drawn in (self.scaling**exponents, noise, hidden)
        )
        return (batch.signals * factors + noise).masked_fill(hidden, 0.0)


class ContrastiveObjective(Objective):
    """The comparison of the views of each group of segments, with a linear projection of the encoder's summary."""

    def __init__(self, settings: Contrastive, encoder: Encoder) -> None:
        super().__init__()
        self.settings = settings
        self.group = settings.compared
        self.encoder = encoder
        self.head = nn.Sequential(
            nn.Linear(encoder.width, encoder.width), nn.ReLU(), nn.Linear(encoder.width, settings.projection)
        )

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of the mean loss of the views of the joint batch."""
        error, _ = self._compare(batch, generator=generator)
        return error / (2 * batch.joint_size)

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed loss, the number of views, and how many are most alike to the other view of the segment."""
        error, found = self._compare(batch, generator=generator)
        return {"error": error.item(), "views": 2.0 * len(batch.rows), "found": found.item()}

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the mean loss, and ``accuracy``: the share of views most alike to the other view of their segment.

        The accuracy of random vectors is ``1 / (2 n - 1)`` in a group of n segments.
        """
        return {"loss": sums["error"] / sums["views"], "accuracy": sums["found"] / sums["views"]}

    def vectors(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch projection"]:
        """Return the projections of signals, of length 1."""
        return functional.normalize(self.head(self.encoder.summarise(signals)).float(), dim=1)

    def _compare(self, batch: Batch, *, generator: torch.Generator) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the sum of the losses of all views, and the number of views that are most alike to their own other."""
        first, second = self.settings.pair(batch, generator=generator)
        vectors = self.vectors(torch.cat([first, second]))
        people = batch.label if self.settings.positives == "person" else None
        error, found = vectors.new_zeros(()), vectors.new_zeros(())
        count = len(batch.rows)
        for start in range(0, count, self.group):
            rows = slice(start, min(start + self.group, count))
            pair = torch.cat([vectors[:count][rows], vectors[count:][rows]])
            own = None if people is None else people[rows].repeat(2)
            losses, recognised = compare(pair, people=own, temperature=self.settings.temperature)
            error, found = error + losses.sum(), found + recognised.sum()
        return error, found


def compare(
    vectors: Float[Tensor, "view projection"], *, people: Float[Tensor, " view"] | None, temperature: float
) -> tuple[Float[Tensor, " view"], Bool[Tensor, " view"]]:
    """Return the loss of each view of a group, and whether it is more alike to its own other view than to the rest.

    Args:
        vectors: Vectors of length 1: the first views of all segments, then their second views in the same order.
        people: The person of each view; None: the other view of the segment is the only positive.
        temperature: Divisor of the similarities.
    """
    count = len(vectors)
    similarities = vectors @ vectors.T / temperature
    itself = torch.eye(count, dtype=torch.bool, device=vectors.device)
    logarithms = functional.log_softmax(similarities.masked_fill(itself, -math.inf), dim=1)
    other = torch.arange(count, device=vectors.device).roll(count // 2)
    recognised = logarithms.argmax(dim=1) == other
    if people is None:
        return -logarithms.gather(1, other[:, None])[:, 0], recognised
    positive = (people[:, None] == people[None]) & ~itself
    return -logarithms.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1), recognised
