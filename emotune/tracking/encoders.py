"""Encoders in MLflow: logged as an exported model and as files, and downloaded again.

The model needs only torch; the files are what `emotune.evaluation.encoders.PretrainedEncoder` reads.
"""

import contextlib
import hashlib
import importlib
import json
import logging
import math
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.artifacts
import numpy as np
import torch
from jaxtyping import Float
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.tracking import MlflowClient
from torch import nn

from emotune.errors import SettingsError, StorageError, suggestion
from emotune.evaluation.encoders import PretrainedEncoder, best_checkpoint, find_local_checkpoint
from emotune.evaluation.model_folder import is_model_folder
from emotune.files import sha256_of
from emotune.search.records import EpochDone, Record
from emotune.storage import Storage
from emotune.study.folder import SearchFolder, find_searches
from emotune.study.journal import read_journal
from emotune.study.results import opened, recorded_best
from emotune.tracking.delivery import read_delivery_state
from emotune.tracking.registry import DIGEST_TAG, Result, register
from emotune.tracking.store import one_line
from emotune.training.checkpoints import export_weights

FOLDER = "encoder"
"""Artifact folder of an encoder's files in its run."""

MODEL = "model"
"""Name of an exported model without another one; it differs from `FOLDER`: MLflow lists both among the artifacts."""

DOWNLOADS = ".encoders"
"""Folder of downloaded encoders in the storage, one folder per run."""

EXPORT_COPIES = 4
"""Number of copies of the weights that an export writes to the temporary folder, at most."""

EXPORT_MARGIN_BYTES = 16 * 2**20
"""Size of the other files of an export, at most."""


def find_encoder(source: str, *, storage: Storage, tracking_uri: str | None = None) -> Path:
    """Return the checkpoint folder of a pre-trained encoder; download it if it is an MLflow run.

    Args:
        source: A checkpoint folder, the folder or name of a search (its best configuration), or an
            MLflow run (``runs:/ID`` or ``ID``).
        storage: The storage of all searches.
        tracking_uri: The MLflow server or database of the run; None is MLflow's default.

    Raises:
        SettingsError: There is nothing of that name, the search has no result yet, or the download failed.
        DamageError: All checkpoints of the search are damaged.
    """
    checkpoint = find_local_checkpoint(source, storage=storage)
    if checkpoint is not None:
        return checkpoint
    run_id = source.removeprefix("runs:/")
    if len(run_id) == 32 and run_id.isalnum():
        return download_encoder(run_id, tracking_uri=tracking_uri, to=storage.local(DOWNLOADS))
    if is_model_folder(Path(source).expanduser()):
        raise SettingsError(
            f"{source} is an exported model, expected a checkpoint; give the run that it was exported from"
        )
    near = suggestion(source, among=[folder.name for folder in find_searches(storage)])
    raise SettingsError(
        f"no encoder or model {source!r}: it is neither a checkpoint folder, nor a run in {storage}, nor one in "
        f"MLflow{near}"
    )


def find_network(source: str, *, storage: Storage, tracking_uri: str | None = None) -> Path:
    """Return the model folder, or the checkpoint folder that `find_encoder` returns.

    Raises:
        SettingsError: There is nothing of that name, the search has no result yet, or the download failed.
        DamageError: All checkpoints of the search are damaged.
    """
    folder = Path(source).expanduser()
    return folder if is_model_folder(folder) else find_encoder(source, storage=storage, tracking_uri=tracking_uri)


@dataclass(frozen=True)
class Publication:
    """Where the best encoder of a search is in MLflow."""

    run_id: str
    model_name: str
    registration: str | None
    """The version in the registry, as a line for the user; None if it was not to be registered."""


def publish_best(folder: SearchFolder, *, tracking_uri: str, register_as: str | None = None) -> Publication | None:
    """Log a search's best encoder into its configuration's MLflow run, as a model with a signature and its metrics.

    Args:
        folder: Folder of the search.
        tracking_uri: The MLflow server or database.
        register_as: Name of the registered model that gets the encoder as a version; None registers nothing.

    Returns:
        None if the configuration has no run in MLflow yet.

    Raises:
        SettingsError: The search has no result.
        MlflowException: MLflow cannot be reached.
    """
    checkpoint = best_checkpoint(folder)
    config_id = int(checkpoint.parent.name)
    run_id = read_delivery_state(folder.storage).runs.get(str(config_id))
    if run_id is None:
        return None
    encoder = PretrainedEncoder(checkpoint)
    example = np.zeros((1, len(encoder.channels), encoder.preparation.samples), dtype=np.float32)
    name = model_name(folder.name, config_id=config_id)
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / FOLDER
        export_weights(checkpoint, to=files)
        log_encoder(run_id, module=encoder, example=example, folder=files, tracking_uri=tracking_uri, name=name)
        digest = _digest(files)
    client = MlflowClient(tracking_uri=tracking_uri)
    model = next(model for model in _models(client, run=client.get_run(run_id)) if model.tags.get(DIGEST_TAG) == digest)
    records = read_journal(folder.journal)
    client.log_batch(run_id, metrics=model_metrics(records, config_id=config_id, model_id=model.model_id))
    registration = None
    if register_as is not None:
        result = _result(records)
        registration = register(model, name=register_as, result=result, digest=digest, client=client)
    return Publication(run_id, model.name, registration)


def model_name(search: str, *, config_id: int) -> str:
    """Return the name of the model of a configuration, with the characters that MLflow allows."""
    return re.sub(r"""[/:.%"']""", "-", f"{search}-c{config_id:04d}")


def model_metrics(records: Sequence[Record], *, config_id: int, model_id: str) -> list[Metric]:
    """Return the metrics of a configuration's last epoch as those of a model.

    Keys, values, times and steps are those of the run, which gets no further point.
    """
    epochs = [record for record in records if isinstance(record, EpochDone) and record.config_id == config_id]
    last = max(epochs, key=lambda record: record.epoch)
    return [
        Metric(key, value, round(last.time * 1000), last.epoch, model_id=model_id, run_id=None)
        for key, value in last.metrics.items()
        if value is not None and math.isfinite(value)
    ]


def _result(records: Sequence[Record]) -> Result:
    """Return the result of a search by which its model is compared with others."""
    first = opened(records)
    objective, base = first.study["objective"], first.study["base"]
    best = recorded_best(records)
    assert best is not None
    data = json.dumps([base.get("fingerprint"), base.get("partner_fingerprint"), base.get("folds")], sort_keys=True)
    return Result(
        metric=objective["metric"],
        mode=objective["mode"],
        value=best.objective,
        data=hashlib.sha256(data.encode()).hexdigest()[:16],
    )


def log_encoder(
    run_id: str,
    *,
    module: nn.Module,
    example: Float[np.ndarray, "1 channel time"],
    folder: Path,
    tracking_uri: str,
    name: str = MODEL,
) -> bool:
    """Log an encoder into its configuration's run, as an exported model and as files under ``encoder/``.

    The model is a ``torch.export`` graph with a signature. Loading it needs neither pickle nor this package;
    it takes any number of signals of the example's shape.

    Args:
        run_id: The run; its status does not change.
        module: The encoder; it is exported in evaluation mode.
        example: One segment, for the signature.
        folder: Folder of the files to log: weights and settings.
        tracking_uri: The MLflow server or database of the run.
        name: Name of the model.

    Returns:
        True if it was logged; False if the run already had this encoder.

    Raises:
        StorageError: The temporary folder has no room for the export.
    """
    client = MlflowClient(tracking_uri=tracking_uri)
    digest = _digest(folder)
    run = client.get_run(run_id)
    if run.data.tags.get(DIGEST_TAG) == digest:
        return False
    if _is_logged(client, run=run, digest=digest):
        client.set_tag(run_id, DIGEST_TAG, digest)
        return True
    _check_room(module)
    client.log_artifacts(run_id, str(folder), FOLDER)
    batch = np.repeat(example.astype(np.float32), 2, axis=0)  # torch.export specialises a dimension of size 1
    module = module.to("cpu").eval()
    with torch.inference_mode():
        embedding = module(torch.from_numpy(batch)).numpy()
    with _default_uri(tracking_uri), warnings.catch_warnings():
        # MLflow issues this warning about its own code on import
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
        # created explicitly, because MLflow would choose the active experiment
        model = client.create_logged_model(
            run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            params=dict(run.data.params),
            tags={DIGEST_TAG: digest},
        )
        Model.log(
            artifact_path=None,
            name=name,
            model_id=model.model_id,
            flavor=_pytorch_flavor(),
            run_id=run_id,
            pytorch_model=module,
            serialization_format="pt2",
            input_example=batch,
            signature=infer_signature(batch, embedding),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
        )
    client.set_tag(run_id, DIGEST_TAG, digest)
    return True


def _pytorch_flavor() -> Any:
    """Import ``mlflow.pytorch`` and restore the root logger, which it sets to ERROR: warnings would be lost."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    flavor = importlib.import_module("mlflow.pytorch")
    root.setLevel(level)
    root.handlers[:] = handlers
    return flavor


def _check_room(module: nn.Module) -> None:
    """Refuse to export a module into a temporary folder that is nearly full: PyTorch then ends the whole process."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    folder = tempfile.gettempdir()
    needed, free = EXPORT_COPIES * size + EXPORT_MARGIN_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the export needs {needed / 2**20:.0f} MiB in {folder}, which has {free / 2**20:.0f} MiB free; free disk "
            "space, or set TMPDIR to another folder"
        )


def download_encoder(run_id: str, *, tracking_uri: str | None, to: Path) -> Path:
    """Download the files of an encoder that was logged into a run.

    Args:
        run_id: The run.
        tracking_uri: The MLflow server or database of the run; None is MLflow's default.
        to: Folder of the encoders of all runs.

    Returns:
        The folder of the files: ``to/RUN_ID/encoder``.

    Raises:
        SettingsError: There is no such run, it has no encoder, or MLflow cannot be reached.
    """
    destination = to / run_id
    destination.mkdir(parents=True, exist_ok=True)
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=FOLDER, dst_path=str(destination), tracking_uri=tracking_uri
        )
    except (MlflowException, OSError) as error:
        raise SettingsError(
            f"run {run_id!r}: its encoder cannot be downloaded from MLflow: {one_line(error)}"
        ) from None
    return Path(path)


def _is_logged(client: MlflowClient, *, run: Run, digest: str) -> bool:
    """Return whether the run has this encoder as a complete model; delete incomplete models of it."""
    same = [model for model in _models(client, run=run) if model.tags.get(DIGEST_TAG) == digest]
    for model in same:
        if model.status != LoggedModelStatus.READY:
            client.delete_logged_model(model.model_id)
    return any(model.status == LoggedModelStatus.READY for model in same)


def _models(client: MlflowClient, *, run: Run) -> Sequence[LoggedModel]:
    """Return the models that were logged into a run."""
    return client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'")


def _digest(folder: Path) -> str:
    lines = [f"{sha256_of(file)} {file.name}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def _default_uri(uri: str) -> Iterator[None]:
    """Make a URI MLflow's default within the block: logging a model has no parameter for it."""
    variable = os.environ.pop("MLFLOW_TRACKING_URI", None)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # MLflow also set the variable, perhaps with a password; child processes must not inherit it
        mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]: None resets it, as in MLflow's own code
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable
