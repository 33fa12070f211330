"""The interfaces of tasks: their settings, and the objective that the training loop trains."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emotune.base import Settings
from emotune.data.batches import Batch
from emotune.models import Encoder
from emotune.tasks.probe import Probe

Sums = dict[str, float]
"""Sums by name. They are added over batches and workers; metrics are computed from the totals."""


class Objective(nn.Module, ABC):
    """A head and a loss on an encoder. The encoder is the submodule ``encoder``."""

    encoder: Encoder

    group: int = 1
    """Segments whose losses depend on each other; a joint batch is divided among workers between such groups only."""

    @abstractmethod
    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return a batch's part of the mean loss of the joint batch, a scalar that is minimised.

        The parts add up: ``sum of loss(part) = mean loss of the joint batch``.

        Args:
            batch: Signals, and labels if the task needs them.
            generator: Source of the task's own random numbers (masks), in the same state for
                all parts of a joint batch. Draw for the whole joint batch and use `Batch.own`, so that the numbers
                do not depend on how the joint batch is divided.
        """

    def forward(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return `loss`; ``DistributedDataParallel`` synchronises gradients only of calls through ``forward``."""
        return self.loss(batch, generator=generator)

    @abstractmethod
    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the sums of one batch that `summarise` computes metrics from."""

    @abstractmethod
    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return metrics by name, ``loss`` among them, from the sums over all batches."""


def trainable_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module that require gradients."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


class TaskSettings(Settings, ABC):
    """Base class of the tasks' settings; a subclass per task, listed in `emotune.tasks.TASKS`."""

    metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics that `Objective.summarise` returns."""

    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/loss", "min")
    """Metric by which the epochs of a run are compared, and its direction."""

    minimised: ClassVar[frozenset[str]] = frozenset({"loss", "ece"})
    """Names of the metrics of which smaller values are better."""

    network: ClassVar[frozenset[str]]
    """Settings of the network. They change its predictions, not how predictions are measured."""

    @property
    def compared(self) -> int:
        """Number of segments whose losses depend on each other, by default 1: see `Objective.group`."""
        return 1

    @abstractmethod
    def yardstick(self, metric: str) -> Mapping[str, str]:
        """Return the settings, besides those of `network`, that change the value of a metric at fixed weights.

        Configurations with different values of one of them are measured differently and cannot be compared, so that
        a search space must not contain one.

        Args:
            metric: A metric with its prefix, for example ``val/loss``.

        Returns:
            By the name of the setting: what else reaches the aim, as the end of an error message; or nothing.
        """

    @abstractmethod
    def labels(self, index: pd.DataFrame, *, train: np.ndarray | None = None) -> np.ndarray | None:
        """Return a label for each segment of a store (NaN: no label), or None if the task needs no labels.

        Args:
            index: The store's index, a row per segment.
            train: Rows of the training segments; None before the division into folds, which needs labels itself.
        """

    @abstractmethod
    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> Objective:
        """Return the objective.

        Args:
            encoder: The network below the head.
            channels: Number of channels of the signals.
            labels: Labels of the training segments, from `labels`; None if the task needs none.
        """

    def probe_settings(self) -> Probe | None:
        """Return the settings of the probe after each epoch; None, as by default: there is none."""
        return None

    def references(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the scores of predictions that need no learning on a batch; by default there are none.

        Args:
            batch: The segments that `Objective.measure` receives, in the same order.
            generator: A generator in the state that `Objective.measure` receives, so that masks are equal.

        Returns:
            Sums by metric name, and under ``points`` the number that divides them.
        """
        del batch, generator
        return {}
