"""What the best network predicts on held-out segments: masked values, or classes. This module imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64

from emotune.base import Settings
from emotune.data.batches import Batch
from emotune.data.folds import unit_keys
from emotune.data.modality import MODALITIES
from emotune.data.store import SegmentStore
from emotune.errors import EmotuneError, SettingsError
from emotune.evaluation.crossval import majority_baseline
from emotune.evaluation.encoders import best_checkpoint, read_network_description
from emotune.evaluation.held_out_scores import CalibrationBin, calibration_bins
from emotune.evaluation.prediction import load_classifier
from emotune.evaluation.statistics import Interval, mean_interval
from emotune.randomness import derive_seed
from emotune.report.data_summary import open_store
from emotune.report.scalp import ScalpMap, scalp_map
from emotune.report.waves import WaveErrors, peak_times, wave_errors
from emotune.search.records import Record
from emotune.study.folder import SearchFolder
from emotune.study.results import evaluation_results, opened
from emotune.tasks.masked_values import MaskedValueObjective, MaskedValues, interpolate_linearly
from emotune.tasks.scores import confusion_scores
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import newest_checkpoint, read_weights
from emotune.training.loop import collect_logits

DRAWN_SEGMENTS = 6
"""Held-out segments that are drawn, of different people where there are as many."""

MAX_SEGMENTS = 4000
"""Held-out segments that are classified at most, evenly over all of them."""

MEASURED_SEGMENTS = 64
"""Held-out segments on which the error in each part of the beat is measured."""

DECIMALS = 3
"""Decimals of the drawn values; signals are standardised."""


class DrawnSegment(Settings):
    """A held-out segment with its hidden spans and the prediction."""

    person: str
    channel: str
    seconds: float
    signal: tuple[float, ...]
    predicted: tuple[float | None, ...]
    """None where nothing was hidden."""
    peaks: tuple[float, ...]
    """Times of the R peaks (s); none in other modalities than ECG."""
    loss: float
    """Mean squared error of the hidden values of the drawn channel."""


class PersonScore(Settings):
    """The score of one person's held-out segments."""

    person: str
    segments: int
    accuracy: float
    high_share: float | None
    """Share of high labels; None with several classes."""


class ClassificationResult(Settings):
    """What trained classifiers predict on their held-out segments; several are the folds of a cross-validation."""

    part: str
    classifiers: int
    segments: int
    of: int
    """Held-out segments in all."""
    names: tuple[str, ...]
    """Names of the low and the high class, or of several classes."""
    confusion: tuple[tuple[int, ...], ...]
    """Number of segments by label (row) and predicted class (column)."""
    scores: dict[str, float]
    majority: dict[str, float]
    """Scores of the more frequent label of the training segments; those of a cross-validation are means over folds."""
    people: tuple[PersonScore, ...]
    accuracy: Interval
    """Mean and 95 % interval of the accuracy over people."""
    bins: tuple[CalibrationBin, ...]
    """Of the probability of the high class; with several classes, of the likeliest class, which is right or wrong."""


class MaskedPrediction(Settings):
    """What the best network predicts for hidden values of held-out segments."""

    drawn: tuple[DrawnSegment, ...]
    waves: WaveErrors | None
    """The errors by part of the beat; None in other modalities than ECG, and without R peaks."""
    scalp: ScalpMap | None
    """The errors by electrode; None without electrodes of the 10-20 system."""


def predict_masked(records: Sequence[Record], *, folder: SearchFolder) -> MaskedPrediction:
    """Return held-out segments with the prediction of the best network, and its errors by part of the beat.

    Raises:
        EmotuneError: The store or the checkpoint is not on this machine, or damaged.
    """
    store = open_store(opened(records).study)
    checkpoint = best_checkpoint(folder)
    experiment = read_network_description(checkpoint).experiment
    task = experiment.task
    if not isinstance(task, MaskedValues):
        raise SettingsError(f"the task {task.kind} predicts no samples")
    fold = experiment.select(store).fold
    rows = _of_different_people(store, fold.val if len(fold.val) else fold.test)
    if not len(rows):
        raise SettingsError("there are no held-out segments")
    channels = store.signal.shape[1]
    objective = task.build(experiment.model.build(channels=channels), channels=channels, labels=None)
    objective.load_state_dict(read_weights(checkpoint))
    batch = Batch(torch.from_numpy(np.array(store.signal[rows])), None, torch.from_numpy(rows))
    generator = torch.Generator().manual_seed(derive_seed(0, "report"))
    mask = task.measured_mask(batch, generator=generator)
    all_predicted = _predict_hidden(objective.eval(), batch=batch, mask=mask).numpy()
    predicted, signals, hidden = all_predicted[:, :, 0], batch.signals[:, 0].numpy(), mask.numpy()
    scalp = scalp_map(store.channels, signals=batch.signals.numpy(), predicted=all_predicted, hidden=hidden)
    spec = MODALITIES.get(store.modality)
    beats = spec is not None and spec.plausible_heart_rate is not None
    waves = None
    if beats:
        interpolated = interpolate_linearly(batch.signals, mask)[:, 0].numpy()
        waves = wave_errors(
            signals, hidden=hidden, predicted=predicted, interpolated=interpolated, rate=float(store.rate)
        )
    drawn = [
        _drawn(
            store, row=int(row), signal=signals[number], mask=hidden[number], predicted=predicted[number], beats=beats
        )
        for number, row in enumerate(rows[:DRAWN_SEGMENTS])
    ]
    return MaskedPrediction(drawn=tuple(drawn), waves=waves, scalp=scalp)


def try_masked(records: Sequence[Record], *, folder: SearchFolder) -> tuple[MaskedPrediction | None, str]:
    """Return `predict_masked`; None, and the reason, if it cannot be had."""
    try:
        return predict_masked(records, folder=folder), ""
    except (EmotuneError, OSError, RuntimeError, ValueError, KeyError) as error:
        return None, str(error).splitlines()[0]


def try_classification(records: Sequence[Record], *, folder: SearchFolder) -> tuple[ClassificationResult | None, str]:
    """Return `classify_held_out`; None, and the reason, if it cannot be had."""
    try:
        return classify_held_out(records, folder=folder), ""
    except (EmotuneError, OSError, RuntimeError, ValueError, KeyError) as error:
        return None, str(error).splitlines()[0]


def _of_different_people(store: SegmentStore, rows: Int64[np.ndarray, " row"]) -> Int64[np.ndarray, " drawn"]:
    """Return the middle segment of each of the first people; further segments if there are too few people."""
    people = unit_keys(store.index.iloc[rows], by="subject")
    middles = [rows[people == person][(people == person).sum() // 2] for person in np.unique(people)]
    others = np.setdiff1d(rows, middles)
    others = others[np.linspace(0, len(others) - 1, min(MEASURED_SEGMENTS, len(others))).astype(int)]
    return np.array([*middles, *others], dtype=np.int64)[:MEASURED_SEGMENTS]


@torch.no_grad()
def _predict_hidden(
    objective: MaskedValueObjective, *, batch: Batch, mask: torch.Tensor
) -> Float[torch.Tensor, "batch time channel"]:
    """Return the predicted value of every sample, of which only the hidden ones mean something."""
    shown = batch.signals.masked_fill(mask[:, None], 0.0)
    samples = torch.arange(mask.shape[1]).expand(len(mask), -1)
    return objective.head(objective.encoder(shown, samples + 1))  # row 0 is the class token


def _drawn(
    store: SegmentStore, *, row: int, signal: np.ndarray, mask: np.ndarray, predicted: np.ndarray, beats: bool
) -> DrawnSegment:
    index = store.index.iloc[row]
    channel = str(index["channel"])
    return DrawnSegment(
        person=f"{index['corpus']}/{index['subject']}",
        channel=store.channels[0] if channel == "all" else channel,
        seconds=store.seconds,
        signal=tuple(np.round(signal.astype(float), DECIMALS).tolist()),
        predicted=tuple(
            round(float(value), DECIMALS) if hidden else None for value, hidden in zip(predicted, mask, strict=True)
        ),
        peaks=peak_times(signal, rate=float(store.rate)) if beats else (),
        loss=float(np.mean((predicted[mask] - signal[mask]) ** 2)),
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """The held-out segments of one classifier."""

    rows: Int64[np.ndarray, " row"]
    of: int
    labels: np.ndarray
    predicted: np.ndarray
    """Number of the class that each segment is classified as."""
    probabilities: np.ndarray
    """Calibrated, of the high class; with several classes, of the likeliest class."""
    happened: np.ndarray
    """Whether what the probability is of was so."""
    majority: dict[str, float]
    names: tuple[str, ...]


def classify_held_out(records: Sequence[Record], *, folder: SearchFolder) -> ClassificationResult:
    """Return what the best classifier, or the classifiers of a cross-validation, predict on held-out segments.

    They are the test segments of a fine-tuning or a cross-validation, and the validation segments of a search, whose
    test segments stay unseen.

    Raises:
        EmotuneError: The store or a checkpoint is not on this machine, or damaged.
    """
    store = open_store(opened(records).study)
    name = "validation" if opened(records).purpose == "configuration" else "test"
    checkpoints = _classifier_checkpoints(records, folder=folder)
    parts = [
        part
        for checkpoint in checkpoints
        if (part := _measure(checkpoint, store=store, part=name, count=MAX_SEGMENTS // len(checkpoints))) is not None
    ]
    if not parts:
        raise SettingsError(f"there are no {name} segments")
    return _result(name, parts=parts, people=unit_keys(store.index, by="subject"))


def _measure(checkpoint: Path, *, store: SegmentStore, part: str, count: int) -> _Part | None:
    """Return what a classifier predicts on its held-out segments; None without any."""
    description = read_network_description(checkpoint)
    data = description.experiment.select(store)
    held_out = data.fold.val if part == "validation" else data.fold.test
    rows = held_out if len(held_out) <= count else held_out[np.linspace(0, len(held_out) - 1, count).astype(int)]
    if not len(rows):
        return None
    assert data.labels is not None
    classifier = load_classifier(checkpoint)
    execution = description.experiment.execution(store)  # as in training, so that scores are those of the journal
    execution.prepare(classifier.objective)
    with_means = with_person_means(data, classifier.objective, rows=rows, execution=execution)
    logits = collect_logits(classifier.objective, with_means, rows, execution=execution)
    probabilities, _ = classifier.objective.probabilities(logits, calibration=classifier.calibration)
    labels, several = data.labels[rows], logits.ndim == 2
    classes = description.classes
    return _Part(
        rows=rows,
        of=len(held_out),
        labels=labels,
        predicted=logits.argmax(axis=1) if several else (logits > 0).astype(np.int64),
        probabilities=probabilities.max(axis=1) if several else probabilities,
        happened=probabilities.argmax(axis=1) == labels if several else labels > 0.5,
        majority=majority_baseline(replace(data, fold=replace(data.fold, test=rows)), fold=0).metrics,
        names=("low", "high") if classes is None else tuple(part.name for part in classes.in_order),
    )


def _classifier_checkpoints(records: Sequence[Record], *, folder: SearchFolder) -> list[Path]:
    if opened(records).purpose != "fold":
        return [best_checkpoint(folder)]
    folds = [
        result.evaluation.config_id
        for result in evaluation_results(records)
        if result.status == "done" and not result.evaluation.values.get("task.shuffled", False)
    ]
    newest = [newest_checkpoint(folder.checkpoints(number)) for number in folds]
    checkpoints = [checkpoint for checkpoint in newest if checkpoint is not None]
    if not checkpoints:
        raise SettingsError(f"no fold of {folder.name} has an undamaged checkpoint")
    return checkpoints


def _result(name: str, *, parts: Sequence[_Part], people: np.ndarray) -> ClassificationResult:
    """Return the result of several classifiers together.

    Args:
        name: ``test`` or ``validation``.
        parts: Their held-out segments.
        people: The person of each segment of the store.
    """
    names = parts[0].names
    predicted = np.concatenate([part.predicted for part in parts])
    truth = np.concatenate([part.labels for part in parts]).astype(np.int64)
    person_of, right = people[np.concatenate([part.rows for part in parts])], predicted == truth
    cells = np.bincount(truth * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), len(names))
    scores = [
        PersonScore(
            person=str(person),
            segments=int((person_of == person).sum()),
            accuracy=float(right[person_of == person].mean()),
            high_share=float(truth[person_of == person].mean()) if len(names) == 2 else None,
        )
        for person in np.unique(person_of)
    ]
    return ClassificationResult(
        part=name,
        classifiers=len(parts),
        segments=len(truth),
        of=sum(part.of for part in parts),
        names=names,
        confusion=tuple(tuple(map(int, row)) for row in cells),
        scores=confusion_scores(cells.astype(float)),
        majority={metric: float(np.mean([part.majority[metric] for part in parts])) for metric in parts[0].majority},
        people=tuple(sorted(scores, key=lambda score: -score.accuracy)),
        accuracy=mean_interval([score.accuracy for score in scores]),
        bins=calibration_bins(
            np.concatenate([part.probabilities for part in parts]),
            labels=np.concatenate([part.happened for part in parts]),
        ),
    )
