"""Two short checks of a training: it can overfit one batch, and cannot predict random labels of new people."""

import dataclasses
import math
import time

import numpy as np
from jaxtyping import Int64, Shaped
from scipy import stats

from emotune.base import Settings
from emotune.data.folds import Fold
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.tasks import Classify
from emotune.tasks.classify import ClassifierObjective
from emotune.training.loop import TrainingData, TrainingPlan, TrainState, collect_logits, train_epoch
from emotune.training.optim import Optim

BATCH_SEGMENTS = 8
"""Segments of the batch that is overfitted."""

MAX_STEPS = 300
"""Optimiser steps on that batch at most."""

LOSS_FACTOR = 2.0
"""The check passes when the loss has fallen by this factor."""

LABELLED_SEGMENTS = 512
"""Training segments with random labels at most, and held-out segments."""

LABELLED_EPOCHS = 5
"""Epochs of training with random labels."""

TIME_LIMIT_S = 25.0
"""Time of the training of a check (s)."""

MIN_PEOPLE = 3
"""Fewest held-out people whose scores have an interval."""

CONFIDENCE = 0.999
"""Confidence of that interval: one check in a thousand fails by chance."""


class Overfit(Settings):
    """The training on one batch."""

    segments: int
    steps: int
    first: float
    """Loss before the first step."""
    last: float
    """Loss before the last step."""
    seconds: float

    @property
    def factor(self) -> float:
        """By how much the loss has fallen; 0 if it is not finite."""
        return self.first / self.last if math.isfinite(self.last) and self.last > 0 else 0.0

    @property
    def passed(self) -> bool:
        """Whether the loss has fallen by `LOSS_FACTOR`."""
        return self.factor >= LOSS_FACTOR

    @property
    def conclusive(self) -> bool:
        """Whether it passed, or failed in as many steps as it may take; otherwise the time was too short."""
        return self.passed or self.steps >= MAX_STEPS


class ChanceScore(Settings):
    """Balanced accuracy on held-out people after a training on random labels."""

    people: int
    """People with segments of at least two labels."""
    mean: float
    """Mean over people; NaN without any."""
    half_width: float
    """Half width of its interval; infinite below `MIN_PEOPLE`."""
    chance: float
    """Score of guessing: one over the number of labels."""

    @property
    def conclusive(self) -> bool:
        """Whether there are enough people."""
        return self.people >= MIN_PEOPLE

    @property
    def passed(self) -> bool:
        """Whether chance is in the interval."""
        return abs(self.mean - self.chance) <= self.half_width


def overfit_batch(experiment: Experiment, *, store: SegmentStore) -> Overfit:
    """Train an experiment on one batch until its loss has fallen by `LOSS_FACTOR`.

    Masks, dropouts and the learning rate (``optim.lr``) are those of one step, repeated, so that the network can
    overfit the batch. Weights are drawn anew, also where the experiment starts from an encoder.

    Raises:
        TrainingDivergedError: The loss is not finite.
    """
    experiment = _from_scratch(experiment)
    training_data = experiment.training_data(store)
    rows = _spread(training_data.fold.train, min(BATCH_SEGMENTS, experiment.batch_size))
    state = experiment.begin_untrained(training_data)
    plan = TrainingPlan(
        optim=_constant_rate(experiment.optim), epochs=MAX_STEPS, batch_size=len(rows), seed=experiment.seed
    )
    one_batch = dataclasses.replace(training_data, fold=Fold(rows, rows[:0], rows[:0]))
    losses: list[float] = []
    begun = time.monotonic()
    while len(losses) < MAX_STEPS and time.monotonic() - begun < TIME_LIMIT_S:
        report = train_epoch(state, one_batch, plan)
        assert report is not None
        losses.append(report.metrics["train/loss"])
        state.history.clear()  # so that every step is the first one of the first epoch
        if losses[0] >= LOSS_FACTOR * losses[-1]:
            break
    return Overfit(
        segments=len(rows), steps=len(losses), first=losses[0], last=losses[-1], seconds=time.monotonic() - begun
    )


def score_random_labels(experiment: Experiment, *, store: SegmentStore) -> ChanceScore | None:
    """Train a classifier on permuted labels, and score it on the true labels of held-out people; None: no classifier.

    A score above chance means that the labels of held-out people reach the training.
    """
    if not isinstance(experiment.task, Classify):
        return None
    task = experiment.task.model_copy(update={"shuffled": True})
    experiment = _from_scratch(experiment).model_copy(update={"task": task})
    training_data = experiment.training_data(store)
    fold = training_data.fold
    held_out = _spread(np.sort(np.concatenate([fold.val, fold.test])), LABELLED_SEGMENTS)
    few = Fold(_spread(fold.train, LABELLED_SEGMENTS), held_out[:0], held_out[:0])
    state = experiment.begin_untrained(training_data)
    _train_shortly(state, dataclasses.replace(training_data, fold=few), experiment)
    assert isinstance(state.objective, ClassifierObjective)
    logits = collect_logits(state.objective, training_data, held_out, execution=state.execution)
    predicted = logits.argmax(axis=1) if logits.ndim == 2 else (logits > 0).astype(int)
    assert training_data.labels is not None
    index = store.index.iloc[held_out]
    return chance_score(
        predicted,
        truth=training_data.labels[held_out],
        people=(index["corpus"].astype(str) + "/" + index["subject"].astype(str)).to_numpy(),
        labels=len(task.classes) or 2,
    )


def chance_score(
    predicted: Int64[np.ndarray, " segment"],
    *,
    truth: Shaped[np.ndarray, " segment"],
    people: Shaped[np.ndarray, " segment"],
    labels: int,
) -> ChanceScore:
    """Return the balanced accuracy of each person, averaged over people, with a t interval.

    Args:
        predicted: Predicted labels.
        truth: True labels.
        people: The person of each segment. Those with segments of one label only are left out.
        labels: Number of labels.
    """
    scores = []
    for person in np.unique(people):
        mine = people == person
        present = np.unique(truth[mine])
        if len(present) > 1:
            scores.append(np.mean([np.mean(predicted[mine & (truth == label)] == label) for label in present]))
    half_width = math.inf
    if len(scores) >= MIN_PEOPLE:
        error = float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
        half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1)) * error
    mean = float(np.mean(scores)) if scores else math.nan
    return ChanceScore(people=len(scores), mean=mean, half_width=half_width, chance=1 / labels)


def _from_scratch(experiment: Experiment) -> Experiment:
    """Return an experiment that trains all weights, from new ones; centring needs a frozen encoder, and is left out."""
    task = experiment.task
    if isinstance(task, Classify):
        task = task.model_copy(update={"frozen": False, "centre": "none"})
    return experiment.model_copy(update={"start": None, "task": task})


def _constant_rate(optim: Optim) -> Optim:
    """Return an optimiser without warm-up and without a schedule: a check has fewer epochs than a warm-up."""
    return optim.model_copy(update={"schedule": "none", "warmup_epochs": 0})


def _train_shortly(state: TrainState, training_data: TrainingData, experiment: Experiment) -> None:
    plan = experiment.training_plan()
    plan = dataclasses.replace(plan, optim=_constant_rate(plan.optim), epochs=LABELLED_EPOCHS)
    begun = time.monotonic()
    while state.epoch < LABELLED_EPOCHS and time.monotonic() - begun < TIME_LIMIT_S:
        train_epoch(state, training_data, plan)


def _spread(rows: Int64[np.ndarray, " row"], count: int) -> Int64[np.ndarray, " chosen"]:
    """Return at most ``count`` rows, evenly spaced, so that they are of many people."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(int)]
