"""Fine-tuning: high or low ratings, or one of several conditions, from an encoder's representations.

For a signal with label y (1: high, 0: low) and the output o of the network, with s the logistic function (equation 4):

    loss = -w_p y log s(o) - (1 - y) log(1 - s(o)),    w_p = negatives / positives of the training segments

The weight w_p gives both classes the same total weight. With it s(o) is the probability of the high class in data with
as many high as low segments; the probability in data such as the training segments is s(o - log w_p).

For k classes (``classes``), with the outputs o_1 ... o_k, of which o_y is that of the label's class:

    loss = -w_y log softmax(o)_y,    w_c = n / (k n_c), with n_c of the n training segments in class c

The weights give all classes the same total weight, and have the mean 1 over the training segments. For two classes this
is equation 4 times a constant. ``softmax(o)`` is the probability in data with equally frequent classes;
``softmax(o - log w)`` is that in data such as the training segments.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), sections III-D and IV-D;
the EEG classifier (64 hidden units, dropout 0.6): Vazquez-Rodriguez et al. 2022 (hal-03897400), section 4.3.
"""

import itertools
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from emotune.data.batches import Batch
from emotune.errors import DataError
from emotune.models import Encoder
from emotune.models.dropout import Dropout
from emotune.tasks.aggregation import GROUPS, NARROWED_WIDTH, Aggregate, Aggregation
from emotune.tasks.base import Objective, Sums, TaskSettings
from emotune.tasks.calibration import Calibration, apply_sigmoid
from emotune.tasks.labels import LabelSettings, name_in_metric
from emotune.tasks.scores import (
    BIN_SUMS,
    bin_sums,
    class_scores,
    classification_scores,
    confusion_scores,
    expected_calibration_error,
)


class Classify(LabelSettings, TaskSettings):
    """Classification of ratings as high or low, or of conditions; the defaults are the published ECG classifier."""

    kind: Literal["classify"] = "classify"

    class_weight: Literal["balanced", "none"] = "balanced"
    """Weight of the high class in the loss: ``balanced`` (w_p, negatives / positives, as published for ECG) or ``none``
    (1: plain cross-entropy; the paper on ECG and EEG mentions no weight). With ``classes`` the loss is the
    categorical cross-entropy, and ``balanced`` gives each class the same total weight."""

    aggregate: Aggregate = "class"
    """What is classified: the representation of the class token (``class``) or of the ``last`` sample, or a pool over
    all samples: ``max`` (max-pool 1), ``average`` (avg-pool 1), ``max-groups`` (max-pool 2: 64 features, maximum of
    each half) or ``average-groups`` (avg-pool 2: average of each quarter)."""

    groups: int | None = Field(default=None, ge=1)
    """Groups in time of ``max-groups`` and ``average-groups``; null: the published 2 and 4."""

    narrowed: int = Field(default=NARROWED_WIDTH, ge=1)
    """Features of each sample after the linear layer of ``max-groups``."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (1024, 512)
    """Hidden units of each layer of the classifier, as a list or, in a search space, as text such as ``1024-512``."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Dropout rate after each hidden layer of the classifier."""

    frozen: bool = False
    """Train the classifier only; the encoder's weights stay as they are."""

    centre: Literal["none", "person"] = "none"
    """What is subtracted from the vector that the classifier receives: nothing, or the mean over all segments of the
    same ``person`` and ECG lead, with and without a label. ``person`` needs ``frozen: true``, and several segments of
    a person in training and in prediction."""

    shuffled: bool = False
    """Train on labels that are permuted among the training segments, which measures the accuracy by chance."""

    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "macro_f1", "balanced_accuracy", "ece")
    selection: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/macro_f1", "max")
    network: ClassVar[frozenset[str]] = frozenset(
        {"aggregate", "groups", "narrowed", "hidden", "dropout", "frozen", "centre"}
    )

    @model_validator(mode="after")
    def _refuse_pools_without_effect(self) -> "Classify":
        if self.groups is not None and self.aggregate not in GROUPS:
            raise ValueError(
                f"groups has no effect with aggregate: {self.aggregate}. Remove it or set aggregate: "
                f"{' or '.join(GROUPS)}"
            )
        if self.narrowed != NARROWED_WIDTH and self.aggregate != "max-groups":
            raise ValueError(
                f"narrowed has no effect with aggregate: {self.aggregate}. Remove it or set aggregate: max-groups"
            )
        return self

    @model_validator(mode="after")
    def _refuse_means_that_change(self) -> "Classify":
        if self.centre == "person" and not self.frozen:
            raise ValueError(
                "centre: person was given with frozen: false, but the mean of a person is computed once, of an encoder "
                "that does not change; set frozen: true (--adapt frozen or --adapt linear), or centre: none"
            )
        if self.centre == "person" and self.aggregate == "max-groups":
            raise ValueError(
                "centre: person was given with aggregate: max-groups, which trains a layer below the mean of a person; "
                "set another aggregate, for example average, or centre: none"
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
        names = list(LabelSettings.model_fields)
        names += ["shuffled"] if metric.startswith("train/") else []
        names += ["class_weight"] if metric.endswith(("/loss", "/ece")) else []
        remedies = dict.fromkeys(names, "")
        if "class_weight" in remedies:
            remedies["class_weight"] = "or use objective.metric: val/macro_f1, which has no weights"
        return remedies

    def class_names(self, conditions: Sequence[str]) -> tuple[str, ...]:
        """Return the names of the low and of the high class, or of the ``classes``; the label is the position.

        Args:
            conditions: The conditions of the labelled segments.
        """
        if self.classes:
            return self.classes
        if self.target != "condition":
            return "low", "high"
        others = sorted(set(conditions) - {"", self.high})
        return (others[0] if len(others) == 1 else f"not {self.high}"), self.high

    def build(self, encoder: Encoder, *, channels: int, labels: np.ndarray | None) -> "ClassifierObjective":
        """Return the objective; the weights of the classes follow from the labels.

        Raises:
            DataError: One of the classes has no training segment.
        """
        del channels
        assert labels is not None
        if self.classes:
            return CategoricalObjective(self, encoder, weights=self._weights(labels))
        positive = float((labels == 1).sum())
        negative = float((labels == 0).sum())
        if not positive or not negative:
            raise DataError(
                f"the training segments have {positive:.0f} high and {negative:.0f} low labels of {self.target}; "
                "both are needed. Use another fold or another seed"
            )
        weight = negative / positive if self.class_weight == "balanced" else 1.0
        return ClassifyObjective(self, encoder, positive_weight=weight)

    def _weights(self, labels: np.ndarray) -> list[float]:
        """Return the weight of each class in the loss."""
        counts = [int((labels == number).sum()) for number in range(len(self.classes))]
        absent = [name for name, count in zip(self.classes, counts, strict=True) if not count]
        if absent:
            raise DataError(
                f"no training segment has the condition {', '.join(map(repr, absent))}; all of task.classes are "
                "needed. Use another fold or another seed"
            )
        if self.class_weight == "none":
            return [1.0] * len(counts)
        return [sum(counts) / (len(counts) * count) for count in counts]


class ClassifierObjective(Objective):
    """A fully connected network on the aggregated representations (``e_CLS``); its outputs are logits of classes."""

    def __init__(self, settings: Classify, encoder: Encoder, *, outputs: int) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = encoder
        self.aggregation = Aggregation(
            settings.aggregate, encoder=encoder, groups=settings.groups, narrowed=settings.narrowed
        )
        sizes = [self.aggregation.width, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), Dropout(settings.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
        if settings.frozen:
            encoder.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> "ClassifierObjective":  # noqa: FBT001, FBT002 (torch's signature)
        """Set training mode; a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.settings.frozen:
            self.encoder.eval()
        return self

    @abstractmethod
    def classify(self, vectors: Float[Tensor, "batch aggregated"]) -> Float[Tensor, "batch ..."]:
        """Return the logit of the high class, or the logit of each class, in float32.

        Args:
            vectors: Vectors from `pooled`, minus the means of the people if the task has them.
        """

    @abstractmethod
    def unweighted(self, logits: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Return logits without the weights of the classes: their probabilities are those in the training segments."""

    @abstractmethod
    def probabilities(
        self, logits: Float[np.ndarray, "segment ..."], *, calibration: Calibration | None
    ) -> tuple[Float[np.ndarray, "segment ..."], Float[np.ndarray, "segment ..."]]:
        """Return probabilities of the high class, or of each class, from logits.

        Args:
            logits: Logits of segments, from `logits`.
            calibration: Calibration of the unweighted logit of the high class; None: there is none.

        Returns:
            The probability in data such as the training segments; and that with the classes weighted as in the loss,
            by which the scores of a training classify a segment.
        """

    @abstractmethod
    def _cross_entropy(self, logits: Float[Tensor, "batch ..."], batch: Batch) -> Float[Tensor, ""]:
        """Return the summed weighted cross-entropy of a batch."""

    @property
    def is_centred(self) -> bool:
        """Whether the mean of each person is subtracted from the vectors."""
        return self.settings.centre == "person"

    def pooled(self, signals: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch aggregated"]:
        """Return the aggregated representation of each signal; no mean is subtracted."""
        return self.aggregation(signals, encoder=self.encoder)

    def logits(
        self,
        signals: Float[Tensor, "batch channel time"],
        *,
        person_means: Float[Tensor, "batch aggregated"] | None = None,
    ) -> Float[Tensor, "batch ..."]:
        """Return the logit of the high class, or the logit of each class, in float32.

        Args:
            signals: Standardised segments.
            person_means: Mean vector of each segment's person; required with ``centre: person``.
        """
        return self.classify(self._vectors(signals, person_means=person_means))

    def _vectors(
        self, signals: Float[Tensor, "batch channel time"], *, person_means: Float[Tensor, "batch aggregated"] | None
    ) -> Float[Tensor, "batch aggregated"]:
        vectors = self.pooled(signals)
        if not self.is_centred:
            return vectors
        assert person_means is not None, "centre: person without the means of people; with_person_means computes them"
        return vectors - person_means

    @torch.no_grad()
    def hidden_activations(
        self,
        signals: Float[Tensor, "batch channel time"],
        *,
        person_means: Float[Tensor, "batch aggregated"] | None = None,
    ) -> Float[Tensor, "batch hidden"]:
        """Return the activations of the last hidden layer, without dropout in any mode.

        Late fusion concatenates these (hal-03897400, section 3.3). Without hidden layers they are the representation.

        Args:
            signals: Standardised segments.
            person_means: Mean vector of each segment's person; required with ``centre: person``.
        """
        training = self.training
        self.eval()
        try:
            return self.head[:-1](self._vectors(signals, person_means=person_means))
        finally:
            self.train(training)

    def loss(self, batch: Batch, *, generator: torch.Generator) -> Tensor:
        """Return this batch's part of the weighted cross-entropy, averaged over the joint batch."""
        del generator
        logits = self.logits(batch.signals, person_means=batch.person_means)
        return self._cross_entropy(logits, batch) / batch.joint_size


class ClassifyObjective(ClassifierObjective):
    """Weighted binary cross-entropy, equation 4."""

    def __init__(self, settings: Classify, encoder: Encoder, *, positive_weight: float) -> None:
        super().__init__(settings, encoder, outputs=1)
        self.register_buffer("positive_weight", torch.tensor(positive_weight), persistent=False)
        self.log_weight = math.log(positive_weight)

    def classify(self, vectors: Float[Tensor, "batch aggregated"]) -> Float[Tensor, " batch"]:
        """Return the logit of the high class, in float32."""
        return self.head(vectors)[:, 0].float()

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed loss, the four counts of the confusion matrix, and the sums of the calibration error."""
        del generator
        assert batch.label is not None
        logits = self.logits(batch.signals, person_means=batch.person_means)
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

    def probabilities(
        self, logits: Float[np.ndarray, " segment"], *, calibration: Calibration | None
    ) -> tuple[Float[np.ndarray, " segment"], Float[np.ndarray, " segment"]]:
        """Return the probability of the high class in two ways, see `ClassifierObjective.probabilities`."""
        slope, intercept = (1.0, 0.0) if calibration is None else (calibration.slope, calibration.intercept)
        own = apply_sigmoid(logits - self.log_weight, slope=slope, intercept=intercept)
        return own, apply_sigmoid(logits, slope=1.0, intercept=0.0)

    def _cross_entropy(self, logits: Float[Tensor, " batch"], batch: Batch) -> Float[Tensor, ""]:
        assert batch.label is not None
        return functional.binary_cross_entropy_with_logits(
            logits, batch.label, pos_weight=self.get_buffer("positive_weight"), reduction="sum"
        )


class CategoricalObjective(ClassifierObjective):
    """Weighted categorical cross-entropy of the classes of a task.

    Args:
        settings: The task.
        encoder: The network below.
        weights: Weight of each class in the loss.
    """

    def __init__(self, settings: Classify, encoder: Encoder, *, weights: Sequence[float]) -> None:
        super().__init__(settings, encoder, outputs=len(weights))
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32), persistent=False)
        self.log_weights = np.log(np.asarray(weights, dtype=np.float64))

    def classify(self, vectors: Float[Tensor, "batch aggregated"]) -> Float[Tensor, "batch label"]:
        """Return the logit of each class, in float32."""
        return self.head(vectors).float()

    def unweighted(self, logits: Float[Tensor, "batch label"]) -> Float[Tensor, "batch label"]:
        """Return logits whose softmax is the probability in data such as the training segments."""
        return logits - self.get_buffer("weights").log()

    def probabilities(
        self, logits: Float[np.ndarray, "segment label"], *, calibration: Calibration | None
    ) -> tuple[Float[np.ndarray, "segment label"], Float[np.ndarray, "segment label"]]:
        """Return the probability of each class in two ways, see `ClassifierObjective.probabilities`."""
        assert calibration is None, "classes have no calibration"
        return softmax(logits - self.log_weights, axis=1), softmax(logits, axis=1)

    def measure(self, batch: Batch, *, generator: torch.Generator) -> Sums:
        """Return the summed loss, the cells of the confusion matrix, and the sums of the calibration error."""
        del generator
        assert batch.label is not None
        logits = self.logits(batch.signals, person_means=batch.person_means)
        count = len(self.log_weights)
        truth, predicted = batch.label.long(), logits.argmax(dim=1)
        cells = torch.bincount(truth * count + predicted, minlength=count**2).tolist()
        confidence, likeliest = self.unweighted(logits).softmax(dim=1).max(dim=1)
        return {
            **bin_sums(confidence, (likeliest == truth).to(confidence)),
            "error": self._cross_entropy(logits, batch).item(),
            **{name: float(cell) for name, cell in zip(_cell_names(count), cells, strict=True)},
        }

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return loss, accuracy, macro F1, balanced accuracy, calibration error, and recall and F1 of each class.

        A segment is classified as the class with the largest logit: as the loss does, this gives all classes the same
        weight. The calibration error (``ece``) is that of the probability of the likeliest class of `unweighted`
        logits. A class without a segment has no recall and no F1.
        """
        count = len(self.log_weights)
        matrix = np.array([sums[name] for name in _cell_names(count)]).reshape(count, count)
        by_class = zip(self.settings.classes, class_scores(matrix), matrix.sum(axis=1), strict=True)
        return {
            "loss": sums["error"] / float(matrix.sum()),
            **confusion_scores(matrix),
            "ece": expected_calibration_error({name: sums[name] for name in BIN_SUMS}),
            **{
                f"{score}_{name_in_metric(name)}": scores[score]
                for name, scores, segments in by_class
                if segments
                for score in ("recall", "f1")
            },
        }

    def _cross_entropy(self, logits: Float[Tensor, "batch label"], batch: Batch) -> Float[Tensor, ""]:
        assert batch.label is not None
        weights, labels = self.get_buffer("weights"), batch.label.long()
        return (functional.cross_entropy(logits, labels, reduction="none") * weights[labels]).sum()


def _cell_names(count: int) -> list[str]:
    """Return the names of the cells of a confusion matrix, row by row; a row is a label."""
    return [f"label{label}_as{predicted}" for label in range(count) for predicted in range(count)]
