"""Predictions of a trained classifier for a whole labelled store, whose people it was not trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotune.data.people import overlap, people_of
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.errors import SettingsError
from emotune.evaluation.held_out import prediction_table, with_probabilities
from emotune.evaluation.prediction import Predictor

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
    _check_preparation(predictor, store)
    labels = predictor.task.labels(store.index)
    rows = np.flatnonzero(~np.isnan(labels))
    notes = _check_people(predictor, store, rows=rows)
    parts = []
    for begin in range(0, len(rows), CHUNK_SEGMENTS):
        progress(begin / len(rows), predictor.target)
        parts.append(predictor.both_probabilities(np.array(store.signal[rows[begin : begin + CHUNK_SEGMENTS]])))
    own, weighted = (np.concatenate(values) for values in zip(*parts, strict=True))
    table = prediction_table(store, rows=rows, labels=labels[rows], fold=NO_FOLD)
    table = with_probabilities(table, (own, weighted), classes=predictor.task.classes)
    return StorePrediction(table, unlabelled=len(store) - len(rows), notes=tuple(notes))


def _check_preparation(predictor: Predictor, store: SegmentStore) -> None:
    if store.holds_features:
        raise SettingsError(f"{store.path} holds features, not segments; give a store of signals")
    expected, given = predictor.preparation, PrepareSettings.model_validate(store.about.settings)
    pairs = {name: (getattr(expected, name), getattr(given, name)) for name in PrepareSettings.model_fields}
    pairs["channels"] = predictor.channels, store.channels
    for name, (before, now) in pairs.items():
        if before != now:
            raise SettingsError(
                f"{predictor.name} was trained on segments with {name} {_text(before)}, but {store.path} has "
                f"{_text(now)}; prepare the store with the same settings"
            )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _check_people(predictor: Predictor, store: SegmentStore, *, rows: np.ndarray) -> list[str]:
    """Refuse a store with people that the classifier was trained on, and return notes about what is not known."""
    tested = people_of(store, rows)
    common = [overlap(tested, people) for people in predictor.people if people is not None]
    same, namesakes = (max((getattr(part, name) for part in common), default=0) for name in ("same", "namesakes"))
    if same:
        raise SettingsError(
            f"{predictor.name} was trained on {same} of the {len(tested.identities)} people of {store.path}, and would "
            "be scored on them; give a store of other people. `emotune scores NAME` has the scores of its own test "
            "people, and folds.test holds people out of a training"
        )
    notes = []
    if len(common) < len(predictor.people):
        notes.append(f"{predictor.name} does not list the people it was trained on; they may be among those scored.")
    if namesakes:
        notes.append(
            f"{predictor.name} was trained on {namesakes} people with the same names, from a folder with other files. "
            "If they are the same people, these are not scores for new people."
        )
    if predictor.pretrained:
        notes.append("The people of the encoder's pre-training, which used no labels, were not compared.")
    return notes
