"""An experiment: the complete, validated description of one training run."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from pydantic import BaseModel, Field, ValidationError, model_validator

from emotune.base import Settings
from emotune.data.batches import batch_count
from emotune.data.folds import Folds, split
from emotune.data.modality import MODALITIES, Modality
from emotune.data.people import shared_moments
from emotune.data.store import SegmentStore
from emotune.errors import DataError, SettingsError
from emotune.models import Model, Transformer
from emotune.models.features import check_features
from emotune.models.weights import load_pretrained
from emotune.randomness import derive_seed, stream
from emotune.tasks import Classify, MaskedValues, Objective, Task
from emotune.tasks.aggregation import NARROWED_WIDTH
from emotune.tasks.base import trainable_parameters
from emotune.tasks.probe import ProbeData
from emotune.training.checkpoints import read_weights
from emotune.training.execution import Compute, ExecutionPlan, choose_device, choose_execution
from emotune.training.loop import TrainingData, TrainingPlan, TrainState
from emotune.training.optim import FALLING_TO_ZERO, SETTINGS_OF_SGD, Optim

COST_INPUT = (1, 1280)
"""Channels and samples of the signal that `Experiment.cost` counts operations for: one ECG lead, 10 s at 128 Hz."""


class Start(Settings):
    """The source of a pre-trained encoder's weights."""

    encoder: str
    """Search, run or checkpoint whose encoder is used, with its sizes and weights."""

    second: str | None = None
    """Search, run or checkpoint for the second half of the folds; ``encoder`` is then for the first half. An encoder
    must be pre-trained without the half of the folds that it is tested on (``folds.without``)."""

    weights: Literal["pretrained", "scratch"] = "pretrained"
    """Initial weights; ``scratch``: the same network with newly drawn weights, for comparison."""

    sha256: str | None = None
    """SHA-256 of the weights of ``encoder``; filled in when the run is prepared."""

    second_sha256: str | None = None
    """SHA-256 of the weights of ``second``; filled in when the run is prepared."""

    def which(self, folds: Folds) -> Literal["encoder", "second"]:
        """Return which of the two encoders the fold ``folds.index`` starts from."""
        in_second = folds.index is not None and folds.index >= folds.count // 2
        return "second" if in_second and self.second is not None else "encoder"


class Experiment(Settings):
    """All settings of a training run: those that determine its result, and ``compute``, which does not."""

    store: str = ""
    """Folder of the segment store."""

    fingerprint: str | None = None
    """Fingerprint of the store's content; filled in when the run is prepared."""

    partner: str = ""
    """Folder of a second store; only moments that both stores have are used, for instance those with ECG and EEG."""

    partner_fingerprint: str | None = None
    """Fingerprint of the partner's content; filled in when the run is prepared."""

    modality: Modality | None = None
    """Modality that the store must hold, for example ``eeg``; null: any. It changes no result."""

    folds: Folds = Folds()
    """Division of the segments into training, validation and test."""

    model: Model = Transformer()
    """The encoder."""

    task: Task = MaskedValues()
    """The task: what the network is trained to predict."""

    optim: Optim = Optim()
    """The optimiser and its learning-rate schedule."""

    epochs: int = Field(default=500, ge=1)
    """Epochs of the whole run and of the learning-rate schedule."""

    batch_size: int = Field(default=128, ge=1)
    """Segments per optimiser step, all workers together."""

    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights, the order of the segments, the masks and the dropout."""

    keep: Literal["last", "best"] = "last"
    """Weights that a single run ends with: of the ``last`` epoch, as published, or of the epoch with the ``best``
    metric of the validation segments (macro F1 of a classification, otherwise the loss)."""

    start: Start | None = None
    """A pre-trained encoder to start from."""

    compute: Compute = Compute()
    """How the run is computed: device, precision, threads."""

    @model_validator(mode="after")
    def _check_warmup(self) -> "Experiment":
        if self.optim.schedule in FALLING_TO_ZERO and self.optim.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs: {self.optim.warmup_epochs} was given, but the run has {self.epochs} epochs; "
                "give a smaller number, or more epochs"
            )
        return self

    @model_validator(mode="after")
    def _check_model(self) -> "Experiment":
        if self.task.kind == "masked_values" and self.model.kind != "transformer":
            raise ValueError(
                f"task.kind: masked_values predicts samples, which model.kind: {self.model.kind} cannot; "
                "use model.kind: transformer or another task"
            )
        return self

    @model_validator(mode="after")
    def _check_keep(self) -> "Experiment":
        if self.keep == "best" and not self.folds.validation:
            raise ValueError(
                "keep: best was given with folds.validation: 0, but the best epoch is chosen by validation segments; "
                "give folds.validation above 0, or keep: last"
            )
        return self

    @model_validator(mode="after")
    def _check_probe(self) -> "Experiment":
        if self.task.probe_settings() is not None and not self.folds.validation:
            raise ValueError(
                "task.probe was given with folds.validation: 0, but a probe is scored on validation people; give "
                "folds.validation above 0, or remove task.probe"
            )
        return self

    @model_validator(mode="after")
    def _check_start(self) -> "Experiment":
        if self.start is not None and self.model.kind == "features":
            raise ValueError(
                "start: has no effect with model.kind: features, whose models are already trained; remove it"
            )
        return self

    def digest(self) -> str:
        """Return a hash of the settings that determine the result.

        Returns:
            The first 16 hexadecimal digits of a SHA-256 of `deciding_settings`.
        """
        content = deciding_settings(self.model_dump(mode="json"))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def with_values(self, values: Mapping[str, Any]) -> "Experiment":
        """Return a copy with other values, by dotted name such as ``optim.lr``.

        Raises:
            SettingsError: A name is unknown, or a value is not allowed.
        """
        content = self.model_dump(mode="json")
        for name, value in values.items():
            _check_name(name, self)
            section = content
            *path, last = name.split(".")
            for key in path:
                section = section[key]
            section[last] = value.item() if isinstance(value, np.generic) else value
        try:
            return Experiment.model_validate(content)
        except ValidationError as error:
            details = "; ".join(
                f"{_dotted(entry['loc'])}{entry['msg'].removeprefix('Value error, ')}" for entry in error.errors()
            )
            given = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise SettingsError(f"{given}: {details}") from error

    def in_fold(self, number: int) -> "Experiment":
        """Return a copy that is tested on another fold; with ``model.kind: features``, on that fold's features."""
        fold = {"model.fold": number} if self.model.kind == "features" else {}
        return self.with_values({"folds.index": number, **fold})

    def cost(self) -> float:
        """Return the virtual seconds of one epoch: the operations of one forward pass on `COST_INPUT`.

        Only ratios between the configurations of a search count. The input has a fixed size because recorded
        decisions follow from these numbers: the optimiser orders the ends of running evaluations by virtual time, so
        an old journal replays only if the same configuration costs the same, whatever store the search runs on.
        """
        channels, samples = COST_INPUT
        return self.model.flops(channels=channels, samples=samples)

    def training_plan(self) -> TrainingPlan:
        """Return the settings that the training loop reads."""
        return TrainingPlan(optim=self.optim, epochs=self.epochs, batch_size=self.batch_size, seed=self.seed)

    def yardstick(self, metric: str) -> dict[str, str]:
        """Return the settings that change the value of a metric at fixed weights, which no search space may contain.

        Args:
            metric: A metric with its prefix, for example ``val/loss``.

        Returns:
            By the dotted name of a setting or section: what else reaches the aim, or nothing.
        """
        names = ["store", "fingerprint", "partner", "partner_fingerprint", "modality", "model.fold", "task.kind"]
        own_segments = {"segments"} if metric.startswith("train/") or self._weighs_classes(metric) else set()
        folds = set(Folds.model_fields) - {"segments"} | own_segments
        names += [f"folds.{name}" for name in sorted(folds)]
        return dict.fromkeys(names, "") | {
            f"task.{name}": remedy for name, remedy in self.task.yardstick(metric).items()
        }

    def _weighs_classes(self, metric: str) -> bool:
        """Return whether a metric depends on the share of high labels among the training segments."""
        balanced = self.task.kind == "classify" and self.task.class_weight == "balanced"
        return balanced and metric in {"val/loss", "val/ece"}

    def training_data(self, store: SegmentStore) -> TrainingData:
        """Return the segments that train, validate and test, with their labels; on a GPU if they fit.

        Raises:
            DataError: The store has another fingerprint than ``fingerprint``, or lacks labels.
            SettingsError: The store does not fit the modality, the model, the folds or the partner.
        """
        return self.select(store).resident(choose_device(self.compute))

    def select(self, store: SegmentStore) -> TrainingData:
        """Return the segments that train, validate and test, with their labels. Only the store's index is read.

        Raises:
            DataError: The store has another fingerprint than ``fingerprint``, or lacks labels.
            SettingsError: The store does not fit the modality, the model, the folds or the partner.
        """
        _check_fingerprint(store, self.fingerprint)
        self._check_modality(store)
        labels, among = self.task.labels(store.index), self._among(store)
        fold = split(store.index, self.folds, labels=labels, among=among)
        probe = self._probe(store, labels=labels, among=among)
        check_features(self.model, store=store, fold=fold, number=self.folds.index)
        labels = self.task.labels(store.index, train=fold.train)
        if labels is not None and isinstance(self.task, Classify) and self.task.shuffled:
            labels = _permuted(labels, rows=fold.train, folds=self.folds)
        return TrainingData(store=store, fold=fold, labels=labels, probe=probe)

    def _probe(
        self,
        store: SegmentStore,
        *,
        labels: Float[np.ndarray, " segment"] | None,
        among: Bool[np.ndarray, " segment"] | None,
    ) -> ProbeData | None:
        """Return the segments of the probe: of the same people, but without the limits to the number of segments."""
        settings = self.task.probe_settings()
        if settings is None:
            return None
        folds = self.folds.model_copy(update={"segments": None, "validation_segments": None})
        whole = split(store.index, folds, labels=labels, among=among)
        return settings.select(store.index, fold=whole, by=folds.by)

    def rows(self, store: SegmentStore, *, folds: Folds) -> Int64[np.ndarray, " row"]:
        """Return the rows that train in a division without test and validation segments: all that can be used."""
        return split(store.index, folds, labels=self.task.labels(store.index), among=self._among(store)).train

    def _among(self, store: SegmentStore) -> Bool[np.ndarray, " segment"] | None:
        """Return the mask of the segments whose moments the partner has as well; None without a partner."""
        if not self.partner:
            return None
        partner = SegmentStore.open(Path(self.partner))
        _check_fingerprint(partner, self.partner_fingerprint)
        return shared_moments(store, partner)

    def _check_modality(self, store: SegmentStore) -> None:
        if self.modality in {None, store.modality}:
            return
        holds = MODALITIES[store.modality].label if store.modality in MODALITIES else store.modality
        raise SettingsError(
            f"modality: {self.modality} was given, but {store.path} holds {holds}; give a store that was prepared with "
            f"--modality {self.modality}"
        )

    def begin(self, training_data: TrainingData, *, encoder_weights: Path | None = None) -> TrainState:
        """Return networks and optimiser at epoch 0, with pre-trained weights if ``start`` names an encoder.

        Args:
            training_data: The data of the run.
            encoder_weights: Checkpoint folder of the pre-trained encoder; required with ``start``.

        Raises:
            SettingsError: The pre-trained encoder has other sizes.
        """
        state = self.begin_untrained(training_data)
        if self.start is not None and self.start.weights == "pretrained":
            assert encoder_weights is not None
            load_pretrained(read_weights(encoder_weights), state.objective.encoder, source=self.start.encoder)
        return state

    def begin_untrained(self, training_data: TrainingData) -> TrainState:
        """Return networks with newly drawn weights, and the optimiser, at epoch 0.

        Weights are a function of ``seed``; torch's global generator is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            objective = self._build(training_data)
        execution = self.execution(training_data.store, segments=len(training_data.fold.train))
        execution.prepare(objective)
        return TrainState(objective, self.optim.build(objective, fused=execution.fused_optimiser), execution=execution)

    def _build(self, training_data: TrainingData) -> Objective:
        channels = training_data.store.signal.shape[1]
        train_labels = None if training_data.labels is None else training_data.labels[training_data.fold.train]
        encoder = self.model.build(channels=channels)
        return self.task.build(encoder, channels=channels, labels=train_labels)

    def parameters(self, training_data: TrainingData) -> int:
        """Return the number of trainable parameters of encoder and head; nothing is allocated."""
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return trainable_parameters(self._build(training_data))

    def execution(self, store: SegmentStore, *, segments: int = 0) -> ExecutionPlan:
        """Return how the experiment is computed on this machine.

        Args:
            store: The store of the segments.
            segments: Training segments of an epoch; 0 for a prediction.

        Raises:
            SettingsError: ``compute.device: cuda`` was given and torch finds no GPU.
        """
        channels, samples = store.signal.shape[1:]
        steps = batch_count(segments, self.batch_size) * self.epochs
        return choose_execution(self.compute, self.model, channels=channels, samples=samples, steps=steps)


NOT_DECIDING = ("store", "partner", "compute", "modality")
"""Settings that change no result: paths of this machine, how a run is computed, and a check of the store."""


def deciding_settings(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the result of an experiment, from all its settings as JSON.

    The store is represented by its fingerprint and a pre-trained encoder by its SHA-256. A setting that newer versions
    added is left out where its value means what older versions did, so that hashes of old experiments stay the same.
    """
    content = {name: value for name, value in experiment.items() if name not in NOT_DECIDING}
    if content.get("start"):
        content["start"] = {key: value for key, value in content["start"].items() if key not in {"encoder", "second"}}
    if content.get("keep") == "last":
        del content["keep"]
    absent = {name for name in ("test", "train", "calibration_minutes") if not content["folds"].get(name)}
    content["folds"] = {
        key: {name: entry for name, entry in value.items() if (name, entry) != ("corpora", [])}
        if key in ("test", "train")
        else value
        for key, value in content["folds"].items()
        if key not in absent
    }
    task = dict(content["task"])
    if task.get("class_weight") == "balanced":
        del task["class_weight"]
    _leave_out(task, ADDED_TO_TASK)
    own = {name: task.get(name) for name in ("start_probability", "span")}
    if task.get("validation", own) in (None, own):
        task.pop("validation", None)
    optim, model = dict(content["optim"]), dict(content["model"])
    if optim.get("kind") != "sgd":
        optim = {name: value for name, value in optim.items() if name not in SETTINGS_OF_SGD}
    _leave_out(model, ADDED_TO_MODEL)
    _leave_out(optim, ADDED_TO_OPTIM)
    return content | {"task": task, "optim": optim, "model": model}


ADDED_TO_TASK: dict[str, Any] = {
    "classes": [],
    "groups": None,
    "narrowed": NARROWED_WIDTH,
    "probe": None,
    "centre": "none",
}
ADDED_TO_OPTIM: dict[str, Any] = {"encoder_factor": 1.0, "layer_decay": 1.0, "interval": "step"}
ADDED_TO_MODEL: dict[str, Any] = {"groups": 1, "norm": "none"}
"""Settings that newer versions added, at the value that means what older versions did."""


def _leave_out(section: dict[str, Any], added: Mapping[str, Any]) -> None:
    """Remove settings that a newer version added from a section, where they mean what older versions did."""
    for name, value in added.items():
        if section.get(name, value) == value:
            section.pop(name, None)


def _check_fingerprint(store: SegmentStore, expected: str | None) -> None:
    if expected not in {None, store.fingerprint}:
        raise DataError(
            f"the store {store.path} has the fingerprint {store.fingerprint[:12]}, but this run was started on "
            f"{str(expected)[:12]}. Give the store it was started on, or a new name"
        )


def _permuted(
    labels: Float[np.ndarray, " segment"], *, rows: Int64[np.ndarray, " row"], folds: Folds
) -> Float[np.ndarray, " segment"]:
    """Return a copy of the labels in which those of the given rows are permuted among them, differently per fold."""
    permuted = labels.copy()
    number = -1 if folds.index is None else folds.index
    permuted[rows] = labels[stream(folds.seed, "shuffled", number).permutation(rows)]
    return permuted


def setting_names(settings: BaseModel, *, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings, such as ``optim.lr``; a section itself has no name."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from setting_names(value, prefix=f"{prefix}{name}.")
        else:
            yield prefix + name


def _check_name(name: str, experiment: Experiment) -> None:
    names = list(setting_names(experiment))
    if name in names:
        return
    section, _, last = name.rpartition(".")
    initials = "".join(word[:1] for word in last.split("_"))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.75)
    close += [other for other in names if other.rpartition(".")[2] in {last, initials} and other not in close]
    inside = [other for other in names if other.startswith(f"{section}.")]
    hint = f" Did you mean {' or '.join(close)}?" if close else f" There are: {', '.join(inside or names)}"
    raise SettingsError(f"no setting is called {name!r}.{hint}")


def _dotted(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""
