"""Pre-trained encoders on this machine: their checkpoint by name or path, and embeddings of raw signals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import nn

from emotune.base import Settings
from emotune.data.modality import MODALITIES
from emotune.data.prepare.segments import PrepareSettings, filter_and_resample
from emotune.data.prepare.single import standardised_segments
from emotune.data.recording import Recording
from emotune.errors import DamageError, DataError, SettingsError
from emotune.experiment import Experiment
from emotune.models.weights import load_pretrained
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.results import evaluation_results, find_best, opened
from emotune.tasks.calibration import Calibration
from emotune.training.checkpoints import newest_checkpoint, read_state, read_weights

BATCH_SEGMENTS = 64
"""Segments embedded in one forward pass."""


def find_local_checkpoint(source: str, *, storage: Storage) -> Path | None:
    """Return the checkpoint folder that a path or the name of a search stands for.

    Args:
        source: A checkpoint folder, or the folder or name of a search (its best configuration).
        storage: The folder of all searches.

    Returns:
        The checkpoint folder; None if there is neither a checkpoint nor a search of that name.

    Raises:
        SettingsError: The search has no result yet, or no undamaged checkpoint.
    """
    path = Path(source)
    if (path / "manifest.json").is_file():
        return path
    for folder in (SearchFolder.at(path), SearchFolder(storage, source)):
        if folder.begun:
            return best_checkpoint(folder)
    return None


def best_checkpoint(folder: SearchFolder) -> Path:
    """Return the newest undamaged checkpoint of a search's best configuration.

    Raises:
        SettingsError: The search has no result yet, or no undamaged checkpoint.
    """
    records = read_journal(folder.journal)
    best = find_best(evaluation_results(records), mode=opened(records).study["objective"]["mode"]) if records else None
    if best is None:
        raise SettingsError(f"the search {folder.name!r} has no result yet; wait until an evaluation has ended")
    checkpoint = newest_checkpoint(folder.checkpoints(best.config_id))
    if checkpoint is None:
        raise SettingsError(f"no undamaged checkpoint of configuration {best.config_id} in {folder.path}")
    return checkpoint


class ClassCount(Settings):
    """A class: its name, and its number of training segments."""

    name: str
    segments: int


class Classes(Settings):
    """The two classes of a classifier."""

    low: ClassCount
    high: ClassCount


@dataclass(frozen=True)
class NetworkDescription:
    """The network in a checkpoint, and the signals it was trained on."""

    experiment: Experiment
    preparation: PrepareSettings
    """Preparation of the training signals."""
    channels: tuple[str, ...]
    """Channels of the training signals."""
    classes: Classes | None = None
    """Classes of a classifier; None: the task has none, or an older version wrote the checkpoint."""
    calibration: Calibration | None = None
    """Calibration of a classifier on its validation segments; None: there were none."""


def read_network_description(checkpoint: Path) -> NetworkDescription:
    """Read the description of its network from a checkpoint.

    Raises:
        DamageError: The checkpoint was changed after it was written, or has no description.
        SettingsError: The input of the network is not a signal.
    """
    about = read_state(checkpoint)["about"]
    try:
        if about["modality"] not in MODALITIES:
            raise SettingsError(
                f"{checkpoint} was trained on {about['modality']}, expected signals ({', '.join(MODALITIES)}); "
                "give a checkpoint that was trained on signals"
            )
        return NetworkDescription(
            experiment=Experiment.model_validate(about["experiment"]),
            preparation=PrepareSettings.model_validate(about["preparation"]),
            channels=tuple(about["channels"]),
            classes=Classes.model_validate(about["classes"]) if about.get("classes") else None,
            calibration=Calibration.model_validate(about["calibration"]) if about.get("calibration") else None,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise DamageError(f"{checkpoint}: state.json has no valid description of a network; give another") from error


class PretrainedEncoder(nn.Module):
    """An encoder together with its preparation of signals, in evaluation mode.

    Args:
        checkpoint: A checkpoint folder.

    Raises:
        DamageError: The checkpoint was changed after it was written.
        SettingsError: The input of the network is not a signal.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        description = read_network_description(checkpoint)
        self.experiment = description.experiment
        self.preparation = description.preparation
        self.channels = description.channels
        self.encoder = self.experiment.model.build(channels=len(self.channels))
        load_pretrained(read_weights(checkpoint), self.encoder, source=str(checkpoint))
        self.eval()

    def forward(self, signals: Float[torch.Tensor, "batch channel time"]) -> Float[torch.Tensor, "batch width"]:
        """Return the embedding ``e_CLS`` of prepared segments."""
        return self.encoder.summarise(signals)

    def embed(self, signal: Float[np.ndarray, "channel sample"], fs: int | float) -> Float[np.ndarray, "segment width"]:
        """Embed a raw recording: filtered, resampled, standardised and cut as in pre-training.

        Args:
            signal: One recording, in mV for ECG and uV for EEG, with the channels of pre-training.
            fs: Sampling rate (Hz).

        Returns:
            The embedding ``e_CLS`` of each segment, in the order of time.

        Raises:
            SettingsError: The number of channels differs from that of pre-training.
            DataError: The signal is not finite, flat, implausible, or shorter than a segment.
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
            return torch.cat([self(batch) for batch in segments.split(BATCH_SEGMENTS)]).numpy()
