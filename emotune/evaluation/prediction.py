"""Predictions of trained classifiers for one recording: high or low, segment by segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.single import prepare_single, read_single
from emotune.data.recording import Exclusion, Note
from emotune.errors import DataError, SettingsError
from emotune.evaluation.encoders import Classes, NetworkDescription, read_network_description
from emotune.evaluation.networks import read_network_weights
from emotune.experiment import Experiment
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, opened
from emotune.tasks.calibration import Calibration, apply_sigmoid
from emotune.tasks.classify import Classify, ClassifyObjective
from emotune.training.checkpoints import newest_checkpoint

BATCH_SEGMENTS = 64
"""Segments classified in one forward pass."""

UNDECIDED = "undecided"
"""Label of a segment for which neither class is clearly more probable."""

UNDECIDED_MARGIN = 0.1
"""Difference of a probability from 0.5 below which a segment is undecided."""


@runtime_checkable
class FindCheckpoint(Protocol):
    """A function that returns the checkpoint folder of a name, a path or an MLflow run."""

    def __call__(self, source: str, *, storage: Storage) -> Path:
        """Return the checkpoint folder; raise `SettingsError` if there is none."""
        ...


@dataclass(frozen=True, eq=False)
class FoldClassifier:
    """A trained classifier with what turns its logits into probabilities."""

    objective: ClassifyObjective
    calibration: Calibration | None
    """Platt's calibration on its validation segments; None: the logit without the weight of the classes is used."""

    def logits(self, batches: Sequence[Tensor]) -> Float[np.ndarray, " segment"]:
        """Return the logit of the high class of each segment, with the classes weighted as in the loss."""
        with torch.no_grad():
            return torch.cat([self.objective.logits(batch) for batch in batches]).double().numpy()

    def probabilities(self, logits: Float[np.ndarray, " segment"]) -> Float[np.ndarray, " segment"]:
        """Return the probability of the high class of each segment, in data such as the training segments."""
        slope, intercept = (
            (1.0, 0.0) if self.calibration is None else (self.calibration.slope, self.calibration.intercept)
        )
        return apply_sigmoid(logits - self.objective.log_weight, slope=slope, intercept=intercept)


class Predictor:
    """A classifier of high and low, or the average of the classifiers of a cross-validation.

    Attributes:
        name: The name that was given for it.
        target: The rating that it predicts, or ``condition``.
        task: The settings of the task of the first classifier.
        people: People that each classifier was trained or validated on; None where its folder does not list them.
        pretrained: Whether training started from a pre-trained encoder.
        class_names: Names of the low and of the high class: ``low`` and ``high``, or those of conditions.
        high_share: Share of high labels among the training segments (0 to 1); None: an older version wrote the
            checkpoint without it, and probabilities are those of equally frequent classes.
        preparation: Preparation of the training signals.
        channels: Channels of the training signals.
        classifiers: The classifiers, in evaluation mode.

    Args:
        name: Its name in messages and results.
        checkpoints: One checkpoint folder for each classifier.

    Raises:
        SettingsError: A checkpoint holds no classifier.
        DamageError: A checkpoint was changed after it was written.
    """

    def __init__(self, name: str, *, checkpoints: Sequence[Path]) -> None:
        descriptions = [read_network_description(checkpoint) for checkpoint in checkpoints]
        first, task = descriptions[0], descriptions[0].experiment.task
        if not isinstance(task, Classify):
            raise SettingsError(
                f"{name} was trained for task {task.kind!r}, expected 'classify'; "
                f"fine-tune it first: emotune finetune EXPERIMENT --encoder {name}"
            )
        self.name, self.target, self.task = name, task.target, task
        self.people = [description.people for description in descriptions]
        self.pretrained = first.experiment.start is not None and first.experiment.start.weights == "pretrained"
        self.preparation, self.channels = first.preparation, first.channels
        self.class_names = (
            task.class_names(()) if first.classes is None else (first.classes.low.name, first.classes.high.name)
        )
        self.high_share = _high_share(descriptions)
        self.classifiers = [load_classifier(checkpoint) for checkpoint in checkpoints]

    @property
    def calibrations(self) -> list[Calibration]:
        """The calibrations of the classifiers that have one."""
        return [part.calibration for part in self.classifiers if part.calibration is not None]

    def probabilities(self, signals: Float32[np.ndarray, "segment channel time"]) -> Float[np.ndarray, " segment"]:
        """Return the probability of the high class for each segment, averaged over the classifiers."""
        return self.both_probabilities(signals)[0]

    def both_probabilities(
        self, signals: Float32[np.ndarray, "segment channel time"]
    ) -> tuple[Float[np.ndarray, " segment"], Float[np.ndarray, " segment"]]:
        """Return the probability of the high class for each segment, averaged over the classifiers, in two ways.

        Returns:
            The probability in data such as the training segments; and that with the classes weighted as in the loss,
            by which the scores of a training classify a segment (above 0.5: high).
        """
        batches = torch.from_numpy(signals).split(BATCH_SEGMENTS)
        logits = [part.logits(batches) for part in self.classifiers]
        own = [part.probabilities(values) for part, values in zip(self.classifiers, logits, strict=True)]
        weighted = [apply_sigmoid(values, slope=1.0, intercept=0.0) for values in logits]
        return np.mean(own, axis=0), np.mean(weighted, axis=0)


def _high_share(descriptions: Sequence[NetworkDescription]) -> float | None:
    counts = [description.classes for description in descriptions if description.classes is not None]
    high, low = (sum(getattr(count, name).segments for count in counts) for name in ("high", "low"))
    return high / (high + low) if len(counts) == len(descriptions) and high + low else None


def load_classifier(checkpoint: Path) -> FoldClassifier:
    """Load a classifier from a checkpoint or model folder that holds one, in evaluation mode.

    Raises:
        DamageError: The folder was changed after it was written.
        SettingsError: The input of the network is not a signal.
    """
    description = read_network_description(checkpoint)
    return build_classifier(
        checkpoint,
        experiment=description.experiment,
        channels=len(description.channels),
        classes=description.classes,
        calibration=description.calibration,
    )


def build_classifier(
    checkpoint: Path,
    *,
    experiment: Experiment,
    channels: int,
    classes: Classes | None,
    calibration: Calibration | None,
) -> FoldClassifier:
    """Build a classifier with the weights of a checkpoint, in evaluation mode.

    Args:
        checkpoint: The checkpoint or model folder.
        experiment: Its experiment.
        channels: Number of channels of its input.
        classes: Numbers of training segments of its classes; None: they were equally frequent.
        calibration: Its calibration, if there is one.
    """
    encoder = experiment.model.build(channels=channels)
    # labels with the numbers of both classes give the weight of the loss, which probabilities are corrected for
    numbers = (1, 1) if classes is None else (classes.low.segments, classes.high.segments)
    objective = experiment.task.build(encoder, channels=channels, labels=np.repeat([0.0, 1.0], numbers))
    assert isinstance(objective, ClassifyObjective)
    objective.load_state_dict(read_network_weights(checkpoint))
    objective.eval()
    return FoldClassifier(objective, calibration=calibration)


def find_predictor(source: str, *, storage: Storage, find_checkpoint: FindCheckpoint) -> Predictor:
    """Return the predictor that a name, a path or an MLflow run stands for.

    Args:
        source: Name or folder of a cross-validation (all its folds), of a fine-tuning or a search
            (its best configuration); a checkpoint folder; or an MLflow run.
        storage: The folder of all searches.
        find_checkpoint: Finds the checkpoint of everything but a cross-validation.

    Raises:
        SettingsError: There is nothing of that name, it has no result yet, or it is no classifier.
        DamageError: All its checkpoints are damaged.
    """
    for folder in (SearchFolder.at(Path(source)), SearchFolder(storage, source)):
        if folder.begun:
            checkpoints = fold_checkpoints(folder)
            if checkpoints:
                return Predictor(source, checkpoints=checkpoints)
    return Predictor(source, checkpoints=[find_checkpoint(source, storage=storage)])


def fold_checkpoints(folder: SearchFolder) -> list[Path]:
    """Return the checkpoints of a cross-validation's folds; an empty list for any other search.

    Folds with shuffled labels are left out.
    """
    records = read_journal(folder.journal)
    if not records or opened(records).purpose != "fold":
        return []
    folds = [fold for fold in evaluation_results(records) if not fold.evaluation.values.get("task.shuffled", False)]
    unfinished = [fold for fold in folds if fold.status != "done"]
    newest = [newest_checkpoint(folder.checkpoints(fold.evaluation.config_id)) for fold in folds]
    checkpoints = [checkpoint for checkpoint in newest if checkpoint is not None]
    if unfinished or not folds or len(checkpoints) < len(folds):
        raise SettingsError(
            f"the cross-validation {folder.name!r} is not complete: {len(unfinished)} of {len(folds)} folds are not "
            f"done, {len(checkpoints)} have a checkpoint. Start it again to resume it"
        )
    return checkpoints


@dataclass(frozen=True, eq=False)
class Prediction:
    """The probabilities of a recording, segment by segment."""

    file: Path
    models: dict[str, str]
    """Name of the predictor by target."""
    class_names: dict[str, tuple[str, str]]
    """Names of the low and of the high class by target."""
    preparation: PrepareSettings
    names: tuple[str, ...]
    """The leads of an ECG, or the channels of an EEG."""
    leads: list[str]
    """Lead of each segment; ``all`` for an EEG."""
    starts: Float[np.ndarray, " segment"]
    """Start of each segment, in seconds from the beginning of the recording."""
    probabilities: dict[str, Float[np.ndarray, " segment"]]
    """Probability of the high class by target."""
    signals: Float32[np.ndarray, "segment channel time"]
    """The prepared segments."""
    left_out: tuple[Exclusion, ...]
    """Parts of the recording without a prediction, with the reason."""
    notes: tuple[Note, ...] = ()
    """Facts about how the recording was read."""

    @property
    def ends(self) -> Float[np.ndarray, " segment"]:
        """End of each segment, in seconds from the beginning of the recording."""
        return np.round(self.starts + self.preparation.seconds, 6)

    @property
    def means(self) -> dict[str, float]:
        """Mean probability of the high class over all segments, by target."""
        return {target: float(probabilities.mean()) for target, probabilities in self.probabilities.items()}

    def label(self, target: str, probability: float) -> str:
        """Return the name of the more probable class of a target, or `UNDECIDED`."""
        return label_of(probability, names=self.class_names[target])

    def table(self) -> pd.DataFrame:
        """Return a row for each segment: ``channel``, ``start``, ``end``, and probability and label of each target."""
        columns: dict[str, Any] = {"channel": self.leads, "start": self.starts, "end": self.ends}
        for target, probabilities in self.probabilities.items():
            columns[f"{target}_probability"] = probabilities
            columns[target] = [self.label(target, probability) for probability in probabilities]
        return pd.DataFrame(columns)

    def document(self) -> dict[str, Any]:
        """Return the prediction as a JSON document, without the signals."""
        return {
            "file": str(self.file),
            "models": self.models,
            "probability_of": {target: high for target, (_, high) in self.class_names.items()},
            "preparation": self.preparation.model_dump(mode="json"),
            "standardised_over": "this file",
            "segments": self.table().to_dict("records"),
            "mean": {
                name: value
                for target, mean in self.means.items()
                for name, value in ((f"{target}_probability", mean), (target, self.label(target, mean)))
            },
            "left_out": [{"what": part.what, "reason": part.reason} for part in self.left_out],
            "notes": [note.reason for note in self.notes],
        }


def label_of(probability: float, *, names: tuple[str, str] = ("low", "high")) -> str:
    """Return the name of the more probable class; `UNDECIDED` within `UNDECIDED_MARGIN` of 0.5.

    Args:
        probability: Probability of the high class.
        names: Names of the low and of the high class.
    """
    if abs(probability - 0.5) < UNDECIDED_MARGIN:
        return UNDECIDED
    return names[int(probability > 0.5)]


def predict(path: Path, *, predictors: Sequence[Predictor], fs: float | None = None) -> Prediction:
    """Predict the ratings of a recording, prepared and cut as the training data; each ECG lead is a signal.

    Signals are standardised over this file alone, because there are no other recordings of the person.

    Args:
        path: A recording in one of `emotune.data.formats.file.FORMATS`.
        predictors: One for each target; all must have the same preparation and channels.
        fs: Sampling rate (Hz), for files that do not state it.

    Raises:
        SettingsError: The predictors differ in preparation or channels, two have the same target, or
            the file does not exist.
        DataError: No part of the recording can be used; the message gives the reason.
    """
    _check_predictors(predictors)
    first = predictors[0]
    modality = first.preparation.modality
    channels = () if MODALITIES[modality].separate_leads else first.channels
    recording = read_single(path, modality=modality, channels=channels, fs=fs)
    try:
        segments = prepare_single(recording, settings=first.preparation)
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error
    leads = [str(name) for name in segments.index["channel"]]
    return Prediction(
        file=path,
        models={predictor.target: predictor.name for predictor in predictors},
        class_names={predictor.target: predictor.class_names for predictor in predictors},
        preparation=first.preparation,
        names=channels or tuple(dict.fromkeys(leads)),
        leads=leads,
        starts=segments.index["start"].to_numpy(dtype=float),
        probabilities={predictor.target: predictor.probabilities(segments.signals) for predictor in predictors},
        signals=segments.signals,
        left_out=segments.left_out,
        notes=segments.notes,
    )


def _check_predictors(predictors: Sequence[Predictor]) -> None:
    first, *others = predictors
    for number, predictor in enumerate(others, start=1):
        if (predictor.preparation, predictor.channels) != (first.preparation, first.channels):
            raise SettingsError(
                f"{first.name} and {predictor.name} were trained on signals with different preparations; "
                "give one model at a time"
            )
        same_target = [other.name for other in predictors[:number] if other.target == predictor.target]
        if same_target:
            raise SettingsError(
                f"{same_target[0]} and {predictor.name} both predict {predictor.target}; give one model at a time"
            )
