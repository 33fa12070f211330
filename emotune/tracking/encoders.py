"""Encoders in MLflow: logged as a model anybody can load, and fetched back as the files we load ourselves."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.artifacts
import mlflow.pytorch
import numpy as np
import torch
from jaxtyping import Float
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.tracking import MlflowClient
from torch import nn

from emotune.errors import SettingsError
from emotune.files import sha256_of
from emotune.tracking.store import brief

FOLDER = "encoder"
MODEL = "model"
"""Not the folder's name: MLflow shows a model's files among the run's, under its name."""
_TAG = "emotune.encoder_sha256"


def log_encoder(
    run_id: str,
    *,
    module: nn.Module,
    example: Float[np.ndarray, "1 channel time"],
    folder: Path,
    tracking_uri: str,
) -> bool:
    """Log an encoder into its configuration's run, as an exported model and as files under ``encoder/``.

    The model is a ``torch.export`` graph with a signature: it is loaded without unpickling anything and
    without this package, for any number of signals of the example's size.

    Args:
        run_id: The run; it stays as it is, also its status.
        module: The encoder; it is exported in evaluation mode.
        example: One signal.
        folder: Files to keep beside it: weights and settings.
        tracking_uri: Where the run is.

    Returns:
        Whether it was logged; False if this very encoder was there already.
    """
    client = MlflowClient(tracking_uri=tracking_uri)
    digest = _digest(folder)
    run = client.get_run(run_id)
    if run.data.tags.get(_TAG) == digest:
        return False
    if _is_logged(client, run=run, digest=digest):
        client.set_tag(run_id, _TAG, digest)
        return True
    client.log_artifacts(run_id, str(folder), FOLDER)
    batch = np.repeat(example.astype(np.float32), 2, axis=0)  # torch.export takes a size of 1 for a constant
    module = module.to("cpu").eval()
    with torch.inference_mode():
        answer = module(torch.from_numpy(batch)).numpy()
    with _default_uri(tracking_uri), warnings.catch_warnings():
        # said by MLflow of its own code, while that is imported
        warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
        # made by hand, because MLflow would put it into the experiment that happens to be active
        model = client.create_logged_model(
            run.info.experiment_id,
            name=MODEL,
            source_run_id=run_id,
            params=dict(run.data.params),
            tags={_TAG: digest},
        )
        Model.log(
            artifact_path=None,
            name=MODEL,
            model_id=model.model_id,
            flavor=mlflow.pytorch,
            run_id=run_id,
            pytorch_model=module,
            serialization_format="pt2",
            input_example=batch,
            signature=infer_signature(batch, answer),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
        )
    client.set_tag(run_id, _TAG, digest)
    return True


def download_encoder(run_id: str, *, tracking_uri: str | None, to: Path) -> Path:
    """Fetch the files of an encoder that was logged into a run.

    Args:
        run_id: The run.
        tracking_uri: Where it is; None is MLflow's own default.
        to: Folder for the encoders of all runs.

    Returns:
        The folder that holds them: ``to/RUN_ID/encoder``.

    Raises:
        SettingsError: There is no such run, it has no encoder, or the server cannot be used.
    """
    destination = to / run_id
    destination.mkdir(parents=True, exist_ok=True)
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=FOLDER, dst_path=str(destination), tracking_uri=tracking_uri
        )
    except (MlflowException, OSError) as error:
        raise SettingsError(f"run {run_id!r}: its encoder cannot be fetched from MLflow: {brief(error)}") from None
    return Path(path)


def log_file(run_id: str, *, file: Path, tracking_uri: str) -> None:
    """Put a file, such as the report, into a run; an earlier one of that name is replaced."""
    MlflowClient(tracking_uri=tracking_uri).log_artifact(run_id, str(file))


def _is_logged(client: MlflowClient, *, run: Run, digest: str) -> bool:
    """Return whether an earlier attempt logged this very encoder, and delete what attempts left half done."""
    models = client.search_logged_models([run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'")
    mine = [model for model in models if model.tags.get(_TAG) == digest]
    for model in mine:
        if model.status != LoggedModelStatus.READY:
            client.delete_logged_model(model.model_id)
    return any(model.status == LoggedModelStatus.READY for model in mine)


def _digest(folder: Path) -> str:
    lines = [f"{sha256_of(file)} {file.name}\n" for file in sorted(folder.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def _default_uri(uri: str) -> Iterator[None]:
    """Make a URI MLflow's default for a while: logging a model knows no other way to be told."""
    variable = os.environ.pop("MLFLOW_TRACKING_URI", None)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        # it also wrote the variable, perhaps with a password, for every child process to inherit
        mlflow.set_tracking_uri(None)  # pyright: ignore[reportArgumentType]: undoes it; MLflow itself does so
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable
