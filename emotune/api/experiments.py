"""`emotune.prepare`, `finetune`, `crossval`, `predict` and `load_encoder`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emotune.api.calls import (
    as_assignments,
    encode_uri,
    finished,
    make_request,
    own_ray,
    result_of,
    storage_or_default,
)

if TYPE_CHECKING:
    import pandas as pd

    from emotune.data.store import SegmentStore
    from emotune.evaluation.crossval import CrossValidation
    from emotune.evaluation.encoders import PretrainedEncoder
    from emotune.result import Result


def prepare(  # noqa: PLR0913 (the options of the command, all by name)
    corpus: str,
    raw_folder: str | Path | None = None,
    *,
    store: str | Path,
    modality: str | None = None,
    seconds: float | None = None,
    append: bool = False,
    strict: bool = False,
    collection: str = "",
    workers: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> "SegmentStore":
    """Filter, resample, standardise and cut the recordings of a corpus into a segment store.

    Args:
        corpus: Name of the corpus; ``folder`` for recordings of your own.
        raw_folder: Folder with its files.
        store: Folder to write the segments to.
        modality: Signals to read: ``ecg`` (default) or ``eeg``.
        seconds: Length of a segment (s); 10 by default.
        append: Add the corpus to an existing store.
        strict: Stop at the first recording that cannot be used; by default it is left out and listed.
        collection: Name of the collection of people; by default each folder is a collection.
        workers: Number of processes; one per core by default.
        settings: Other settings of the preparation and of the corpus, by name.

    Returns:
        The store.

    Raises:
        SettingsError: There is no such corpus or setting.
        DataError: The corpus cannot be used.

    Example:
        >>> store = emotune.prepare("folder", "recordings", store="stores/ours")
    """
    values = {name: value for name, value in locals().items() if name not in {"raw_folder", "settings"}}
    from emotune.cli.actions.prepare import prepare_store
    from emotune.cli.data import PrepareRequest
    from emotune.cli.data import prepare as command
    from emotune.data.store import SegmentStore

    values |= {"raw_dir": raw_folder, "assignments": as_assignments(settings)}
    request = make_request(command, PrepareRequest, values=values)
    return SegmentStore.open(prepare_store(request).store)


def finetune(  # noqa: PLR0913 (the options of the command, all by name)
    experiment: str | Path,
    *,
    encoder: str | Path | None = None,
    scratch: bool = False,
    adapt: Literal["all", "frozen", "linear"] | None = None,
    name: str | None = None,
    store: str | Path | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    workers: int | tuple[int, int] | None = None,
    precision: str | None = None,
    notify: Sequence[str] = (),
    register: str | None = None,
    fresh: bool = False,
) -> "Result":
    """Fine-tune an encoder on the task of an experiment, and measure on the test subjects.

    Args:
        experiment: File of the experiment, or the name of an example.
        encoder: Search, checkpoint folder or MLflow run whose encoder is fine-tuned.
        scratch: Train the same network from random weights, for comparison.
        adapt: What is trained: all weights, the classifier on a ``frozen`` encoder, or a ``linear`` one.
        name: Name of the run; by default that of the experiment.
        store: Segment store; replaces the store of the experiment.
        storage: Folder of the results, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: MLflow server or database; by default ``$MLFLOW_TRACKING_URI`` or a database in the storage.
        overrides: Settings of the experiment to replace, by dotted name, for example ``{"keep": "best"}``.
        workers: Workers that share the run as a Ray Train group; a pair: the smallest and the largest number.
        precision: ``auto``, ``fp32`` or ``bf16``; replaces ``compute.precision``.
        notify: Commands and URLs that receive the end and a failure.
        register: Name in MLflow's registry under which the model is registered.
        fresh: Start again under the same name; old results are kept under another name.

    Returns:
        The result; ``best.metrics`` has the metrics of the last epoch, those of the test segments with ``test/``.

    Raises:
        EmotuneError: A setting is impossible, or the run failed.
        KeyboardInterrupt: A signal ended the run in order; the same call resumes it.

    Example:
        >>> emotune.finetune("finetune.yaml", encoder="first", name="arousal").best.metrics["test/accuracy"]
    """
    values = {name: value for name, value in locals().items() if name != "overrides"}
    from emotune.cli.actions.single_run import finetune_experiment
    from emotune.cli.finetune import FinetuneRequest
    from emotune.cli.finetune import finetune as command

    if workers is not None:
        fewest, most = workers if isinstance(workers, tuple) else (workers, workers)
        values["workers"] = f"{fewest}..{most}"
    values["assignments"] = as_assignments(overrides)
    request = make_request(command, FinetuneRequest, values=values, resume_hint="the same call")
    with own_ray():
        run = finetune_experiment(request)
    return result_of(run.folder.name, code=run.code, storage=request.storage)


def crossval(  # noqa: PLR0913 (the options of the command, all by name)
    experiment: str | Path,
    *,
    protocol: Literal["paper", "trial", "video", "subject", "corpus", "people"],
    folds: int | Literal["all"] | None = None,
    encoder: str | Path | Sequence[str | Path] = (),
    scratch: bool = False,
    adapt: Literal["all", "frozen", "linear"] | None = None,
    tune: str | Path | None = None,
    shuffled: bool = True,
    baselines: bool = False,
    name: str | None = None,
    store: str | Path | None = None,
    partner: str | Path | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    concurrency: int | None = None,
    fresh: bool = False,
) -> "CrossValidation":
    """Cross-validate an experiment: train in each fold, and measure on its test segments.

    Args:
        experiment: File of the experiment, or the name of an example.
        protocol: What is never split between training and test segments; ``paper``: nothing; ``people``: the test
            people that ``folds.test`` names.
        folds: Number of folds, 10 by default; ``all``: one for each person, trial, video or corpus.
        encoder: Search, checkpoint folder or MLflow run whose encoder is fine-tuned; two for the protocol ``paper``.
        scratch: Train the same network from random weights, for comparison.
        adapt: What is trained: all weights, the classifier on a ``frozen`` encoder, or a ``linear`` one.
        tune: Study whose space is searched in each fold first, on its training segments (nested cross-validation).
        shuffled: Repeat each fold with shuffled labels.
        baselines: Also train classifiers of scikit-learn on features in the same folds.
        name: Name of the cross-validation; by default that of the experiment and the protocol.
        store: Segment store; replaces the store of the experiment.
        partner: Second store: only moments that are in both stores are used.
        storage: Folder of the results, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: MLflow server or database; by default ``$MLFLOW_TRACKING_URI`` or a database in the storage.
        overrides: Settings of the experiment to replace, by dotted name.
        concurrency: Folds at a time; by default the number of CPUs of the cluster.
        fresh: Start again under the same name; old results are kept under another name.

    Returns:
        The scores of all folds: ``interval("accuracy")`` is a mean with its interval, ``document()`` everything.

    Raises:
        EmotuneError: A setting is impossible, or the run failed.
        KeyboardInterrupt: A signal ended the run in order; the same call resumes it.

    Example:
        >>> emotune.crossval("finetune.yaml", protocol="subject", encoder="first").interval("accuracy").text
    """
    values = {name: value for name, value in locals().items() if name != "overrides"}
    from emotune.cli.actions.crossval import cross_validate_experiment
    from emotune.cli.crossval import CrossValidationRequest
    from emotune.cli.crossval import crossval as command

    encoders = [encoder] if isinstance(encoder, str | Path) else encoder
    values |= {"encoder": tuple(map(str, encoders)), "assignments": as_assignments(overrides)}
    request = make_request(command, CrossValidationRequest, values=values, resume_hint="the same call")
    with own_ray():
        code, result = cross_validate_experiment(request)
    return finished(result, code=code)


def predict(
    models: str | Sequence[str],
    file: str | Path,
    *,
    fs: float | None = None,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
) -> "pd.DataFrame":
    """Predict arousal and valence of a recording: the probability of a high rating for each segment.

    Args:
        models: Fine-tuning, cross-validation, checkpoint folder, folder of ``emotune export --format hf`` or MLflow
            run; several for several targets.
        file: A .npz, EDF, WFDB (.hea), BrainVision (.vhdr) or CSV recording.
        fs: Samples per second, if the file does not contain it (CSV).
        storage: Folder of the results, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or ``results``.
        tracking_uri: MLflow server or database; by default ``$MLFLOW_TRACKING_URI`` or a database in the storage.

    Returns:
        A row per segment, as the table of ``emotune predict --csv``.

    Raises:
        SettingsError: There is no such model, or models do not fit together.
        DataError: The recording cannot be used.

    Example:
        >>> emotune.predict(["ours-arousal", "ours-valence"], "recording.edf")
    """
    values = {name: value for name, value in locals().items() if name != "models"}
    from emotune.cli.actions.predict import predict_file
    from emotune.cli.predict import PredictRequest
    from emotune.cli.predict import predict as command

    values["models"] = models if isinstance(models, str) else ",".join(models)
    request = make_request(command, PredictRequest, values=values)
    prediction, _ = predict_file(request)
    return prediction.table()


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

    results = open_storage(storage_or_default(storage))
    given = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    uri = encode_uri(given) if given else sqlite_uri(results.local("mlflow.db"))
    folder = find_network(str(source), storage=results, tracking_uri=uri)
    return PretrainedEncoder(folder, name=Path(source).name)
