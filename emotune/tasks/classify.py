"""Fine-tuning: high or low arousal or valence, from an encoder's representations.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections III-D and IV-D, equation 4;
the EEG classifier (64 hidden units, dropout 0.6): Vazquez-Rodriguez et al. 2022 (hal-03897400), section 4.3.
"""

import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import DataError
from emotune.models import Encoder
from emotune.models.dropout import Dropout
from emotune.tasks.aggregation import Aggregate, Aggregation
from emotune.tasks.base import Objective, Sums, TaskSettings


class Classify(TaskSettings):
    """Tell high from low ratings; the defaults are the published ECG classifier."""

    kind: Literal["classify"] = "classify"

    target: Literal["arousal", "valence", "condition"] = "arousal"
    """The rating that is predicted; or whether the ``condition`` is the one that ``high`` names."""

    high: str = ""
    """With target ``condition``: which one counts as high; segments of other conditions are low."""

    threshold: float | Literal["mean"] = "mean"
    """A rating above this is high; ``mean`` is the mean over all rated recordings of the store."""

    aggregate: Aggregate = "class"
    """What is classified: the class token's representation (``class``, the table's CLS), that of the ``last`` sample,
    or those of all samples pooled: ``max`` (max-pool 1), ``average`` (avg-pool 1), ``max-groups`` (max-pool 2: brought
    to 64 features, then two halves) or ``average-groups`` (avg-pool 2: four quarters)."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (1024, 512)
    """Hidden units of the classifier's layers, as a list or, in a search space, as text such as ``1024-512``."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout after each hidden layer of the classifier."""

    frozen: bool = False
    """Train the classifier only and leave the encoder as it is."""

    shuffled: bool = False
    """Train on labels that were dealt anew among the training segments: what there is without anything to learn."""

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "Classify":
        if bool(self.high) != (self.target == "condition"):
            raise ValueError(
                f"high: {self.high!r} with target: {self.target}; target: condition needs a condition as high, "
                "and other targets have none"
            )
        return self

    @field_validator("hidden", mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch(r"[0-9]+(-[0-9]+)*", value):
            return tuple(int(part) for part in value.split("-"))
        return tuple(value) if isinstance(value, list) else value

    def labels(self, index: pd.DataFrame) -> np.ndarray:
        """Return 1 (high), 0 (low) or NaN (not rated) for each segment.

        The mean is taken over recordings, not segments, so that long recordings count once.

        Raises:
            DataError: No recording is rated, or all fall on one side.
        """
        if self.target == "condition":
            return _by_condition(index["condition"].astype(str).to_numpy(), high=self.high)
        column = f"rating_{self.target}"
        recordings = index.drop_duplicates(["corpus", "subject", "session"])[column].dropna()
        if recordings.empty:
            raise DataError(f"the store has no ratings of {self.target}; task.target needs a rated corpus")
        threshold = float(recordings.to_numpy(dtype=float).mean()) if self.threshold == "mean" else self.threshold
        ratings = index[column].to_numpy(dtype=float)
        labels = np.where(np.isnan(ratings), np.nan, (ratings > threshold).astype(float))
        if len(np.unique(labels[~np.isnan(labels)])) < 2:
            raise DataError(
                f"every rating of {self.target} lies on one side of {threshold:g}; set task.threshold so that "
                f"ratings between {recordings.min():g} and {recordings.max():g} fall on both sides"
            )
        return labels

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "ClassifyObjective":
        """Make the objective; the positive class is weighted by negatives / positives of the labels."""
        del channels
        assert labels is not None
        positive = float((labels == 1).sum())
        negative = float((labels == 0).sum())
        if not positive or not negative:
            raise DataError(
                f"the training segments have {positive:.0f} high and {negative:.0f} low labels of {self.target}; "
                "both are needed. Use another fold or another seed"
            )
        return ClassifyObjective(self, encoder, positive_weight=negative / positive)


def _by_condition(conditions: np.ndarray, *, high: str) -> Float[np.ndarray, " segment"]:
    known = sorted(set(conditions) - {""})
    if high not in known or len(known) < 2:
        raise DataError(
            f"task.high: {high!r} was given, but the conditions of the store are {', '.join(known) or 'none'}; "
            "name one of at least two"
        )
    return np.where(conditions == "", np.nan, (conditions == high).astype(float))


class ClassifyObjective(Objective):
    """Weighted binary cross-entropy on a fully connected network over ``e_CLS``, or what is taken in its place."""

    def __init__(self, settings: Classify, encoder: Encoder, *, positive_weight: float) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.aggregation = Aggregation(settings.aggregate, encoder=encoder)
        sizes = [self.aggregation.width, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), Dropout(settings.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.register_buffer("positive_weight", torch.tensor(positive_weight), persistent=False)
        if settings.frozen:
            encoder.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "ClassifyObjective":  # noqa: FBT001, FBT002 (torch's signature)
        """Switch to training; a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.settings.frozen:
            self.encoder.eval()
        return self

    def logits(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, " batch"]:
        """Return the logit of the high class."""
        return self.head(self._aggregated(signals))[:, 0].float()

    def _aggregated(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch aggregated"]:
        return self.aggregation(signals, encoder=self.encoder)

    @torch.no_grad()
    def hidden_activations(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch hidden"]:
        """Return what the last hidden layer hands on, without dropout whatever the present mode.

        Without hidden layers it is the representation itself. Late fusion joins these.
        """
        training = self.training
        self.eval()
        try:
            return self.head[:-1](self._aggregated(signals))
        finally:
            self.train(training)

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return equation 4, averaged over the joint batch."""
        del generator
        return self._cross_entropy(self.logits(batch.signals), batch) / batch.joint_size

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed loss and the four counts of the confusion matrix."""
        del generator
        assert batch.label is not None
        logits = self.logits(batch.signals)
        high = logits > 0
        truth = batch.label > 0.5
        return {
            "error": self._cross_entropy(logits, batch).item(),
            "true_high": float((high & truth).sum()),
            "false_high": float((high & ~truth).sum()),
            "true_low": float((~high & ~truth).sum()),
            "false_low": float((~high & truth).sum()),
        }

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return loss, accuracy, F1 averaged over both classes, and balanced accuracy."""
        true_high, false_high = sums["true_high"], sums["false_high"]
        true_low, false_low = sums["true_low"], sums["false_low"]
        count = true_high + false_high + true_low + false_low
        f1_high = ratio(2 * true_high, 2 * true_high + false_high + false_low)
        f1_low = ratio(2 * true_low, 2 * true_low + false_high + false_low)
        recall_high = ratio(true_high, true_high + false_low)
        recall_low = ratio(true_low, true_low + false_high)
        return {
            "loss": sums["error"] / count,
            "accuracy": (true_high + true_low) / count,
            "macro_f1": (f1_high + f1_low) / 2,
            "balanced_accuracy": (recall_high + recall_low) / 2,
        }

    def _cross_entropy(self, logits: Float[Tensor, " batch"], batch: Batch) -> Float[Tensor, ""]:
        assert batch.label is not None
        return functional.binary_cross_entropy_with_logits(
            logits, batch.label, pos_weight=self.get_buffer("positive_weight"), reduction="sum"
        )


def ratio(part: float, whole: float) -> float:
    """Return part / whole, and 0 for nothing of nothing (scikit-learn's convention)."""
    return part / whole if whole else 0.0
