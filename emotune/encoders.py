"""Pre-trained encoders: found by name, run or path, and used on raw signals."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import nn

from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings, filter_and_resample
from emotune.data.prepare.single import standardised_segments
from emotune.data.recording import Recording
from emotune.errors import DamageError, DataError, SettingsError
from emotune.experiment import Experiment
from emotune.models.weights import hand_over
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, find_best, opened
from emotune.tracking.cursor import read_cursor
from emotune.tracking.encoders import download_encoder, log_encoder
from emotune.training.checkpoints import export_weights, newest_checkpoint, read_state, read_weights


def find_encoder(source: str, *, storage: Storage, tracking_uri: str | None = None) -> Path:
    """Return the checkpoint folder of a pre-trained encoder.

    Args:
        source: A checkpoint folder, the folder or name of a search (whose best configuration is
            taken), or an MLflow run (``runs:/ID`` or its number).
        storage: Where searches are kept.
        tracking_uri: The MLflow server that knows the run.

    Raises:
        SettingsError: There is nothing of that name, or the search has no result yet.
        DamageError: All its checkpoints are damaged.
    """
    path = Path(source)
    if (path / "manifest.json").is_file():
        return path
    for folder in (SearchFolder.at(path), SearchFolder(storage, source)):
        if folder.begun:
            return best_checkpoint(folder)
    run = source.removeprefix("runs:/")
    if len(run) == 32 and run.isalnum():
        return download_encoder(run, tracking_uri=tracking_uri, to=storage.local(".encoders"))
    raise SettingsError(
        f"no encoder or model {source!r}: it is neither a checkpoint folder, nor a run in {storage}, nor one in MLflow"
    )


def best_checkpoint(folder: SearchFolder) -> Path:
    """Return the newest undamaged checkpoint of a search's best configuration.

    Raises:
        SettingsError: The search has no result, or its checkpoints are gone.
    """
    records = read_journal(folder.journal)
    best = find_best(evaluation_results(records), mode=opened(records).study["objective"]["mode"]) if records else None
    if best is None:
        raise SettingsError(f"the search {folder.name!r} has no result yet: let it finish its first evaluations")
    checkpoint = newest_checkpoint(folder.checkpoints(best.config_id))
    if checkpoint is None:
        raise SettingsError(f"no undamaged checkpoint of configuration {best.config_id} in {folder.path}")
    return checkpoint


def publish_best(folder: SearchFolder, *, tracking_uri: str) -> str | None:
    """Log a search's best encoder into its configuration's MLflow run, as a model with a signature.

    Returns:
        The run, or None if MLflow does not know the configuration yet.

    Raises:
        SettingsError: The search has no result.
        MlflowException: MLflow cannot be reached.
    """
    checkpoint = best_checkpoint(folder)
    run = read_cursor(folder.storage).runs.get(str(int(checkpoint.parent.name)))
    if run is None:
        return None
    encoder = PretrainedEncoder(checkpoint)
    example = np.zeros((1, len(encoder.channels), encoder.preparation.samples), dtype=np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        export_weights(checkpoint, to=Path(scratch) / "encoder")
        log_encoder(run, module=encoder, example=example, folder=Path(scratch) / "encoder", tracking_uri=tracking_uri)
    return run


@dataclass(frozen=True)
class AboutCheckpoint:
    """What a checkpoint says of the network in it."""

    experiment: Experiment
    preparation: PrepareSettings
    """How the signals it was trained on were prepared."""
    channels: tuple[str, ...]
    """Of those signals."""


def read_about(checkpoint: Path) -> AboutCheckpoint:
    """Return what a checkpoint says of itself.

    Raises:
        DamageError: The checkpoint is not what was written.
        SettingsError: The network reads no signals.
    """
    about = read_state(checkpoint)["about"]
    try:
        if about["modality"] not in MODALITIES:
            raise SettingsError(
                f"{checkpoint} reads {about['modality']}, not signals; give what was trained on signals"
            )
        return AboutCheckpoint(
            experiment=Experiment.model_validate(about["experiment"]),
            preparation=PrepareSettings.model_validate(about["preparation"]),
            channels=tuple(about["channels"]),
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise DamageError(f"{checkpoint}: state.json does not say what network it is; use another one") from error


class PretrainedEncoder(nn.Module):
    """An encoder with its preparation of signals, in evaluation mode.

    Args:
        checkpoint: A checkpoint folder.

    Raises:
        DamageError: The checkpoint is not what was written.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        about = read_about(checkpoint)
        self.experiment, self.preparation, self.channels = about.experiment, about.preparation, about.channels
        self.encoder = self.experiment.model.build(channels=len(self.channels))
        hand_over(read_weights(checkpoint), self.encoder, source=str(checkpoint))
        self.eval()

    def forward(self, signals: Float[torch.Tensor, "batch channel time"]) -> Float[torch.Tensor, "batch width"]:
        """Return ``e_CLS`` of prepared segments."""
        return self.encoder.summarise(signals)

    def embed(self, signal: Float[np.ndarray, "channel sample"], fs: int | float) -> Float[np.ndarray, "segment width"]:
        """Embed a raw recording: filtered, resampled, standardised and cut as in pre-training.

        Args:
            signal: One recording, mV for ECG and uV for EEG; as many channels as in pre-training.
            fs: Samples per second.

        Returns:
            ``e_CLS`` of each segment, one after the other.

        Raises:
            SettingsError: The number of channels is another.
            DataError: The signal cannot be used: not finite, flat, implausible, or shorter than a segment.
        """
        if signal.ndim != 2 or len(signal) != len(self.channels):
            raise SettingsError(
                f"a signal of shape {signal.shape} was given, expected ({len(self.channels)}, samples) for "
                f"{', '.join(self.channels)}"
            )
        recording = Recording(
            signal=signal,
            fs=float(fs),
            modality=self.preparation.modality,
            subject="embedded",
            session="signal",
            channels=self.channels,
            source="memory",
        )
        prepared = filter_and_resample(recording, settings=self.preparation)
        if prepared.signal.shape[1] < self.preparation.samples:
            length = f"{self.preparation.seconds:g} s"
            raise DataError(f"a signal of {recording.seconds:.1f} s was given, shorter than a segment of {length}")
        segments = torch.from_numpy(standardised_segments([prepared], settings=self.preparation).signals)
        with torch.no_grad():
            return torch.cat([self(part) for part in segments.split(64)]).numpy()
