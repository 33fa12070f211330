"""Rest and mental arithmetic from frozen encoders of ECG and EEG, and from the heart rate: real labels of 24 people.

For each seed an encoder of ECG and one of EEG is pre-trained on people of other data sets, and frozen. A ridge
classification on its embeddings is tested by leaving one person out, in eight variants: pre-trained or with the drawn
weights; each 5 s by itself or with the mean over the 30 s around it; and as it is or minus the person's own mean. The
heart rate and its variability have the same variants, folds and classifier.

    python -m benchmarks.evidence RECORDINGS --out results/evidence --seeds 3
    python -m benchmarks.evidence RECORDINGS --out results/evidence --seeds 1 --networks 24 --folds 3 --modality ecg

RECORDINGS: a folder as in `benchmarks.real_recordings`. ``--networks EPOCHS`` also trains whole networks, in folds by
person. What is finished is kept in ``--out``, and an interrupted run resumes. Three seeds and 8 epochs take about 3
minutes of one CPU core.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.evidence_scores import Variant, comparison_rows, explained_rows, score_rows
from benchmarks.markdown import markdown
from benchmarks.real_recordings import (
    classification,
    embeddings_of,
    kept_arrays,
    logits_of_folds,
    make_corpora,
    open_store,
    preparation,
    pretraining,
    shared_rows,
    train,
)
from emotune.data.modality import FUSED_MODALITIES, Modality
from emotune.data.store import SegmentStore
from emotune.evaluation.physiology import HEART_RATE, heart_features
from emotune.storage import LocalStorage
from emotune.training.checkpoints import newest_checkpoint

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


def embed_all(plan: Plan, labelled: dict[Modality, SegmentStore], *, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Return the embeddings of the shared moments by initial weights and modality, of encoders of one seed."""
    rows = shared_rows(labelled)
    embeddings: dict[tuple[str, str], np.ndarray] = {}
    for modality, store in labelled.items():
        name = plan.encoder(modality, seed=seed)
        arrays = kept_arrays(
            plan.out / f"{name}.npz", partial(embed, plan, store, modality=modality, folder=name, seed=seed)
        )
        embeddings |= {(initial, modality): arrays[initial][rows[modality]] for initial in INITIAL}
    for initial in INITIAL:
        parts = [embeddings[initial, modality] for modality in labelled]
        embeddings[initial, "fused"] = np.concatenate(parts, axis=1)
    return embeddings


def embed(plan: Plan, store: SegmentStore, *, modality: Modality, folder: str, seed: int) -> dict[str, np.ndarray]:
    """Return the embeddings of all segments of a store by initial weights, of encoders that are trained first."""
    others = open_store(plan.out, "others", settings=preparation(modality))
    experiment = pretraining(others, task=plan.task, seed=seed, epochs=plan.epochs)
    drawn = embeddings_of(experiment.begin(experiment.training_data(others)), store)
    trained = embeddings_of(train(experiment, others, folder=plan.out / "encoders" / folder), store)
    return dict(zip(INITIAL, (trained, drawn), strict=True))


def heart_rates_of(out: Path, store: SegmentStore) -> np.ndarray:
    """Return the features of the heart rate of all segments, computed once."""
    arrays = kept_arrays(out / "heart.npz", lambda: {"heart": heart_features(np.array(store.signal), rate=store.rate)})
    return arrays["heart"]


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
    start = plan.encoder(modality, seed=seed) if pretrained else f"scratch-{modality}-{seed}"
    return logits_of_folds(
        classification(store, folds=plan.folds, epochs=plan.network_epochs, seed=seed),
        store,
        folder=plan.out / "networks" / f"{start}-{plan.network_epochs}",
        encoder=newest_checkpoint(root) if pretrained else None,
    )


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
    parser.add_argument(
        "--task", default="masked_values", choices=("masked_values", "contrastive", "recognise_transformation")
    )
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
        modality: open_store(plan.out, "labelled", settings=preparation(modality)) for modality in FUSED_MODALITIES
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
