"""The functions that ``import emotune`` offers. Each imports heavy packages, such as torch, only when it is called."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emotune.evaluation.encoders import PretrainedEncoder


def load_encoder(
    source: str | Path, *, storage: str | Path | None = None, tracking_uri: str | None = None
) -> "PretrainedEncoder":
    """Load a pre-trained encoder.

    Args:
        source: Name of a search (its best configuration is used), a checkpoint folder, a folder of ``save_pretrained``
            or ``emotune export --format hf``, or an MLflow run.
        storage: Folder of the searches, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: The MLflow server or database with the run; by default ``$MLFLOW_TRACKING_URI`` or the
            database in the storage folder.

    Returns:
        A torch module in evaluation mode, with the methods ``embed(signal, fs)`` and ``save_pretrained(folder)``.

    Raises:
        SettingsError: There is no such search, folder or run.
        DamageError: The checkpoint does not match its checksums.
    """
    from emotune.evaluation.encoders import PretrainedEncoder
    from emotune.storage import open_storage
    from emotune.tracking.encoders import find_network
    from emotune.tracking.uri import sqlite_uri

    results = open_storage(str(storage or os.environ.get("EMOTUNE_STORAGE", "results")))
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(results.local("mlflow.db"))
    folder = find_network(str(source), storage=results, tracking_uri=uri)
    return PretrainedEncoder(folder, name=Path(source).name)
