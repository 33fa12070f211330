"""Predictions of a fusion for one recording with both ECG and EEG.

Each fold of the fusion receives the last hidden activations of the ECG and the EEG classifier of that fold, as in its
training (`emotune.evaluation.fusion`). The probability is the mean over the folds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Int64
from pydantic import ValidationError

from emotune.data.modality import FUSED_MODALITIES, MODALITIES, Modality
from emotune.data.prepare.single import PreparedSegments, prepare_single, read_single
from emotune.data.recording import Exclusion
from emotune.data.store import FEATURES
from emotune.errors import DamageError, DataError, SettingsError
from emotune.evaluation.centred_recording import CentredRecording, centred_recording
from emotune.evaluation.encoders import Classes
from emotune.evaluation.networks import read_about
from emotune.evaluation.prediction import (
    BATCH_SEGMENTS,
    FoldClassifier,
    Predictor,
    build_classifier,
    fold_checkpoints,
    label_of,
)
from emotune.experiment import Experiment
from emotune.study.folder import SearchFolder
from emotune.tasks import Task
from emotune.tasks.calibration import Calibration
from emotune.tasks.classify import Classify


@dataclass(frozen=True, eq=False)
class FusedPredictor:
    """A fusion with the classifiers that compute its features."""

    name: str
    target: str
    """The rating that it predicts, or ``condition``."""
    class_names: tuple[str, str]
    """Names of the low and of the high class."""
    inputs: Mapping[Modality, Predictor]
    """The classifiers of each modality, a fold each."""
    classifiers: Sequence[FoldClassifier]
    """The fusion networks, in the order of the folds."""

    def probabilities(self, features: Float32[np.ndarray, "segment fold width"]) -> Float[np.ndarray, " segment"]:
        """Return the probability of the high class for each segment, averaged over the folds."""
        batches = torch.from_numpy(features).split(BATCH_SEGMENTS)
        people = np.zeros(len(features), dtype=np.int64)
        return np.mean([part.probabilities(batches, people=people)[0] for part in self.classifiers], axis=0)


@dataclass(frozen=True, eq=False)
class FusedPrediction:
    """The probabilities of a recording, segment by segment."""

    file: Path
    predictor: FusedPredictor
    seconds: float
    """Length of a segment."""
    starts: Float[np.ndarray, " segment"]
    """Start of each segment, in seconds from the beginning of the recording."""
    probabilities: Mapping[str, Float[np.ndarray, " segment"]]
    """Probability of the high class by ``ecg``, ``eeg`` and ``fused``."""
    left_out: tuple[Exclusion, ...]
    """Parts of the recording without a prediction, with the reason."""
    centred: CentredRecording | None = None
    """Segments whose mean was subtracted; None: no model subtracts a mean."""

    def table(self) -> pd.DataFrame:
        """Return a row for each segment: ``start``, ``end``, the probabilities, and the label of the fusion."""
        target, names = self.predictor.target, self.predictor.class_names
        columns: dict[str, Any] = {"start": self.starts, "end": np.round(self.starts + self.seconds, 6)}
        columns |= {f"{target}_probability_{name}": values for name, values in self.probabilities.items()}
        columns[target] = [label_of([float(value)], names=names) for value in self.probabilities["fused"]]
        return pd.DataFrame(columns)

    def document(self) -> dict[str, Any]:
        """Return the prediction as a JSON document."""
        target, means = self.predictor.target, {name: float(part.mean()) for name, part in self.probabilities.items()}
        return {
            "file": str(self.file),
            "models": {target: self.predictor.name},
            "inputs": {name: predictor.name for name, predictor in self.predictor.inputs.items()},
            "probability_of": {target: self.predictor.class_names[1]},
            "standardised_over": "this file",
            "segments": self.table().to_dict("records"),
            "mean": {
                **{f"{target}_probability_{name}": mean for name, mean in means.items()},
                target: label_of([means["fused"]], names=self.predictor.class_names),
            },
            **({} if self.centred is None else {"centred": self.centred.document()}),
            "left_out": [{"what": part.what, "reason": part.reason} for part in self.left_out],
        }


def find_fused_predictor(folder: SearchFolder) -> FusedPredictor | None:
    """Return the predictor of a cross-validation of a fusion; None for everything else.

    Its two cross-validations must be in the same storage.

    Raises:
        SettingsError: One of the three is not complete, a cross-validation that was fused is missing, or the fusion has
            ``task.classes``.
        DamageError: A checkpoint was changed after it was written.
    """
    checkpoints = fold_checkpoints(folder) if folder.begun else []
    abouts = [read_about(checkpoint) for checkpoint in checkpoints]
    if not abouts or abouts[0].get("modality") != FEATURES:
        return None
    try:
        experiments = [Experiment.model_validate(about["experiment"]) for about in abouts]
        names = {name: str(abouts[0]["preparation"][name]["name"]) for name in FUSED_MODALITIES}
        _refuse_classes(experiments[0].task, folder=folder, names=names)
        classifiers = [
            build_classifier(
                checkpoint,
                experiment=experiment,
                channels=len(about["channels"]),
                classes=Classes.model_validate(about["classes"]),
                calibration=Calibration.model_validate(about["calibration"]) if about.get("calibration") else None,
            )
            for checkpoint, experiment, about in zip(checkpoints, experiments, abouts, strict=True)
        ]
    except (KeyError, TypeError, ValidationError) as error:
        raise DamageError(f"{checkpoints[0]} has no valid description of a fusion; give another") from error
    task, classes = experiments[0].task, abouts[0]["classes"]
    assert isinstance(task, Classify)
    return FusedPredictor(
        name=folder.name,
        target=task.target,
        class_names=(str(classes["low"]["name"]), str(classes["high"]["name"])),
        inputs={modality: _input(folder, name=name) for modality, name in names.items()},
        classifiers=classifiers,
    )


def _refuse_classes(task: Task, *, folder: SearchFolder, names: Mapping[Modality, str]) -> None:
    """Raise SettingsError for a fusion of classifiers of several conditions."""
    if isinstance(task, Classify) and task.classes:
        raise SettingsError(
            f"the fusion {folder.name!r} has {len(task.classes)} classes, but a recording is predicted by "
            f"fusions of high and low only; give one of the cross-validations {' and '.join(names.values())}"
        )


def _input(folder: SearchFolder, *, name: str) -> Predictor:
    other = SearchFolder(folder.root, name)
    checkpoints = fold_checkpoints(other) if other.begun else []
    if not checkpoints:
        raise SettingsError(
            f"{folder.name!r} is a fusion of {name!r}, which is no cross-validation in {folder.root}; give the storage "
            "that has all three"
        )
    folds = {int(read_about(checkpoint)["experiment"]["folds"]["index"]): checkpoint for checkpoint in checkpoints}
    return Predictor(name, checkpoints=[folds[fold] for fold in sorted(folds)])


def predict_fused(path: Path, *, predictor: FusedPredictor, fs: float | None = None) -> FusedPrediction:
    """Predict the rating of a recording with both modalities, in the segments that both have.

    Signals are standardised over this file alone. The activations and probabilities of several ECG leads are averaged.

    Args:
        path: A recording in one of `emotune.data.formats.file.FORMATS`.
        predictor: The fusion.
        fs: Sampling rate (Hz), for files that do not state it.

    Raises:
        SettingsError: The file does not exist.
        DataError: It lacks a modality, or no moment of it can be used in both.
    """
    parts = {name: _segments(path, part, fs=fs) for name, part in predictor.inputs.items()}
    times = {name: np.round(part.index["start"].to_numpy(dtype=float), 3) for name, part in parts.items()}
    first, second = (times[name] for name in FUSED_MODALITIES)
    starts = np.intersect1d(first, second)
    if not len(starts):
        raise DataError(f"{path} has no segment with both ECG and EEG; gaps leave out the other segments")
    centred = _centred(path, predictor, parts=parts, shared=len(starts))
    features, probabilities = [], {}
    for name, part in parts.items():
        position_of = {start: number for number, start in enumerate(starts.tolist())}
        positions = np.array([position_of.get(start, -1) for start in times[name].tolist()])
        shared, people = positions >= 0, _leads_of(part)
        activations = _activations(predictor.inputs[name], part.signals, people=people)
        features.append(_mean_of_leads(activations[shared], positions=positions[shared]))
        values = predictor.inputs[name].probabilities(part.signals, people=people)
        probabilities[name] = _mean_of_leads(values[shared, None, None], positions=positions[shared])[:, 0, 0]
    joined = np.concatenate(features, axis=2).astype(np.float32)
    return FusedPrediction(
        file=path,
        predictor=predictor,
        seconds=predictor.inputs[FUSED_MODALITIES[0]].preparation.seconds,
        starts=starts,
        probabilities={**probabilities, "fused": predictor.probabilities(joined)},
        left_out=tuple(item for part in parts.values() for item in part.left_out),
        centred=centred,
    )


def _leads_of(part: PreparedSegments) -> Int64[np.ndarray, " row"]:
    """Return the number of the lead of each segment."""
    return np.unique(part.index["channel"].astype(str), return_inverse=True)[1].astype(np.int64)


def _centred(
    path: Path, predictor: FusedPredictor, *, parts: Mapping[Modality, PreparedSegments], shared: int
) -> CentredRecording | None:
    """Return the segments whose means the two models and the fusion subtract; None if none subtracts one.

    Args:
        path: The recording.
        predictor: The fusion.
        parts: The segments of both modalities.
        shared: Number of segments that both have.
    """
    names = [name for name, part in predictor.inputs.items() if part.is_centred]
    models = [predictor.inputs[name].name for name in names]
    segments = Counter(str(lead) for name in names for lead in parts[name].index["channel"])
    if any(part.objective.is_centred for part in predictor.classifiers):
        models.append(predictor.name)
        segments["ECG and EEG"] = shared
    seconds = predictor.inputs[FUSED_MODALITIES[0]].preparation.seconds
    return centred_recording(path, models=models, segments=segments, seconds=seconds)


def _segments(path: Path, predictor: Predictor, *, fs: float | None) -> PreparedSegments:
    modality = predictor.preparation.modality
    channels = () if MODALITIES[modality].separate_leads else predictor.channels
    recording = read_single(path, modality=modality, channels=channels, fs=fs)
    try:
        return prepare_single(recording, settings=predictor.preparation)
    except DataError as error:
        raise DataError(f"{path}: its {MODALITIES[modality].label} cannot be used: {error}") from error


def _activations(
    predictor: Predictor, signals: Float32[np.ndarray, "row channel time"], *, people: Int64[np.ndarray, " row"]
) -> Float[np.ndarray, "row fold hidden"]:
    batches = torch.from_numpy(signals).split(BATCH_SEGMENTS)
    folds = [part.hidden_activations(batches, people=people) for part in predictor.classifiers]
    return np.stack(folds, axis=1)


def _mean_of_leads(
    values: Float[np.ndarray, "row fold hidden"], *, positions: np.ndarray
) -> Float[np.ndarray, "segment fold hidden"]:
    sums = np.zeros((int(positions.max()) + 1, *values.shape[1:]), dtype=values.dtype)
    np.add.at(sums, positions, values)
    return sums / np.bincount(positions)[:, None, None].astype(values.dtype)
