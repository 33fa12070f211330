"""The task ``rating``: regression of a rating of the segment's recording."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from emotune.data.batches import Batch
from emotune.errors import SettingsError
from emotune.models import Encoder
from emotune.tasks.base import Objective, Sums, TaskSettings


class Rating(TaskSettings):
    """A linear layer on the representation; the loss is the mean squared error."""

    kind: Literal["rating"] = "rating"

    target: str = "valence"
    """Name of the rating."""

    metrics: ClassVar[tuple[str, ...]] = ("loss", "absolute_error")
    minimised: ClassVar[frozenset[str]] = frozenset(metrics)
    network: ClassVar[frozenset[str]] = frozenset()

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the target: errors of different ratings cannot be compared."""
        del metric
        return {"target": ""}

    def labels(self, index: pd.DataFrame, *, train: np.ndarray | None = None) -> np.ndarray:
        """Return the rating of each segment; NaN where there is none."""
        del train
        if f"rating_{self.target}" not in index:
            raise SettingsError(f"task.target: the store has no rating {self.target!r}")
        return index[f"rating_{self.target}"].to_numpy(dtype=float)

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "RatingObjective":
        """Return the objective; it starts at the mean rating of the training segments."""
        del channels
        return RatingObjective(encoder, mean=0.0 if labels is None else float(np.nanmean(labels)))


class RatingObjective(Objective):
    """Mean squared error of the predicted rating."""

    def __init__(self, encoder: Encoder, *, mean: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, 1)
        nn.init.constant_(self.head.bias, mean)

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of the mean squared error of the joint batch."""
        del generator
        return self._errors(batch).square().sum() / batch.joint_size

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return sums of squared and of absolute errors, and the number of segments."""
        del generator
        errors = self._errors(batch)
        return {
            "squared": errors.square().sum().item(),
            "absolute": errors.abs().sum().item(),
            "segments": float(len(errors)),
        }

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return mean squared and mean absolute error."""
        return {
            "loss": sums["squared"] / sums["segments"],
            "absolute_error": sums["absolute"] / sums["segments"],
        }

    def _errors(self, batch: Batch) -> Tensor:
        assert batch.label is not None
        return self.head(self.encoder.summarise(batch.signals))[:, 0].float() - batch.label
