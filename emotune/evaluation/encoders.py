"""Pre-trained encoders on this machine: their checkpoint by name or path, and embeddings of raw signals."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import ValidationError
from torch import nn

from emotune.base import Settings
from emotune.data.modality import MODALITIES
from emotune.data.people import People
from emotune.data.prepare.segments import PrepareSettings, filter_and_resample
from emotune.data.prepare.single import standardised_segments
from emotune.data.recording import Recording
from emotune.errors import DamageError, DataError, SettingsError
from emotune.evaluation.hub import download_folder, upload_folder
from emotune.evaluation.mne_signals import is_mne, recordings_of_mne
from emotune.evaluation.model_folder import is_model_folder, model_document, write_model_folder, write_weights
from emotune.evaluation.networks import read_about, read_network
from emotune.experiment import Experiment
from emotune.models.weights import PREFIX, load_pretrained
from emotune.storage import Storage
from emotune.study.folder import SearchFolder
from emotune.study.journal import read_journal
from emotune.study.recorded import KINDS, kind_of
from emotune.study.results import opened, recorded_best
from emotune.tasks.calibration import Calibration
from emotune.training.checkpoints import newest_checkpoint

BATCH_SEGMENTS = 64
"""Segments embedded in one forward pass."""

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""Name of a repository of the Hugging Face Hub."""


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
        SettingsError: The search trains no experiment, has no result yet, or no undamaged checkpoint.
    """
    records = read_journal(folder.journal)
    if records and (kind := kind_of(opened(records).study)) != "experiment":
        raise SettingsError(
            f"the search {folder.name!r} {KINDS[kind]}, which has no encoder of emotune; its checkpoints are in "
            f"{folder.storage}"
        )
    best = recorded_best(records)
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

    @property
    def in_order(self) -> tuple[ClassCount, ...]:
        """The classes in the order of their labels, from 0."""
        return self.low, self.high


class NamedClasses(Settings):
    """The classes of a classifier that were named by ``task.classes``."""

    classes: tuple[ClassCount, ...]

    @property
    def in_order(self) -> tuple[ClassCount, ...]:
        """The classes in the order of their labels, from 0."""
        return self.classes


@dataclass(frozen=True)
class NetworkDescription:
    """The network in a checkpoint, and the signals it was trained on."""

    experiment: Experiment
    preparation: PrepareSettings
    """Preparation of the training signals."""
    channels: tuple[str, ...]
    """Channels of the training signals."""
    classes: Classes | NamedClasses | None = None
    """Classes of a classifier; None: the task has none, or an older version wrote the checkpoint."""
    calibration: Calibration | None = None
    """Calibration of a classifier on its validation segments; None: there were none."""
    people: People | None = None
    """People of the training and validation segments; None: the folder does not list them."""


def read_network_description(checkpoint: Path) -> NetworkDescription:
    """Read the description of its network from a checkpoint or model folder.

    Raises:
        DamageError: The checkpoint was changed after it was written, or has no description.
        SettingsError: The input of the network is not a signal.
    """
    about = read_about(checkpoint)
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
            classes=_read_classes(about["classes"]) if about.get("classes") else None,
            calibration=Calibration.model_validate(about["calibration"]) if about.get("calibration") else None,
            people=People.model_validate(about["people"]) if about.get("people") else None,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise DamageError(f"{checkpoint} has no valid description of a network; give another") from error


def _read_classes(about: Mapping[str, Any]) -> Classes | NamedClasses:
    return (NamedClasses if "classes" in about else Classes).model_validate(about)


class PretrainedEncoder(nn.Module):
    """An encoder together with its preparation of signals, in evaluation mode.

    Args:
        checkpoint: A checkpoint folder or a model folder.
        name: Name for its model card; by default that of the folder.

    Raises:
        DamageError: The checkpoint was changed after it was written.
        SettingsError: The input of the network is not a signal.
    """

    def __init__(self, checkpoint: Path, *, name: str = "") -> None:
        super().__init__()
        description = read_network_description(checkpoint)
        self.experiment = description.experiment
        self.preparation = description.preparation
        self.channels = description.channels
        self.encoder = self.experiment.model.build(channels=len(self.channels))
        network = read_network(checkpoint, name=name)
        load_pretrained(network.weights, self.encoder, source=str(checkpoint))
        self.document = model_document(network.about, part="encoder", facts=network.facts)
        self.eval()

    def forward(self, signals: Float[torch.Tensor, "batch channel time"]) -> Float[torch.Tensor, "batch width"]:
        """Return the embedding ``e_CLS`` of prepared segments."""
        return self.encoder.summarise(signals)

    def embed(self, signal: Any, fs: int | float | None = None) -> Float[np.ndarray, "segment width"]:
        """Embed a raw recording: filtered, resampled, standardised and cut as in pre-training.

        Args:
            signal: One recording (channel, sample), in mV for ECG and uV for EEG, with the channels of pre-training;
                or an `mne.io.Raw` or `mne.Epochs`, whose channels are matched by name and converted from V.
            fs: Sampling rate (Hz); not given for MNE objects, which have it.

        Returns:
            The embedding ``e_CLS`` of each segment, in the order of time. Epochs are cut each by itself, and
            standardised together.

        Raises:
            SettingsError: The channels differ from those of pre-training, or ``fs`` is missing.
            DataError: The signal is not finite, flat, implausible, or shorter than a segment.
        """
        prepared = [
            filter_and_resample(recording, settings=self.preparation) for recording in self._recordings(signal, fs=fs)
        ]
        for recording in prepared:
            if recording.signal.shape[1] < self.preparation.samples:
                raise DataError(
                    f"a signal of {recording.seconds:.1f} s was given, shorter than a segment of "
                    f"{self.preparation.seconds:g} s"
                )
        return self.embed_segments(standardised_segments(prepared, settings=self.preparation).signals)

    def embed_segments(
        self, segments: Float32[np.ndarray, "segment channel time"]
    ) -> Float[np.ndarray, "segment width"]:
        """Return the embedding ``e_CLS`` of prepared segments, such as those of a store."""
        batches = torch.from_numpy(np.ascontiguousarray(segments)).split(BATCH_SEGMENTS)
        with torch.no_grad():
            return torch.cat([self(batch) for batch in batches]).numpy()

    def _recordings(self, signal: Any, *, fs: int | float | None) -> list[Recording]:
        modality = self.preparation.modality
        if is_mne(signal):
            return recordings_of_mne(signal, channels=self.channels, modality=modality)
        if fs is None:
            raise SettingsError("fs is missing; give the sampling rate in Hz: embed(signal, fs)")
        signal = np.asarray(signal)
        if signal.ndim != 2 or len(signal) != len(self.channels):
            raise SettingsError(
                f"a signal of shape {signal.shape} was given, expected ({len(self.channels)}, samples) for "
                f"{', '.join(self.channels)}"
            )
        return [
            Recording(
                signal=signal,
                fs=float(fs),
                modality=modality,
                subject="embedded",
                session="signal",
                channels=self.channels,
                source="memory",
            )
        ]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the encoder into a folder of the Hugging Face convention, with its preparation and a model card.

        Raises:
            SettingsError: The folder is not empty.
            StorageError: The disk is full or cannot be written.
        """
        weights = {f"{PREFIX}{name}": value for name, value in self.encoder.state_dict().items()}
        write_model_folder(
            Path(folder).expanduser(),
            document=self.document,
            write_model=lambda draft: write_weights(draft, weights),
        )

    @classmethod
    def from_pretrained(cls, source: str | Path, *, token: str | None = None) -> "PretrainedEncoder":
        """Load an encoder from a folder that `save_pretrained` wrote, or from the Hugging Face Hub.

        Args:
            source: The folder, or ``OWNER/NAME`` of a repository if there is no such folder.
            token: Token for a private repository.

        Raises:
            SettingsError: It is no such folder, or huggingface_hub is not installed.
            DamageError: The files are not those that were written.
            StorageError: The repository cannot be downloaded.
        """
        folder = Path(source).expanduser()
        if not folder.exists() and HUB_NAME.fullmatch(str(source)):
            folder = download_folder(str(source), token=token)
        if not is_model_folder(folder):
            raise SettingsError(f"{source} has no config.json and model.safetensors; give a folder of save_pretrained")
        return cls(folder)

    def push_to_hub(self, repository: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the encoder to the Hugging Face Hub, with its preparation and a model card.

        Args:
            repository: ``OWNER/NAME``; created if it does not exist.
            private: Create a private repository.
            token: Token with the right to write; by default that of ``hf auth login``.

        Returns:
            The URL of the commit.

        Raises:
            SettingsError: huggingface_hub is not installed.
            StorageError: The Hub cannot be reached, or refuses the upload.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder)
            return upload_folder(folder, repository=repository, private=private, token=token)
