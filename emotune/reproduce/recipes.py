"""The experiments behind a table's rows, at full scale and at the small scale of a smoke test.

Sizes and schedules are those of the papers' sections IV-C and IV-D (ECG) and 4.3 (multimodal), and of
Sarkar & Etemad's published code for the compared network; batch sizes, which the papers do not
state, are 128 in pre-training and 64 in fine-tuning.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emotune.data.modality import FUSED_MODALITIES, MODALITIES
from emotune.experiment import Experiment
from emotune.reproduce.published import Recipe, Target


@dataclass(frozen=True)
class Scale:
    """Sizes of corpora, networks and trainings."""

    name: Literal["smoke", "full"]
    folds: int
    corpus: str
    """The labelled corpus."""
    arm: tuple[str, ...]
    """ECG leads that are classified; all if empty."""
    changes: dict[str, Any]
    """Settings that replace those of the papers, by section."""
    epochs: dict[str, int]
    """Epochs by kind of training."""
    segments: dict[str, int]
    """Segments of 10 s by kind: those of the papers, or of the generated corpus. They are assumed for stores that do
    not exist yet; those of ``ecg`` and ``eeg`` pre-train one encoder."""
    limit: int | None = None
    """Largest number of training segments; None: all."""


FULL = Scale(
    name="full",
    folds=10,
    corpus="amigos",
    arm=("ECG Left",),
    changes={},
    epochs={"ecg": 500, "eeg": 500, "convnet": 100, "finetune": 100, "frozen": 200, "fuse": 52},
    segments={"ecg": 83_401, "eeg": 70_200, "labelled": 23_400},
)
TINY = {
    "channels": [8, 8],
    "kernels": [17, 9],
    "layers": 1,
    "heads": 2,
    "feedforward": 16,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
SMOKE = Scale(
    name="smoke",
    folds=4,
    corpus="synthetic",
    arm=(),
    changes={
        "transformer": TINY,
        "convnet": {"channels": [8, 16], "kernels": [16, 8]},
        "hidden": {"ecg": [16, 8], "eeg": [8], "convnet": [8], "fused": [8, 4]},
        "pretraining": {"lr": 3e-3, "warmup_epochs": 0},
        "optim": {"lr": 5e-3, "warmup_epochs": 0},
        "batch_size": 8,
        "dropout": 0.0,
    },
    epochs={"ecg": 3, "eeg": 3, "convnet": 2, "finetune": 8, "frozen": 10, "fuse": 10},
    segments={"ecg": 96, "eeg": 96, "labelled": 192},
    limit=240,
)
"""A rehearsal in which something is learnt: test segments of the generated corpus are classified better than by chance,
so that a lost or damaged encoder shows."""

SCALES = {scale.name: scale for scale in (SMOKE, FULL)}


PUBLISHED_LABELS = {"threshold": "mean"}
"""Labels of the papers: high is above the mean of all self-ratings of the labelled corpus."""

StoreKind = Literal["pool", "labelled"]


def store_name(recipe: Recipe, *, scale: Scale, kind: StoreKind) -> str:
    """Return the name of a store in the folder of stores, for instance ``pool-ecg-10s`` or ``amigos-eeg-10s``.

    The pool of the generated corpus has another name, so that a rehearsal leaves the stores of the papers as they are.
    """
    pool = "pool" if scale.corpus == FULL.corpus else f"{scale.corpus}-pool"
    return f"{pool if kind == 'pool' else scale.corpus}-{recipe.signal}-{recipe.seconds}s"


def rehearsal_on_raw() -> Scale:
    """Return the scale of a rehearsal on raw corpora: tiny networks, on a part of the papers' segments.

    It has more epochs and fewer segments than `SMOKE`, so that a few short files are enough to learn something.
    """
    epochs = SMOKE.epochs | {"finetune": 16, "frozen": 16}
    return replace(SMOKE, corpus=FULL.corpus, arm=FULL.arm, segments=FULL.segments, epochs=epochs, limit=96)


def pretraining(recipe: Recipe, *, scale: Scale, half: Literal["first", "second"], stores: Path) -> Experiment:
    """Return the pre-training of an encoder on everything but one half of the labelled corpus."""
    without = {"corpus": scale.corpus, "half": half}
    folds: dict[str, Any] = {"by": "subject", "count": scale.folds, "index": None, "validation": 0.0}
    folds |= {"without": without} | _limit(scale)
    content: dict[str, Any] = {
        "store": str(stores / store_name(recipe, scale=scale, kind="pool")),
        "model": _model(recipe, scale=scale),
        "folds": folds,
        "batch_size": scale.changes.get("batch_size", 128),
    }
    if recipe.network == "convnet":
        optim = {"lr": 1e-3, "schedule": "staircase", "decay": 0.9, "decay_steps": 10_000, "warmup_epochs": 0}
        task, epochs = {"kind": "recognise_transformation"}, scale.epochs["convnet"]
        content["optim"] = {**optim, "weight_decay": 0.0}
    else:
        optim = {"lr": MODALITIES[recipe.signal].model.pretraining_lr, "weight_decay": 0.005, "warmup_epochs": 30}
        task, epochs = {"kind": "masked_values"}, scale.epochs[recipe.signal]
        content["optim"] = {**optim, "schedule": "linear", **scale.changes.get("pretraining", {})}
    return Experiment.model_validate({**content, "task": task, "epochs": epochs})


def classification(recipe: Recipe, *, scale: Scale, target: Target, stores: Path) -> Experiment:
    """Return the fine-tuning of an ECG or EEG encoder, without its folds."""
    assert recipe.signal != "fused"
    spec = MODALITIES[recipe.signal]
    hidden = scale.changes.get("hidden", {})
    content: dict[str, Any] = {
        "store": str(stores / store_name(recipe, scale=scale, kind="labelled")),
        "model": _model(recipe, scale=scale),
        "folds": {"channels": scale.arm if spec.separate_leads else (), **_limit(scale)},
        "batch_size": scale.changes.get("batch_size", 64),
    }
    task: dict[str, Any] = {"kind": "classify", "target": target, "aggregate": recipe.aggregate, **PUBLISHED_LABELS}
    if recipe.paired:
        (partner,) = set(FUSED_MODALITIES) - {recipe.signal}
        other = Recipe(partner, seconds=recipe.seconds)
        content["partner"] = str(stores / store_name(other, scale=scale, kind="labelled"))
    if recipe.network == "convnet":
        task |= {"hidden": hidden.get("convnet", [512, 512, 512]), "dropout": scale.changes.get("dropout", 0.4)}
        task["frozen"] = True
        optim = {"lr": 1e-3, "schedule": "none", "warmup_epochs": 0, "weight_decay": 0.0}
        return _experiment(content, task=task, optim=optim, epochs=scale.epochs["frozen"], scale=scale)
    dropout = scale.changes.get("dropout", spec.model.dropout)
    task |= {"hidden": hidden.get(recipe.signal, list(spec.model.hidden)), "dropout": dropout}
    optim = {"lr": 1e-4, "schedule": "step", "warmup_epochs": 0, "weight_decay": 1e-5}
    return _experiment(content, task=task, optim=optim, epochs=scale.epochs["finetune"], scale=scale)


def fusion(*, scale: Scale, target: Target, store: Path, width: int) -> Experiment:
    """Return the training of the fusion network on the features of both models, without its folds."""
    hidden = scale.changes.get("hidden", {}).get("fused", [64, 32])
    task: dict[str, Any] = {"kind": "classify", "target": target, "hidden": hidden, **PUBLISHED_LABELS}
    task["dropout"] = scale.changes.get("dropout", 0.1)
    optim = {"lr": 1e-5, "schedule": "step", "step_epochs": 20, "warmup_epochs": 0, "weight_decay": 1e-5}
    content = {"store": str(store), "model": {"kind": "features", "width": width}}
    content["batch_size"] = scale.changes.get("batch_size", 64)
    return _experiment(content, task=task, optim=optim, epochs=scale.epochs["fuse"], scale=scale)


def _experiment(
    content: dict[str, Any], *, task: dict[str, Any], optim: dict[str, Any], epochs: int, scale: Scale
) -> Experiment:
    settings = {**optim, **scale.changes.get("optim", {})}
    return Experiment.model_validate({**content, "task": task, "optim": settings, "epochs": epochs})


def _limit(scale: Scale) -> dict[str, int]:
    return {} if scale.limit is None else {"segments": scale.limit}


def _model(recipe: Recipe, *, scale: Scale) -> dict[str, Any]:
    return {"kind": recipe.network, **scale.changes.get(recipe.network, {})}
