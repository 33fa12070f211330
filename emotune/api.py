"""What ``import emotune`` offers; the heavy parts are loaded when they are first used."""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emotune.encoders import PretrainedEncoder


def load_encoder(
    source: str | Path, *, storage: str | Path | None = None, tracking_uri: str | None = None
) -> "PretrainedEncoder":
    """Load a pre-trained encoder.

    Args:
        source: A search by name (its best configuration), a checkpoint folder, or an MLflow run.
        storage: Where searches are kept, a folder or ``s3://BUCKET/PREFIX``; by default
            ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: The MLflow server that knows the run; by default ``$MLFLOW_TRACKING_URI`` or
            the database beside the results.

    Returns:
        A torch module in evaluation mode, with ``embed(signal, fs)``.

    Raises:
        SettingsError: There is nothing of that name.
        DamageError: The checkpoint is not what was written.
    """
    encoders = importlib.import_module("emotune.encoders")
    open_storage = importlib.import_module("emotune.storage").open_storage
    results = open_storage(str(storage or os.environ.get("EMOTUNE_STORAGE", "results")))
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{results.local('mlflow.db')}"
    checkpoint = encoders.find_encoder(str(source), storage=results, tracking_uri=uri)
    return encoders.PretrainedEncoder(checkpoint)
