"""What the training loop needs of a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emotune.base import Settings
from emotune.data.batches import Batch
from emotune.models import Encoder

Sums = dict[str, float]
"""Numbers that may be added over batches and workers; metrics are computed from them at the end."""


class Objective(nn.Module, ABC):
    """A head and a loss on an encoder. The encoder is the submodule ``encoder``."""

    encoder: Encoder

    @abstractmethod
    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return a batch's share of the mean loss of the joint batch, to be minimised.

        The shares of all parts of a joint batch add up to its mean loss.

        Args:
            batch: Signals, and labels where the task has them.
            generator: Source of everything random in the task itself (masks), in the same state for
                all parts of a joint batch; what is drawn does not depend on how it is shared out.
        """

    def forward(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return `loss`: what several workers' gradients are averaged over (``DistributedDataParallel``)."""
        return self.loss(batch, generator=generator)

    @abstractmethod
    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return what `summarise` needs of one batch, as sums."""

    @abstractmethod
    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Turn the sums over all batches into metrics by name, ``loss`` among them."""


class TaskSettings(Settings, ABC):
    """Base of the tasks' settings."""

    @abstractmethod
    def labels(self, index: pd.DataFrame) -> np.ndarray | None:
        """Return a label for each segment of a store (NaN: none), or None if the task needs no labels."""

    @abstractmethod
    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> Objective:
        """Make the objective.

        Args:
            encoder: The network below the head.
            channels: Channels of the signals.
            labels: Labels of the training segments, as from `labels`.
        """

    def references(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return what predictions that need no learning would score on a batch; nothing by default.

        Args:
            batch: Segments, in the order in which `Objective.measure` sees them.
            generator: In the state in which `Objective.measure` finds it, so that masks are equal.

        Returns:
            Sums by metric name, and under ``points`` what they are to be divided by.
        """
        del batch, generator
        return {}
