"""The metrics of a pre-training on the people of a store that it was not trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emotune.data.folds import Fold, unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.encoders import NetworkDescription, read_network_description
from emotune.evaluation.networks import read_network_weights
from emotune.evaluation.prediction import FindCheckpoint, fold_checkpoints
from emotune.evaluation.statistics import Interval, mean_interval
from emotune.evaluation.store_prediction import check_people, check_preparation
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.tasks import Objective
from emotune.tasks.classify import Classify
from emotune.training.loop import TrainingData, evaluate, measure_references


@dataclass(frozen=True, eq=False)
class PretrainingScores:
    """The metrics of a pre-training task, by person."""

    table: pd.DataFrame
    """A row per person: ``person`` (``CORPUS/SUBJECT``), ``segments``, and a column for each metric of the task and of
    the predictions that need no learning (``loss_zero``, ``loss_interpolated``)."""
    notes: tuple[str, ...]
    """What the scores do not show, in sentences for the reader."""

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return [str(name) for name in self.table.columns if name not in ("person", "segments")]

    def interval(self, metric: str) -> Interval:
        """Return the mean of a metric over people, and its 95 % interval."""
        return mean_interval(self.table[metric].tolist())


def find_pretraining(source: str, *, storage: Storage, find_checkpoint: FindCheckpoint) -> Path | None:
    """Return the checkpoint of the pre-training that a name, a path or an MLflow run stands for; None for a classifier.

    Raises:
        SettingsError: There is nothing of that name, or it has no result yet.
        DamageError: All its checkpoints are damaged.
    """
    for folder in (SearchFolder.at(Path(source)), SearchFolder(storage, source)):
        if folder.begun and fold_checkpoints(folder):
            return None
    checkpoint = find_checkpoint(source, storage=storage)
    task = read_network_description(checkpoint).experiment.task
    return None if isinstance(task, Classify) else checkpoint


def score_pretraining(
    name: str,
    checkpoint: Path,
    store: SegmentStore,
    *,
    progress: Callable[[float, str], None] = lambda share, doing: None,
) -> PretrainingScores:
    """Compute the metrics of a pre-trained network for each person of a store.

    The masks of a person are the same in every call, for every network with the same ``task.validation``.

    Args:
        name: Name of the network in messages.
        checkpoint: Its checkpoint or model folder.
        store: A store that was prepared as its training data were.
        progress: Receives the finished share and what is computed.

    Raises:
        SettingsError: The store was prepared in another way, the network was trained on people of the store, or it is
            exported without its head.
        DamageError: The checkpoint was changed after it was written.
    """
    description = read_network_description(checkpoint)
    check_preparation(name, description.preparation, channels=description.channels, store=store)
    task = description.experiment.task
    labels = task.labels(store.index)
    rows = np.arange(len(store)) if labels is None else np.flatnonzero(~np.isnan(labels))
    notes = check_people(name, [description.people], store=store, rows=rows)
    objective = _load(name, checkpoint, description=description, labels=labels)
    fold = Fold(train=rows[:0], val=rows[:0], test=rows)
    training_data = TrainingData(store=store, fold=fold, labels=labels)
    people = unit_keys(store.index.iloc[rows], by="subject")
    names = np.unique(people)
    scores = []
    for number, person in enumerate(names):
        progress(number / len(names), f"metrics of {name}")
        own = rows[people == person]
        metrics = evaluate(objective, training_data, own, prefix="test")
        metrics |= measure_references(task, training_data, own, prefix="test")
        values = {name.removeprefix("test/"): value for name, value in metrics.items()}
        scores.append({"person": person, "segments": len(own)} | values)
    return PretrainingScores(pd.DataFrame(scores), notes=tuple(notes))


def _load(name: str, checkpoint: Path, *, description: NetworkDescription, labels: np.ndarray | None) -> Objective:
    experiment, channels = description.experiment, len(description.channels)
    encoder = experiment.model.build(channels=channels)
    objective = experiment.task.build(encoder, channels=channels, labels=labels)
    weights = read_network_weights(checkpoint)
    absent = [key for key in objective.state_dict() if key not in weights]
    if absent:
        raise SettingsError(
            f"{name} lacks {len(absent)} weights of its head, such as {absent[0]!r}: it was exported as an encoder; "
            "give the run that it was exported from"
        )
    objective.load_state_dict(weights)
    return objective
