"""Rest and mental arithmetic from frozen encoders of ECG and EEG, and from the heart rate: real labels of 24 people.

For each seed an encoder of ECG and one of EEG is pre-trained on people of other data sets, and frozen. A ridge
classification on its embeddings is tested by leaving one person out, in eight variants: pre-trained or with the drawn
weights; each 5 s by itself or with the mean over the 30 s around it; and as it is or minus the person's own mean. The
heart rate and its variability have the same variants, folds and classifier.

    python -m benchmarks.evidence RECORDINGS --out results/evidence --seeds 3
    python -m benchmarks.evidence RECORDINGS --out results/evidence --seeds 1 --networks 24 --folds 3 --modality ecg

RECORDINGS: a folder with a manifest.csv whose files are named after their data set, ``eegmat`` (labels rest
and arithmetic) and others. ``--networks EPOCHS`` also trains whole networks, in folds by person. What is finished is
kept in ``--out``, and an interrupted run resumes. Three seeds and 8 epochs take about 3 minutes of one CPU core.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.evidence_scores import Variant, comparison_rows, explained_rows, score_rows
from benchmarks.markdown import markdown
from emotune.data.folds import Fold, unit_keys
from emotune.data.modality import FUSED_MODALITIES, Modality
from emotune.data.prepare.prepare import prepare
from emotune.data.prepare.segments import PrepareSettings
from emotune.data.store import SegmentStore
from emotune.evaluation.physiology import HEART_RATE, heart_features
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
HIDDEN: dict[Modality, list[int]] = {"ecg": [32, 16], "eeg": [16]}
INITIAL = ("pre-trained", "random weights")


@dataclass(frozen=True)
class Plan:
    """What is trained, and where its results are.

    Attributes:
        out: Folder of the results.
        task: Task of the pre-training.
        seeds: Number of seeds.
        epochs: Epochs of a pre-training.
        network_epochs: Epochs of a whole network; 0: none is trained.
        folds: Folds by person of the whole networks.
        modalities: Modalities of the whole networks.
    """

    out: Path
    task: str = "masked_values"
    seeds: int = 3
    epochs: int = 8
    network_epochs: int = 0
    folds: int = 6
    modalities: tuple[Modality, ...] = FUSED_MODALITIES

    def encoder(self, modality: Modality, *, seed: int) -> str:
        """Return the name of an encoder."""
        return f"{self.task}-{modality}-{self.epochs}-{seed}"


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


def open_store(out: Path, name: str, modality: Modality) -> SegmentStore:
    """Prepare a store unless it exists, and open it."""
    store = out / f"{name}-{modality}"
    settings = PrepareSettings(modality=modality, seconds=5, rate=64, band=(0.8, 30.0))
    prepare("folder", folder=out / name, store=store, settings=settings)
    return SegmentStore.open(store)


def shared_rows(labelled: dict[Modality, SegmentStore]) -> dict[Modality, np.ndarray]:
    """Return the rows of the moments that all stores have, in the same order, of people with both labels."""
    names = {modality: unit_keys(store.index, by="moment") for modality, store in labelled.items()}
    common = np.array(sorted(set.intersection(*(set(keys) for keys in names.values()))))
    rows = {modality: np.argsort(keys)[np.searchsorted(np.sort(keys), common)] for modality, keys in names.items()}
    index = labelled["ecg"].index.iloc[rows["ecg"]]
    complete = index.groupby(["corpus", "subject"])["condition"].transform("nunique").to_numpy() == 2
    return {modality: own[complete] for modality, own in rows.items()}


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
        save_checkpoint(storage, state, about={})
        losses = {name: round(value, 3) for name, value in report.metrics.items() if name.endswith("/loss")}
        click.echo(f"{folder.name}: epoch {state.epoch} of {experiment.epochs}, {losses}", err=True)
    return state


def embeddings_of(state: TrainState, store: SegmentStore) -> np.ndarray:
    """Return the embeddings of all segments of a store."""
    rows = np.arange(len(store))
    data = TrainingData(store=store, fold=Fold(train=rows, val=rows[:0], test=rows[:0]), labels=None)
    return collect_embeddings(state.objective, data, rows, execution=state.execution)


def embed_all(plan: Plan, labelled: dict[Modality, SegmentStore], *, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Return the embeddings of the shared moments by initial weights and modality, of encoders of one seed."""
    rows = shared_rows(labelled)
    embeddings: dict[tuple[str, str], np.ndarray] = {}
    for modality, store in labelled.items():
        name = plan.encoder(modality, seed=seed)
        file = plan.out / f"{name}.npz"
        if not file.exists():
            others = open_store(plan.out, "others", modality)
            experiment = pretraining(others, task=plan.task, seed=seed, epochs=plan.epochs)
            drawn = embeddings_of(experiment.begin(experiment.training_data(others)), store)
            trained = embeddings_of(train(experiment, others, folder=plan.out / "encoders" / name), store)
            np.savez(file, **dict(zip(INITIAL, (trained, drawn), strict=True)))
        with np.load(file) as arrays:
            embeddings |= {(initial, modality): arrays[initial][rows[modality]] for initial in INITIAL}
    for initial in INITIAL:
        parts = [embeddings[initial, modality] for modality in labelled]
        embeddings[initial, "fused"] = np.concatenate(parts, axis=1)
    return embeddings


def heart_rates_of(out: Path, store: SegmentStore) -> np.ndarray:
    """Return the features of the heart rate of all segments, computed once."""
    file = out / "heart.npy"
    if not file.exists():
        np.save(file, heart_features(np.array(store.signal), rate=store.rate))
    return np.load(file)


def variants_of(plan: Plan, labelled: dict[Modality, SegmentStore]) -> Iterator[Variant]:
    """Yield all variants of features: how they are averaged and centred."""
    heart = heart_rates_of(plan.out, labelled["ecg"])[shared_rows(labelled)["ecg"]]
    features = {"heart rate": [heart[:, [HEART_RATE]]], "heart-rate variability": [heart]}
    by_seed = [embed_all(plan, labelled, seed=seed) for seed in range(plan.seeds)]
    for initial, modality in by_seed[0]:
        label = modality if modality == "fused" else modality.upper()
        features[f"{label}, {initial}"] = [embeddings[initial, modality] for embeddings in by_seed]
    for (name, arrays), context, centred in itertools.product(features.items(), (False, True), (False, True)):
        yield Variant(name, arrays, context=context, centred=centred)


def network_logits(plan: Plan, store: SegmentStore, *, modality: Modality, pretrained: bool, seed: int) -> np.ndarray:
    """Return the logit of each segment by the network of the fold that tests it."""
    root = LocalStorage(plan.out / "encoders" / plan.encoder(modality, seed=seed))
    logits = np.zeros(len(store))
    for number in range(plan.folds):
        experiment = Experiment.model_validate(
            {
                "store": str(store.path),
                "model": MODEL,
                "task": {"kind": "classify", **LABELS, "hidden": HIDDEN[modality], "dropout": 0.2},
                "optim": {"lr": 2e-3, "schedule": "linear", "warmup_epochs": 1, "weight_decay": 1e-5},
                "folds": {"count": plan.folds, "index": number, "validation": 0},
                "epochs": plan.network_epochs,
                "batch_size": 32,
                "seed": seed,
            }
        )
        start = plan.encoder(modality, seed=seed) if pretrained else f"scratch-{modality}-{seed}"
        folder = plan.out / "networks" / f"{start}-{plan.network_epochs}-{number}-of-{plan.folds}"
        state = train(experiment, store, folder=folder, encoder=newest_checkpoint(root) if pretrained else None)
        assert isinstance(state.objective, ClassifierObjective)
        data = experiment.training_data(store)
        logits[data.fold.test] = collect_logits(state.objective, data, data.fold.test, execution=state.execution)
    return logits


def network_variants(plan: Plan, labelled: dict[Modality, SegmentStore]) -> Iterator[Variant]:
    """Yield the variants of the logits of whole networks; where they are not centred, those above 0 are high."""
    rows = shared_rows(labelled)
    for modality, pretrained in itertools.product(plan.modalities, (True, False)):
        arrays = [
            network_logits(plan, labelled[modality], modality=modality, pretrained=pretrained, seed=seed)
            for seed in range(plan.seeds)
        ]
        name = f"{modality.upper()} network, {'pre-trained' if pretrained else 'from scratch'}"
        used = [logits[rows[modality], None] for logits in arrays]
        for context, centred in itertools.product((False, True), (False, True)):
            yield Variant(name, used, context=context, centred=centred, fitted=not centred)


def read_plan() -> tuple[Path, Plan]:
    """Read the command line: the folder of the recordings, and the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/evidence"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--task", default="masked_values", choices=("masked_values", "recognise_transformation"))
    parser.add_argument("--networks", type=int, default=0)
    parser.add_argument("--folds", type=int, default=6)
    parser.add_argument("--modality", choices=FUSED_MODALITIES)
    given = parser.parse_args()
    modalities = FUSED_MODALITIES if given.modality is None else (given.modality,)
    plan = Plan(
        out=given.out.absolute(),
        task=given.task,
        seeds=given.seeds,
        epochs=given.epochs,
        network_epochs=given.networks,
        folds=given.folds,
        modalities=modalities,
    )
    return given.recordings, plan


def main() -> None:
    """Run the command."""
    recordings, plan = read_plan()
    torch.set_num_threads(1)
    make_corpora(recordings, out=plan.out)
    labelled: dict[Modality, SegmentStore] = {
        modality: open_store(plan.out, "labelled", modality) for modality in FUSED_MODALITIES
    }
    index = labelled["ecg"].index.iloc[shared_rows(labelled)["ecg"]].reset_index(drop=True)
    variants = list(variants_of(plan, labelled))
    if plan.network_epochs:
        variants += network_variants(plan, labelled)
    click.echo(markdown(("", "5 s", "5 s, centred", "30 s", "30 s, centred"), score_rows(variants, index=index)))
    click.echo(markdown(("", "minus", "difference"), comparison_rows(variants, index=index)))
    rates = next(variant for variant in variants if variant.name == "heart rate").arrays[0][:, 0]
    rows = explained_rows(variants, rates=rates, index=index)
    click.echo(markdown(("centred, 5 s", "share of the variance of the centred heart rate, by seed"), rows))


if __name__ == "__main__":
    main()
