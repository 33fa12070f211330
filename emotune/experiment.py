"""An experiment: the complete, validated description of one training run."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import BaseModel, Field, ValidationError, model_validator

from emotune.base import Settings
from emotune.data.folds import Folds, split, unit_keys
from emotune.data.store import SegmentStore
from emotune.errors import DataError, SettingsError
from emotune.models import Model, Transformer
from emotune.models.features import check_features
from emotune.models.weights import hand_over
from emotune.randomness import derive_seed, stream
from emotune.tasks import Classify, MaskedValues, Task
from emotune.training.checkpoints import read_weights
from emotune.training.execution import Compute, Paths, choose_device, choose_paths
from emotune.training.loop import Plan, TrainingData, TrainState
from emotune.training.optim import FALLING_TO_ZERO, Optim


class Start(Settings):
    """Where the encoder's weights come from."""

    encoder: str
    """A search, a run or a checkpoint whose encoder is taken over, sizes included."""

    second: str | None = None
    """Another one for the second half of the folds; ``encoder`` is for the first half then. Each must not have seen
    the half that it is tested on (``folds.without``)."""

    weights: Literal["pretrained", "scratch"] = "pretrained"
    """``scratch``: the same network with freshly drawn weights, for comparison."""

    sha256: str | None = None
    """Hash of the encoder's weights; filled in when the run is prepared."""

    second_sha256: str | None = None
    """The same of the second one."""

    def which(self, folds: Folds) -> Literal["encoder", "second"]:
        """Tell which of the two a fold starts from."""
        in_second = folds.index is not None and folds.index >= folds.count // 2
        return "second" if in_second and self.second is not None else "encoder"


class Experiment(Settings):
    """Everything that decides a run's result, and ``compute``, which does not."""

    store: str = ""
    """Folder of the segment store."""

    fingerprint: str | None = None
    """Fingerprint of the store's content; filled in when the run is prepared."""

    partner: str = ""
    """Folder of another store: only moments that it has too are used, for instance those with ECG and EEG."""

    partner_fingerprint: str | None = None
    """Fingerprint of the partner's content; filled in when the run is prepared."""

    folds: Folds = Folds()
    """Which segments train, validate and test."""

    model: Model = Transformer()
    """The encoder."""

    task: Task = MaskedValues()
    """What is learnt."""

    optim: Optim = Optim()
    """The optimiser and its schedule."""

    epochs: int = Field(default=500, ge=1)
    """Epochs of the whole run, and so of the learning-rate schedule."""

    batch_size: int = Field(default=128, ge=1)
    """Segments per optimiser step, of all workers together."""

    seed: int = Field(default=0, ge=0)
    """Seed of the weights, the order of the data, the masks and the dropout."""

    start: Start | None = None
    """A pre-trained encoder to start from."""

    compute: Compute = Compute()
    """How the work is done."""

    @model_validator(mode="after")
    def _check_warmup(self) -> "Experiment":
        if self.optim.schedule in FALLING_TO_ZERO and self.optim.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs: {self.optim.warmup_epochs} was given, which leaves nothing of {self.epochs} "
                "epochs; give a smaller one or more epochs"
            )
        return self

    @model_validator(mode="after")
    def _check_model(self) -> "Experiment":
        if self.task.kind == "masked_values" and self.model.kind != "transformer":
            raise ValueError(
                f"task.kind: masked_values predicts single samples, which model.kind: {self.model.kind} cannot; "
                "use model.kind: transformer or another task"
            )
        return self

    @model_validator(mode="after")
    def _check_start(self) -> "Experiment":
        if self.start is not None and self.model.kind == "features":
            raise ValueError("start: has no effect with model.kind: features, whose models are trained; remove it")
        return self

    def digest(self) -> str:
        """Hash what decides the result: all settings but ``compute`` and where things lie on this machine.

        The store counts by its fingerprint and a pre-trained encoder by its hash.
        """
        content = self.model_dump(
            mode="json", exclude={"compute": True, "store": True, "partner": True, "start": {"encoder", "second"}}
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def with_values(self, values: Mapping[str, Any]) -> "Experiment":
        """Return a copy with other values, given by dotted name such as ``optim.lr``.

        Raises:
            SettingsError: A name is unknown, or a value is not allowed.
        """
        content = self.model_dump(mode="json")
        for name, value in values.items():
            _check_name(name, self)
            place = content
            *path, last = name.split(".")
            for key in path:
                place = place[key]
            place[last] = value.item() if isinstance(value, np.generic) else value
        try:
            return Experiment.model_validate(content)
        except ValidationError as error:
            details = "; ".join(
                f"{_dotted(one['loc'])}{one['msg'].removeprefix('Value error, ')}" for one in error.errors()
            )
            given = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise SettingsError(f"{given}: {details}") from error

    def in_fold(self, number: int) -> "Experiment":
        """Return a copy that is tested on another fold; features are those of its models then."""
        fold = {"model.fold": number} if self.model.kind == "features" else {}
        return self.with_values({"folds.index": number, **fold})

    def plan(self) -> Plan:
        """Return what the loop needs to know."""
        return Plan(optim=self.optim, epochs=self.epochs, batch_size=self.batch_size, seed=self.seed)

    def training_data(self, store: SegmentStore) -> TrainingData:
        """Choose and label the segments that are learnt from.

        Raises:
            DataError: The store is not the one the experiment was prepared for, or lacks labels.
        """
        _check_fingerprint(store, self.fingerprint)
        among = None
        if self.partner:
            partner = SegmentStore.open(Path(self.partner))
            _check_fingerprint(partner, self.partner_fingerprint)
            among = np.isin(unit_keys(store.index, by="moment"), unit_keys(partner.index, by="moment"))
        labels = self.task.labels(store.index)
        fold = split(store.index, self.folds, labels=labels, among=among)
        check_features(self.model, store=store, fold=fold, number=self.folds.index)
        if labels is not None and isinstance(self.task, Classify) and self.task.shuffled:
            labels = _deal_anew(labels, rows=fold.train, folds=self.folds)
        return TrainingData(store=store, fold=fold, labels=labels).resident(choose_device(self.compute))

    def begin(self, training_data: TrainingData, *, encoder_weights: Path | None = None) -> TrainState:
        """Make the networks and the optimiser, at epoch 0.

        Args:
            training_data: What will be learnt from.
            encoder_weights: Checkpoint folder of the pre-trained encoder, if ``start`` names one.

        Raises:
            SettingsError: The pre-trained encoder has other sizes.
        """
        state = self.begin_untrained(training_data)
        if self.start is not None and self.start.weights == "pretrained":
            assert encoder_weights is not None
            hand_over(read_weights(encoder_weights), state.objective.encoder, source=self.start.encoder)
        return state

    def begin_untrained(self, training_data: TrainingData) -> TrainState:
        """Make the networks with freshly drawn weights, and the optimiser, at epoch 0."""
        channels = training_data.store.signal.shape[1]
        train_labels = None if training_data.labels is None else training_data.labels[training_data.fold.train]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            encoder = self.model.build(channels=channels)
            objective = self.task.build(encoder, channels=channels, labels=train_labels)
        paths = self.paths(training_data.store)
        paths.prepare(objective)
        return TrainState(objective, self.optim.build(objective, fused=paths.fused_optimiser), paths=paths)

    def paths(self, store: SegmentStore) -> Paths:
        """Choose how to compute on this machine.

        Raises:
            SettingsError: A GPU is asked for and there is none.
        """
        channels, samples = store.signal.shape[1:]
        return choose_paths(self.compute, self.model, channels=channels, samples=samples)


def _check_fingerprint(store: SegmentStore, expected: str | None) -> None:
    if expected not in {None, store.fingerprint}:
        raise DataError(
            f"the store {store.path} has the fingerprint {store.fingerprint[:12]}, where this run was started on "
            f"{str(expected)[:12]}. Give the store it was started on, or a new name"
        )


def _deal_anew(
    labels: Float[np.ndarray, " segment"], *, rows: Int64[np.ndarray, " row"], folds: Folds
) -> Float[np.ndarray, " segment"]:
    dealt = labels.copy()
    number = -1 if folds.index is None else folds.index
    dealt[rows] = labels[stream(folds.seed, "shuffled", number).permutation(rows)]
    return dealt


def setting_names(settings: BaseModel, *, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all settings that hold a value, such as ``optim.lr``."""
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


def _dotted(place: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in place) + ": " if place else ""
