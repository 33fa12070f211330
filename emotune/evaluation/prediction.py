"""Predictions of trained classifiers for one recording: high or low, or one of several classes, by segment."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.single import prepare_single, read_single
from emotune.data.recording import Exclusion, Note
from emotune.errors import DataError, SettingsError
from emotune.evaluation.centred_recording import CentredRecording, centred_recording
from emotune.evaluation.encoders import Classes, NamedClasses, NetworkDescription, read_network_description
from emotune.evaluation.networks import read_network_weights
from emotune.experiment import Experiment
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, opened
from emotune.tasks.calibration import Calibration
from emotune.tasks.centring import mean_by_person
from emotune.tasks.classify import ClassifierObjective, Classify
from emotune.training.checkpoints import newest_checkpoint

BATCH_SEGMENTS = 64
"""Segments classified in one forward pass."""

UNDECIDED = "undecided"
"""Label of a segment for which neither class is clearly more probable."""

UNDECIDED_MARGIN = 0.1
"""Difference of a probability from 0.5 below which a segment is undecided."""


PersonNumbers = Int64[np.ndarray, " segment"]
"""Number of the person and lead of each segment, from 0."""

Probabilities = Float[np.ndarray, "segment ..."]
"""Probability of the high class of each segment, or of each of several classes (a column each)."""


@runtime_checkable
class FindCheckpoint(Protocol):
    """A function that returns the checkpoint folder of a name, a path or an MLflow run."""

    def __call__(self, source: str, *, storage: Storage) -> Path:
        """Return the checkpoint folder; raise `SettingsError` if there is none."""
        ...


@dataclass(frozen=True, eq=False)
class FoldClassifier:
    """A trained classifier with what turns its logits into probabilities."""

    objective: ClassifierObjective
    calibration: Calibration | None
    """Platt's calibration on its validation segments; None: the logit without the weight of the classes is used."""

    def probabilities(self, batches: Sequence[Tensor], *, people: PersonNumbers) -> tuple[Probabilities, Probabilities]:
        """Return the probabilities of each segment, see `ClassifierObjective.probabilities`.

        Args:
            batches: Standardised segments.
            people: Number of the person and lead of each segment, from 0; each number occurs.
        """
        with torch.no_grad():
            parts = zip(batches, self._person_means(batches, people=people), strict=True)
            logits = torch.cat([self.objective.logits(batch, person_means=means) for batch, means in parts])
        return self.objective.probabilities(logits.double().numpy(), calibration=self.calibration)

    def hidden_activations(
        self, batches: Sequence[Tensor], *, people: PersonNumbers
    ) -> Float[np.ndarray, "segment hidden"]:
        """Return the last hidden activations of each segment; arguments as for `probabilities`."""
        parts = zip(batches, self._person_means(batches, people=people), strict=True)
        return torch.cat(
            [self.objective.hidden_activations(batch, person_means=means) for batch, means in parts]
        ).numpy()

    @torch.no_grad()
    def _person_means(self, batches: Sequence[Tensor], *, people: PersonNumbers) -> Sequence[Tensor | None]:
        """Return the mean vector of each segment's person over the given segments; None: nothing is subtracted."""
        if not self.objective.is_centred:
            return [None] * len(batches)
        pooled = torch.cat([self.objective.pooled(batch) for batch in batches]).double().numpy()
        means = torch.from_numpy(mean_by_person(pooled, people=people)[people]).float()
        return means.split([len(batch) for batch in batches])


class Predictor:
    """A classifier, or the average of the classifiers of a cross-validation.

    Attributes:
        name: The name that was given for it.
        target: The rating that it predicts, or ``condition``.
        task: The settings of the task of the first classifier.
        people: People that each classifier was trained or validated on; None where its folder does not list them.
        pretrained: Whether training started from a pre-trained encoder.
        class_names: Names of the low and of the high class (``low`` and ``high``, or those of conditions), or of
            ``task.classes``.
        shares: Share of each class among the training segments (0 to 1); None: an older version wrote the
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
            task.class_names(()) if first.classes is None else tuple(part.name for part in first.classes.in_order)
        )
        self.shares = _shares(descriptions)
        self.classifiers = [load_classifier(checkpoint) for checkpoint in checkpoints]

    @property
    def calibrations(self) -> list[Calibration]:
        """The calibrations of the classifiers that have one."""
        return [part.calibration for part in self.classifiers if part.calibration is not None]

    @property
    def is_centred(self) -> bool:
        """Whether the mean of each person is subtracted (``task.centre: person``)."""
        return self.task.centre == "person"

    def probabilities(
        self, signals: Float32[np.ndarray, "segment channel time"], *, people: PersonNumbers | None = None
    ) -> Probabilities:
        """Return the probability of the high class, or of each class, by segment, averaged over the classifiers."""
        return self.both_probabilities(signals, people=people)[0]

    def both_probabilities(
        self, signals: Float32[np.ndarray, "segment channel time"], *, people: PersonNumbers | None = None
    ) -> tuple[Probabilities, Probabilities]:
        """Return the probability of the high class, or of each class, averaged over the classifiers, in two ways.

        Args:
            signals: Standardised segments; if the mean of a person is subtracted, all segments of the person.
            people: Number of the person and lead of each segment, from 0; each number occurs. None: all segments are
                of one person and lead.

        Returns:
            The probability in data such as the training segments; and that with the classes weighted as in the loss,
            by which the scores of a training classify a segment (above 0.5: high; or the largest of the classes).
        """
        batches = torch.from_numpy(signals).split(BATCH_SEGMENTS)
        people = np.zeros(len(signals), dtype=np.int64) if people is None else people
        own, weighted = zip(*(part.probabilities(batches, people=people) for part in self.classifiers), strict=True)
        return np.mean(own, axis=0), np.mean(weighted, axis=0)


def _shares(descriptions: Sequence[NetworkDescription]) -> tuple[float, ...] | None:
    counts = [
        [part.segments for part in description.classes.in_order]
        for description in descriptions
        if description.classes is not None
    ]
    total = sum(map(sum, counts))
    if len(counts) < len(descriptions) or not total:
        return None
    return tuple(sum(numbers) / total for numbers in zip(*counts, strict=True))


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
    classes: Classes | NamedClasses | None,
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
    # labels with the numbers of the classes give the weights of the loss, which probabilities are corrected for
    numbers = [1, 1] if classes is None else [part.segments for part in classes.in_order]
    labels = np.repeat(np.arange(len(numbers), dtype=float), numbers)
    objective = experiment.task.build(encoder, channels=channels, labels=labels)
    assert isinstance(objective, ClassifierObjective)
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
    class_names: dict[str, tuple[str, ...]]
    """Names of the low and of the high class, or of several classes, by target."""
    preparation: PrepareSettings
    names: tuple[str, ...]
    """The leads of an ECG, or the channels of an EEG."""
    leads: list[str]
    """Lead of each segment; ``all`` for an EEG."""
    starts: Float[np.ndarray, " segment"]
    """Start of each segment, in seconds from the beginning of the recording."""
    probabilities: dict[str, Probabilities]
    """Probability of the high class, or of each of several classes, by target."""
    signals: Float32[np.ndarray, "segment channel time"]
    """The prepared segments."""
    left_out: tuple[Exclusion, ...]
    """Parts of the recording without a prediction, with the reason."""
    notes: tuple[Note, ...] = ()
    """Facts about how the recording was read."""
    centred: CentredRecording | None = None
    """Segments whose mean was subtracted; None: no model subtracts a mean."""

    @property
    def ends(self) -> Float[np.ndarray, " segment"]:
        """End of each segment, in seconds from the beginning of the recording."""
        return np.round(self.starts + self.preparation.seconds, 6)

    def by_class(self, target: str) -> dict[str, Float[np.ndarray, " segment"]]:
        """Return the probabilities of a target by class: of the high class, or of each of several classes."""
        names, values = self.class_names[target], self.probabilities[target]
        if values.ndim == 1:
            return {names[-1]: values}
        return {name: values[:, number] for number, name in enumerate(names)}

    def means(self, target: str) -> dict[str, float]:
        """Return the mean probability over all segments by class: of the high class, or of each of several classes."""
        return {name: float(values.mean()) for name, values in self.by_class(target).items()}

    def label(self, target: str, probabilities: Sequence[float]) -> str:
        """Return the name of the most probable class of a target, or `UNDECIDED`.

        Args:
            target: The target.
            probabilities: Of the high class, or of each of several classes.
        """
        return label_of(probabilities, names=self.class_names[target])

    def table(self) -> pd.DataFrame:
        """Return a row for each segment: ``channel``, ``start``, ``end``, and probability and label of each target.

        With several classes there is a column ``TARGET_probability_CLASS`` for each.
        """
        columns: dict[str, Any] = {"channel": self.leads, "start": self.starts, "end": self.ends}
        for target in self.probabilities:
            values = self.by_class(target)
            columns |= dict(zip(self._columns(target), values.values(), strict=True))
            columns[target] = [self.label(target, segment) for segment in zip(*values.values(), strict=True)]
        return pd.DataFrame(columns)

    def _columns(self, target: str) -> list[str]:
        if self.probabilities[target].ndim == 1:
            return [f"{target}_probability"]
        return [f"{target}_probability_{name}" for name in self.class_names[target]]

    def _mean_columns(self, target: str) -> dict[str, Any]:
        means = [*self.means(target).values()]
        return {**dict(zip(self._columns(target), means, strict=True)), target: self.label(target, means)}

    def document(self) -> dict[str, Any]:
        """Return the prediction as a JSON document, without the signals."""
        return {
            "file": str(self.file),
            "models": self.models,
            "probability_of": {
                target: names[-1] if self.probabilities[target].ndim == 1 else list(names)
                for target, names in self.class_names.items()
            },
            "preparation": self.preparation.model_dump(mode="json"),
            "standardised_over": "each segment" if self.preparation.normalise == "segment" else "this file",
            "segments": self.table().to_dict("records"),
            "mean": {
                name: value for target in self.probabilities for name, value in self._mean_columns(target).items()
            },
            **({} if self.centred is None else {"centred": self.centred.document()}),
            "left_out": [{"what": part.what, "reason": part.reason} for part in self.left_out],
            "notes": [note.reason for note in self.notes],
        }


def label_of(probabilities: Sequence[float], *, names: Sequence[str] = ("low", "high")) -> str:
    """Return the name of the most probable class; `UNDECIDED` if the next one is nearly as probable.

    Args:
        probabilities: Probability of the high class, which is undecided within `UNDECIDED_MARGIN` of 0.5; or of each
            of several classes, where the difference of the two largest is less than twice the margin.
        names: Names of the low and of the high class, or of the classes.
    """
    if len(probabilities) == 1:
        (high,) = probabilities
        return UNDECIDED if abs(high - 0.5) < UNDECIDED_MARGIN else names[int(high > 0.5)]
    second, first = sorted(probabilities)[-2:]
    return UNDECIDED if first - second < 2 * UNDECIDED_MARGIN else names[int(np.argmax(probabilities))]


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
    people = np.unique(leads, return_inverse=True)[1].astype(np.int64)
    centred = centred_recording(
        path,
        models=[predictor.name for predictor in predictors if predictor.is_centred],
        segments=Counter(leads),
        seconds=first.preparation.seconds,
    )
    return Prediction(
        file=path,
        models={predictor.target: predictor.name for predictor in predictors},
        class_names={predictor.target: predictor.class_names for predictor in predictors},
        preparation=first.preparation,
        names=channels or tuple(dict.fromkeys(leads)),
        leads=leads,
        starts=segments.index["start"].to_numpy(dtype=float),
        probabilities={
            predictor.target: predictor.probabilities(segments.signals, people=people) for predictor in predictors
        },
        signals=segments.signals,
        left_out=segments.left_out,
        notes=segments.notes,
        centred=centred,
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
