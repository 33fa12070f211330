"""Finding classifiers, and asking them about one recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32

from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.prepare.single import prepare_single, read_single
from emotune.data.recording import Exclusion
from emotune.encoders import find_encoder, read_about
from emotune.errors import DataError, SettingsError
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, opened
from emotune.tasks.classify import Classify, ClassifyObjective
from emotune.training.checkpoints import newest_checkpoint, read_weights

AT_A_TIME = 64
"""Segments in a batch."""


class Predictor:
    """Tells high from low of one target: a classifier, or all of a cross-validation, whose answers are averaged.

    Attributes:
        name: As it was asked for.
        target: The rating that it predicts.
        preparation: How signals are to be prepared.
        channels: Of the segments.

    Args:
        name: What to call it.
        checkpoints: One classifier in each.

    Raises:
        SettingsError: One of them is no classifier.
        DamageError: One of them is not what was written.
    """

    def __init__(self, name: str, *, checkpoints: Sequence[Path]) -> None:
        self.name = name
        self.target, self.preparation, self.channels = _common(name, checkpoint=checkpoints[0])
        self.classifiers = [_load(checkpoint) for checkpoint in checkpoints]

    def probabilities(self, signals: Float32[np.ndarray, "segment channel time"]) -> Float[np.ndarray, " segment"]:
        """Return the probability of the high class for each segment, the classifiers' mean."""
        parts = torch.from_numpy(signals).split(AT_A_TIME)
        with torch.no_grad():
            each = [torch.cat([one.logits(part).sigmoid() for part in parts]) for one in self.classifiers]
        return torch.stack(each).mean(dim=0).double().numpy()


def _common(name: str, *, checkpoint: Path) -> tuple[str, PrepareSettings, tuple[str, ...]]:
    about = read_about(checkpoint)
    if not isinstance(about.experiment.task, Classify):
        raise SettingsError(
            f"{name} was trained for task {about.experiment.task.kind!r} and judges nothing; "
            "fine-tune it first: emotune finetune EXPERIMENT --encoder " + name
        )
    return about.experiment.task.target, about.preparation, about.channels


def _load(checkpoint: Path) -> ClassifyObjective:
    about = read_about(checkpoint)
    channels = len(about.channels)
    encoder = about.experiment.model.build(channels=channels)
    # The labels decide the weights of the classes in the loss and nothing else.
    objective = about.experiment.task.build(encoder, channels=channels, labels=np.array([0.0, 1.0]))
    assert isinstance(objective, ClassifyObjective)
    objective.load_state_dict(read_weights(checkpoint))
    return objective.eval()


def find_predictor(source: str, *, storage: Storage, tracking_uri: str | None = None) -> Predictor:
    """Find a classifier.

    Args:
        source: Name of a fine-tuning or a search (its best configuration), or of a cross-validation
            (all its folds), or their folder; a checkpoint folder; or an MLflow run.
        storage: Where searches are kept.
        tracking_uri: The MLflow server that knows the run.

    Raises:
        SettingsError: There is nothing of that name, it has no result yet, or it is no classifier.
        DamageError: All its checkpoints are damaged.
    """
    for folder in (SearchFolder.at(Path(source)), SearchFolder(storage, source)):
        if folder.begun:
            folds = _folds(folder)
            if folds:
                return Predictor(source, checkpoints=folds)
    return Predictor(source, checkpoints=[find_encoder(source, storage=storage, tracking_uri=tracking_uri)])


def _folds(folder: SearchFolder) -> list[Path]:
    """Return the checkpoints of a cross-validation's folds, none of anything else."""
    records = read_journal(folder.journal)
    if not records or opened(records).purpose != "fold":
        return []
    results = [one for one in evaluation_results(records) if not one.evaluation.values.get("task.shuffled", False)]
    undone = [one for one in results if one.status != "done"]
    found = [newest_checkpoint(folder.checkpoints(one.evaluation.config_id)) for one in results]
    checkpoints = [checkpoint for checkpoint in found if checkpoint is not None]
    if undone or not results or len(checkpoints) < len(results):
        raise SettingsError(
            f"the cross-validation {folder.name!r} is not complete: {len(undone)} of {len(results)} folds are not "
            f"done, {len(checkpoints)} have a checkpoint. Start it again, it goes on where it stopped"
        )
    return checkpoints


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was said of a recording, segment by segment."""

    file: Path
    models: dict[str, str]
    """Target and the name of the judge of it."""
    preparation: PrepareSettings
    names: tuple[str, ...]
    """The leads of an ECG, or the channels of an EEG."""
    leads: list[str]
    """Of each segment; ``all`` of an EEG."""
    starts: Float[np.ndarray, " segment"]
    """Seconds from the beginning of the recording."""
    probabilities: dict[str, Float[np.ndarray, " segment"]]
    """Of the high class, for each target."""
    signals: Float32[np.ndarray, "segment channel time"]
    """The segments as they were judged."""
    left_out: tuple[Exclusion, ...]

    @property
    def ends(self) -> Float[np.ndarray, " segment"]:
        """Where each segment ends, in seconds."""
        return np.round(self.starts + self.preparation.seconds, 6)

    @property
    def means(self) -> dict[str, float]:
        """Mean probability of high over all segments, for each target."""
        return {target: float(probabilities.mean()) for target, probabilities in self.probabilities.items()}

    def table(self) -> pd.DataFrame:
        """Return a row for each segment: ``channel``, ``start``, ``end``, and probability and label of each target."""
        columns: dict[str, Any] = {"channel": self.leads, "start": self.starts, "end": self.ends}
        for target, probabilities in self.probabilities.items():
            columns[f"{target}_probability"] = probabilities
            columns[target] = [label_of(probability) for probability in probabilities]
        return pd.DataFrame(columns)

    def document(self) -> dict[str, Any]:
        """Return all of it but the signals, for a JSON document."""
        return {
            "file": str(self.file),
            "models": self.models,
            "preparation": self.preparation.model_dump(mode="json"),
            "standardised_over": "this file",
            "segments": self.table().to_dict("records"),
            "mean": {
                name: value
                for target, mean in self.means.items()
                for name, value in ((f"{target}_probability", mean), (target, label_of(mean)))
            },
            "left_out": [{"what": one.what, "reason": one.reason} for one in self.left_out],
        }


def label_of(probability: float) -> Literal["high", "low"]:
    """Return the label that is more probable."""
    return "high" if probability > 0.5 else "low"


def predict(path: Path, *, judges: Sequence[Predictor], fs: float | None = None) -> Prediction:
    """Predictor a recording as a whole corpus is judged: prepared, cut, each ECG lead by itself.

    Signals are standardised over this file, since there is no more of the person.

    Args:
        path: A recording in one of `emotune.data.corpora.formats.FORMATS`.
        judges: One for each target; all must prepare signals alike.
        fs: Samples per second, where the file does not say.

    Raises:
        SettingsError: The judges do not go together, or there is no such file.
        DataError: Nothing of it can be judged; the message says why in a line.
    """
    _check_together(judges)
    first = judges[0]
    modality = first.preparation.modality
    channels = () if MODALITIES[modality].separate_leads else first.channels
    recording = read_single(path, modality=modality, channels=channels, fs=fs)
    try:
        segments = prepare_single(recording, settings=first.preparation)
    except DataError as error:
        raise DataError(f"{path} cannot be judged: {error}") from error
    leads = [str(name) for name in segments.index["channel"]]
    return Prediction(
        file=path,
        models={judge.target: judge.name for judge in judges},
        preparation=first.preparation,
        names=channels or tuple(dict.fromkeys(leads)),
        leads=leads,
        starts=segments.index["start"].to_numpy(dtype=float),
        probabilities={judge.target: judge.probabilities(segments.signals) for judge in judges},
        signals=segments.signals,
        left_out=segments.left_out,
    )


def _check_together(judges: Sequence[Predictor]) -> None:
    first, *others = judges
    for number, judge in enumerate(others, start=1):
        if (judge.preparation, judge.channels) != (first.preparation, first.channels):
            raise SettingsError(
                f"{first.name} and {judge.name} were trained on signals that were prepared in different ways; "
                "ask them one at a time"
            )
        same = [other.name for other in judges[:number] if other.target == judge.target]
        if same:
            raise SettingsError(f"{same[0]} and {judge.name} both judge {judge.target}; ask them one at a time")
