"""Encoders of real recordings of ECG and EEG, pre-trained on people of other data sets, and classifiers of real labels.

A folder of recordings has a manifest.csv whose files are named after their data set: ``eegmat``, with the labels rest
and arithmetic, and others.
"""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import pandas as pd

from emotune.data.folds import Fold, unit_keys
from emotune.data.modality import Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.experiment import Experiment
from emotune.models.weights import load_pretrained
from emotune.storage import LocalStorage
from emotune.tasks.classify import ClassifierObjective
from emotune.training.centring import with_person_means
from emotune.training.checkpoints import newest_checkpoint, read_weights, restore, save_checkpoint
from emotune.training.loop import TrainingData, TrainState, collect_embeddings, collect_logits, train_epoch

LABELLED = "eegmat"
MODEL = {"channels": [8, 16, 32], "kernels": [33, 17, 9], "layers": 1, "heads": 2, "feedforward": 64}
MODEL |= {"dropout": 0.05, "attention_dropout": 0.0}
LABELS = {"target": "condition", "high": "arithmetic"}
Name = TypeVar("Name", bound=Hashable)
HIDDEN: dict[Modality, list[int]] = {"ecg": [32, 16], "eeg": [16]}


def make_corpora(recordings: Path, *, out: Path) -> None:
    """Divide the recordings into the labelled data set and all others, as links."""
    manifest = pd.read_csv(recordings / "manifest.csv", dtype=str, keep_default_na=False)
    labelled = manifest["file"].str.startswith(LABELLED)
    for name, part in (("labelled", manifest[labelled]), ("others", manifest[~labelled])):
        folder = out / name
        for file in part["file"]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            if not (folder / file).exists():
                (folder / file).symlink_to((recordings / file).resolve())
        part.to_csv(folder / "manifest.csv", index=False)


def preparation(modality: Modality) -> PrepareSettings:
    """Return the settings of the stores."""
    return PrepareSettings(modality=modality, seconds=5, rate=64, band=(0.8, 30.0))


def open_store(out: Path, name: str, *, settings: PrepareSettings, variant: str = "") -> SegmentStore:
    """Prepare a store unless it exists, and open it.

    Args:
        out: Folder of `make_corpora`.
        name: ``labelled`` or ``others``.
        settings: Settings of the store.
        variant: Name of the settings, if they are not those of `preparation`.
    """
    store = out / f"{name}-{variant or settings.modality}"
    prepare("folder", folder=out / name, store=store, settings=settings)
    return SegmentStore.open(store)


def shared_rows(labelled: Mapping[Name, SegmentStore]) -> dict[Name, np.ndarray]:
    """Return the rows of the moments that all stores have, in the same order, of people with both labels."""
    names = {name: unit_keys(store.index, by="moment") for name, store in labelled.items()}
    common = np.array(sorted(set.intersection(*(set(keys) for keys in names.values()))))
    rows = {name: np.argsort(keys)[np.searchsorted(np.sort(keys), common)] for name, keys in names.items()}
    first = next(iter(labelled))
    index = labelled[first].index.iloc[rows[first]]
    complete = index.groupby(["corpus", "subject"])["condition"].transform("nunique").to_numpy() == 2
    return {name: own[complete] for name, own in rows.items()}


def pretraining(store: SegmentStore, *, task: str, seed: int, epochs: int) -> Experiment:
    """Return the pre-training of an encoder; the EEG of the other data sets is that of one person."""
    people = len(store.index.drop_duplicates(["corpus", "subject"]))
    settings: dict[str, Any] = {"kind": task}
    if task == "masked_values":
        settings |= {"start_probability": 0.03, "span": 12, "head": 32}
        settings["validation"] = {"start_probability": 0.03, "span": 12}
    folds = {"by": "subject" if people > 1 else "moment", "index": None, "validation": 0.1}
    folds |= {"segments": 2500, "validation_segments": 300, "seed": seed}
    return Experiment.model_validate(
        {
            "store": str(store.path),
            "model": MODEL,
            "task": settings,
            "optim": {"lr": 3e-3, "warmup_epochs": 1, "weight_decay": 0.0},
            "batch_size": 32,
            "folds": folds,
            "epochs": epochs,
            "seed": seed,
        }
    )


def classification(store: SegmentStore, *, folds: int, epochs: int, seed: int) -> Experiment:
    """Return the training of a whole network on the labels, tested on fold 0 of folds by person."""
    assert store.modality in HIDDEN
    return Experiment.model_validate(
        {
            "store": str(store.path),
            "model": MODEL,
            "task": {"kind": "classify", **LABELS, "hidden": HIDDEN[store.modality], "dropout": 0.2},
            "optim": {"lr": 2e-3, "schedule": "linear", "warmup_epochs": 1, "weight_decay": 1e-5},
            "folds": {"count": folds, "index": 0, "validation": 0},
            "epochs": epochs,
            "batch_size": 32,
            "seed": seed,
        }
    )


def train(experiment: Experiment, store: SegmentStore, *, folder: Path, encoder: Path | None = None) -> TrainState:
    """Train an experiment to its last epoch, from the newest checkpoint in a folder.

    Args:
        experiment: The experiment.
        store: Its store.
        folder: Folder of its checkpoints.
        encoder: Checkpoint of a pre-trained encoder to start from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    storage, data = LocalStorage(folder), experiment.training_data(store)
    state = experiment.begin(data)
    newest = newest_checkpoint(storage)
    if newest is not None:
        restore(newest, state)
    elif encoder is not None:
        load_pretrained(read_weights(encoder), state.objective.encoder, source=str(encoder))
    data = with_person_means(data, state.objective, execution=state.execution)
    while state.epoch < experiment.epochs:
        report = train_epoch(state, data, experiment.training_plan())
        assert report is not None
        if experiment.keep == "best":
            metric, mode = experiment.task.selection
            state.keep_best(metric, mode=mode)
        save_checkpoint(storage, state, about={})
        losses = {name: round(value, 3) for name, value in report.metrics.items() if name.endswith("/loss")}
        click.echo(f"{folder.name}: epoch {state.epoch} of {experiment.epochs}, {losses}", err=True)
    state.load_kept()
    return state


def all_rows(store: SegmentStore) -> TrainingData:
    """Return the data of a store without labels, all of whose segments train."""
    rows = np.arange(len(store))
    return TrainingData(store=store, fold=Fold(train=rows, val=rows[:0], test=rows[:0]), labels=None)


def embeddings_of(state: TrainState, store: SegmentStore) -> np.ndarray:
    """Return the embeddings of all segments of a store."""
    data = all_rows(store)
    return collect_embeddings(state.objective, data, data.fold.train, execution=state.execution)


def logits_of_folds(experiment: Experiment, store: SegmentStore, *, folder: Path, encoder: Path | None) -> np.ndarray:
    """Return the logit of each segment by the network of the fold that tests it.

    Args:
        experiment: The classification.
        store: Its store.
        folder: Folder of the checkpoints, to which the fold is added.
        encoder: Checkpoint of a pre-trained encoder to start from; None: newly drawn weights.
    """
    logits = np.zeros(len(store))
    for number in experiment.folds.numbers:
        tested = experiment.in_fold(number)
        own = folder.with_name(f"{folder.name}-{number}-of-{tested.folds.count}")
        state = train(tested, store, folder=own, encoder=encoder)
        assert isinstance(state.objective, ClassifierObjective)
        data = with_person_means(tested.training_data(store), state.objective, execution=state.execution)
        logits[data.fold.test] = collect_logits(state.objective, data, data.fold.test, execution=state.execution)
    return logits


def kept_arrays(file: Path, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of a file, which are computed and written first unless it exists."""
    if not file.exists():
        draft = file.with_name(f".{file.name}.draft.npz")
        np.savez(draft, allow_pickle=False, **compute())
        draft.rename(file)
    with np.load(file) as arrays:
        return dict(arrays)
