"""The predictions of trained classifiers on the test segments of their folds, as a table beside the results."""

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from emotune.data.store import SegmentStore
from emotune.errors import DamageError
from emotune.evaluation.classifiers import Classifier, read_classifiers
from emotune.evaluation.held_out_scores import COLUMNS
from emotune.study.folder import SearchFolder
from emotune.tasks.calibration import Calibration, apply_sigmoid
from emotune.tasks.classify import ClassifyObjective
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
        A row per test segment and fold with `COLUMNS`; folds trained on shuffled labels are left out.

    Raises:
        SettingsError: The run is neither, is not finished, or has lost a checkpoint.
        DataError: The store cannot be opened, or has other content.
        DamageError: A checkpoint or the table was changed after it was written.
    """
    kept = kept_predictions(folder)
    if kept is not None:
        return kept
    table = compute_predictions(folder, progress=progress)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    folder.storage.write(PREDICTIONS_FILE, buffer.getvalue())
    return table


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
    missing = [name for name in COLUMNS if name not in table]
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
    assert isinstance(objective, ClassifyObjective)
    objective.load_state_dict(read_weights(member.checkpoint))
    execution = experiment.execution(store)  # as in training, so that scores are those of the journal
    execution.prepare(objective)
    logits = collect_logits(objective, data, rows, execution=execution)
    fitted = read_state(member.checkpoint)["about"].get("calibration")
    calibration = None if fitted is None else Calibration.model_validate(fitted)
    slope, intercept = (1.0, 0.0) if calibration is None else (calibration.slope, calibration.intercept)
    return prediction_table(
        store,
        rows=rows,
        labels=labels[rows],
        fold=member.fold,
        probabilities=(
            apply_sigmoid(logits - objective.log_weight, slope=slope, intercept=intercept),
            apply_sigmoid(logits, slope=1.0, intercept=0.0),
        ),
    )


def prediction_table(
    store: SegmentStore,
    *,
    rows: np.ndarray,
    labels: np.ndarray,
    fold: int,
    probabilities: tuple[np.ndarray, np.ndarray],
) -> pd.DataFrame:
    """Return the table of some segments.

    Args:
        store: Their store.
        rows: Their rows in it.
        labels: Their labels, 1 (high) or 0.
        fold: Number of the fold that tests them.
        probabilities: ``probability`` and ``weighted_probability`` of each.
    """
    index = store.index.iloc[rows]
    names = {name: index[name].astype(str).to_numpy() for name in ("corpus", "subject", "session", "channel")}
    return pd.DataFrame(
        {
            **names,
            "start": index["start"].to_numpy(dtype=float),
            "fold": np.full(len(rows), fold, dtype=np.int16),
            "label": labels.astype(np.int8),
            "probability": probabilities[0],
            "weighted_probability": probabilities[1],
        }
    )
