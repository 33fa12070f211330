"""Fine-tuning: high or low arousal or valence, from an encoder's representations.

For a signal with label y (1: high, 0: low) and the output o of the network, with s the logistic function (equation 4):

    loss = -w_p y log s(o) - (1 - y) log(1 - s(o)),    w_p = negatives / positives of the training segments

The weight w_p gives both classes the same total weight. With it s(o) is the probability of the high class in data with
as many high as low segments; the probability in data such as the training segments is s(o - log w_p).

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections III-D and IV-D;
the EEG classifier (64 hidden units, dropout 0.6): Vazquez-Rodriguez et al. 2022 (hal-03897400), section 4.3.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import DataError
from emotune.models import Encoder
from emotune.models.dropout import Dropout
from emotune.tasks.aggregation import Aggregate, Aggregation
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.scores import BIN_SUMS, bin_sums, classification_scores, expected_calibration_error
from emotune.tasks.thresholds import Threshold, thresholds


class Classify(TaskSettings):
    """Classification of ratings as high or low; the defaults are the published ECG classifier."""

    kind: Literal["classify"] = "classify"

    target: Literal["arousal", "valence", "dominance", "liking", "condition"] = "arousal"
    """What is predicted: the rating of arousal, valence, dominance or liking, or whether the condition equals
    ``high``."""

    high: str = ""
    """With target ``condition``: the condition that counts as high; all others count as low."""

    threshold: float | Literal["mean"] | Threshold = Threshold()
    """Ratings above the threshold are high: a number; ``{of: corpus}`` (the mean of each corpus), ``{of: subject}``,
    ``{of: training_fold}``, ``{of: scale_midpoint}``; or ``mean``, one mean over all corpora of the store."""

    class_weight: Literal["balanced", "none"] = "balanced"
    """Weight of the high class in the loss: ``balanced`` (w_p, negatives / positives, as published for ECG) or ``none``
    (1: plain cross-entropy; the paper on ECG and EEG mentions no weight)."""

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

    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "macro_f1", "balanced_accuracy", "ece")
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/macro_f1", "max")
    network: ClassVar[frozenset[str]] = frozenset({"aggregate", "hidden", "dropout", "frozen"})

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

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the settings that decide the labels, and for a loss those of its weights."""
        names = ["target", "high", "threshold"]
        names += ["shuffled"] if metric.startswith("train/") else []
        names += ["class_weight"] if metric.endswith(("/loss", "/ece")) else []
        remedies = dict.fromkeys(names, "")
        if "class_weight" in remedies:
            remedies["class_weight"] = "or use objective.metric: val/macro_f1, which has no weights"
        return remedies

    def labels(
        self, index: pd.DataFrame, *, train: Int64[np.ndarray, " row"] | None = None
    ) -> Float[np.ndarray, " segment"]:
        """Return 1 (high), 0 (low) or NaN (not rated) for each segment.

        Args:
            index: The store's index, a row per segment.
            train: Rows of the training segments, for ``threshold: {of: training_fold}``. None: labels before the
                division into folds, for which that threshold is the mean of each corpus.

        Raises:
            DataError: No recording is rated, or all ratings are on one side of the threshold.
        """
        if self.target == "condition":
            return _by_condition(index, high=self.high)
        column = f"rating_{self.target}"
        if column not in _rated_columns(index):
            raise DataError(_no_ratings(index, target=self.target))
        ratings = index[column].to_numpy(dtype=float)
        limits = thresholds(index, rating=self.target, threshold=self.threshold, train=train)
        labels = np.where(np.isnan(ratings), np.nan, (ratings > limits).astype(float))
        if len(np.unique(labels[~np.isnan(labels)])) < 2:
            known = np.unique(limits[~np.isnan(labels)])
            side = f"{known[0]:g}" if len(known) == 1 else f"its threshold ({known[0]:g} to {known[-1]:g})"
            raise DataError(
                f"every rating of {self.target} lies on one side of {side}; set task.threshold so that "
                f"ratings between {np.nanmin(ratings):g} and {np.nanmax(ratings):g} fall on both sides"
            )
        return labels

    def class_names(self, conditions: Sequence[str]) -> tuple[str, str]:
        """Return the names of the low and of the high class.

        Args:
            conditions: The conditions of the labelled segments.
        """
        if self.target != "condition":
            return "low", "high"
        others = sorted(set(conditions) - {"", self.high})
        return (others[0] if len(others) == 1 else f"not {self.high}"), self.high

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
        weight = negative / positive if self.class_weight == "balanced" else 1.0
        return ClassifyObjective(self, encoder, positive_weight=weight)


def _no_ratings(index: pd.DataFrame, *, target: str) -> str:
    """Return the refusal of a store without the target's ratings, with the settings that use what it has."""
    rated = [column.removeprefix("rating_") for column in _rated_columns(index)]
    conditions = _conditions_of(index)
    remedies = [f"it has ratings of {', '.join(rated)}: set task.target to one of them"] if rated else []
    if len(conditions) > 1:
        remedies.append(
            f"it has the conditions {', '.join(map(repr, conditions))}: set task.target: condition and task.high to "
            "one of them"
        )
    return f"the store has no ratings of {target}; {'; '.join(remedies) or 'task.target needs a rated corpus'}"


def _rated_columns(index: pd.DataFrame) -> list[str]:
    return [str(column) for column in index.filter(regex="^rating_").dropna(axis="columns", how="all")]


def _conditions_of(index: pd.DataFrame) -> list[str]:
    return sorted(set(index["condition"].astype(str)) - {""}) if "condition" in index else []


def _by_condition(index: pd.DataFrame, *, high: str) -> Float[np.ndarray, " segment"]:
    known = _conditions_of(index)
    if high not in known or len(known) < 2:
        raise DataError(
            f"task.high: {high!r} was given, but the conditions of the store are "
            f"{', '.join(map(repr, known)) or 'none'}; name one of at least two"
        )
    conditions = index["condition"].astype(str).to_numpy()
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
        self.log_weight = math.log(positive_weight)
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
        """Return the summed loss, the four counts of the confusion matrix, and the sums of the calibration error."""
        del generator
        assert batch.label is not None
        logits = self.logits(batch.signals)
        high = logits > 0
        truth = batch.label > 0.5
        return {
            **bin_sums(self.unweighted(logits).sigmoid(), batch.label),
            "error": self._cross_entropy(logits, batch).item(),
            "true_high": float((high & truth).sum()),
            "false_high": float((high & ~truth).sum()),
            "true_low": float((~high & ~truth).sum()),
            "false_low": float((~high & truth).sum()),
        }

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return loss, accuracy, macro F1, balanced accuracy, and the expected calibration error (``ece``).

        A segment is classified as high if its logit is above 0: as the loss does, this gives both classes the same
        weight. The probabilities whose calibration is measured are those of `unweighted` logits.
        """
        scores = classification_scores(sums)
        count = sum(sums[name] for name in ("true_high", "false_high", "true_low", "false_low"))
        return {
            "loss": sums["error"] / count,
            **scores,
            "ece": expected_calibration_error({name: sums[name] for name in BIN_SUMS}),
        }

    def unweighted(self, logits: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return logits whose logistic function is the probability of the high class: ``logit - log w_p``."""
        return logits - self.log_weight

    def _cross_entropy(self, logits: Float[Tensor, " batch"], batch: Batch) -> Float[Tensor, ""]:
        assert batch.label is not None
        return functional.binary_cross_entropy_with_logits(
            logits, batch.label, pos_weight=self.get_buffer("positive_weight"), reduction="sum"
        )
