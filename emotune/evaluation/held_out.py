"""The predictions of trained classifiers on the test segments of their folds, as a table beside the results."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from emotune.data.store import SegmentStore
from emotune.errors import DamageError
from emotune.evaluation.class_scores import PROBABILITY, WEIGHTED, is_of_classes
from emotune.evaluation.classifiers import Classifier, read_classifiers
from emotune.evaluation.held_out_scores import COLUMNS
from emotune.study.folder import SearchFolder
from emotune.tasks.calibration import Calibration
from emotune.tasks.classify import ClassifierObjective
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import read_state, read_weights
from emotune.training.loop import collect_logits

PREDICTIONS_FILE = "predictions.parquet"
"""Name of the table in the folder of a cross-validation or a fine-tuning: a row per test segment."""

Progress = Callable[[float, str], None]
"""Receives the finished share (0 to 1) and what is computed."""


def predictions_of(folder: SearchFolder, *, progress: Progress = lambda share, doing: None) -> pd.DataFrame:
    """Return the table of a run's predictions on its test segments; it is computed once, and kept in the folder.

    Args:
        folder: A finished cross-validation, or a finished fine-tuning.
        progress: Receives the finished share and the fold that is computed.

    Returns:
        A row per test segment and fold with `COLUMNS`, of classes with those of
        `emotune.evaluation.class_scores`; folds trained on shuffled labels are left out.

    Raises:
        SettingsError: The run is neither, is not finished, or has lost a checkpoint.
        DataError: The store cannot be opened, or has other content.
        DamageError: A checkpoint or the table was changed after it was written.
    """
    kept = kept_predictions(folder)
    if kept is not None:
        return kept
    table = compute_predictions(folder, progress=progress)
    write_predictions(table, folder=folder)
    return table


def write_predictions(table: pd.DataFrame, *, folder: SearchFolder) -> None:
    """Keep a table of predictions in the folder of a run; an earlier one is replaced."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    folder.storage.write(PREDICTIONS_FILE, buffer.getvalue())


def kept_predictions(folder: SearchFolder) -> pd.DataFrame | None:
    """Return the table in the folder of a run; None if there is none, since an older version wrote the results.

    Raises:
        DamageError: The table was changed after it was written.
    """
    content = folder.storage.read(PREDICTIONS_FILE)
    return None if content is None else _parse(content, where=f"{folder.storage / PREDICTIONS_FILE}")


def _parse(content: bytes, *, where: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DamageError(f"{where} is damaged: {reason}; remove it, and it is computed again") from error
    missing = [name for name in COLUMNS if name not in table and not is_of_classes(table)]
    if missing:
        raise DamageError(f"{where} has no column {', '.join(missing)}; remove it, and it is computed again")
    return table


def compute_predictions(folder: SearchFolder, *, progress: Progress) -> pd.DataFrame:
    """Compute the table of `predictions_of` from store and checkpoints."""
    classifiers = read_classifiers(folder)
    parts = []
    for number, member in enumerate(classifiers.members):
        progress(number / len(classifiers.members), f"fold {member.fold}")
        parts.append(_predict_test(member, store=classifiers.store))
    return pd.concat(parts, ignore_index=True)


def _predict_test(member: Classifier, *, store: SegmentStore) -> pd.DataFrame:
    experiment = member.experiment
    data = experiment.select(store)
    labels, rows = data.labels, data.fold.test
    assert labels is not None
    channels = store.signal.shape[1]
    encoder = experiment.model.build(channels=channels)
    objective = member.task.build(encoder, channels=channels, labels=labels[data.fold.train])
    assert isinstance(objective, ClassifierObjective)
    objective.load_state_dict(read_weights(member.checkpoint))
    execution = experiment.execution(store)  # as in training, so that scores are those of the journal
    execution.prepare(objective)
    data = with_person_means(data, objective, rows=rows, execution=execution)
    logits = collect_logits(objective, data, rows, execution=execution)
    fitted = read_state(member.checkpoint)["about"].get("calibration")
    calibration = None if fitted is None else Calibration.model_validate(fitted)
    probabilities = objective.probabilities(logits, calibration=calibration)
    table = prediction_table(store, rows=rows, labels=labels[rows], fold=member.fold)
    return with_probabilities(table, probabilities, classes=member.task.classes)


def prediction_table(store: SegmentStore, *, rows: np.ndarray, labels: np.ndarray, fold: int) -> pd.DataFrame:
    """Return the table of some segments, without the columns of the probabilities.

    Args:
        store: Their store.
        rows: Their rows in it.
        labels: Their labels: 1 (high) or 0, or the number of the class.
        fold: Number of the fold that tests them.
    """
    index = store.index.iloc[rows]
    names = {name: index[name].astype(str).to_numpy() for name in ("corpus", "subject", "session", "channel")}
    return pd.DataFrame(
        {
            **names,
            "start": index["start"].to_numpy(dtype=float),
            "fold": np.full(len(rows), fold, dtype=np.int16),
            "label": labels.astype(np.int8),
        }
    )


def with_probabilities(
    table: pd.DataFrame, probabilities: tuple[np.ndarray, np.ndarray], *, classes: Sequence[str]
) -> pd.DataFrame:
    """Return a table with the columns of the probabilities.

    Args:
        table: A row per segment.
        probabilities: In data such as the training segments, and with the classes weighted as in the loss: of the
            high class, or of each class (a column each).
        classes: Names of the classes; none for low and high.
    """
    if not classes:
        return table.assign(probability=probabilities[0], weighted_probability=probabilities[1])
    columns = {
        f"{prefix}{name}": values[:, number]
        for prefix, values in zip((PROBABILITY, WEIGHTED), probabilities, strict=True)
        for number, name in enumerate(classes)
    }
    return table.assign(**columns)
