"""The mean vectors of people, for classifiers that subtract them (``task.centre: person``)."""

from dataclasses import replace

import numpy as np
import torch

from emotune.tasks import Objective
from emotune.tasks.centring import PersonMeans, person_numbers, segments_of_people
from emotune.tasks.classify import ClassifierObjective
from emotune.training.execution import PLAIN, ExecutionPlan
from emotune.training.loop import TrainingData, evaluation_batches, sharers_of
from emotune.training.workers import ALONE, WorkerGroup


@torch.no_grad()
def with_person_means(
    training_data: TrainingData,
    objective: Objective,
    *,
    rows: np.ndarray | None = None,
    group: WorkerGroup = ALONE,
    execution: ExecutionPlan = PLAIN,
) -> TrainingData:
    """Return a copy with the mean vector of each person, if the task subtracts it; otherwise the same object.

    The mean is that of all segments of a person and lead in the store, with and without a label, on every side of the
    folds. Its encoder is frozen, so that means are computed once, when the objective has the encoder's final weights.
    They depend on neither the batch size nor the fold: a run that resumes computes the same ones again.

    Args:
        training_data: The store.
        objective: The objective, which is left in evaluation mode.
        rows: Segments whose people have a mean; None: all that train, validate and test.
        group: This worker and the number of workers, which divide the segments among them.
        execution: How the objective is computed.
    """
    if not isinstance(objective, ClassifierObjective) or not objective.is_centred:
        return training_data
    number = person_numbers(training_data.store.index)
    own = segments_of_people(number, rows=training_data.fold.rows if rows is None else rows)
    objective.eval()
    sharers = sharers_of(len(own), group=group)
    sums = np.zeros((int(number.max()) + 1, objective.aggregation.width))
    device = next(objective.parameters()).device
    with execution.active(), execution.autocast():
        for batch in evaluation_batches(training_data, own, device=device, sharers=sharers):
            np.add.at(sums, number[batch.rows.numpy()], objective.pooled(batch.signals).double().cpu().numpy())
    counts = np.bincount(number[own], minlength=len(sums))[:, None]
    totals = sharers.add_arrays(torch.from_numpy(sums)).numpy()
    means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return replace(training_data, person_means=PersonMeans(number, torch.from_numpy(means).float()))
