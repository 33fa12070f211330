"""Predictions of a trained classifier for a whole labelled store, whose people it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotune.data.people import People, overlap, people_of
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.held_out import prediction_table, with_probabilities
from emotune.evaluation.prediction import Predictor
from emotune.tasks.centring import describe_means, person_numbers

CHUNK_SEGMENTS = 1024
"""Segments that are read into memory at a time."""

NO_FOLD = -1
"""Number of the fold in a table of segments that no fold tests."""


@dataclass(frozen=True, eq=False)
class StorePrediction:
    """The predictions of one classifier, or of the mean of a cross-validation's classifiers, for a store."""

    table: pd.DataFrame
    """A row per labelled segment, with the columns of `emotune.evaluation.held_out.predictions_of`; ``fold`` is -1."""
    unlabelled: int
    """Segments without a label, which are left out."""
    notes: tuple[str, ...]
    """What the scores do and do not show, in sentences for the reader."""


def predict_store(
    predictor: Predictor, store: SegmentStore, *, progress: Callable[[float, str], None] = lambda share, doing: None
) -> StorePrediction:
    """Predict all labelled segments of a store.

    Labels are those of the predictor's task on this store; thresholds that are means of ratings are means over the
    recordings of this store.

    Args:
        predictor: A trained classifier.
        store: A store that was prepared as its training data were.
        progress: Receives the finished share and what is computed.

    Raises:
        SettingsError: The store was prepared in another way, or the classifier was trained on people of the store.
        DataError: The store has no labels for the task, or labels of one class only.
    """
    check_preparation(predictor.name, predictor.preparation, channels=predictor.channels, store=store)
    labels = predictor.task.labels(store.index)
    rows = np.flatnonzero(~np.isnan(labels))
    notes = check_people(predictor.name, predictor.people, store=store, rows=rows)
    if predictor.pretrained:
        notes.append("The people of the encoder's pre-training, which used no labels, were not compared.")
    if predictor.is_centred:
        chunks = _by_person(store, rows)
        notes += describe_means(store.index, rows=rows)
    else:
        chunks = [rows[begin : begin + CHUNK_SEGMENTS] for begin in range(0, len(rows), CHUNK_SEGMENTS)]
    parts = []
    for number, chunk in enumerate(chunks):
        progress(number / len(chunks), predictor.target)
        parts.append(predictor.both_probabilities(np.array(store.signal[chunk])))
    position = np.zeros(len(store), dtype=np.int64)
    position[np.concatenate(chunks)] = np.arange(sum(map(len, chunks)))
    own, weighted = (np.concatenate(values)[position[rows]] for values in zip(*parts, strict=True))
    table = prediction_table(store, rows=rows, labels=labels[rows], fold=NO_FOLD)
    table = with_probabilities(table, (own, weighted), classes=predictor.task.classes)
    return StorePrediction(table, unlabelled=len(store) - len(rows), notes=tuple(notes))


def _by_person(store: SegmentStore, rows: np.ndarray) -> list[np.ndarray]:
    """Return all rows of each person and lead with some of the rows, labelled or not."""
    number = person_numbers(store.index)
    return [np.flatnonzero(number == person) for person in np.unique(number[rows])]


def check_preparation(
    name: str, preparation: PrepareSettings, *, channels: tuple[str, ...], store: SegmentStore
) -> None:
    """Raise if a store was prepared in another way than the training data of a network.

    Args:
        name: Name of the network in messages.
        preparation: Preparation of its training data.
        channels: Channels of its training data.
        store: The store.

    Raises:
        SettingsError: The store has features, or a setting of its preparation or its channels are different.
    """
    if store.holds_features:
        raise SettingsError(f"{store.path} holds features, not segments; give a store of signals")
    given = PrepareSettings.model_validate(store.about.settings)
    pairs = {field: (getattr(preparation, field), getattr(given, field)) for field in PrepareSettings.model_fields}
    pairs["channels"] = channels, store.channels
    for field, (before, now) in pairs.items():
        if before != now:
            raise SettingsError(
                f"{name} was trained on segments with {field} {_text(before)}, but {store.path} has {_text(now)}; "
                "prepare the store with the same settings"
            )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def check_people(name: str, trained: Sequence[People | None], *, store: SegmentStore, rows: np.ndarray) -> list[str]:
    """Refuse a store with people that a network was trained on, and return notes about what is not known.

    Args:
        name: Name of the network in messages.
        trained: People that it, or each of its folds, was trained on; None where they are not listed.
        store: The store.
        rows: Its rows that are scored.

    Raises:
        SettingsError: It was trained on people of the store.
    """
    tested = people_of(store, rows)
    common = [overlap(tested, people) for people in trained if people is not None]
    same, namesakes = (max((getattr(part, field) for part in common), default=0) for field in ("same", "namesakes"))
    if same:
        raise SettingsError(
            f"{name} was trained on {same} of the {len(tested.identities)} people of {store.path}, and would be scored "
            "on them; give a store of other people, or hold people out of the training (folds.test)"
        )
    notes = []
    if len(common) < len(trained):
        notes.append(f"{name} does not list the people it was trained on; they may be among those scored.")
    if namesakes:
        notes.append(
            f"{name} was trained on {namesakes} people with the same names, from a folder with other files. "
            "If they are the same people, these are not scores for new people."
        )
    return notes
