"""Calibration of a trained classifier on its validation segments."""

import numpy as np

from emotune.tasks.calibration import Calibration, apply_sigmoid, fit_sigmoid
from emotune.tasks.classify import ClassifyObjective
from emotune.tasks.scores import bin_sums_of, expected_calibration_error
from emotune.training.execution import PLAIN, ExecutionPlan
from emotune.training.loop import TrainingData, collect_logits


def calibrate(
    objective: ClassifyObjective, training_data: TrainingData, *, execution: ExecutionPlan = PLAIN
) -> Calibration | None:
    """Return Platt's calibration of a classifier on the validation segments; None if they lack one of the classes.

    Its input is the logit without the weight of the classes, `ClassifyObjective.unweighted`.

    Args:
        objective: The trained classifier, which is left in evaluation mode.
        training_data: Segments and labels.
        execution: How the objective is computed.
    """
    rows, labels = training_data.fold.val, training_data.labels
    if labels is None or len(np.unique(labels[rows])) < 2:
        return None
    truth = labels[rows]
    logits = collect_logits(objective, training_data, rows, execution=execution) - objective.log_weight
    slope, intercept = fit_sigmoid(logits, truth)
    return Calibration(
        slope=slope,
        intercept=intercept,
        segments=len(rows),
        error_before=_error(apply_sigmoid(logits, slope=1.0, intercept=0.0), truth),
        error=_error(apply_sigmoid(logits, slope=slope, intercept=intercept), truth),
    )


def _error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    return expected_calibration_error(bin_sums_of(probabilities, truth))
