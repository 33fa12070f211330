"""Scores of a classification, from counts that can be added over batches and workers.

Accuracy, macro F1 and balanced accuracy are those of scikit-learn, also where a class does not occur: the macro F1 is
the mean over the classes that occur among the labels or the predictions, and the balanced accuracy the mean recall
of the classes that occur among the labels.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy import stats
from torch import Tensor

CONFIDENCE_LEVEL = 0.95
"""Confidence level of all intervals (probability)."""

Counts = Mapping[str, float]
"""``true_high``, ``false_high``, ``true_low``, ``false_low``: predictions of a class that are right or wrong."""

CALIBRATION_BINS = 10
"""Bins of equal width, of probabilities from 0 to 1, of the expected calibration error."""

BIN_SUMS = tuple(
    f"bin{number}_{name}" for number in range(CALIBRATION_BINS) for name in ("count", "probability", "high")
)
"""Names of the sums that `bin_sums` returns."""


def classification_scores(counts: Counts) -> dict[str, float]:
    """Return ``accuracy``, ``macro_f1`` and ``balanced_accuracy`` (0 to 1)."""
    true_high, false_high = counts["true_high"], counts["false_high"]
    true_low, false_low = counts["true_low"], counts["false_low"]
    wrong = false_high + false_low
    f1 = [2 * true / (2 * true + wrong) for true in (true_high, true_low) if 2 * true + wrong]
    recalls = [
        true / (true + missed) for true, missed in ((true_high, false_low), (true_low, false_high)) if true + missed
    ]
    return {
        "accuracy": (true_high + true_low) / (true_high + true_low + wrong),
        "macro_f1": sum(f1) / len(f1),
        "balanced_accuracy": sum(recalls) / len(recalls),
    }


def majority_label(labels: Float[np.ndarray, " segment"]) -> float:
    """Return the most frequent label, or the smallest of several that are equally frequent."""
    values, counts = np.unique(labels, return_counts=True)
    return float(values[counts.argmax()])


def confusion_scores(matrix: Float[np.ndarray, "label predicted"]) -> dict[str, float]:
    """Return ``accuracy``, ``macro_f1`` and ``balanced_accuracy`` (0 to 1) of several classes.

    Args:
        matrix: Number of segments by label (row) and predicted class (column).
    """
    right, labels, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = labels + predicted > 0
    f1 = 2 * right[occurs] / (labels + predicted)[occurs]
    recalls = right[labels > 0] / labels[labels > 0]
    return {
        "accuracy": float(right.sum() / matrix.sum()),
        "macro_f1": float(f1.mean()),
        "balanced_accuracy": float(recalls.mean()),
    }


def label_scores(predicted: Float[np.ndarray, " segment"], *, truth: Float[np.ndarray, " segment"]) -> dict[str, float]:
    """Return ``accuracy``, ``macro_f1`` and ``balanced_accuracy`` (0 to 1) of predicted labels, 0, 1, 2 and so on."""
    count = 1 + int(max(predicted.max(initial=0), truth.max(initial=0)))
    cells = np.bincount(truth.astype(int) * count + predicted.astype(int), minlength=count**2)
    return confusion_scores(cells.reshape(count, count).astype(float))


def class_scores(matrix: Float[np.ndarray, "label predicted"]) -> list[dict[str, float]]:
    """Return ``precision``, ``recall`` and ``f1`` of each class (0 to 1); 0 where there is nothing to divide by.

    Args:
        matrix: Number of segments by label (row) and predicted class (column).
    """
    right, labels, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        {
            "precision": float(right[number] / max(predicted[number], 1)),
            "recall": float(right[number] / max(labels[number], 1)),
            "f1": float(2 * right[number] / max(labels[number] + predicted[number], 1)),
        }
        for number in range(len(matrix))
    ]


def interval_half_width(values: Sequence[float]) -> float | None:
    """Return the half width of the mean's t interval, ``t(0.975, n - 1) * s / sqrt(n)``; None for a single value.

    ``s`` is the standard deviation with ``n - 1`` in the denominator.
    """
    count = len(values)
    if count < 2:
        return None
    factor = float(stats.t.ppf((1 + CONFIDENCE_LEVEL) / 2, count - 1)) / math.sqrt(count)
    return factor * float(np.std(values, ddof=1))


def bin_sums(probabilities: Float[Tensor, " batch"], truth: Shaped[Tensor, " batch"]) -> dict[str, float]:
    """Return for each bin the number of segments, the sum of their probabilities and the number of high labels."""
    bins = (probabilities * CALIBRATION_BINS).long().clamp(0, CALIBRATION_BINS - 1)
    rows = torch.stack([torch.ones_like(probabilities), probabilities, truth.to(probabilities)])
    sums = torch.zeros(3, CALIBRATION_BINS, dtype=torch.float64, device=probabilities.device)
    sums.index_add_(1, bins, rows.double())
    return dict(zip(BIN_SUMS, sums.T.flatten().tolist(), strict=True))


def bin_sums_of(
    probabilities: Float[np.ndarray, " segment"], truth: Shaped[np.ndarray, " segment"]
) -> dict[str, float]:
    """Return `bin_sums` of arrays."""
    return bin_sums(torch.from_numpy(probabilities), torch.from_numpy(truth))


def expected_calibration_error(sums: Mapping[str, float]) -> float:
    """Return the expected calibration error, from the sums of `bin_sums`.

    With n segments, of which n_b are in bin b, their mean probability p_b and their share of high labels h_b::

        ECE = sum over b of (n_b / n) |p_b - h_b|

    Source: Guo et al. 2017 (arXiv:1706.04599), equation 3, for the probability of the high class.
    """
    table = np.array([sums[name] for name in BIN_SUMS]).reshape(CALIBRATION_BINS, 3)
    return float(np.abs(table[:, 1] - table[:, 2]).sum() / table[:, 0].sum())
