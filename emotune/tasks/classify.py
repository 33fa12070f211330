"""Fine-tuning: high or low arousal or valence, from an encoder's representations.

For a signal with label y (1: high, 0: low) and the output o of the network, with s the logistic function (equation 4):

    loss = -w_p y log s(o) - (1 - y) log(1 - s(o)),    w_p = negatives / positives of the training segments

The weight w_p gives both classes the same total weight.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections III-D and IV-D;
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
    """Classification of ratings as high or low; the defaults are the published ECG classifier."""

    kind: Literal["classify"] = "classify"

    target: Literal["arousal", "valence", "condition"] = "arousal"
    """What is predicted: the rating of arousal or valence, or whether the condition equals ``high``."""

    high: str = ""
    """With target ``condition``: the condition that counts as high; all others count as low."""

    threshold: float | Literal["mean"] = "mean"
    """Ratings above this number are high; ``mean``: the mean over all rated recordings of the store."""

    aggregate: Aggregate = "class"
    """What is classified: the representation of the class token (``class``) or of the ``last`` sample, or a pool over
    all samples: ``max`` (max-pool 1), ``average`` (avg-pool 1), ``max-groups`` (max-pool 2: 64 features, maximum of
    each half) or ``average-groups`` (avg-pool 2: average of each quarter)."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (1024, 512)
    """Hidden units of each layer of the classifier, as a list or, in a search space, as text such as ``1024-512``."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout rate after each hidden layer of the classifier."""

    frozen: bool = False
    """Train the classifier only; the encoder's weights stay as they are."""

    shuffled: bool = False
    """Train on labels that are permuted among the training segments, which measures the accuracy by chance."""

    @model_validator(mode="after")
    def _refuse_what_has_no_effect(self) -> "Classify":
        if bool(self.high) != (self.target == "condition"):
            raise ValueError(
                f"high: {self.high!r} with target: {self.target}; with target: condition give a condition as high, "
                "and with other targets remove it"
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

        The mean is over recordings, not over segments, so that a long recording has no more weight than a short one.

        Raises:
            DataError: No recording is rated, or all ratings are on one side of the threshold.
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
        """Return the objective; the weight w_p of the positive class is negatives / positives of the labels.

        Raises:
            DataError: One of the classes has no training segment.
        """
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
    """Weighted binary cross-entropy of a fully connected network on the aggregated representations (``e_CLS``)."""

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
        """Set training mode; a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.settings.frozen:
            self.encoder.eval()
        return self

    def logits(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, " batch"]:
        """Return the logit of the high class, in float32."""
        return self.head(self._aggregated(signals))[:, 0].float()

    def _aggregated(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch aggregated"]:
        return self.aggregation(signals, encoder=self.encoder)

    @torch.no_grad()
    def hidden_activations(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch hidden"]:
        """Return the activations of the last hidden layer, without dropout in any mode.

        Late fusion concatenates these (hal-03897400, section 3.3). Without hidden layers they are the representation.
        """
        training = self.training
        self.eval()
        try:
            return self.head[:-1](self._aggregated(signals))
        finally:
            self.train(training)

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of equation 4, averaged over the joint batch."""
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
    """Return part / whole, and 0 if both are 0, as scikit-learn defines F1 and recall without samples."""
    return part / whole if whole else 0.0
